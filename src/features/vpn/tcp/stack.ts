// All TCP connections of one virtual host: finds whose a segment is, lets connections begin, keeps their time. It may
// speak for any address, so that a NAT can answer in the name of whoever was called.
import { randomInt } from 'node:crypto';
import type { Clock } from '../../../core/clock.ts';
import { Fault } from '../../../core/fault.ts';
import type { Conn } from '../../../core/parts.ts';
import { makeConn } from '../../../net/conn.ts';
import { Reset } from '../../../net/reset.ts';
import { u16, u32 } from '../../../wire/bytes.ts';
import type { FrameView } from '../../../wire/frame-view.ts';
import { formatIpv4 } from '../../../wire/ipv4.ts';
import { advance, isBefore, isTcpSumRight, readTcpOptions, tcpFlags } from '../../../wire/tcp.ts';
import { FramePool } from '../frame-pool.ts';
import { TcpConnection } from './connection.ts';
import type { Account, Syn, TcpHost } from './parts.ts';
import { type Path, SegmentWriter } from './segment-writer.ts';

/** Somebody wants to connect. Nothing is answered until `accept` or `refuse` is called; repeated SYNs change nothing. */
export interface TcpRequest {
  readonly path: Path;
  /** Aborts when the caller has given up. */
  readonly signal: AbortSignal;
  /** Once. */
  accept(): Conn;
  /** Answers with a reset. */
  refuse(): void;
  /** Lets the request be forgotten without a word. */
  ignore(): void;
}

export interface TcpStackOptions {
  readonly mac: Uint8Array;
  /** Bytes of an IP packet. */
  readonly mtu: number;
  readonly clock: Clock;
  readonly emit: (frame: Uint8Array) => void;
  /** Has `turn` called soon. */
  readonly askTurn: () => void;
  /** A new caller; `owner` is what `input` was given. Absent: everybody is refused. */
  readonly onRequest?: (request: TcpRequest, owner: unknown) => void;
  /** A segment of a connection came from somebody else: may it be his from now on? Default: never. */
  readonly adopts?: (before: unknown, now: unknown) => boolean;
  /** Connections and requests at one time; default 4096. */
  readonly limit?: number;
  /** Bytes that may wait in all connections before each may hold only little; default 256 MiB. */
  readonly memory?: number;
  /** The same for the connections of one owner, or of whoever pays for several; default 32 MiB. */
  readonly share?: number;
  readonly payer?: (owner: unknown) => unknown;
  /** Whoever gets a frame is done with it before `turn` is called again; with `handedOver`. */
  readonly recycles?: boolean;
}

const { syn, ack, rst, fin } = tcpFlags as { syn: 2; ack: 16; rst: 4; fin: 1 };
/** Bytes that may wait in one connection, each way: with room, and when room is short. */
const room = { wide: 1024 * 1024, narrow: 32 * 1024 } as const;
/** Milliseconds between looks at the timers. */
const beat = 50;

interface Waiting {
  readonly end: AbortController;
  readonly sequence: number;
}

export class TcpStack {
  readonly #options: TcpStackOptions;
  readonly #limit: number;
  readonly #memory: number;
  readonly #pool: FramePool;
  /** Remote address and port → the few connections from there. */
  readonly #connections = new Map<number, TcpConnection[]>();
  readonly #waiting = new Map<string, Waiting>();
  readonly #accounts = new Map<unknown, Account>();
  readonly #timed = new Set<TcpConnection>();
  #awake: TcpConnection[] = [];
  #last: TcpConnection | undefined;
  #count = 0;
  #held = 0;
  #now: number;
  /** Whether `now` was looked up in this turn. */
  #isFresh = false;
  #stopBeat: (() => void) | undefined;
  readonly #host: TcpHost;

  constructor(options: TcpStackOptions) {
    this.#options = options;
    this.#pool = new FramePool(options.recycles);
    this.#limit = options.limit ?? 4096;
    this.#memory = options.memory ?? 256 * 1024 * 1024;
    const share = options.share ?? 32 * 1024 * 1024;
    this.#now = options.clock.now().getTime();
    this.#host = {
      pool: this.#pool,
      now: () => this.#now,
      emit: options.emit,
      wake: connection => {
        this.#awake.push(connection);
        options.askTurn();
      },
      schedule: connection => this.#schedule(connection),
      closed: connection => this.#forget(connection),
      limit: ({ bytes }) => (this.#held < this.#memory && bytes < share ? room.wide : room.narrow),
      held: (account, bytes) => {
        account.bytes += bytes;
        this.#held += bytes;
      },
    };
  }
  get count(): number {
    return this.#count + this.#waiting.size;
  }
  /** Bytes that wait in all connections, to be read or to be acknowledged. */
  get held(): number {
    return this.#held;
  }

  /** A TCP segment, found in a frame. What is broken is dropped without a word. */
  input(view: FrameView, owner: unknown): void {
    const { frame, upper, end, source4, target4, sourcePort, targetPort } = view;
    if (upper === 0 || view.isFragment) return;
    const head = (frame[upper + 12]! >> 4) * 4;
    if (head < 20 || upper + head > end || !isTcpSumRight(frame, upper, end, source4, target4)) return;
    if (!this.#isFresh) this.#refresh();
    const connection = this.#find(source4, sourcePort, target4, targetPort);
    if (connection !== undefined) {
      if (connection.owner !== owner) {
        if (!this.#options.adopts?.(connection.owner, owner)) return;
        connection.owner = owner;
      }
      if (!this.#reopens(connection, frame, upper)) {
        connection.segment(frame, upper, end);
        return;
      }
    }
    this.#strange(view, upper, upper + head, owner);
  }

  /** Calls somebody. The conn resolves when he has answered. @throws Fault `unreachable`, `limit`; the signal's reason */
  async dial(
    to: { readonly mac: Uint8Array; readonly host: number; readonly port: number },
    from: { readonly host: number },
    owner: unknown,
    signal: AbortSignal,
  ): Promise<Conn> {
    signal.throwIfAborted();
    if (this.count >= this.#limit && !this.#makeRoom()) throw new Fault('limit', 'too many connections on the hub');
    this.#refresh();
    const path = {
      localMac: this.#options.mac,
      remoteMac: to.mac,
      localIp: from.host,
      localPort: this.#freePort(from.host, to.host, to.port),
      remoteIp: to.host,
      remotePort: to.port,
    };
    const connection = this.#make(path, 'dial', owner);
    const { stream } = connection;
    const conn = connOf(connection);
    const give = (): void => void stream.destroy(signal.reason as Error);
    signal.addEventListener('abort', give);
    this.#options.askTurn();
    try {
      await stream.opened();
      return conn;
    } catch (cause) {
      signal.throwIfAborted();
      throw new Fault('unreachable', `${formatIpv4(to.host)}:${to.port} did not take the connection`, { cause });
    } finally {
      signal.removeEventListener('abort', give);
    }
  }

  /** Ends the turn: what came is handed on, what is due is sent. */
  turn(): void {
    this.#pool.turnBegins();
    this.#isFresh = false;
    if (this.#awake.length === 0) return;
    this.#refresh();
    const awake = this.#awake;
    this.#awake = [];
    for (const connection of awake) connection.endTurn();
  }
  /** What was emitted so far has been handed over. */
  handedOver(): void {
    this.#pool.turnEnds();
  }
  /** Breaks what belongs to `owner`; undefined = all. */
  reset(owner?: unknown): void {
    for (const list of [...this.#connections.values()])
      for (const connection of [...list])
        if (owner === undefined || connection.owner === owner) connection.stream.destroy(new Reset());
    if (owner !== undefined) return;
    for (const { end } of this.#waiting.values()) end.abort(new Fault('gone', 'the hub is closing'));
    this.#waiting.clear();
    this.#stopBeat?.();
    this.#stopBeat = undefined;
  }

  #find(remoteIp: number, remotePort: number, localIp: number, localPort: number): TcpConnection | undefined {
    const last = this.#last;
    if (last !== undefined && isOn(last.path, remoteIp, remotePort, localIp, localPort)) return last;
    const list = this.#connections.get(remoteIp * 65_536 + remotePort);
    if (list === undefined) return undefined;
    for (const connection of list) {
      if (!isOn(connection.path, remoteIp, remotePort, localIp, localPort)) continue;
      this.#last = connection;
      return connection;
    }
    return undefined;
  }

  /** RFC 9293 §3.10.7.4: a new SYN, beyond what the old connection knew, may end its TIME-WAIT. */
  #reopens(connection: TcpConnection, frame: Uint8Array, upper: number): boolean {
    if (connection.state !== 'time-wait' || (frame[upper + 13]! & (syn | rst | ack)) !== syn) return false;
    if (!isBefore(connection.expected, u32(frame, upper + 4))) return false;
    connection.expire();
    return true;
  }

  /** One that is over and only waits gives way to one that begins. */
  #makeRoom(): boolean {
    for (const connection of this.#timed) {
      if (connection.state !== 'time-wait') continue;
      connection.expire();
      return true;
    }
    return false;
  }

  /** No connection: a beginning, or a stray. */
  #strange(view: FrameView, upper: number, payload: number, owner: unknown): void {
    const { frame, end } = view;
    const flags = frame[upper + 13]!;
    const sequence = u32(frame, upper + 4);
    const path = {
      localMac: this.#options.mac,
      remoteMac: frame.slice(6, 12),
      localIp: view.target4,
      remoteIp: view.source4,
      localPort: view.targetPort,
      remotePort: view.sourcePort,
    };
    const key = `${path.remoteIp} ${path.remotePort} ${path.localIp} ${path.localPort}`;
    const waiting = this.#waiting.get(key);
    if (flags & rst) {
      if (waiting && sequence === advance(waiting.sequence, 1)) this.#giveUp(key, waiting);
      return;
    }
    if ((flags & (syn | ack)) !== syn) {
      if (waiting) return; // data before our answer: RFC 9293 allows it to be dropped
      const length = end - payload + (flags & syn ? 1 : 0) + (flags & fin ? 1 : 0);
      if (flags & ack) this.#reset(path, rst, u32(frame, upper + 8), 0);
      else this.#reset(path, rst | ack, 0, advance(sequence, length));
      return;
    }
    if (waiting) {
      if (waiting.sequence === sequence) return;
      this.#giveUp(key, waiting); // the caller has begun anew
    }
    const { onRequest } = this.#options;
    const begin = { sequence, window: u16(frame, upper + 14), options: readTcpOptions(frame, upper + 20, payload) };
    if (!onRequest) this.#reset(path, rst | ack, 0, advance(sequence, 1));
    else if (this.count < this.#limit || this.#makeRoom()) onRequest(this.#request(path, key, begin, owner), owner);
  }
  #request(path: Path, key: string, begin: Syn, owner: unknown): TcpRequest {
    const waiting = { end: new AbortController(), sequence: begin.sequence };
    this.#waiting.set(key, waiting);
    const settle = (): boolean => this.#waiting.get(key) === waiting && this.#waiting.delete(key);
    return {
      path,
      signal: waiting.end.signal,
      accept: () => {
        if (!settle()) throw new Fault('gone', 'the caller has given up');
        this.#refresh();
        return connOf(this.#make(path, { accept: begin }, owner));
      },
      refuse: () => {
        if (settle()) this.#reset(path, rst | ack, 0, advance(begin.sequence, 1));
      },
      ignore: () => void settle(),
    };
  }
  #giveUp(key: string, waiting: Waiting): void {
    this.#waiting.delete(key);
    waiting.end.abort(new Fault('gone', 'the caller has given up'));
  }

  #make(path: Path, begin: { readonly accept: Syn } | 'dial', owner: unknown): TcpConnection {
    const payer = this.#options.payer?.(owner) ?? owner;
    const account = this.#accounts.get(payer) ?? { bytes: 0, connections: 0 };
    this.#accounts.set(payer, account);
    account.connections++;
    const fixed = { mss: this.#options.mtu - 40, initialSequence: randomInt(2 ** 32) };
    const connection = new TcpConnection({ path, host: this.#host, owner, account, ...fixed }, begin);
    const key = path.remoteIp * 65_536 + path.remotePort;
    const list = this.#connections.get(key);
    if (list) list.push(connection);
    else this.#connections.set(key, [connection]);
    this.#count++;
    return connection;
  }
  #forget(connection: TcpConnection): void {
    const { remoteIp, remotePort } = connection.path;
    const key = remoteIp * 65_536 + remotePort;
    const list = this.#connections.get(key);
    const at = list?.indexOf(connection) ?? -1;
    if (!list || at < 0) return;
    list.splice(at, 1);
    if (list.length === 0) this.#connections.delete(key);
    if (this.#last === connection) this.#last = undefined;
    this.#count--;
    if (--connection.account.connections > 0) return;
    for (const [owner, account] of this.#accounts) if (account === connection.account) this.#accounts.delete(owner);
  }
  #reset(path: Path, flags: number, sequence: number, acknowledgement: number): void {
    const writer = new SegmentWriter(path, this.#pool);
    this.#options.emit(writer.finish(writer.begin(new Uint8Array(0), 0), flags, sequence, acknowledgement, 0));
    this.#options.askTurn();
  }
  /** RFC 6056 §3.3.1: picked at random among those that are free for this peer. */
  #freePort(localIp: number, remoteIp: number, remotePort: number): number {
    for (let tries = 0; tries < 100; tries++) {
      const port = randomInt(32_768, 61_000);
      if (!this.#find(remoteIp, remotePort, localIp, port)) return port;
    }
    throw new Fault('limit', 'no free port on the hub');
  }

  #refresh(): void {
    this.#isFresh = true;
    this.#now = this.#options.clock.now().getTime();
  }
  #schedule(connection: TcpConnection): void {
    if (connection.due === 0) {
      this.#timed.delete(connection);
      return;
    }
    this.#timed.add(connection);
    this.#stopBeat ??= this.#options.clock.after(beat, () => this.#beat());
  }
  #beat(): void {
    this.#stopBeat = undefined;
    this.#refresh();
    for (const connection of [...this.#timed])
      if (connection.due !== 0 && connection.due <= this.#now) connection.tick();
    this.#options.askTurn();
    if (this.#timed.size > 0) this.#stopBeat ??= this.#options.clock.after(beat, () => this.#beat());
  }
}

const isOn = (path: Path, remoteIp: number, remotePort: number, localIp: number, localPort: number): boolean =>
  path.remotePort === remotePort &&
  path.remoteIp === remoteIp &&
  path.localPort === localPort &&
  path.localIp === localIp;

const connOf = ({ path, stream }: TcpConnection): Conn =>
  makeConn(stream, {
    peer: { host: formatIpv4(path.remoteIp), port: path.remotePort },
    local: { host: formatIpv4(path.localIp), port: path.localPort },
  });
