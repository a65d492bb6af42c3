// Ending a stream the hard way: a TCP reset where there is a TCP socket, so that the far side cannot take it for an end.
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';

/** TLS stream → the TCP socket below it. */
const below = new WeakMap<Duplex, Duplex>();

/** Remembers what a stream runs over, so that a reset reaches the wire. */
export function layOver(upper: Duplex, lower: Duplex): void {
  below.set(upper, lower);
}

/** The stream that touches the wire. */
export function lowest(stream: Duplex): Duplex {
  let at = stream;
  for (let next = below.get(at); next; next = below.get(at)) at = next;
  return at;
}

/**
 * Whether a FIN is just being said. Trap: libuv refuses to reset such a socket (uv_tcp_close_reset, EINVAL); Node then lets go
 * of its handle without closing it: the descriptor stays open for good, and 'close' never comes.
 */
function isEnding(stream: Duplex): boolean {
  for (let at: Duplex | undefined = stream; at; at = below.get(at)) {
    if (at.writableEnded && !at.writableFinished && at.writableLength === 0) return true;
  }
  return false;
}

/**
 * Destroys the stream so that the peer sees an abort (RST), never a clean end. Buffered bytes are lost. Unix sockets
 * have no such word: there the peer sees an end. So it does where our own end was just being said: all that was written
 * is with the kernel then, or (TLS) no close_notify has left, and nothing torn passes for whole.
 */
export function reset(stream: Duplex): void {
  const wire = lowest(stream);
  if (wire instanceof Socket && !wire.destroyed && isTcp(wire)) {
    if (wire.connecting || isEnding(stream)) wire.destroy();
    else wire.resetAndDestroy();
    if (wire !== stream) stream.destroy();
    return;
  }
  // Others have no reset of their own: an error is what tells an abort from an end.
  if (!stream.destroyed) stream.destroy(new Reset());
  if (wire !== stream) wire.destroy();
}

/** What a stream without a reset of its own fails with; it counts as weather. */
export class Reset extends Error {
  readonly code = 'ECONNRESET';
  constructor() {
    super('connection reset');
  }
}

/** resetAndDestroy throws on pipes; a socket that has an address is not one. */
const isTcp = (socket: Socket): boolean => socket.connecting || socket.remoteAddress !== undefined;
