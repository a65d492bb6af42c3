// UDP as conns: on a listener one conn per source address, on a dialler one per target. A chunk is a datagram.
import { createSocket, type Socket } from 'node:dgram';
import { lookup } from 'node:dns/promises';
import { isIP, isIPv6 } from 'node:net';
import { Duplex } from 'node:stream';
import type { Address, Conn, Listener, Log, Metrics } from '../core/parts.ts';
import { normalizeHost } from '../wire/cidr.ts';
import { ConnQueue } from './queue.ts';
import { dialFault, listenFault } from './reasons.ts';

export interface UdpListenOptions {
  readonly host: string;
  readonly port: number;
  /** Live sessions at most; datagrams of further sources are dropped. */
  readonly sessions: number;
  /** Datagrams that wait in each direction of a session; further ones are dropped. */
  readonly queue?: number;
  /** After this many datagrams of a source its next one begins a new session; the old one still answers. */
  readonly requests?: number;
  readonly log: Log;
  readonly metrics: Metrics;
}

/**
 * Its conns never end by themselves: whoever serves them ends them when they are idle. After disposal the port stays
 * bound until the last session has ended, since its answers must come from there.
 * @throws Fault `conflict` or `invalid`
 */
export async function listenUdp(options: UdpListenOptions): Promise<Listener> {
  const { host, port, sessions: limit, queue = 64, requests = Number.POSITIVE_INFINITY, log, metrics } = options;
  const socket = await bound(host, port).catch(error => {
    throw listenFault(error as Error, `${host || '*'}:${port}/udp`);
  });
  const { address: at, port: actual } = socket.address();
  const address = { host: normalizeHost(at), port: actual };
  const conns = new ConnQueue(Number.POSITIVE_INFINITY); // bounded by the number of sessions
  const sessions = new Map<string, Datagrams>();
  let live = 0;
  let state: 'open' | 'closed' = 'open';

  const begin = (key: string, peer: { host: string; port: number }, to: string): Datagrams | undefined => {
    if (state === 'closed' || live >= limit) return undefined;
    live++;
    const session = new Datagrams({
      queue,
      send: (datagram, done) => socket.send(datagram, peer.port, to, done),
      closed: () => {
        live--;
        if (sessions.get(key) === session) sessions.delete(key);
        if (state === 'closed' && live === 0) socket.close();
      },
    });
    sessions.set(key, session);
    conns.push(datagramConn(session, peer, address));
    return session;
  };
  socket.on('message', (datagram, from) => {
    const key = `${from.address} ${from.port}`;
    const session =
      sessions.get(key) ?? begin(key, { host: normalizeHost(from.address), port: from.port }, from.address);
    if (!session?.arrive(datagram))
      metrics.count('datagrams_dropped_total', { reason: session ? 'queue' : 'sessions' });
    else if (session.taken >= requests) sessions.delete(key);
  });
  socket.on('error', error => log.warn({ address, error }, 'the datagram socket failed'));
  return {
    address,
    [Symbol.asyncIterator]: () => conns[Symbol.asyncIterator](),
    async [Symbol.asyncDispose]() {
      if (state === 'closed') return;
      state = 'closed';
      conns.close();
      await new Promise(setImmediate);
      if (live === 0) await new Promise<void>(resolve => socket.close(resolve));
    },
  };
}

export interface UdpDialOptions {
  readonly host: string;
  readonly port: number;
  readonly bind?: string;
  readonly queue?: number;
}

/** A connected socket: only the target's answers come in, and "nobody listens there" (ICMP) fails the conn. */
export async function dialUdp({ host, port, bind, queue = 64 }: UdpDialOptions, signal: AbortSignal): Promise<Conn> {
  signal.throwIfAborted();
  const where = `${host}:${port}/udp`;
  let target = host;
  if (isIP(host) === 0) {
    const found = await lookup(host).catch(error => {
      throw dialFault(error as Error, where);
    });
    target = found.address;
  }
  signal.throwIfAborted();
  const socket = createSocket({ type: isIPv6(target) ? 'udp6' : 'udp4', lookup: asIs });
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject);
      if (bind === undefined) socket.connect(port, target, resolve);
      else socket.bind(0, bind, () => socket.connect(port, target, resolve));
    });
  } catch (error) {
    socket.close();
    throw dialFault(error as Error, where);
  }
  socket.removeAllListeners('error');
  const local = socket.address();
  const stream = new Datagrams({
    queue,
    send: (datagram, done) => socket.send(datagram, done),
    closed: () => socket.close(),
  });
  socket.on('message', datagram => stream.arrive(datagram));
  socket.on('error', error => stream.destroy(error));
  return datagramConn(
    stream,
    { host: normalizeHost(target), port },
    { host: normalizeHost(local.address), port: local.port },
  );
}

interface DatagramOptions {
  readonly queue: number;
  readonly send: (datagram: Uint8Array, done: (error: Error | null) => void) => void;
  readonly closed: () => void;
}

/** One session. Nothing waits: a datagram that finds its queue full is dropped, in either direction. */
class Datagrams extends Duplex {
  readonly #options: DatagramOptions;
  #sending = 0;
  /** Datagrams taken in so far. */
  taken = 0;

  constructor(options: DatagramOptions) {
    super({ objectMode: true, allowHalfOpen: true, readableHighWaterMark: options.queue, emitClose: true });
    this.#options = options;
  }
  /** False = dropped. */
  arrive(datagram: Buffer): boolean {
    if (this.destroyed || this.readableEnded || this.readableLength >= this.#options.queue) return false;
    this.taken++;
    this.push(datagram);
    return true;
  }
  override _read(): void {}
  override _write(datagram: Uint8Array, _encoding: BufferEncoding, done: () => void): void {
    if (this.#sending < this.#options.queue) {
      this.#sending++;
      // What the network does not take is lost, as datagrams are; the far side's absence comes as the socket's error.
      this.#options.send(datagram, () => {
        this.#sending--;
      });
    }
    done();
  }
  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#options.closed();
    done(error);
  }
}

function datagramConn(stream: Datagrams, peer: Address, local: Address): Conn {
  stream.on('error', () => {});
  return {
    stream,
    peer,
    local,
    close: async () => {
      stream.destroy();
    },
  };
}

async function bound(host: string, port: number): Promise<Socket> {
  const six = isIPv6(host) || host === '';
  const socket = createSocket({ type: six ? 'udp6' : 'udp4', lookup: asIs });
  await new Promise<void>((resolve, reject) => {
    socket.once('error', error => {
      socket.close();
      reject(error);
    });
    socket.bind(port, host === '' ? '::' : host, resolve);
  });
  socket.removeAllListeners('error');
  return socket;
}

/** Addresses only: without it every single datagram would pass through the resolver. */
function asIs(
  host: string,
  _options: unknown,
  done: (error: NodeJS.ErrnoException | null, address: string, family: number) => void,
): void {
  if (isIP(host) === 0)
    lookup(host).then(
      ({ address, family }) => done(null, address, family),
      error => done(error, '', 4),
    );
  else done(null, host, isIP(host));
}
