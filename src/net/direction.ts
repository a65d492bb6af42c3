// One way of a splice, the hot path. Per chunk: one handler, one addition, one write. No Transform, no timer, no promise,
// no allocation of ours.
import type { Duplex } from 'node:stream';
import { TLSSocket } from 'node:tls';
import { isShared, type Lender, take, untake } from './shared-read.ts';

/** What the two directions of a transfer tell it. */
export interface Meeting {
  /** All that the direction had is with its reader, the end included. */
  passed(direction: Direction): void;
  /** The direction's source is closed. */
  closed(direction: Direction): void;
  /** A datagram went through. */
  answered(): void;
  /** A stream broke off. */
  broke(stream: Duplex): void;
}

/**
 * TLS hands over one record after the other in the same turn of the event loop, and HTTP/2 what was in one. A large chunk
 * says that more is coming, so they are collected until the turn ends, and one system call takes them all.
 */
const large = 8192;
/** Longer ones come from TCP, and are worth a system call of their own. */
const fullRecord = 16_384;
/** Bytes that may wait for a slow reader before its source is paused: pausing costs two system calls. */
const ahead = 262_144;

/** One way of a transfer. */
export class Direction {
  readonly from: Duplex;
  readonly to: Duplex;
  bytes = 0;
  chunks = 0;
  ended = false;
  flushed = false;
  readonly #transfer: Meeting;
  readonly #rate: number | undefined;
  /** Bytes that may still pass before the next refill; negative = paused for the rate. */
  #allowance = 0;
  #reported = 0;
  #corked = false;
  /** TLS has what it is given when `write` returns; others may still wait for the socket with it. */
  readonly #encrypts: boolean;
  readonly #lender: Partial<Lender>;
  readonly #uncork: () => void;
  #onData: (chunk: Buffer) => void;
  #onDrain: () => void;
  #onEnd: () => void;
  #onFinish: () => void;
  #onClose: () => void;

  constructor(transfer: Meeting, from: Duplex, to: Duplex, rate: number | undefined) {
    this.#transfer = transfer;
    this.from = from;
    this.to = to;
    this.#rate = rate;
    this.#allowance = rate ?? 0;
    if (from.readableObjectMode) this.#onData = chunk => this.#datagram(chunk);
    else this.#onData = rate === undefined ? chunk => this.#pass(chunk) : chunk => this.#meter(chunk);
    this.#encrypts = to instanceof TLSSocket;
    this.#lender = from as Partial<Lender>;
    this.#uncork = () => {
      this.#corked = false;
      to.uncork();
    };
    this.#onDrain = () => {
      if (this.#allowance >= 0) from.resume();
    };
    this.#onEnd = () => this.#end();
    this.#onFinish = () => this.#finished();
    this.#onClose = () => transfer.closed(this);
  }

  start(): void {
    const { from, to } = this;
    if (isShared(from)) take(from, chunk => this.#shared(chunk));
    else from.on('data', this.#onData);
    from.on('end', this.#onEnd);
    from.on('close', this.#onClose);
    to.on('drain', this.#onDrain);
    to.on('finish', this.#onFinish);
    if (from.readableEnded) this.#end();
    else from.resume();
  }
  stop(): void {
    const { from, to } = this;
    from.off('data', this.#onData);
    untake(from);
    from.off('end', this.#onEnd);
    from.off('close', this.#onClose);
    to.off('drain', this.#onDrain);
    to.off('finish', this.#onFinish);
  }
  /** Ends this direction although its source has not. */
  close(): void {
    if (this.ended) return;
    this.ended = true;
    this.from.off('data', this.#onData);
    untake(this.from);
    this.from.resume(); // what still comes is thrown away, so that its end is seen
    this.to.end();
  }
  refill(ms: number): void {
    if (this.#rate === undefined) return;
    const wasShort = this.#allowance < 0;
    this.#allowance = Math.min(this.#rate, this.#allowance + (this.#rate * ms) / 1000);
    if (wasShort && this.#allowance >= 0 && !this.to.writableNeedDrain) this.from.resume();
  }
  waiting(): number {
    return this.to.writableObjectMode ? 0 : this.to.writableLength;
  }
  unreported(): number {
    const bytes = this.bytes - this.#reported;
    this.#reported = this.bytes;
    return bytes;
  }

  #pass(chunk: Buffer): void {
    const { to } = this;
    const size = chunk.length;
    this.bytes += size;
    if (size >= large && size <= fullRecord && !this.#corked) {
      this.#corked = true;
      to.cork();
      setImmediate(this.#uncork);
    }
    if (!to.write(chunk) && to.writableLength >= ahead) this.from.pause();
    if (to.writableLength === 0) this.#lender.reuse?.(); // all of it is with the kernel
  }
  /** Memory that is read into again in a moment: nothing is made, and nothing is read until it is with the kernel. */
  #shared(chunk: Buffer): void {
    const { from, to } = this;
    if (!this.#encrypts || this.#rate !== undefined || to.writableLength > 0) {
      this.#onData(Buffer.from(chunk));
      return;
    }
    this.bytes += chunk.length;
    from.pause();
    to.write(chunk, this.#onDrain);
  }
  #meter(chunk: Buffer): void {
    this.#pass(chunk);
    this.#allowance -= chunk.length;
    if (this.#allowance < 0) this.from.pause();
  }
  /** Datagrams do not wait for each other: what the far side cannot take is dropped there. */
  #datagram(chunk: Buffer): void {
    this.bytes += chunk.length;
    this.chunks++;
    this.to.write(chunk);
    this.#transfer.answered();
  }
  #end(): void {
    if (this.ended) return;
    // A TLS stream that was cut off without close_notify fails on the very end of its data.
    if (this.from.errored) this.#transfer.broke(this.from);
    else {
      this.ended = true;
      this.to.end();
    }
  }
  #finished(): void {
    this.flushed = true;
    this.#transfer.passed(this);
  }
}
