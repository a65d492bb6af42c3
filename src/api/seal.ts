// A stream sealed with a passphrase: chunks that can be neither changed, reordered, dropped nor cut off unnoticed.
//
//   0        15  16          32  33 34 35
//   | magic  | 1 | salt (16) | N | r | p |   N as its logarithm; the header is the AAD of every chunk
//   then chunks:  | length u32 | ciphertext | tag (16) |         AES-256-GCM, length without itself
//   nonce:        | 000 | counter u64 | 1 in the last chunk, else 0 |
//
// The key comes from the passphrase by scrypt and is this file's own (the salt), so counters never repeat under a key.
// The last-chunk mark in the nonce is the STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár 2015).
import { createCipheriv, createDecipheriv, randomBytes, type ScryptOptions, scrypt } from 'node:crypto';
import { promisify } from 'node:util';
import { Fault } from '../core/fault.ts';

const magic = Buffer.from('SEKISHO-BACKUP\n');
const headerSize = 35;
const chunkSize = 256 * 1024;
const tagSize = 16;
/** 128 MiB and about half a second for each guess. */
const cost = { N: 17, r: 8, p: 1 };
const derive = promisify(scrypt) as (
  secret: string,
  salt: Buffer,
  length: number,
  options: ScryptOptions,
) => Promise<Buffer>;

/** Seals what `content` yields. Memory: one chunk. */
export async function* seal(
  content: AsyncIterable<Uint8Array>,
  passphrase: string,
  work = cost,
): AsyncGenerator<Buffer> {
  const salt = randomBytes(16);
  const header = Buffer.concat([magic, Buffer.from([1]), salt, Buffer.from([work.N, work.r, work.p])]);
  const key = await keyOf(passphrase, salt, work);
  yield header;
  let waiting = Buffer.alloc(0);
  let count = 0n;
  const chunk = (plain: Buffer, isLast: boolean): Buffer => {
    const cipher = createCipheriv('aes-256-gcm', key, nonce(count++, isLast));
    cipher.setAAD(header);
    const bytes = Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length);
    return Buffer.concat([length, bytes]);
  };
  for await (const part of content) {
    waiting = Buffer.concat([waiting, part]);
    // One chunk stays back: only at the end is it known which is the last.
    while (waiting.length > chunkSize) {
      yield chunk(waiting.subarray(0, chunkSize), false);
      waiting = waiting.subarray(chunkSize);
    }
  }
  yield chunk(waiting, true);
}

/** @throws Fault `invalid` for another kind of file, a wrong passphrase, or a file that was changed or cut */
export async function* unseal(sealed: AsyncIterable<Uint8Array>, passphrase: string): AsyncGenerator<Buffer> {
  await using reader = new ByteReader(sealed);
  const header = await reader.read(headerSize);
  if (!header?.subarray(0, magic.length).equals(magic)) throw new Fault('invalid', 'this is not a backup of Sekisho');
  if (header[15] !== 1) throw new Fault('invalid', 'this backup was made by a newer Sekisho; restore it with that one');
  const [N = 0, r = 0, p = 0] = header.subarray(32);
  // The numbers of a stranger: no more memory than 256 MiB for them.
  if (N < 10 || N > 18 || r !== 8 || p !== 1) throw new Fault('invalid', 'the beginning of this backup is damaged');
  const key = await keyOf(passphrase, header.subarray(16, 32), { N, r, p });
  for (let count = 0n; ; count++) {
    const length = (await reader.read(4))?.readUInt32BE() ?? 0;
    if (length < tagSize || length > chunkSize + tagSize) throw damaged(count);
    const bytes = await reader.read(length);
    if (!bytes) throw damaged(count);
    const isLast = await reader.isAtEnd();
    const plain = open(bytes, key, nonce(count, isLast), header);
    if (!plain) throw damaged(count);
    yield plain;
    if (isLast) return;
  }
}

function open(bytes: Buffer, key: Buffer, iv: Buffer, header: Buffer): Buffer | undefined {
  const decipher = createDecipheriv('aes-256-gcm', key, iv);
  decipher.setAAD(header);
  decipher.setAuthTag(bytes.subarray(-tagSize));
  try {
    return Buffer.concat([decipher.update(bytes.subarray(0, -tagSize)), decipher.final()]);
  } catch {
    return undefined;
  }
}

const damaged = (count: bigint): Fault =>
  count === 0n
    ? new Fault('invalid', 'the passphrase is wrong, or the backup is damaged at its beginning')
    : new Fault('invalid', 'the backup is damaged or was cut off; nothing was restored');

function nonce(count: bigint, isLast: boolean): Buffer {
  const bytes = Buffer.alloc(12);
  bytes.writeBigUInt64BE(count, 3);
  bytes[11] = isLast ? 1 : 0;
  return bytes;
}

function keyOf(passphrase: string, salt: Buffer, { N, r, p }: typeof cost): Promise<Buffer> {
  const options = { N: 2 ** N, r, p, maxmem: 2 ** N * r * 128 + 1024 * 1024 };
  return derive(passphrase.normalize('NFC'), salt, 32, options);
}

/** Reads exact lengths from a stream of chunks. */
export class ByteReader implements AsyncDisposable {
  readonly #source: AsyncIterator<Uint8Array>;
  #waiting = Buffer.alloc(0);
  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }
  /** Exactly `length` bytes, or undefined where the stream ends before. */
  async read(length: number): Promise<Buffer | undefined> {
    while (this.#waiting.length < length) if (!(await this.#more())) return undefined;
    const bytes = this.#waiting.subarray(0, length);
    this.#waiting = this.#waiting.subarray(length);
    return bytes;
  }
  async isAtEnd(): Promise<boolean> {
    while (this.#waiting.length === 0) if (!(await this.#more())) return true;
    return false;
  }
  async #more(): Promise<boolean> {
    const next = await this.#source.next();
    if (!next.done) this.#waiting = Buffer.concat([this.#waiting, next.value]);
    return !next.done;
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#source.return?.();
  }
}
