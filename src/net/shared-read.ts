// One piece of memory that connections that are only passed on are read into: a new one for each read is what makes a proxy of big
// files slow, since collecting them costs more than moving their bytes.
import type { OnReadOpts } from 'node:net';
import type { Duplex } from 'node:stream';

/** Takes bytes; those that are `shared` are gone when it returns. */
export type Taker = (chunk: Buffer, shared: boolean) => void;

const memory = Buffer.allocUnsafeSlow(131_072);
const takers = new WeakMap<object, Taker>();

/** For `net.connect`: a socket made with it has no `data`, but whoever has called `take`. */
export const readShared: OnReadOpts = {
  buffer: memory,
  callback(this: object, count: number) {
    takers.get(this)?.(memory.subarray(0, count), true);
    return true; // whoever wants a pause calls pause(), which such a socket obeys at once
  },
} as OnReadOpts;

/** A source that may use the memory of its last chunk again, when it is told so before the chunk's `data` is over. */
export interface Lender {
  reuse(): void;
}

const shared = new WeakSet<object>();
/** Notes that this socket was made with `readShared`; what comes before `take` waits, as a banner of SSH does. */
export function markShared(stream: Duplex): void {
  shared.add(stream);
  stream.pause();
}
export const isShared = (stream: Duplex): boolean => shared.has(stream);

/** Everything that comes from now on, whatever kind of stream it is. */
export function take(stream: Duplex, taker: Taker): void {
  if (shared.has(stream)) takers.set(stream, taker);
  else stream.on('data', (chunk: Buffer) => taker(chunk, false));
  stream.resume();
}
/** What still comes to a shared socket is thrown away. */
export const untake = (stream: Duplex): void => void takers.delete(stream);
