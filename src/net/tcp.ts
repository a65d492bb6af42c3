// TCP: a Listener that survives floods and failing accepts, and a dialler that says why it could not reach.
import { type AddressInfo, connect, createServer, type OnReadOpts } from 'node:net';
import { Fault } from '../core/fault.ts';
import type { Address, Conn, Listener } from '../core/parts.ts';
import { normalizeHost } from '../wire/cidr.ts';
import { type AcceptOptions, acceptFrom, listening } from './accept.ts';
import { connOfDialled, connOfTcp } from './conn.ts';
import { connecting } from './connecting.ts';
import { dialFault, listenFault } from './reasons.ts';

export interface TcpListenOptions extends AcceptOptions {
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
}

/** @throws Fault `conflict` (address in use) or `invalid` (not ours, not permitted) saying what to do. */
export async function listenTcp(options: TcpListenOptions): Promise<Listener> {
  const { host, port, fd, backlog, exclusive, keepAlive = 60_000 } = options;
  const server = createServer({
    allowHalfOpen: true,
    noDelay: options.noDelay ?? true,
    keepAlive: keepAlive !== false,
    keepAliveInitialDelay: keepAlive === false ? 0 : keepAlive,
  });
  try {
    await listening(server, {
      ...(fd === undefined ? { port, ...(host === '' ? {} : { host }) } : { fd }),
      ...(backlog === undefined ? {} : { backlog }),
      ...(exclusive === undefined ? {} : { exclusive }),
    });
  } catch (error) {
    throw listenFault(error as Error, fd === undefined ? `${host || '*'}:${port}` : `descriptor ${fd}`);
  }
  return acceptFrom(server, addressOf(server.address(), host, port), connOfTcp, options);
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
  /** Reads into memory of the caller's; the stream has no `data` then. */
  readonly onread?: OnReadOpts;
}

/** @throws Fault `unreachable` or `timeout`; the signal's own reason when it aborts. */
export async function dialTcp(options: TcpDialOptions, signal: AbortSignal): Promise<Conn> {
  const { host, port, bind, timeout, keepAlive = 60_000 } = options;
  signal.throwIfAborted();
  const socket = connect({
    host,
    port,
    allowHalfOpen: true,
    noDelay: options.noDelay ?? true,
    keepAlive: keepAlive !== false,
    keepAliveInitialDelay: keepAlive === false ? 0 : keepAlive,
    ...(bind === undefined ? {} : { localAddress: bind }),
    ...(options.onread === undefined ? {} : { onread: options.onread }),
  });
  return connecting(socket, {
    ...{ signal, timeout },
    made: () => connOfDialled(socket),
    fault: error => dialFault(error, `${host}:${port}`),
    late: () => new Fault('timeout', `${host}:${port} did not answer within ${timeout} ms`, { facts: { host, port } }),
  });
}

function addressOf(bound: AddressInfo | string | null, host: string, port: number): Address {
  if (bound === null) return { host, port };
  if (typeof bound === 'string') return { path: bound };
  return { host: normalizeHost(bound.address), port: bound.port };
}
