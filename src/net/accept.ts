// What TCP and unix listeners share: a bounded queue, and a breath after accepting failed.
import type { ListenOptions, Server, Socket } from 'node:net';
import type { Address, Conn, Listener, Log, Metrics } from '../core/parts.ts';
import { ConnQueue } from './queue.ts';
import { reset } from './reset.ts';

export interface AcceptOptions {
  /** Conns that may wait to be served, 511 by default. Further ones are reset. */
  readonly queue?: number;
  /**
   * Asked in the accept path, before a Conn is made: whom it refuses is reset at once. It must be quick and never throw;
   * what it turns away costs no promise and no timer.
   */
  readonly permit?: (host: string, port: number) => boolean;
  readonly log: Log;
  readonly metrics: Metrics;
}

const ignore = (): void => {};

/** Waits until the server listens; rejects with the system's error. */
export function listening(server: Server, where: ListenOptions & { fd?: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(where, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** Yields what a listening server accepts. `greet` makes a Conn of a socket. */
export function acceptFrom(
  server: Server,
  address: Address,
  greet: (socket: Socket) => Conn,
  { queue: limit = 511, permit, log, metrics }: AcceptOptions,
): Listener {
  const queue = new ConnQueue(limit);
  let delay = 0;
  let breath: NodeJS.Timeout | undefined;
  const turnAway = (socket: Socket, reason: string): void => {
    socket.on('error', () => {});
    reset(socket);
    metrics.count('accepts_refused_total', { reason });
  };
  server.on('connection', (socket: Socket) => {
    if (breath) return turnAway(socket, 'backoff');
    delay = 0;
    if (permit && !permit(socket.remoteAddress ?? '', socket.remotePort ?? 0)) {
      socket.on('error', ignore);
      socket.resetAndDestroy();
      return;
    }
    if (!queue.push(greet(socket))) turnAway(socket, 'queue');
  });
  // Accepting fails when descriptors or memory run out (EMFILE, ENFILE, ENOBUFS). Taking still more would starve the
  // conns that are open, so newcomers are turned away for a moment, twice as long each time.
  server.on('error', error => {
    metrics.count('accept_errors_total');
    if (breath) return;
    delay = Math.min(1000, delay === 0 ? 5 : delay * 2);
    log.warn({ address, error, delay }, 'accepting a connection failed; new ones are turned away for a moment');
    breath = setTimeout(() => {
      breath = undefined;
    }, delay);
    breath.unref();
  });
  return {
    address,
    [Symbol.asyncIterator]: () => queue[Symbol.asyncIterator](),
    async [Symbol.asyncDispose]() {
      queue.close();
      clearTimeout(breath);
      // Its callback is not awaited: it comes only when every accepted conn has ended, and those live on.
      server.close();
      await new Promise(setImmediate);
    },
  };
}
