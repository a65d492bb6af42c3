// A member's session: one port of the hub over one or several TCP connections, which may come and go while it lives.
import { randomBytes, randomInt } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { deflateSync, inflateSync } from 'node:zlib';
import type { Conn } from '../../../core/parts.ts';
import { encodeFrames, encodeKeepAlive, FrameDecoder, frameLimits } from '../../../wire/vpn-frame.ts';
import type { HubPort } from '../hub.ts';
import { JoinedMember } from '../joined-member.ts';
import type { Place, SessionTerms } from '../live-member.ts';
import { Bucket } from '../switch/limits.ts';
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
/** And in all of a session's connections. */
const mostOfAll = 4 * 1024 * 1024;
/** Frames that are packed or unpacked for one session, each way, in a second and at once: the tenth part of a core. */
const packed = [20_000, 4000] as const;
/** Up to here a connection is used again, so that frames of one flow keep their order. */
const fewQueued = 64 * 1024;
/** Milliseconds that a client has for its own end of a connection. */
const farewell = 3000;

export class MemberSession extends JoinedMember<MemberOptions> implements HubPort {
  readonly protocol = 'softether';
  /** Whoever shows it may add a connection. */
  readonly key: Buffer = randomBytes(20);
  /** Connections accepted so far. */
  established = 0;
  #links: Link[] = [];
  readonly #closing = new Set<Promise<void>>();
  #deliver: ((frames: readonly Uint8Array[]) => void) | undefined;
  #pending: Uint8Array[] = [];
  #urgent: Uint8Array[] = [];
  #scheduled = false;
  #current: Link | undefined;
  /** Since when it has no connection. */
  #alone: number;
  readonly #unpacks: Bucket;
  readonly #packs: Bucket;

  constructor(options: MemberOptions) {
    super(options);
    this.#alone = this.since.getTime();
    this.#unpacks = new Bucket(...packed, this.#alone);
    this.#packs = new Bucket(...packed, this.#alone);
    this.plugIn(this);
  }

  /** Connections now, and by direction. */
  get connections(): { readonly all: number; readonly up: number; readonly down: number } {
    const count = (...directions: Direction[]): number =>
      this.#links.filter(({ direction }) => directions.includes(direction)).length;
    return { all: this.#links.length, up: count('up', 'both'), down: count('down', 'both') };
  }
  /** The direction that a further connection has to take, or none when there are enough. */
  nextDirection(): Direction | undefined {
    if (!this.isOpen || this.#links.length >= this.options.terms.connections) return undefined;
    if (!this.options.terms.half) return 'both';
    const { up, down } = this.connections;
    return up <= down ? 'up' : 'down';
  }

  /** Carries frames over this conn until one side ends it; resolves when the conn is closed, with close_notify. */
  serve(conn: Conn, direction: Direction): Promise<void> {
    if (!this.isOpen) return Promise.resolve();
    const { promise, resolve } = Promise.withResolvers<void>();
    const { stream } = conn;
    const now = this.now();
    const decoder = new FrameDecoder(this.options.terms.compress ? frame => this.#unpack(frame) : undefined);
    const finish = (): void => {
      stream.off('data', data).off('end', finish).off('close', finish).off('error', finish);
      const had = this.#links.length;
      this.#links = this.#links.filter(other => other !== link);
      if (this.#current === link) this.#current = undefined;
      if (had > 0 && this.#links.length === 0) this.#alone = this.now();
      // With close_notify: SoftEther's client never comes back after a bare FIN (OpenSSL keeps the error).
      const closing = conn.close(AbortSignal.timeout(farewell)).finally(() => this.#closing.delete(closing));
      this.#closing.add(closing);
      void closing.then(resolve);
    };
    const data = (chunk: Buffer): void => {
      link.heardAt = this.now();
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
    if (!this.isOpen || this.#pending.length + this.#urgent.length >= mostPending) {
      this.bytes.dropped++;
      return false;
    }
    if (this.options.terms.qos && isUrgent(frame)) this.#urgent.push(frame);
    else this.#pending.push(frame);
    return true;
  }

  #take(frames: readonly Buffer[]): void {
    if (frames.length === 0 || !this.isOpen) return;
    for (const frame of frames) this.bytes.up += frame.length;
    this.lastFrame = this.options.clock.now();
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
    else this.bytes.dropped += frames.length;
  }

  /** The one used last while it keeps up, else the emptiest; none when all are full. */
  #choose(links: readonly Link[]): Link | undefined {
    const { stream } = this.#current ?? {};
    if (this.#current && stream && links.includes(this.#current) && stream.writableLength < fewQueued)
      return this.#current;
    let best: Link | undefined;
    let waiting = 0;
    for (const link of links) {
      waiting += link.stream.writableLength;
      if (!best || link.stream.writableLength < best.stream.writableLength) best = link;
    }
    this.#current = best;
    return best && best.stream.writableLength < mostQueued && waiting < mostOfAll ? best : undefined;
  }

  #write(link: Link, frames: readonly Uint8Array[]): void {
    if (link.stream.writableLength >= mostQueued || !link.stream.writable) {
      this.bytes.dropped += frames.length;
      return;
    }
    const out = this.options.terms.compress ? this.#pack(frames) : frames;
    if (out.length === 0) return;
    for (const frame of frames) this.bytes.down += frame.length;
    link.wrote = true;
    writeBuffer(link.stream, encodeFrames(out, takeBuffer));
  }

  // A member's wish for compression is work for the gate: who wants more of it than is reasonable loses frames.
  #unpack(frame: Buffer): Buffer | undefined {
    if (this.#unpacks.take(1, this.now())) return inflate(frame);
    this.bytes.dropped++;
    return undefined;
  }
  #pack(frames: readonly Uint8Array[]): Uint8Array[] {
    const now = this.now();
    const fitting = frames.filter(() => this.#packs.take(1, now));
    this.bytes.dropped += frames.length - fitting.length;
    return fitting.map(deflate);
  }

  // --- Time ---

  protected look(now: number): void {
    const { timeout } = this.options.terms;
    for (const link of [...this.#links]) {
      if (now - link.heardAt >= timeout) link.finish();
      else if (link.wrote) this.#postpone(link, now);
      else if (now >= link.keepAliveAt) this.#keepAlive(link, now);
    }
    if (this.#links.length === 0 && now - this.#alone >= timeout) void this.end('timeout');
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

  /** Ends every connection properly. */
  protected async leave(): Promise<void> {
    this.#pending = [];
    this.#urgent = [];
    for (const link of [...this.#links]) link.finish();
  }

  /** Resolves when every connection has said goodbye; to be asked once it has ended. */
  async closed(): Promise<void> {
    await Promise.all(this.#closing);
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
