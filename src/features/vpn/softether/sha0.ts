// SHA-0, which SoftEther hashes passwords with: SHA-1 whose message schedule lacks the rotation by one bit. Not a safe
// hash; what is made with it opens a hub like the password itself, and is kept encrypted.

const rotate = (value: number, by: number): number => (value << by) | (value >>> (32 - by));
/** FIPS 180 (1993) §5: the function and the constant of each twenty rounds. */
const rounds: readonly (readonly [(b: number, c: number, d: number) => number, number])[] = [
  [(b, c, d) => (b & c) | (~b & d), 0x5a827999],
  [(b, c, d) => b ^ c ^ d, 0x6ed9eba1],
  [(b, c, d) => (b & c) | (b & d) | (c & d), 0x8f1bbcdc],
  [(b, c, d) => b ^ c ^ d, 0xca62c1d6],
];

/** 20 bytes. */
export function sha0(...parts: readonly Uint8Array[]): Buffer {
  const message = Buffer.concat(parts);
  const padded = Buffer.alloc(((message.length + 9 + 63) >> 6) << 6);
  message.copy(padded);
  padded[message.length] = 0x80;
  padded.writeBigUInt64BE(BigInt(message.length) * 8n, padded.length - 8);
  const state = new Int32Array([0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0]);
  const words = new Int32Array(80);
  const word = (index: number): number => words[index] ?? 0;
  for (let at = 0; at < padded.length; at += 64) {
    for (let t = 0; t < 16; t++) words[t] = padded.readInt32BE(at + 4 * t);
    for (let t = 16; t < 80; t++) words[t] = word(t - 3) ^ word(t - 8) ^ word(t - 14) ^ word(t - 16);
    let [a = 0, b = 0, c = 0, d = 0, e = 0] = state;
    for (let t = 0; t < 80; t++) {
      const [mix, constant] = rounds[Math.floor(t / 20)] as (typeof rounds)[number];
      const next = (rotate(a, 5) + mix(b, c, d) + e + word(t) + constant) | 0;
      [e, d, c, b, a] = [d, c, rotate(b, 30), a, next];
    }
    for (const [index, value] of [a, b, c, d, e].entries()) state[index] = (state[index] ?? 0) + value;
  }
  const digest = Buffer.alloc(20);
  for (const [index, value] of state.entries()) digest.writeInt32BE(value, 4 * index);
  return digest;
}

/** What a server keeps of a password: the name's case does not matter, as with SoftEther (ASCII only). */
export const hashPassword = (user: string, password: string): Buffer =>
  sha0(Buffer.from(password), Buffer.from(user.replace(/[a-z]/g, letter => letter.toUpperCase())));

/** What a client sends: the kept form, bound to the server's 20 random bytes. */
export const answerChallenge = (kept: Uint8Array, random: Uint8Array): Buffer => sha0(kept, random);
