// What may wait on one WebSocket of a tunnel: bytes received and not yet read, before it is no longer read; and between two
// of our own ends, the windows of each stream.
import type { MessagePipe } from '../../net/websocket.ts';
import { longestPayload } from '../../wire/tunnel-frame.ts';
import { wrong } from './lanes.ts';
import type { TunnelStream } from './stream.ts';

/** Bytes received and not yet read: of one stream, and of all, before the socket is no longer read. */
export interface Limits {
  readonly stream: number;
  readonly all: number;
  readonly streams: number;
}
export const defaultLimits: Limits = { stream: 4 * 1024 * 1024, all: 16 * 1024 * 1024, streams: 4096 };
/** Windows start at that; the reader gives back what it has read in halves of it. */
const window = 2 * 1024 * 1024;
/** With windows no stream holds up another; only what all of them hold together is bounded by not reading. */
const mostWithWindows = 64 * 1024 * 1024;

export class Bounds {
  readonly #pipe: MessagePipe;
  readonly #limits: Limits;
  readonly #hasWindows: boolean;
  readonly #blocked = new Set<TunnelStream>();
  /** Writers that wait for the far reader. */
  readonly #starved = new Map<TunnelStream, () => void>();
  #queued = 0;
  #isOver = false;

  constructor(pipe: MessagePipe, limits: Limits, hasWindows: boolean) {
    this.#pipe = pipe;
    this.#limits = limits;
    this.#hasWindows = hasWindows;
  }

  /** Bytes received that nobody has read yet. */
  get queued(): number {
    return this.#queued;
  }
  /** The socket is not read, because somebody behind it does not read. */
  get isBlocked(): boolean {
    return this.#blocked.size > 0;
  }
  /** What a stream may send before it has heard anything. */
  get credit(): number {
    return this.#hasWindows ? window : Number.POSITIVE_INFINITY;
  }

  // --- Receiving ---

  /** @throws Fault `protocol` when the far side goes beyond the window that it was given */
  check(stream: TunnelStream, bytes: number): void {
    if (this.#hasWindows && stream.queued + bytes > window + longestPayload) {
      throw wrong('more was sent than the window allows');
    }
  }
  received(bytes: number): void {
    this.#queued += bytes;
  }
  /** After a delivery to it: reads no more while it, or all of them, have too much. */
  hold(stream: TunnelStream): void {
    const isFull = this.#hasWindows
      ? this.#queued > mostWithWindows
      : stream.queued > this.#limits.stream || this.#queued > this.#limits.all;
    if (!isFull) return;
    if (this.#blocked.size === 0) this.#pipe.pause();
    this.#blocked.add(stream);
  }
  /** Its reader took bytes. @returns bytes that the far side is to be given back now */
  consumed(stream: TunnelStream, bytes: number): number {
    this.#queued -= bytes;
    if (this.#blocked.size > 0 && stream.queued <= this.#limits.stream / 2) this.#unblock(stream);
    if (!this.#hasWindows) return 0;
    stream.consumed += bytes;
    return stream.consumed >= window / 2 ? stream.consumed : 0;
  }
  /** What it has received is not going to be read. */
  discard(stream: TunnelStream): void {
    this.#queued -= stream.queued;
    this.#unblock(stream);
  }

  // --- Sending ---

  /** Bytes of the next message of a stream. */
  most({ credit }: TunnelStream): number {
    return this.#hasWindows ? Math.min(longestPayload, credit) : longestPayload;
  }
  /** `go` is called when the far reader has given something back, or the stream is forgotten. */
  starve(stream: TunnelStream, go: () => void): void {
    this.#starved.set(stream, go);
  }
  /** @throws Fault `protocol` */
  feed(stream: TunnelStream, bytes: number): void {
    stream.credit += bytes;
    if (stream.credit > 64 * window) throw wrong('a window grew beyond all bounds');
    this.#go(stream);
  }

  forget(stream: TunnelStream): void {
    this.#unblock(stream);
    this.#go(stream); // its write is done with
  }
  /** The socket is gone. */
  stop(): void {
    this.#isOver = true;
  }

  #go(stream: TunnelStream): void {
    const go = this.#starved.get(stream);
    this.#starved.delete(stream);
    go?.();
  }
  #unblock(stream: TunnelStream): void {
    if (!this.#blocked.delete(stream)) return;
    if (this.#blocked.size === 0 && !this.#isOver) this.#pipe.resume();
  }
}
