// TCP: a Listener that survives floods and failing accepts, and a dialler that says why it could not reach.
import { connect, createServer, type ListenOptions, type Socket } from 'node:net';
import { Fault } from '../core/fault.ts';
import type { Address, Conn, Listener, Log, Metrics } from '../core/parts.ts';
import { normalizeHost } from '../wire/cidr.ts';
import { connOfSocket } from './conn.ts';
import { ConnQueue } from './queue.ts';
import { dialFault, listenFault } from './reasons.ts';
import { reset } from './reset.ts';

export interface TcpListenOptions {
  /** Empty = every address; `::` is dual-stack. */
  readonly host: string;
  readonly port: number;
  /** An already listening file descriptor (socket activation); host and port then only name it. */
  readonly fd?: number;
  readonly backlog?: number;
  /** Under node:cluster: true = this worker's own socket instead of the shared one. */
  readonly exclusive?: boolean;
  readonly noDelay?: boolean;
  /** Milliseconds before the first keep-alive probe; false = none. Default 60,000. */
  readonly keepAlive?: number | false;
  /** Conns that may wait to be served, 511 by default. Further ones are reset. */
  readonly queue?: number;
  readonly log: Log;
  readonly metrics: Metrics;
}

/** @throws Fault `conflict` (address in use) or `invalid` (not ours, not permitted) saying what to do. */
export async function listenTcp(options: TcpListenOptions): Promise<Listener> {
  const { host, port, fd, keepAlive = 60_000, log, metrics } = options;
  const queue = new ConnQueue(options.queue ?? 511);
  const server = createServer({
    allowHalfOpen: true,
    noDelay: options.noDelay ?? true,
    keepAlive: keepAlive !== false,
    keepAliveInitialDelay: keepAlive === false ? 0 : keepAlive,
  });
  const where: ListenOptions & { fd?: number } = fd === undefined ? { port, ...(host === '' ? {} : { host }) } : { fd };
  if (options.backlog !== undefined) where.backlog = options.backlog;
  if (options.exclusive !== undefined) where.exclusive = options.exclusive;
  await new Promise<void>((resolve, reject) => {
    const refused = (error: Error): void => reject(listenFault(error, `${host || '*'}:${port}`));
    server.once('error', refused);
    server.listen(where, () => {
      server.off('error', refused);
      resolve();
    });
  });
  const address = addressOf(server.address(), host, port);
  let delay = 0;
  server.on('connection', (socket: Socket) => {
    if (server.maxConnections === undefined) delay = 0;
    if (queue.push(connOfSocket(socket))) return;
    reset(socket);
    metrics.count('accepts_refused_total', { reason: 'queue' });
  });
  // Accepting fails when descriptors or memory run out (EMFILE, ENFILE, ENOBUFS). Taking still more would starve the
  // conns that are open, so newcomers are turned away for a moment, longer each time.
  server.on('error', error => {
    delay = Math.min(1000, delay === 0 ? 5 : delay * 2);
    metrics.count('accept_errors_total');
    log.warn({ address, error, delay }, 'accepting a connection failed; new ones are turned away for a moment');
    server.maxConnections = 0;
    setTimeout(() => {
      delete (server as Partial<typeof server>).maxConnections;
    }, delay).unref();
  });
  server.on('drop', () => metrics.count('accepts_refused_total', { reason: 'backoff' }));
  return {
    address,
    [Symbol.asyncIterator]: () => queue[Symbol.asyncIterator](),
    async [Symbol.asyncDispose]() {
      queue.close();
      // Not awaited: it calls back only when every accepted conn has ended, and those live on.
      server.close();
      await new Promise(setImmediate);
    },
  };
}

export interface TcpDialOptions {
  /** An address or a name; of a name every address is tried (RFC 8305). */
  readonly host: string;
  readonly port: number;
  /** The local address to come from. */
  readonly bind?: string;
  /** Milliseconds until the connection must stand; 0 = as long as the system tries. */
  readonly timeout: number;
  readonly keepAlive?: number | false;
  readonly noDelay?: boolean;
}

/** @throws Fault `unreachable` or `timeout`; the signal's own reason when it aborts. */
export function dialTcp(options: TcpDialOptions, signal: AbortSignal): Promise<Conn> {
  const { host, port, bind, timeout, keepAlive = 60_000 } = options;
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const socket = connect({
      host,
      port,
      allowHalfOpen: true,
      noDelay: options.noDelay ?? true,
      keepAlive: keepAlive !== false,
      keepAliveInitialDelay: keepAlive === false ? 0 : keepAlive,
      ...(bind === undefined ? {} : { localAddress: bind }),
    });
    const settle = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
      socket.off('error', failed).off('connect', connected);
    };
    const fail = (reason: unknown): void => {
      settle();
      socket.on('error', () => {});
      socket.destroy();
      reject(reason);
    };
    const failed = (error: Error): void => fail(dialFault(error, `${host}:${port}`));
    const abort = (): void => fail(signal.reason);
    const connected = (): void => {
      settle();
      resolve(connOfSocket(socket));
    };
    const late = (): void =>
      fail(new Fault('timeout', `${host}:${port} did not answer within ${timeout} ms`, { facts: { host, port } }));
    const timer = timeout > 0 ? setTimeout(late, timeout) : undefined;
    signal.addEventListener('abort', abort);
    socket.once('error', failed).once('connect', connected);
  });
}

function addressOf(bound: ReturnType<ReturnType<typeof createServer>['address']>, host: string, port: number): Address {
  if (bound === null) return { host, port };
  if (typeof bound === 'string') return { path: bound };
  return { host: normalizeHost(bound.address), port: bound.port };
}
