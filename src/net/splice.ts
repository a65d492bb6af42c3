// Joins two conns until both have ended. The hot path itself, one chunk from here to there, is in direction.ts.
import type { Duplex } from 'node:stream';
import type { Conn, EndReason } from '../core/parts.ts';
import { Direction, type Meeting } from './direction.ts';
import { type Beat, type Beating, quickBeat, slowBeat } from './idle.ts';
import { reset } from './reset.ts';

export interface SpliceOptions {
  /** Aborting it cuts both sides with a reset. Its reason is the outcome. */
  readonly signal: AbortSignal;
  /** Milliseconds without a byte in either direction until both sides are ended; 0 = no limit. */
  readonly idle: number;
  /** False: the first end of either side ends both. */
  readonly halfClose: boolean;
  /** What replaces `idle` once one side has ended. */
  readonly halfCloseIdle?: number;
  /** Bytes per second near → far. */
  readonly upload?: number;
  /** Bytes per second far → near. */
  readonly download?: number;
  /** Told the bytes since the last call: about once a second, and at the end. */
  readonly count: (direction: 'up' | 'down', bytes: number) => void;
  /** Datagrams: the session is done after this many from the near side (and their answers). */
  readonly requests?: number;
  /** Datagrams: how many answers one request has; 0 = none is waited for. */
  readonly responses?: number;
  /** Tests hand in a beat of their own. */
  readonly beat?: Beat;
}

/** `near-reset`, `far-reset`: that side broke off. An EndReason: the signal said so. */
export type SpliceEnd = 'ended' | 'idle' | 'near-reset' | 'far-reset' | EndReason;

/**
 * Moves bytes both ways. Each direction ends by itself (half-close), waits for its reader (back-pressure), and an abort
 * of one side becomes a reset of the other. After `ended` and `idle` both sides have been told the end and the caller
 * closes the conns; after everything else they are destroyed. Never rejects.
 */
export function splice(near: Conn, far: Conn, options: SpliceOptions): Promise<SpliceEnd> {
  return new Promise(resolve => new Transfer(near.stream, far.stream, options, resolve).start());
}

class Transfer implements Beating, Meeting {
  readonly #options: SpliceOptions;
  readonly #resolve: (end: SpliceEnd) => void;
  readonly #up: Direction;
  readonly #down: Direction;
  readonly #beat: Beat;
  readonly #onAbort: () => void;
  /** What the last beat saw, and for how many milliseconds it has not changed. */
  #seen = -1;
  #still = 0;
  #done = false;

  constructor(near: Duplex, far: Duplex, options: SpliceOptions, resolve: (end: SpliceEnd) => void) {
    this.#options = options;
    this.#resolve = resolve;
    this.#up = new Direction(this, near, far, options.upload);
    this.#down = new Direction(this, far, near, options.download);
    const limited = options.upload !== undefined || options.download !== undefined;
    const shortest = Math.min(
      options.idle || Number.POSITIVE_INFINITY,
      options.halfCloseIdle || Number.POSITIVE_INFINITY,
    );
    this.#beat = options.beat ?? (limited || shortest < 10_000 ? quickBeat : slowBeat);
    this.#onAbort = () => this.finish(endReason(options.signal.reason));
  }

  start(): void {
    const { signal } = this.#options;
    const gone = this.#up.from.destroyed ? this.#up.from : this.#down.from.destroyed ? this.#down.from : undefined;
    if (signal.aborted) this.#onAbort();
    else if (gone) this.broke(gone);
    else {
      signal.addEventListener('abort', this.#onAbort);
      this.#beat.enrol(this);
      this.#up.start();
      this.#down.start();
    }
  }

  beat(): void {
    const { idle, halfCloseIdle } = this.#options;
    this.#up.refill(this.#beat.every);
    this.#down.refill(this.#beat.every);
    // What waits to be written counts too: a slow reader is not an idle one.
    const moved = this.#up.bytes + this.#down.bytes - this.#up.waiting() - this.#down.waiting();
    if (moved !== this.#seen) {
      this.#seen = moved;
      this.#still = 0;
      this.#report();
      return;
    }
    const limit = this.#up.ended || this.#down.ended ? (halfCloseIdle ?? idle) : idle;
    this.#still += this.#beat.every;
    if (limit > 0 && this.#still >= limit) this.finish('idle');
  }

  /** A direction has passed its end on. */
  passed(direction: Direction): void {
    if (!this.#options.halfClose) this.#other(direction).close();
    if (this.#up.flushed && this.#down.flushed) this.finish('ended');
  }

  /** A datagram session that has had all its answers. */
  answered(): void {
    const { requests, responses } = this.#options;
    const complete = responses !== undefined && this.#down.chunks >= responses * this.#up.chunks;
    if (complete || (requests !== undefined && this.#up.chunks >= requests && responses === 0)) this.finish('ended');
  }

  /** The source of a direction is closed: properly, if both its ways had ended before. */
  closed(direction: Direction): void {
    if (!direction.ended || !this.#other(direction).flushed || direction.from.errored) this.broke(direction.from);
  }

  /** A stream broke off: the other one is told the same way. */
  broke(stream: Duplex): void {
    this.finish(stream === this.#up.from ? 'near-reset' : 'far-reset');
  }

  finish(end: SpliceEnd): void {
    if (this.#done) return;
    this.#done = true;
    this.#options.signal.removeEventListener('abort', this.#onAbort);
    this.#beat.leave(this);
    this.#up.stop();
    this.#down.stop();
    this.#report();
    if (end === 'idle') {
      this.#up.to.end();
      this.#down.to.end();
    } else if (end !== 'ended') {
      reset(this.#up.from);
      reset(this.#up.to);
    }
    this.#resolve(end);
  }

  #other(direction: Direction): Direction {
    return direction === this.#up ? this.#down : this.#up;
  }
  #report(): void {
    const up = this.#up.unreported();
    const down = this.#down.unreported();
    if (up > 0) this.#options.count('up', up);
    if (down > 0) this.#options.count('down', down);
  }
}

function endReason(reason: unknown): EndReason {
  return typeof reason === 'string' ? (reason as EndReason) : 'closed';
}
