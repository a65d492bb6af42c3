// MS-CHAPv2 (RFC 2759) and the keys made of it (RFC 3079 §3): what Windows proves a password with. It takes MD4 and DES,
// which today's OpenSSL has no more: MD4 is written here, DES is three-key DES with one key.
//
//   challenge:  | 16 | challenge 16 | name …
//   response:   | 49 | peer challenge 16 | zeros 8 | NT response 24 | flags | name …
import { createCipheriv, createHash } from 'node:crypto';
import { Fault } from '../core/fault.ts';

/** MD4 over UTF-16 (RFC 2759 §8.3): as good as the password itself. */
export const ntHash = (password: string): Buffer => md4(Buffer.from(password, 'utf16le'));

export interface ChapResponse {
  readonly peerChallenge: Uint8Array;
  readonly ntResponse: Uint8Array;
  /** As it was sent. */
  readonly name: Uint8Array;
}

/** The data of a CHAP Response. @throws Fault `protocol` */
export function decodeChapResponse(data: Uint8Array): ChapResponse {
  if (data.length < 50 || data[0] !== 49) throw new Fault('protocol', 'the CHAP response is not one of MS-CHAPv2');
  return { peerChallenge: data.subarray(1, 17), ntResponse: data.subarray(25, 49), name: data.subarray(50) };
}

export interface Exchange {
  readonly challenge: Uint8Array;
  readonly peerChallenge: Uint8Array;
  /** Without the domain before it (RFC 2759 §4). */
  readonly name: Uint8Array;
}

/** What somebody who knows the password answers (§8.1). */
export function ntResponse(hash: Uint8Array, exchange: Exchange): Buffer {
  const text = challengeHash(exchange);
  const padded = Buffer.concat([hash, Buffer.alloc(5)]);
  return Buffer.concat([0, 7, 14].map(at => des(padded.subarray(at, at + 7), text)));
}

/** What the client is shown, to know that we know it too (§8.7): 40 hex digits. */
export function authenticatorResponse(hash: Uint8Array, response: Uint8Array, exchange: Exchange): string {
  const first = sha1(md4(hash), response, 'Magic server to client signing constant');
  const text = sha1(first, challengeHash(exchange), 'Pad to make it do more than one iteration');
  return text.toString('hex').toUpperCase();
}

/** The client's sending and receiving key, 16 bytes each (RFC 3079 §3.4): SSTP binds its certificate with them. */
export function sessionKeys(
  hash: Uint8Array,
  response: Uint8Array,
): { readonly send: Buffer; readonly receive: Buffer } {
  const master = sha1(md4(hash), response, 'This is the MPPE Master Key').subarray(0, 16);
  const key = (magic: string): Buffer => sha1(master, Buffer.alloc(40), magic, Buffer.alloc(40, 0xf2)).subarray(0, 16);
  return {
    send: key('On the client side, this is the send key; on the server side, it is the receive key.'),
    receive: key('On the client side, this is the receive key; on the server side, it is the send key.'),
  };
}

const challengeHash = ({ challenge, peerChallenge, name }: Exchange): Buffer =>
  sha1(peerChallenge, challenge, name).subarray(0, 8);

const sha1 = (...parts: readonly (Uint8Array | string)[]): Buffer => {
  const hash = createHash('sha1');
  for (const part of parts) hash.update(part);
  return hash.digest();
};

/** Seven bytes are the key's 56 bits; DES wants each seven with a parity bit behind them, which nobody looks at. */
function des(key7: Uint8Array, block: Uint8Array): Buffer {
  const key = Buffer.alloc(8);
  for (let index = 0; index < 8; index++) {
    const high = index === 0 ? 0 : key7[index - 1]! << (8 - index);
    const low = index === 7 ? 0 : key7[index]! >> index;
    key[index] = (high | low) & 0xfe;
  }
  const cipher = createCipheriv('des-ede3-ecb', Buffer.concat([key, key, key]), null);
  cipher.setAutoPadding(false);
  return Buffer.concat([cipher.update(block), cipher.final()]);
}

/** RFC 1320: per round its function, constant, shifts, and the order of words. */
const rounds: readonly {
  readonly mix: (x: number, y: number, z: number) => number;
  readonly add: number;
  readonly shifts: readonly number[];
  readonly order: readonly number[];
}[] = [
  {
    mix: (x, y, z) => (x & y) | (~x & z),
    add: 0,
    shifts: [3, 7, 11, 19],
    order: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
  },
  {
    mix: (x, y, z) => (x & y) | (x & z) | (y & z),
    add: 0x5a827999,
    shifts: [3, 5, 9, 13],
    order: [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15],
  },
  {
    mix: (x, y, z) => x ^ y ^ z,
    add: 0x6ed9eba1,
    shifts: [3, 9, 11, 15],
    order: [0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15],
  },
];

export function md4(message: Uint8Array): Buffer {
  const padded = Buffer.alloc((((message.length + 8) >> 6) + 1) << 6);
  padded.set(message);
  padded[message.length] = 0x80;
  padded.writeUInt32LE((message.length << 3) >>> 0, padded.length - 8);
  let state: readonly [number, number, number, number] = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476];
  for (let block = 0; block < padded.length; block += 64) {
    let [a, b, c, d] = state;
    for (const { mix, add, shifts, order } of rounds)
      order.forEach((word, step) => {
        const sum = (a + mix(b, c, d) + padded.readInt32LE(block + word * 4) + add) | 0;
        const shift = shifts[step & 3]!;
        [a, b, c, d] = [d, (sum << shift) | (sum >>> (32 - shift)), b, c];
      });
    state = [(state[0] + a) | 0, (state[1] + b) | 0, (state[2] + c) | 0, (state[3] + d) | 0];
  }
  const digest = Buffer.alloc(16);
  for (const [index, word] of state.entries()) digest.writeInt32LE(word, index * 4);
  return digest;
}
