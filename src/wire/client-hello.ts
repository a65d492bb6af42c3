// Reads a TLS ClientHello without doing TLS: the server name, the application protocols and the versions offered.
//
//   record     22 | 3 x | length 2 | fragment …            several may carry one message (RFC 8446 §5.1)
//   handshake   1 | length 3 | body
//   body       version 2 | random 32 | session id <1> | cipher suites <2> | compression <1> | extensions <2>
//   extension  type 2 | data <2>        0 = server_name, 16 = ALPN, 43 = supported_versions     <n> = length prefix, n bytes
import { isIP } from 'node:net';
import { Fault } from '../core/fault.ts';

export interface ClientHello {
  /** Lower case; absent when none was sent or an address was (RFC 6066 §3 forbids those). */
  readonly sni?: string;
  readonly alpn: readonly string[];
  /** For example 0x0303 (TLS 1.2), 0x0304; as offered, unknown (GREASE) values included. */
  readonly versions: readonly number[];
}

/** Bytes a ClientHello may take, record headers included. */
export const clientHelloLimit: number = 16 * 1024;

/**
 * Reads the ClientHello at the start of `bytes`; `more` = not all there yet.
 * @throws Fault `protocol` when it is TLS but malformed, or longer than `clientHelloLimit`
 */
export function readClientHello(bytes: Uint8Array): ClientHello | 'more' | 'not-tls' {
  // The second byte, the major version, is 3 in every TLS; it tells a record from text that begins with byte 22.
  if ((bytes.length > 0 && bytes[0] !== 22) || (bytes.length > 1 && bytes[1] !== 3)) return 'not-tls';
  const message = handshakeMessage(bytes);
  if (message !== undefined) return parse(new Reader(message));
  if (bytes.length >= clientHelloLimit) throw wrong('is longer than 16 KiB');
  return 'more';
}

/** The body of the first handshake message, joined across records; undefined = more bytes are needed. */
function handshakeMessage(bytes: Uint8Array): Uint8Array | undefined {
  const pieces: Uint8Array[] = [];
  let have = 0;
  for (let at = 0; at + 5 <= bytes.length; ) {
    if (bytes[at] !== 22 || bytes[at + 1] !== 3) throw wrong('is interrupted by another record');
    const length = u16(bytes, at + 3);
    if (length === 0 || length > 16_384) throw wrong('has a record of a length that is not allowed');
    const fragment = bytes.subarray(at + 5, at + 5 + length);
    pieces.push(fragment);
    // Real clients use one or two; without a bound, tiny ones would make every byte that arrives cost more than the last.
    if (pieces.length > 32) throw wrong('is cut into too many records');
    have += fragment.length;
    at += 5 + length;
    if (have < 4) continue;
    const message = pieces.length === 1 ? fragment : Buffer.concat(pieces);
    const need = 4 + bodyLength(message);
    if (have >= need) return message.subarray(4, need);
  }
  return undefined;
}

function bodyLength(message: Uint8Array): number {
  if (message[0] !== 1) throw wrong('is another handshake message');
  const length = ((message[1] ?? 0) << 16) | u16(message, 2);
  if (length > clientHelloLimit) throw wrong('is longer than 16 KiB');
  return length;
}

function parse(body: Reader): ClientHello {
  const legacy = body.u16();
  body.bytes(32);
  body.block(1);
  if (body.block(2).left % 2 !== 0) throw wrong('has a broken list of ciphers');
  body.block(1);
  let sni: string | undefined;
  let alpn: string[] = [];
  let versions = [legacy];
  const extensions = body.left > 0 ? body.block(2) : new Reader(new Uint8Array(0));
  if (body.left > 0) throw wrong('has bytes after its end');
  const seen = new Set<number>();
  while (extensions.left > 0) {
    const type = extensions.u16();
    const data = extensions.block(2);
    if (seen.has(type)) throw wrong('names an extension twice'); // RFC 8446 §4.2
    seen.add(type);
    if (type === 0) sni = serverName(data);
    else if (type === 16) alpn = protocols(data);
    else if (type === 43) versions = versionsOf(data);
  }
  return { ...(sni === undefined ? {} : { sni }), alpn, versions };
}

function serverName(data: Reader): string | undefined {
  const list = data.block(2);
  let name: string | undefined;
  while (list.left > 0) {
    const type = list.u8();
    const value = list.block(2).text();
    if (type !== 0) continue;
    if (name !== undefined || !/^[\x21-\x7e]{1,255}$/.test(value)) throw wrong('has a broken server name');
    name = value.toLowerCase().replace(/\.$/, '');
  }
  return name === undefined || isIP(name) !== 0 ? undefined : name;
}

function protocols(data: Reader): string[] {
  const list = data.block(2);
  const names: string[] = [];
  while (list.left > 0) {
    const name = list.block(1).text();
    if (name === '') throw wrong('has an empty application protocol'); // RFC 7301 §3.1
    names.push(name);
  }
  return names;
}

function versionsOf(data: Reader): number[] {
  const list = data.block(1);
  const versions: number[] = [];
  while (list.left > 0) versions.push(list.u16());
  return versions;
}

/** Reads forward and never past the end. */
class Reader {
  readonly #bytes: Uint8Array;
  #at = 0;
  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }
  get left(): number {
    return this.#bytes.length - this.#at;
  }
  bytes(count: number): Uint8Array {
    if (count > this.left) throw wrong('ends too early');
    this.#at += count;
    return this.#bytes.subarray(this.#at - count, this.#at);
  }
  u8(): number {
    return this.bytes(1)[0] ?? 0;
  }
  u16(): number {
    return u16(this.bytes(2), 0);
  }
  /** What a length of `width` bytes announces. */
  block(width: 1 | 2): Reader {
    return new Reader(this.bytes(width === 1 ? this.u8() : this.u16()));
  }
  text(): string {
    return Buffer.from(this.bytes(this.left)).toString('latin1');
  }
}

const u16 = (bytes: Uint8Array, at: number): number => ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
const wrong = (what: string): Fault => new Fault('protocol', `the TLS ClientHello ${what}`);
