// Buffers for batches that go into a socket or a pipe: used again once they are written. A fresh one for each batch costs
// more than the copying, in pages that the kernel hands out and takes back. One pool for the process, as Buffer's own.
import type { Writable } from 'node:stream';

/** Larger batches are few; their memory is given back. */
const largest = 1024 * 1024;
/** Kept while nothing is under way. */
const mostSpare = 8;
const spare: ArrayBuffer[] = [];

/** `length` bytes that may hold anything, for `writeBuffer`. */
export function takeBuffer(length: number): Buffer {
  const at = spare.findIndex(({ byteLength }) => byteLength >= length);
  const [found] = at < 0 ? [] : spare.splice(at, 1);
  // Of whole sizes, so that one fits the next batch too.
  const size = length > largest ? length : 2 ** Math.max(12, Math.ceil(Math.log2(length)));
  return Buffer.from(found ?? Buffer.allocUnsafeSlow(size).buffer, 0, length);
}

/** Writes what `takeBuffer` gave. The stream must copy before it calls back, as sockets, TLS and pipes do. */
export function writeBuffer(stream: Writable, bytes: Buffer): void {
  stream.write(bytes, error => {
    if (!error && bytes.buffer.byteLength <= largest && spare.length < mostSpare)
      spare.push(bytes.buffer as ArrayBuffer);
  });
}
