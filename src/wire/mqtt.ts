// The few MQTT 3.1.1 packets that the gate itself reads and writes; the embedded broker has a parser of its own.
//
//   +----------+------------------------+----------------------------+
//   | type<<4  | remaining length, 1..4 | variable header, payload   |
//   | | flags  | bytes of 7 bits, LSB   |                            |
//   +----------+------------------------+----------------------------+
//   CONNECT: 00 04 'MQTT' level flags keepalive(2), then client id, [user], [password], each with a 2-byte length
import { Fault } from '../core/fault.ts';

export const packetTypes = {
  connect: 1,
  connack: 2,
  publish: 3,
  puback: 4,
  subscribe: 8,
  suback: 9,
  disconnect: 14,
} as const;

export interface Packet {
  readonly type: number;
  readonly flags: number;
  readonly body: Buffer;
}

/** The fixed header: where the body starts, and how long it is. @throws Fault `protocol` */
export function readFixedHeader(bytes: Uint8Array): { readonly start: number; readonly length: number } | 'more' {
  let length = 0;
  for (let at = 1; at <= 4; at++) {
    const byte = bytes[at];
    if (byte === undefined) return 'more';
    length += (byte & 0x7f) * 128 ** (at - 1);
    if (byte < 0x80) return { start: at + 1, length };
  }
  throw new Fault('protocol', 'not an MQTT packet: its length has no end');
}

/** What a client says first: which MQTT it speaks. Looks at no more than 32 bytes. @throws Fault `protocol` */
export function readProtocolLevel(bytes: Uint8Array): number | 'more' {
  const type = bytes[0];
  if (type === undefined) return 'more';
  if (type !== packetTypes.connect << 4)
    throw new Fault('protocol', 'the first packet is not a CONNECT [MQTT-3.1.0-1]');
  const header = readFixedHeader(bytes);
  if (header === 'more') return 'more';
  const { start } = header;
  if (bytes.length < start + 2) return 'more';
  const length = ((bytes[start] as number) << 8) | (bytes[start + 1] as number);
  if (length !== 4 && length !== 6) throw new Fault('protocol', 'a CONNECT of no protocol that is MQTT [MQTT-3.1.2-1]');
  const level = bytes[start + 2 + length];
  if (level === undefined) return 'more';
  const name = Buffer.from(bytes.subarray(start + 2, start + 2 + length)).toString('latin1');
  if (name !== 'MQTT' && name !== 'MQIsdp') {
    throw new Fault('protocol', 'a CONNECT of no protocol that is MQTT [MQTT-3.1.2-1]');
  }
  return level;
}

export interface Connect {
  readonly clientId: string;
  readonly user?: string;
  readonly password?: string;
}

export function encodeConnect({ clientId, user, password }: Connect): Buffer {
  const flags = 0x02 | (user === undefined ? 0 : 0x80) | (password === undefined ? 0 : 0x40); // a clean session
  return packet(packetTypes.connect, 0, [
    text('MQTT'),
    Buffer.from([4, flags, 0, 60]),
    text(clientId),
    ...(user === undefined ? [] : [text(user)]),
    ...(password === undefined ? [] : [text(password)]),
  ]);
}

/** QoS 1, not retained. */
export function encodePublish(topic: string, payload: string, id: number): Buffer {
  return packet(packetTypes.publish, 0x02, [text(topic), Buffer.from([id >> 8, id & 255]), Buffer.from(payload)]);
}

/** One topic, QoS 1. */
export function encodeSubscribe(topic: string, id: number): Buffer {
  return packet(packetTypes.subscribe, 0x02, [Buffer.from([id >> 8, id & 255]), text(topic), Buffer.from([1])]);
}

export const encodeDisconnect = (): Buffer => packet(packetTypes.disconnect, 0, []);

/** CONNACK of MQTT 5, "Unsupported Protocol Version" (MQTT 5 §3.2.2.2), without properties. */
export const unsupportedVersion: Uint8Array = Uint8Array.from([0x20, 3, 0, 0x84, 0]);

/** The first whole packet and how many bytes it took. @throws Fault `protocol`, beyond `most` bytes too */
export function readPacket(bytes: Buffer, most: number): { readonly packet: Packet; readonly used: number } | 'more' {
  const header = readFixedHeader(bytes);
  if (header === 'more') return 'more';
  const { start, length } = header;
  if (length > most) throw new Fault('protocol', `an MQTT packet is longer than ${most} bytes`);
  if (bytes.length < start + length) return 'more';
  const first = bytes[0] ?? 0;
  return {
    packet: { type: first >> 4, flags: first & 15, body: bytes.subarray(start, start + length) },
    used: start + length,
  };
}

/** Follows a stream of packets without keeping any: throws when one is longer than allowed. */
export class PacketMeter {
  readonly #most: number;
  #head: number[] = [];
  #left = 0;

  /** @param most bytes of a packet without its fixed header */
  constructor(most: number) {
    this.#most = most;
  }

  /** @throws Fault `protocol` */
  take(chunk: Uint8Array): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#left > 0) {
        const step = Math.min(this.#left, chunk.length - at);
        this.#left -= step;
        at += step;
        continue;
      }
      this.#head.push(chunk[at++] as number);
      if (this.#head.length < 2) continue;
      const header = readFixedHeader(Uint8Array.from(this.#head));
      if (header === 'more') continue;
      if (header.length > this.#most) throw new Fault('protocol', `an MQTT packet is longer than ${this.#most} bytes`);
      this.#left = header.length;
      this.#head = [];
    }
  }
}

function packet(type: number, flags: number, parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  const head = [(type << 4) | flags];
  let left = body.length;
  do {
    head.push((left % 128) | (left >= 128 ? 128 : 0));
    left = Math.floor(left / 128);
  } while (left > 0);
  return Buffer.concat([Buffer.from(head), body]);
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  if (bytes.length > 65_535) throw new Fault('invalid', 'a text of MQTT is at most 65,535 bytes');
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 255]), bytes]);
}
