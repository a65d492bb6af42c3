// What a connection receives (RFC 9293 §3.4): the window that the peer is told, payload in its order, gathered for whoever
// reads.
import { advance, distance, isAtMost, isBefore } from '../../../wire/tcp.ts';
import type { Account, TcpHost } from './parts.ts';
import { Reassembly } from './reassembly.ts';
import type { TcpStream } from './stream.ts';

/** Payload is gathered here within one turn: one push for many segments. */
const gatherSize = 65_536;
/** Of a block that has less left than this, the rest is let go. */
const leastLeft = 4096;
/** Blocks whose bytes were written on at once: every connection gathers in them. */
const spare: Uint8Array[] = [];
const mostSpare = 8;
const nothing: readonly (readonly [number, number])[] = [];

/** When the peer is to hear of it: at the end of the turn, or at once (RFC 5681 §4.2). */
export type Answer = 'at-turn' | 'now';

export class Incoming {
  readonly #host: TcpHost;
  readonly #account: Account;
  readonly #stream: TcpStream;
  /** The next number. */
  expected = 0;
  /** Of windows that we send. */
  scale = 0;
  sackAllowed = false;
  /** Where the peer's FIN stands, when it came before what is in front of it. */
  finAt: number | undefined;
  /** The right edge that the peer was told: never taken back. */
  #edge = 0;
  readonly #early = new Reassembly();
  #gather: Uint8Array | undefined;
  #gathered = 0;
  #held = 0;

  constructor(host: TcpHost, account: Account, stream: TcpStream) {
    this.#host = host;
    this.#account = account;
    this.#stream = stream;
  }

  /** Bytes that may wait. */
  get limit(): number {
    return this.#host.limit(this.#account);
  }
  get holds(): boolean {
    return this.#held > 0;
  }
  /** Something came that nobody has read. */
  get isUnread(): boolean {
    return this.#gathered > 0 || this.#early.length > 0 || this.#stream.readableLength > 0;
  }
  /** Ranges beyond a gap, as the peer wishes to hear them. */
  early(): readonly (readonly [from: number, to: number])[] {
    return this.sackAllowed && this.#early.length > 0 ? this.#early.ranges() : nothing;
  }

  begin(sequence: number, scale: number, sackAllowed: boolean): void {
    this.scale = scale;
    this.sackAllowed = sackAllowed;
    this.expected = this.#edge = advance(sequence, 1);
    this.offerWindow();
  }

  isInWindow(sequence: number, length: number): boolean {
    const last = advance(sequence, length);
    // As Linux: what ends before the window's beginning is old, what begins behind its end is too early.
    if (isBefore(this.#edge, sequence)) return false;
    return length > 0 ? isBefore(this.expected, last) : isAtMost(this.expected, last);
  }

  /** Payload in `frame[from, end)`. */
  take(frame: Uint8Array, from: number, end: number, sequence: number): Answer {
    let start = from;
    let at = sequence;
    const old = distance(at, this.expected);
    if (old > 0) {
      start += old;
      at = this.expected;
    }
    const last = Math.min(end, start + distance(at, this.#edge));
    if (start >= last) return 'now'; // all of it was here already, or lies behind the window
    const had = this.#early.length;
    if (at !== this.expected) {
      this.#early.insert(at, frame.subarray(start, last));
      this.#hold(this.#early.length - had);
      return 'now'; // a duplicate, which tells the sender of the gap (RFC 5681 §4.2)
    }
    this.#deliver(frame, start, last);
    if (had === 0) return 'at-turn';
    for (let next = this.#early.take(this.expected); next; next = this.#early.take(this.expected))
      this.#deliver(next, 0, next.length);
    this.#hold(this.#early.length - had);
    return 'now';
  }
  /** The peer's FIN is next: nothing comes any more. */
  end(): void {
    this.expected = advance(this.expected, 1);
    if (isBefore(this.#edge, this.expected)) this.#edge = this.expected;
    this.finAt = undefined;
    this.handOn();
    this.#stream.ended();
  }

  #deliver(bytes: Uint8Array, from: number, to: number): void {
    const length = to - from;
    this.expected = advance(this.expected, length);
    this.#hold(length);
    if (this.#gather !== undefined && this.#gathered + length > this.#gather.length) this.handOn();
    if (this.#gather === undefined) this.#gather = spare.pop() ?? Buffer.allocUnsafeSlow(gatherSize);
    this.#gather.set(from === 0 && to === bytes.length ? bytes : bytes.subarray(from, to), this.#gathered);
    this.#gathered += length;
  }
  handOn(): void {
    if (this.#gathered === 0 || this.#gather === undefined) return;
    const chunk = this.#gather.subarray(0, this.#gathered);
    const block = this.#gather;
    const left = block.length - this.#gathered;
    this.#gathered = 0;
    this.#gather = undefined;
    if (this.#stream.arrived(chunk)) {
      if (block.length === gatherSize && spare.length < mostSpare) spare.push(block);
      return;
    }
    // A little of a large block would keep all of it: the rest of the block serves the next turn.
    if (left >= leastLeft && this.#gather === undefined) this.#gather = block.subarray(block.length - left);
  }

  /** Looks at what the reader has taken meanwhile. */
  release(): void {
    const now = this.#gathered + this.#early.length + (this.#stream.destroyed ? 0 : this.#stream.readableLength);
    if (now !== this.#held) this.#hold(now - this.#held);
  }
  #hold(bytes: number): void {
    this.#held += bytes;
    this.#host.held(this.#account, bytes);
  }
  forgetEarly(): void {
    this.#early.clear();
  }
  clear(): void {
    this.#early.clear();
    this.#gather = undefined;
    this.#gathered = 0;
    this.#hold(-this.#held);
  }

  /** Moves the right edge on by what is free. @returns the window as it is sent */
  offerWindow(): number {
    const free = Math.max(0, this.limit - this.#held);
    const scaled = Math.min(65_535, free >>> this.scale);
    const edge = advance(this.expected, scaled << this.scale);
    if (isBefore(this.#edge, edge)) this.#edge = edge;
    return Math.min(65_535, distance(this.expected, this.#edge) >>> this.scale);
  }
  /** RFC 9293 §3.8.6.2.2: the peer is told of more room only when it is worth a segment. */
  opensWindow(mss: number): boolean {
    const { limit } = this;
    const edge = advance(this.expected, Math.min(65_535 << this.scale, Math.max(0, limit - this.#held)));
    return distance(this.#edge, edge) >= Math.max(2 * mss, limit >> 2);
  }
}
