// What OpenVPN says within its TLS: the exchange of keys ("key method 2"), options, what the client tells of itself, and
// the lines that both write afterwards.
//
//   | 0 4 | 2 | pre-master 48 | random 32 | random 32 | options | user | password | peer info |       client
//   | 0 4 | 2 |                 random 32 | random 32 | options | 0 0  | 0 0      | 0 0       |       server
//
// Texts have their length before them in two bytes, which count the NUL at their end; 0 = there is none.
import { Fault } from '../core/fault.ts';

export interface KeyExchange {
  readonly preMaster: Buffer;
  readonly random1: Buffer;
  readonly random2: Buffer;
  readonly options: string;
  readonly user: string;
  readonly password: string;
  /** NAME=value, a line each. */
  readonly peer: ReadonlyMap<string, string>;
}

/** Of each text; user and password have 128 in OpenVPN, a token up to 4 kB. */
const most = { text: 4096, all: 16_384 } as const;
const fixed = 5 + 48 + 64;

/** undefined while it is not all there. `used`: bytes that it took. @throws Fault `protocol` */
export function decodeKeyExchange(
  bytes: Buffer,
): { readonly exchange: KeyExchange; readonly used: number } | undefined {
  if (bytes.length > most.all) throw new Fault('protocol', 'OpenVPN’s exchange of keys is too long');
  if (bytes.length < fixed) return undefined;
  if (bytes.readUInt32BE(0) !== 0 || (bytes[4]! & 15) !== 2)
    throw new Fault('protocol', 'OpenVPN’s key method 2 is the only one that is spoken here');
  let at = fixed;
  const texts: string[] = [];
  for (let count = 0; count < 4; count++) {
    // The oldest clients tell nothing of themselves, and leave even the length away.
    if (count === 3 && at === bytes.length) break;
    if (at + 2 > bytes.length) return undefined;
    const length = bytes.readUInt16BE(at);
    if (length > most.text) throw new Fault('protocol', 'a text in OpenVPN’s exchange of keys is too long');
    if (at + 2 + length > bytes.length) return undefined;
    const text = bytes.toString('utf8', at + 2, at + 2 + length);
    texts.push(text.replace(/\0.*$/s, ''));
    at += 2 + length;
  }
  const [options = '', user = '', password = '', peer = ''] = texts;
  return {
    used: at,
    exchange: {
      preMaster: bytes.subarray(5, 53),
      random1: bytes.subarray(53, 85),
      random2: bytes.subarray(85, 117),
      ...{ options, user, password, peer: parsePeer(peer) },
    },
  };
}

export const encodeKeyReply = (random1: Uint8Array, random2: Uint8Array, options: string): Buffer =>
  Buffer.concat([
    Uint8Array.of(0, 0, 0, 0, 2),
    ...[random1, random2, encodeText(options)],
    Buffer.alloc(6), // no user, no password, nothing about us
  ]);

/** As a client writes it; for tests. */
export const encodeKeyExchange = ({
  preMaster,
  random1,
  random2,
  options,
  user,
  password,
  peer,
}: KeyExchange): Buffer =>
  Buffer.concat([
    Uint8Array.of(0, 0, 0, 0, 2),
    ...[preMaster, random1, random2, encodeText(options), encodeText(user), encodeText(password)],
    encodeText([...peer].map(([name, value]) => `${name}=${value}\n`).join('')),
  ]);

function encodeText(text: string): Buffer {
  if (text === '') return Buffer.alloc(2);
  const bytes = Buffer.from(`${text}\0`);
  const length = Buffer.alloc(2);
  length.writeUInt16BE(bytes.length);
  return Buffer.concat([length, bytes]);
}

const parsePeer = (text: string): ReadonlyMap<string, string> =>
  new Map(
    text
      .split('\n')
      .slice(0, 64)
      .flatMap(line => {
        const [, name, value] = /^([A-Za-z0-9_]{1,64})=(.{0,256})/.exec(line) ?? [];
        return name === undefined ? [] : [[name, printable(value ?? '')] as const];
      }),
  );
const printable = (text: string): string => text.replace(/[\x00-\x1f\x7f]/g, '');

/** `V4,dev-type tun,link-mtu 1549,…` → name → value ('' where there is none). */
export const parseOptions = (text: string): ReadonlyMap<string, string> =>
  new Map(
    text
      .split(',')
      .slice(0, 64)
      .map(word => {
        const [name = '', ...values] = word.trim().split(' ');
        return [name, values.join(' ')] as const;
      }),
  );

/** The client's own options from the server's side: what OpenVPN compares, it finds the same. */
export const mirrorOptions = (text: string): string =>
  text
    .split(',')
    .map(word =>
      word === 'tls-client'
        ? 'tls-server'
        : word.startsWith('proto ')
          ? word.replace('_CLIENT', '_SERVER')
          : word.startsWith('keydir 1')
            ? 'keydir 0'
            : word,
    )
    .join(',')
    .slice(0, 1024);

/** Lines of a control channel, each ended by NUL. Holds at most one unfinished line. */
export class LineSplitter {
  #held = '';

  /** @throws Fault `protocol` */
  push(chunk: Buffer): string[] {
    const lines = (this.#held + chunk.toString('utf8')).split('\0');
    this.#held = lines.pop() ?? '';
    if (this.#held.length > most.text) throw new Fault('protocol', 'a line in OpenVPN’s control channel is too long');
    return lines.map(line => line.trim()).filter(line => line !== '');
  }
}
