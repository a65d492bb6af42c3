// Writes of one turn of the event loop, all at its end. A write to a peer that sleeps also pays for waking it; one
// behind the other finds it awake, and this is the larger part of what a small request costs.
import type { Duplex } from 'node:stream';

let corked: Duplex[] = [];

/** Holds back what is written to this stream until the turn is over. */
export function corkTurn(stream: Duplex): void {
  if (stream.writableCorked > 0) return;
  stream.cork();
  if (corked.push(stream) === 1) setImmediate(flush);
}

function flush(): void {
  const all = corked;
  corked = [];
  for (const stream of all) stream.uncork();
}
