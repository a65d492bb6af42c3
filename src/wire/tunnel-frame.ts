// The messages of AWS IoT Secure Tunneling: a 2-byte length, then one protobuf message (proto3). Own codec, hard limits.
//
//   0        2                                    2 + N
//   +--------+------------------------------------+
//   | N (BE) | protobuf message of N bytes        |   N < 65536; frames follow one another, WebSocket messages mean nothing
//   +--------+------------------------------------+
//
//   field 1 type (varint)        2 streamId (varint, int32)   3 ignorable (bool)      4 payload (bytes, <= 64512)
//   field 5 serviceId (string)   6 availableServiceIds (repeated string)              7 connectionId (varint, uint32)
//
// 1 to 4 are V1, 5 and 6 came with V2, 7 with V3. An absent field is zero or empty; the order is free; a field that is none
// of these is refused, as AWS refuses it.
import { Fault } from '../core/fault.ts';

export const messageTypes = {
  unknown: 0,
  data: 1,
  streamStart: 2,
  streamReset: 3,
  sessionReset: 4,
  serviceIds: 5,
  connectionStart: 6,
  connectionReset: 7,
  /** Ours, spoken only where both sides agreed on the subprotocol `sekisho.tunnel-1`: this direction has ended. */
  connectionEnd: 64,
  /** Ours: the payload is a 4-byte count of bytes that the far side may send more. */
  window: 65,
} as const;

export interface TunnelMessage {
  readonly type: number;
  readonly streamId: number;
  readonly ignorable: boolean;
  /** A view of the bytes that were decoded: whoever keeps it keeps them. */
  readonly payload: Uint8Array;
  readonly serviceId: string;
  readonly availableServiceIds: readonly string[];
  readonly connectionId: number;
}
export type OutgoingMessage = Pick<TunnelMessage, 'type'> & Partial<TunnelMessage>;

/** 63 KiB, on both sides. */
export const longestPayload = 64_512;
/** Of a message without its length; two bytes hold no more. */
export const longestMessage = 65_535;
/** Names of services are 1 to 128 characters of ASCII. */
const longestService = 128;
const mostServices = 128;

const empty = new Uint8Array(0);
const noServices: readonly string[] = [];

/** Length and message as one buffer. @throws Fault `bug` for what no message can hold */
export function encodeFrame(message: OutgoingMessage): Buffer {
  const { type, streamId = 0, ignorable = false, payload = empty, serviceId = '', connectionId = 0 } = message;
  const services = (message.availableServiceIds ?? noServices).map(service => Buffer.from(service));
  const service = serviceId === '' ? 0 : Buffer.byteLength(serviceId);
  let length = 1 + sizeOf(type);
  if (streamId !== 0) length += 1 + sizeOf(streamId);
  if (ignorable) length += 2;
  if (payload.length > 0) length += 1 + sizeOf(payload.length) + payload.length;
  if (service > 0) length += 1 + sizeOf(service) + service;
  for (const one of services) length += 1 + sizeOf(one.length) + one.length;
  if (connectionId !== 0) length += 1 + sizeOf(connectionId);
  if (length > longestMessage || payload.length > longestPayload) {
    throw new Fault('bug', 'a tunnel message is too long', { facts: { length } });
  }
  const frame = Buffer.allocUnsafe(2 + length);
  frame.writeUInt16BE(length, 0);
  let at = writeVarint(frame, 2, 0x08, type);
  if (streamId !== 0) at = writeVarint(frame, at, 0x10, streamId);
  if (ignorable) at = writeVarint(frame, at, 0x18, 1);
  // The ids before the payload, so that its reader knows whose it is from the first bytes on.
  if (service > 0) {
    at = writeVarint(frame, at, 0x2a, service);
    at += frame.write(serviceId, at);
  }
  for (const one of services) {
    at = writeVarint(frame, at, 0x32, one.length);
    at += one.copy(frame, at);
  }
  if (connectionId !== 0) at = writeVarint(frame, at, 0x38, connectionId);
  if (payload.length > 0) {
    at = writeVarint(frame, at, 0x22, payload.length);
    frame.set(payload, at);
  }
  return frame;
}

/** One message without its length. @throws Fault `protocol` */
export function decodeMessage(bytes: Uint8Array): TunnelMessage {
  let type = 0;
  let streamId = 0;
  let ignorable = false;
  let payload: Uint8Array = empty;
  let serviceId = '';
  let services: string[] | undefined;
  let connectionId = 0;
  const cursor: Cursor = { bytes, at: 0 };
  while (cursor.at < bytes.length) {
    const tag = readVarint(cursor);
    switch (tag) {
      case 0x08:
        type = readVarint(cursor);
        break;
      case 0x10:
        streamId = readVarint(cursor);
        if (streamId > 0x7fffffff) throw wrong('a stream id is no positive number');
        break;
      case 0x18:
        ignorable = readVarint(cursor) !== 0;
        break;
      case 0x22:
        payload = readBytes(cursor, longestPayload, 'a payload');
        break;
      case 0x2a:
        serviceId = readText(cursor);
        break;
      case 0x32:
        services ??= [];
        if (services.length >= mostServices) throw wrong(`more than ${mostServices} services`);
        services.push(readText(cursor));
        break;
      case 0x38:
        connectionId = readVarint(cursor);
        if (connectionId > 0xffffffff) throw wrong('a connection id is longer than 32 bits');
        break;
      default:
        throw wrong('a field that no version of the protocol has', { tag });
    }
  }
  return { type, streamId, ignorable, payload, serviceId, availableServiceIds: services ?? noServices, connectionId };
}

/** Cuts a stream of bytes into messages; holds at most one unfinished frame. */
export class FrameReader {
  #rest: Uint8Array = empty;

  /** Calls with each whole message, in order. @throws Fault `protocol`, after which the reader is of no more use */
  read(chunk: Uint8Array, deliver: (message: TunnelMessage) => void): void {
    let bytes = chunk;
    if (this.#rest.length > 0) {
      bytes = new Uint8Array(this.#rest.length + chunk.length);
      bytes.set(this.#rest);
      bytes.set(chunk, this.#rest.length);
      this.#rest = empty;
    }
    let at = 0;
    while (bytes.length - at >= 2) {
      const length = ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
      if (bytes.length - at - 2 < length) break;
      const message = bytes.subarray(at + 2, at + 2 + length);
      at += 2 + length;
      // A message of no bytes says nothing; localproxy skips it too.
      if (length > 0) deliver(decodeMessage(message));
    }
    // A copy of the tail, or a few bytes would keep a whole chunk alive.
    if (at < bytes.length) this.#rest = Uint8Array.prototype.slice.call(bytes, at);
  }

  /** Bytes of an unfinished frame. */
  get waiting(): number {
    return this.#rest.length;
  }
}

interface Cursor {
  readonly bytes: Uint8Array;
  at: number;
}

/** 10 bytes at most, 2^53 at most: nothing that we read needs more, and a negative int32 is none of ours. */
function readVarint(cursor: Cursor): number {
  const { bytes } = cursor;
  let value = 0;
  let scale = 1;
  for (let count = 0; count < 10; count++) {
    const byte = bytes[cursor.at++];
    if (byte === undefined) throw wrong('a message ends within a number');
    value += (byte & 0x7f) * scale;
    if (value > Number.MAX_SAFE_INTEGER) throw wrong('a number is too large');
    if (byte < 0x80) return value;
    scale *= 128;
  }
  throw wrong('a number is longer than 10 bytes');
}

function readBytes(cursor: Cursor, most: number, what: string): Uint8Array {
  const length = readVarint(cursor);
  if (length > most) throw wrong(`${what} is longer than ${most} bytes`, { length });
  if (length > cursor.bytes.length - cursor.at) throw wrong(`${what} is longer than its message`, { length });
  const start = cursor.at;
  cursor.at += length;
  return cursor.bytes.subarray(start, cursor.at);
}

function readText(cursor: Cursor): string {
  const bytes = readBytes(cursor, longestService, 'the name of a service');
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
  if (!/^[\x21-\x7e]*$/.test(text)) throw wrong('the name of a service holds what no name does');
  return text;
}

function writeVarint(frame: Buffer, start: number, tag: number, value: number): number {
  let at = start;
  frame[at++] = tag;
  let left = value;
  while (left >= 0x80) {
    frame[at++] = (left % 128) | 0x80;
    left = Math.floor(left / 128);
  }
  frame[at++] = left;
  return at;
}

function sizeOf(value: number): number {
  let size = 1;
  for (let left = value; left >= 0x80; left = Math.floor(left / 128)) size++;
  return size;
}

const wrong = (text: string, facts: Readonly<Record<string, unknown>> = {}): Fault =>
  new Fault('protocol', `not a tunnel message: ${text}`, { facts });
