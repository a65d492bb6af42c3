// A member's session: one port of the hub over one or several TCP connections, which may come and go while it lives.
import { randomBytes, randomInt } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { deflateSync, inflateSync } from 'node:zlib';
import type { Clock } from '../../../core/clock.ts';
import type { Conn, EndReason } from '../../../core/parts.ts';
import { encodeFrames, encodeKeepAlive, FrameDecoder, frameLimits } from '../../../wire/vpn-frame.ts';
import type { Attached, HubPort, PortPolicy } from '../hub.ts';
import type { LiveMember, MemberEnd, Place, SessionTerms } from '../live-member.ts';
import { takeBuffer, writeBuffer } from '../write-buffers.ts';
import { isUrgent } from './urgent.ts';

export type Direction = 'both' | 'down' | 'up';

interface Link {
  readonly conn: Conn;
  readonly stream: Duplex;
  readonly direction: Direction;
  readonly decoder: FrameDecoder;
  heardAt: number;
  keepAliveAt: number;
  wrote: boolean;
  /** No more frames; its conn is then ended properly. */
  readonly finish: () => void;
}

export interface MemberOptions extends Place {
  readonly terms: SessionTerms;
  /** Fingerprint of the certificate that we showed: every further connection has to see the same one. */
  readonly certificate: string | undefined;
}

/** Frames that wait for the end of this turn of the event loop. */
const mostPending = 4096;
/** Bytes that may wait in one connection; beyond it frames are dropped, as a switch drops them. */
const mostQueued = 1024 * 1024;
/** Up to here a connection is used again, so that frames of one flow keep their order. */
const fewQueued = 64 * 1024;
const tick = 1000;
/** Milliseconds that a client has for its own end of a connection. */
const farewell = 3000;

export class MemberSession implements LiveMember, HubPort {
  readonly protocol = 'softether';
  readonly name: string;
  readonly options: MemberOptions;
  /** Whoever shows it may add a connection. */
  readonly key: Buffer = randomBytes(20);
  readonly since: Date;
  /** Connections accepted so far. */
  established = 0;
  lastFrame: Date;
  readonly #clock: Clock;
  readonly #ended = Promise.withResolvers<MemberEnd>();
  #links: Link[] = [];
  readonly #closing = new Set<Promise<void>>();
  #state: 'open' | 'closed' = 'open';
  #attached: Attached | undefined;
  #policy: PortPolicy;
  #deliver: ((frames: readonly Uint8Array[]) => void) | undefined;
  #pending: Uint8Array[] = [];
  #urgent: Uint8Array[] = [];
  #scheduled = false;
  #current: Link | undefined;
  /** Since when it has no connection. */
  #alone: number;
  #counted = { up: 0, down: 0 };
  readonly #bytes = { up: 0, down: 0, dropped: 0 };
  #stopTick: () => void = () => {};
  #stopEnd: () => void = () => {};

  constructor(options: MemberOptions) {
    this.options = options;
    this.name = options.name;
    this.#clock = options.clock;
    this.#policy = options.policy;
    this.since = this.#clock.now();
    this.lastFrame = this.since;
    this.#alone = this.since.getTime();
    this.#attached = options.hub.attach(this, options.policy);
    this.#beat();
    const { autoDisconnect } = options.policy.security;
    if (autoDisconnect > 0)
      this.#stopEnd = this.#clock.after(autoDisconnect * 1000, () => void this.end('auto-disconnected'));
    const { signal } = options.session;
    const cut = (): void => void this.end(signal.reason as EndReason);
    if (signal.aborted) cut();
    else signal.addEventListener('abort', cut, { once: true });
  }

  /** Why it ended, once it has. */
  get ended(): Promise<MemberEnd> {
    return this.#ended.promise;
  }
  get isOpen(): boolean {
    return this.#state === 'open';
  }
  get policy(): PortPolicy {
    return this.#policy;
  }
  get attached(): Attached | undefined {
    return this.#attached;
  }
  /** Connections now, and by direction. */
  get connections(): { readonly all: number; readonly up: number; readonly down: number } {
    const count = (...directions: Direction[]): number =>
      this.#links.filter(({ direction }) => directions.includes(direction)).length;
    return { all: this.#links.length, up: count('up', 'both'), down: count('down', 'both') };
  }
  /** Bytes of frames, as they went through the connections. */
  get bytes(): { readonly up: number; readonly down: number; readonly dropped: number } {
    return this.#bytes;
  }

  /** From the next frame on; who may not join any more is put out. */
  setPolicy(policy: PortPolicy): void {
    this.#policy = policy;
    if (!policy.security.access) void this.end('revoked');
    else this.#attached?.setPolicy(policy);
  }

  /** The direction that a further connection has to take, or none when there are enough. */
  nextDirection(): Direction | undefined {
    if (this.#state !== 'open' || this.#links.length >= this.options.terms.connections) return undefined;
    if (!this.options.terms.half) return 'both';
    const { up, down } = this.connections;
    return up <= down ? 'up' : 'down';
  }

  /** Carries frames over this conn until one side ends it; resolves when the conn is closed, with close_notify. */
  serve(conn: Conn, direction: Direction): Promise<void> {
    if (this.#state !== 'open') return Promise.resolve();
    const { promise, resolve } = Promise.withResolvers<void>();
    const { stream } = conn;
    const now = this.#clock.now().getTime();
    const decoder = new FrameDecoder(this.options.terms.compress ? inflate : undefined);
    const finish = (): void => {
      stream.off('data', data).off('end', finish).off('close', finish).off('error', finish);
      const had = this.#links.length;
      this.#links = this.#links.filter(other => other !== link);
      if (this.#current === link) this.#current = undefined;
      if (had > 0 && this.#links.length === 0) this.#alone = this.#clock.now().getTime();
      // With close_notify: SoftEther's client never comes back after a bare FIN (OpenSSL keeps the error).
      const closing = conn.close(AbortSignal.timeout(farewell)).finally(() => this.#closing.delete(closing));
      this.#closing.add(closing);
      void closing.then(resolve);
    };
    const data = (chunk: Buffer): void => {
      link.heardAt = this.#clock.now().getTime();
      try {
        this.#take(decoder.push(chunk));
      } catch (error) {
        this.options.session.log.info({ from: conn.peer, error }, 'a connection of a session spoke wrongly');
        finish();
      }
    };
    const link: Link = { conn, stream, direction, decoder, heardAt: now, keepAliveAt: now, wrote: false, finish };
    this.#links.push(link);
    this.established++;
    stream.on('data', data).on('end', finish).on('close', finish).on('error', finish);
    if (stream.destroyed) finish();
    else {
      this.#keepAlive(link, now);
      stream.resume();
    }
    return promise;
  }

  // --- The port ---

  send(frame: Uint8Array): boolean {
    if (!this.#keep(frame)) return false;
    if (!this.#scheduled) {
      this.#scheduled = true;
      setImmediate(() => {
        this.#scheduled = false;
        this.#flush();
      });
    }
    return true;
  }
  sendBatch(frames: readonly Uint8Array[]): number {
    // The hub has gathered a turn's frames already: no need to wait for its end once more.
    let taken = 0;
    for (const frame of frames) if (this.#keep(frame)) taken++;
    this.#flush();
    return taken;
  }
  /** Of its emptiest connection. */
  backlog(): number {
    let least = Number.POSITIVE_INFINITY;
    for (const { stream, direction } of this.#links)
      if (direction !== 'up') least = Math.min(least, stream.writableLength);
    return least === Number.POSITIVE_INFINITY ? 0 : least / mostQueued;
  }
  receive(deliver: (frame: Uint8Array) => void): void {
    this.#deliver = frames => {
      for (const frame of frames) deliver(frame);
    };
  }
  receiveBatch(deliver: (frames: readonly Uint8Array[]) => void): void {
    this.#deliver = deliver;
  }

  #keep(frame: Uint8Array): boolean {
    if (this.#state !== 'open' || this.#pending.length + this.#urgent.length >= mostPending) {
      this.#bytes.dropped++;
      return false;
    }
    if (this.options.terms.qos && isUrgent(frame)) this.#urgent.push(frame);
    else this.#pending.push(frame);
    return true;
  }

  #take(frames: readonly Buffer[]): void {
    if (frames.length === 0 || this.#state !== 'open') return;
    for (const frame of frames) this.#bytes.up += frame.length;
    this.lastFrame = this.#clock.now();
    this.#deliver?.(frames);
  }

  #flush(): void {
    const down = this.#links.filter(({ direction }) => direction !== 'up');
    const reserved = this.#urgent.length > 0 && down.length > 1 ? down.at(-1) : undefined;
    if (reserved) this.#write(reserved, this.#urgent.splice(0));
    const frames = this.#urgent.length > 0 ? [...this.#urgent.splice(0), ...this.#pending] : this.#pending;
    this.#pending = [];
    if (frames.length === 0) return;
    const link = this.#choose(this.options.terms.qos && down.length > 1 ? down.slice(0, -1) : down);
    if (link) this.#write(link, frames);
    else this.#bytes.dropped += frames.length;
  }

  /** The one used last while it keeps up, else the emptiest; none when all are full. */
  #choose(links: readonly Link[]): Link | undefined {
    const { stream } = this.#current ?? {};
    if (this.#current && stream && links.includes(this.#current) && stream.writableLength < fewQueued)
      return this.#current;
    let best: Link | undefined;
    for (const link of links) if (!best || link.stream.writableLength < best.stream.writableLength) best = link;
    this.#current = best;
    return best && best.stream.writableLength < mostQueued ? best : undefined;
  }

  #write(link: Link, frames: readonly Uint8Array[]): void {
    if (link.stream.writableLength >= mostQueued || !link.stream.writable) {
      this.#bytes.dropped += frames.length;
      return;
    }
    for (const frame of frames) this.#bytes.down += frame.length;
    link.wrote = true;
    const out = this.options.terms.compress ? frames.map(deflate) : frames;
    writeBuffer(link.stream, encodeFrames(out, takeBuffer));
  }

  // --- Time ---

  #beat(): void {
    this.#stopTick = this.#clock.after(tick, () => {
      const now = this.#clock.now().getTime();
      const { timeout } = this.options.terms;
      this.#count();
      for (const link of [...this.#links]) {
        if (now - link.heardAt >= timeout) link.finish();
        else if (link.wrote) this.#postpone(link, now);
        else if (now >= link.keepAliveAt) this.#keepAlive(link, now);
      }
      if (this.#links.length === 0 && now - this.#alone >= timeout) void this.end('timeout');
      else this.#beat();
    });
  }

  #keepAlive(link: Link, now: number): void {
    if (link.stream.writable && link.stream.writableLength < mostQueued)
      link.stream.write(encodeKeepAlive(randomBytes(randomInt(512))));
    this.#postpone(link, now);
  }

  /** SoftEther's rhythm: a fifth to half of the time-out, at random. */
  #postpone(link: Link, now: number): void {
    const { timeout } = this.options.terms;
    link.wrote = false;
    link.keepAliveAt = now + randomInt(Math.ceil(timeout / 5), Math.ceil(timeout / 2));
  }

  /** The session's bytes, added up now and then. */
  #count(): void {
    const { up, down } = this.#bytes;
    this.options.session.count('up', up - this.#counted.up);
    this.options.session.count('down', down - this.#counted.down);
    this.#counted = { up, down };
  }

  /** Leaves the hub and ends every connection properly. */
  async end(why: MemberEnd): Promise<void> {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#stopTick();
    this.#stopEnd();
    this.#pending = [];
    this.#urgent = [];
    this.#count();
    const attached = this.#attached;
    this.#attached = undefined;
    for (const link of [...this.#links]) link.finish();
    await attached?.[Symbol.asyncDispose]();
    this.#ended.resolve(why);
  }

  /** Resolves when every connection has said goodbye; to be asked once it has ended. */
  async closed(): Promise<void> {
    await Promise.all(this.#closing);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end('closed');
  }
}

/** Each frame is a stream of its own: a window, tables and an answer of its size are set up four times as quickly. */
const deflate = (frame: Uint8Array): Buffer =>
  deflateSync(frame, { level: 1, windowBits: 12, memLevel: 7, chunkSize: 2048 });

/** A frame that does not unpack, or to more than a frame may be, is dropped: it is noise, and no reason to hang up. */
function inflate(packed: Buffer): Buffer | undefined {
  try {
    return inflateSync(packed, { maxOutputLength: frameLimits.most, chunkSize: 2048 });
  } catch {
    return undefined;
  }
}
