// The streams of one link as Conns; what cuts the link resets them. Used by both ends.
//
// Trap: when the connection below goes, or a stream is closed with NO_ERROR or CANCEL, node:http2 ends the readable side
// as if the peer had sent END_STREAM, and emits 'aborted' only while our own side is still open. A truncated answer would
// pass for a whole one, so every stream is destroyed with an error before node:http2 gets to see the loss.
import type { Http2Stream } from 'node:http2';
import type { Duplex } from 'node:stream';
import type { Address, Conn } from '../../core/parts.ts';
import { makeConn } from '../../net/conn.ts';
import { Reset } from '../../net/reset.ts';

export class LinkStreams {
  readonly #live = new Set<Duplex>();

  get size(): number {
    return this.#live.size;
  }

  /** From here on an abort of the peer is an error of the stream, never an end. */
  add(stream: Http2Stream): void {
    this.#live.add(stream);
    stream.on('aborted', () => {
      if (!stream.destroyed) stream.destroy(new Reset());
    });
    stream.once('close', () => void this.#live.delete(stream));
  }

  conn(stream: Http2Stream, peer: Address): Conn {
    return makeConn(stream, { peer });
  }

  /** All of them at once, as a reset. */
  cut(): void {
    for (const stream of this.#live) stream.destroy(new Reset());
    this.#live.clear();
  }

  /** Cuts when the connection ends, before node:http2's own listeners are called: to be called before the session is made. */
  followEnd(socket: Duplex): void {
    socket.prependListener('close', () => this.cut());
    socket.prependListener('end', () => {
      this.cut();
      socket.destroy(); // half of a link is none
    });
  }
}

/**
 * Whether the system has given up the connection below. Trap: a TLS socket that fails within a write tells node:http2
 * nothing, and node:http2 has stopped reading until that write is done, so neither 'end' nor 'close' ever comes.
 */
export function isBroken(socket: Duplex): boolean {
  const { _handle: handle } = socket as { _handle?: { getpeername?: (out: object) => number } | null };
  return typeof handle?.getpeername === 'function' && handle.getpeername({}) !== 0;
}
