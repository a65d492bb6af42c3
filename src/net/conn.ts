// A Conn over any Duplex, and how it says goodbye.
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Address, Conn, TlsFacts } from '../core/parts.ts';
import { normalizeHost } from '../wire/cidr.ts';

export interface ConnFacts {
  readonly peer: Address;
  readonly local?: Address;
  readonly tls?: TlsFacts;
}

/** The errors of a Conn's stream reach whoever reads it; this keeps an unread one from ending the process. */
const quiet = (): void => {};

/** Wraps a stream. From here on an 'error' of the stream that nobody listens to is ignored. */
export function makeConn(stream: Duplex, facts: ConnFacts): Conn {
  stream.on('error', quiet);
  return { stream, ...facts, close: deadline => closeStream(stream, deadline) };
}

/** An accepted socket. */
export function connOfTcp(socket: Socket): Conn {
  return makeConn(socket, {
    peer: addressOf(socket.remoteAddress, socket.remotePort),
    local: addressOf(socket.localAddress, socket.localPort),
  });
}

/** A dialled one: its addresses cost a system call each, and hardly anybody asks for them. */
export function connOfDialled(socket: Socket): Conn {
  socket.on('error', quiet);
  return {
    stream: socket,
    get peer() {
      return addressOf(socket.remoteAddress, socket.remotePort);
    },
    get local() {
      return addressOf(socket.localAddress, socket.localPort);
    },
    close: deadline => closeStream(socket, deadline),
  };
}

/**
 * Ends our side (FIN, or close_notify before it), reads on and throws away until the peer has ended too, then destroys.
 * Reading on matters: closing a socket with unread bytes makes the kernel send a reset, which can take with it what we
 * sent last. The deadline bounds all of it. Never throws.
 */
export function closeStream(stream: Duplex, deadline: AbortSignal): Promise<void> {
  if (stream.destroyed) return Promise.resolve();
  return new Promise(resolve => {
    const done = (): void => {
      deadline.removeEventListener('abort', done);
      stream.destroy();
      resolve();
    };
    if (deadline.aborted) return done();
    deadline.addEventListener('abort', done);
    stream.once('close', done);
    stream.once('error', done);
    stream.on('end', () => {
      if (stream.writableFinished) done();
    });
    stream.once('finish', () => {
      if (stream.readableEnded) done();
    });
    stream.end();
    stream.resume();
    if (stream.readableEnded && stream.writableFinished) done();
  });
}

const addressOf = (host = '', port = 0): Address => ({ host: normalizeHost(host), port });
