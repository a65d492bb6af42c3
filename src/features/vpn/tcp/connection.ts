// One TCP connection in user space (RFC 9293), seen from the side that has no kernel: segments in, frames out, and a
// Duplex for whoever uses it. Loss is found by duplicate acknowledgements and time-outs; SACK is sent, not read.
import { putU32, u16, u32 } from '../../../wire/bytes.ts';
import {
  advance,
  distance,
  encodeTcpOptions,
  isAtMost,
  isBefore,
  readTcpOptions,
  type TcpOptions,
  tcpFlags,
} from '../../../wire/tcp.ts';
import { Congestion } from './congestion.ts';
import type { FramePool } from './frame-pool.ts';
import { Reassembly } from './reassembly.ts';
import { RoundTrip } from './round-trip.ts';
import { headLength, type Path, SegmentWriter } from './segment-writer.ts';
import { SendQueue } from './send-queue.ts';
import { TcpStream } from './stream.ts';

export type TcpState =
  | 'syn-sent'
  | 'syn-received'
  | 'established'
  | 'fin-wait-1'
  | 'fin-wait-2'
  | 'close-wait'
  | 'closing'
  | 'last-ack'
  | 'time-wait'
  | 'closed';

/** What a connection needs around it; a TcpStack gives it. */
export interface TcpHost {
  readonly pool: FramePool;
  /** Milliseconds. */
  now(): number;
  emit(frame: Uint8Array): void;
  /** Has `endTurn` called when the turn ends. */
  wake(connection: TcpConnection): void;
  /** Has `tick` called when `due` is past; 0 = not. */
  schedule(connection: TcpConnection): void;
  closed(connection: TcpConnection): void;
  /** Bytes that may wait in one connection, each way; less when its owner, or all together, hold much already. */
  limit(account: Account): number;
  /** Bytes of an account that are held more (positive) or less (negative), each way. */
  held(account: Account, bytes: number): void;
}

/** What all connections of one owner hold: received and not read, or written and not acknowledged. */
export interface Account {
  bytes: number;
  connections: number;
}

export interface TcpConnectionOptions {
  readonly path: Path;
  readonly host: TcpHost;
  /** Whose it is; what others send in its name is not taken. */
  readonly owner: unknown;
  readonly account: Account;
  /** Largest payload that fits our side's frames. */
  readonly mss: number;
  readonly initialSequence: number;
}

const { fin, syn, rst, psh, ack } = tcpFlags as { fin: 1; syn: 2; rst: 4; psh: 8; ack: 16 };
const none = new Uint8Array(0);
/** Window scaling that we offer: 4 MiB at most, in steps of 64. */
const ownScale = 6;
/** Retransmissions until the peer counts as gone: of data, and of a handshake. */
const patience = { data: 10, handshake: 5 } as const;
/** Milliseconds. RFC 9293 wants four minutes of TIME-WAIT; a table of limited size cannot have them. */
const timeWait = 10_000;
/** Milliseconds until a connection whose user has left, and whose peer does not end, is given up. */
const orphanTime = 60_000;
/** Payload is gathered here within one turn: one push for many segments. */
const gatherSize = 65_536;

export class TcpConnection {
  readonly path: Path;
  readonly stream: TcpStream;
  state: TcpState;
  /** When `tick` has something to do, in milliseconds; 0 = never. */
  due = 0;
  isAwake = false;
  owner: unknown;
  readonly account: Account;
  readonly #host: TcpHost;
  readonly #writer: SegmentWriter;
  readonly #ownMss: number;
  #mss: number;
  // Sending (RFC 9293 §3.3.1)
  readonly #iss: number;
  #una: number;
  #next: number;
  /** The highest ever sent; `next` goes back to `una` after a time-out. */
  #highest: number;
  #window = 0;
  #largestWindow = 0;
  #wl1 = 0;
  #wl2 = 0;
  #sendScale = 0;
  readonly #queue = new SendQueue();
  /** Nothing more will be written; then the sequence number that the FIN has. */
  #end: 'open' | 'asked' | number = 'open';
  readonly #roundTrip = new RoundTrip();
  #congestion: Congestion;
  #timed: { sequence: number; at: number } | undefined;
  #tries = 0;
  /** What `due` is for. */
  #timer: Timer | 'none' = 'none';
  // Receiving
  #expected = 0;
  /** The right edge that the peer was told: never taken back. */
  #edge = 0;
  #receiveScale = 0;
  #sackAllowed = false;
  readonly #early = new Reassembly();
  /** Where the peer's FIN stands, when it came before what is in front of it. */
  #finAt: number | undefined;
  #gather: Uint8Array | undefined;
  #gathered = 0;
  #held = 0;
  #ackAsked = false;
  #challenges = 0;
  #challengesSince = 0;

  constructor(options: TcpConnectionOptions, begin: { readonly accept: Syn } | 'dial') {
    this.path = options.path;
    this.#host = options.host;
    this.owner = options.owner;
    this.account = options.account;
    this.#writer = new SegmentWriter(options.path, options.host.pool);
    this.#ownMss = options.mss;
    this.#mss = options.mss;
    this.#iss = options.initialSequence;
    this.#una = this.#next = this.#highest = this.#iss;
    this.#congestion = new Congestion(this.#mss, this.#iss);
    this.stream = new TcpStream(this);
    if (begin === 'dial') this.state = 'syn-sent';
    else {
      this.state = 'syn-received';
      this.#learnPeer(begin.accept.options, begin.accept.sequence);
      this.#window = this.#largestWindow = begin.accept.window; // of a SYN, never scaled (RFC 7323 §2.2)
      this.#wl1 = begin.accept.sequence;
    }
    this.#sendSyn();
  }

  /** Bytes written and not acknowledged. */
  get unacknowledged(): number {
    return this.#queue.length;
  }
  get limit(): number {
    return this.#host.limit(this.account);
  }
  /** What the peer would have to send next, were it to begin anew from the same port. */
  get expected(): number {
    return this.#expected;
  }
  get highestSent(): number {
    return this.#highest;
  }

  // --- What the user of the stream asks ------------------------------------------------------------------------------

  write(chunk: Uint8Array): void {
    if (this.state === 'closed') return;
    this.#queue.push(chunk);
    this.#host.held(this.account, chunk.length);
    this.#wake();
  }
  end(): void {
    if (this.#end !== 'open') return;
    this.#end = 'asked';
    this.#wake();
  }
  /** The reader took something: the window may open. */
  drained(): void {
    if (this.#held > 0) this.#wake();
  }
  /** The user has left. Without an end of its own that is an abort; otherwise what was written is still delivered. */
  abandon(isAbort: boolean): void {
    if (this.state === 'closed') return;
    const unread = this.#gathered > 0 || this.#early.length > 0 || this.stream.readableLength > 0;
    if (isAbort || this.#end === 'open' || unread || this.state === 'syn-received' || this.state === 'syn-sent') {
      this.#abort();
      return;
    }
    if (this.state === 'fin-wait-2') this.#arm('orphan', orphanTime);
    this.#release();
  }
  /** TIME-WAIT is over, since the peer has begun anew. */
  expire(): void {
    this.#close();
  }
  #abort(): void {
    if (this.state !== 'syn-sent' && this.state !== 'time-wait') this.#emit(rst | ack, this.#highest, none);
    this.#close();
  }

  // --- What comes in (RFC 9293 §3.10.7) ------------------------------------------------------------------------------

  /** A segment of this connection, its checksum right, in `frame[at, end)`. */
  segment(frame: Uint8Array, at: number, end: number): void {
    const flags = frame[at + 13]!;
    const sequence = u32(frame, at + 4);
    const acknowledgement = u32(frame, at + 8);
    const window = u16(frame, at + 14);
    const from = at + (frame[at + 12]! >> 4) * 4;
    if (this.state === 'syn-sent') {
      this.#answerToSyn(frame, at, from, flags, sequence, acknowledgement, window);
      return;
    }
    const length = end - from;
    if (this.state === 'syn-received' && flags & syn && sequence === advance(this.#expected, -1)) {
      if (!(flags & ack)) this.#sendSyn(); // our answer was lost
      return;
    }
    if (!this.#isInWindow(sequence, length + (flags & fin))) {
      if (flags & rst) return;
      if (this.state === 'time-wait' && flags & fin) this.#arm('time-wait', timeWait);
      this.#acknowledgeNow();
      return;
    }
    if (flags & rst) {
      if (this.state === 'time-wait') return; // RFC 1337: a stray of the old connection must not end the wait
      // RFC 5961 §3.2: only the very next number ends it, others might be guessed.
      if (sequence === this.#expected) this.#broken('ECONNRESET');
      else this.#challenge();
      return;
    }
    if (flags & syn) {
      this.#challenge(); // RFC 5961 §4.2
      return;
    }
    if (!(flags & ack)) return;
    if (!this.#acknowledged(sequence, acknowledgement, window, length + (flags & fin) === 0)) return;
    if (length > 0) this.#data(frame, from, end, sequence);
    if (flags & fin) this.#fin(advance(sequence, length));
  }

  #isInWindow(sequence: number, length: number): boolean {
    const last = advance(sequence, length);
    // As Linux: what ends before the window's beginning is old, what begins behind its end is too early.
    if (isBefore(this.#edge, sequence)) return false;
    return length > 0 ? isBefore(this.#expected, last) : isAtMost(this.#expected, last);
  }

  #answerToSyn(
    frame: Uint8Array,
    at: number,
    from: number,
    flags: number,
    sequence: number,
    acknowledgement: number,
    window: number,
  ): void {
    const isOurs = (flags & ack) !== 0 && acknowledgement === advance(this.#iss, 1);
    if (flags & ack && !isOurs) {
      if (!(flags & rst)) this.#emit(rst, acknowledgement, none);
      return;
    }
    if (flags & rst) {
      if (isOurs) this.#broken('ECONNREFUSED');
      return;
    }
    if (!(flags & syn)) return;
    this.#learnPeer(readTcpOptions(frame, at + 20, from), sequence);
    this.#window = this.#largestWindow = window;
    this.#wl1 = sequence;
    this.#wl2 = acknowledgement;
    if (isOurs) {
      this.#una = acknowledgement;
      this.#establish();
      this.#acknowledgeNow();
    } else {
      this.state = 'syn-received'; // both dialled at once
      this.#sendSyn();
    }
  }
  #learnPeer({ mss = 536, windowScale, sackPermitted = false }: TcpOptions, sequence: number): void {
    this.#mss = Math.max(64, Math.min(this.#ownMss, mss)); // a peer that says 1 would have us send a header per byte
    this.#congestion = new Congestion(this.#mss, this.#iss);
    this.#sackAllowed = sackPermitted;
    this.#sendScale = windowScale ?? 0;
    this.#receiveScale = windowScale === undefined ? 0 : ownScale;
    this.#expected = this.#edge = advance(sequence, 1);
    this.#offerWindow();
  }
  #establish(): void {
    this.state = 'established';
    this.#disarm();
    this.stream.established();
    this.#wake();
  }

  /** @returns false when the segment is done with */
  #acknowledged(sequence: number, acknowledgement: number, window: number, isEmpty: boolean): boolean {
    if (this.state === 'syn-received') {
      if (acknowledgement !== advance(this.#iss, 1)) {
        this.#emit(rst, acknowledgement, none);
        return false;
      }
      this.#una = acknowledgement;
      this.#window = window << this.#sendScale;
      this.#wl1 = sequence;
      this.#wl2 = acknowledgement;
      this.#establish();
    }
    const scaled = window << this.#sendScale;
    if (isBefore(this.#highest, acknowledgement)) {
      this.#challenge(); // of something that was never sent
      return false;
    }
    const before = distance(acknowledgement, this.#una);
    // RFC 5961 §5.2: an old one is taken only from within the largest window there was.
    if (before > Math.max(65_535, this.#largestWindow)) {
      this.#challenge();
      return false;
    }
    const wasWindow = this.#window;
    if (isBefore(this.#wl1, sequence) || (this.#wl1 === sequence && isAtMost(this.#wl2, acknowledgement))) {
      this.#window = scaled;
      this.#largestWindow = Math.max(this.#largestWindow, scaled);
      this.#wl1 = sequence;
      this.#wl2 = acknowledgement;
      if (this.#timer === 'probe') {
        this.#tries = 0; // it answers, and may keep its window closed for as long as it likes
        if (scaled > 0) this.#disarm();
      }
      if (scaled > wasWindow) this.#wake();
    }
    if (before < 0) this.#advance(acknowledgement);
    else if (
      // RFC 5681 §2: a duplicate says nothing new while something is under way.
      before === 0 &&
      isEmpty &&
      scaled === wasWindow &&
      this.#una !== this.#next
    ) {
      const advice = this.#congestion.duplicate(this.#una, this.#highest, distance(this.#una, this.#next));
      if (advice === 'retransmit') this.#retransmit();
      this.#wake();
    }
    return this.state !== 'closed';
  }

  #advance(acknowledgement: number): void {
    const acked = distance(this.#una, acknowledgement);
    const finAcked = typeof this.#end === 'number' && isBefore(this.#end, acknowledgement);
    this.#una = acknowledgement;
    if (isBefore(this.#next, acknowledgement)) this.#next = acknowledgement;
    const gone = finAcked ? this.#queue.length : Math.min(acked, this.#queue.length);
    this.#queue.drop(gone);
    this.#host.held(this.account, -gone);
    if (this.#timed && isBefore(this.#timed.sequence, acknowledgement)) {
      this.#roundTrip.measured(this.#host.now() - this.#timed.at);
      this.#timed = undefined;
    }
    this.#tries = 0;
    const flight = distance(acknowledgement, this.#next);
    const advice = this.#congestion.acknowledged(acknowledgement, acked, flight);
    if (this.#una === this.#highest) this.#disarm();
    else this.#arm('retransmit', this.#roundTrip.timeout);
    if (advice === 'retransmit') this.#retransmit();
    this.stream.acknowledged();
    this.#wake();
    if (finAcked) this.#finAcknowledged();
  }
  #finAcknowledged(): void {
    this.stream.delivered();
    if (this.state === 'fin-wait-1') {
      this.state = 'fin-wait-2';
      if (this.stream.destroyed) this.#arm('orphan', orphanTime);
    } else if (this.state === 'closing') this.#wait();
    else if (this.state === 'last-ack') this.#close();
  }

  #data(frame: Uint8Array, from: number, end: number, sequence: number): void {
    if (this.state !== 'established' && this.state !== 'fin-wait-1' && this.state !== 'fin-wait-2') return;
    if (this.stream.destroyed) {
      this.#abort(); // nobody will ever read it (RFC 9293 §3.6.1)
      return;
    }
    let start = from;
    let at = sequence;
    const old = distance(at, this.#expected);
    if (old > 0) {
      start += old;
      at = this.#expected;
    }
    const last = Math.min(end, start + distance(at, this.#edge));
    if (start >= last) {
      this.#acknowledgeNow(); // all of it was here already, or lies behind the window
      return;
    }
    if (at !== this.#expected) {
      const had = this.#early.length;
      this.#early.insert(at, frame.subarray(start, last));
      this.#hold(this.#early.length - had);
      this.#acknowledgeNow(); // a duplicate, which tells the sender of the gap (RFC 5681 §4.2)
      return;
    }
    this.#deliver(frame, start, last);
    const had = this.#early.length;
    if (had === 0) this.#askAck();
    else {
      for (let next = this.#early.take(this.#expected); next; next = this.#early.take(this.#expected))
        this.#deliver(next, 0, next.length);
      this.#hold(this.#early.length - had);
      this.#acknowledgeNow();
    }
    if (this.#finAt === this.#expected) this.#fin(this.#expected);
  }
  #deliver(bytes: Uint8Array, from: number, to: number): void {
    const length = to - from;
    this.#expected = advance(this.#expected, length);
    this.#hold(length);
    if (this.#gather !== undefined && this.#gathered + length > this.#gather.length) this.#handOn();
    if (this.#gather === undefined) this.#gather = Buffer.allocUnsafeSlow(gatherSize);
    this.#gather.set(from === 0 && to === bytes.length ? bytes : bytes.subarray(from, to), this.#gathered);
    this.#gathered += length;
    this.#wake();
  }
  #handOn(): void {
    const { stream } = this;
    if (this.#gathered === 0 || this.#gather === undefined) return;
    // A little of a large block would keep all of it: the rest of the block serves the next turn.
    const chunk = this.#gather.subarray(0, this.#gathered);
    this.#gather = this.#gather.length - this.#gathered < 4096 ? undefined : this.#gather.subarray(this.#gathered);
    this.#gathered = 0;
    stream.arrived(chunk);
  }
  #fin(at: number): void {
    if (at !== this.#expected) {
      if (isBefore(this.#expected, at)) this.#finAt = at;
      return;
    }
    if (this.state !== 'established' && this.state !== 'fin-wait-1' && this.state !== 'fin-wait-2') return;
    this.#expected = advance(at, 1);
    if (isBefore(this.#edge, this.#expected)) this.#edge = this.#expected;
    this.#finAt = undefined;
    this.#askAck();
    this.#handOn();
    this.stream.ended();
    if (this.state === 'established') this.state = 'close-wait';
    else if (this.state === 'fin-wait-1') this.state = 'closing';
    else this.#wait();
  }
  #wait(): void {
    this.state = 'time-wait';
    this.#early.clear();
    this.#arm('time-wait', timeWait);
  }

  // --- What goes out -------------------------------------------------------------------------------------------------

  /** Called when the turn ends: hands on what came, sends what may be sent, and acknowledges. */
  endTurn(): void {
    this.isAwake = false;
    this.#handOn();
    this.#release();
    if (this.state === 'closed') return;
    this.#output();
    if (this.#opensWindow()) this.#ackAsked = true;
    if (this.#ackAsked) this.#acknowledgeNow();
  }

  /** Bytes that the reader took since it was last looked. */
  #release(): void {
    const now = this.#gathered + this.#early.length + (this.stream.destroyed ? 0 : this.stream.readableLength);
    if (now !== this.#held) this.#hold(now - this.#held);
  }
  #hold(bytes: number): void {
    this.#held += bytes;
    this.#host.held(this.account, bytes);
  }

  /** Moves the right edge on by what is free. @returns the window as it is sent */
  #offerWindow(): number {
    const free = Math.max(0, this.limit - this.#held);
    const scaled = Math.min(65_535, free >>> this.#receiveScale);
    const edge = advance(this.#expected, scaled << this.#receiveScale);
    if (isBefore(this.#edge, edge)) this.#edge = edge;
    return Math.min(65_535, distance(this.#expected, this.#edge) >>> this.#receiveScale);
  }
  /** RFC 9293 §3.8.6.2.2: the peer is told of more room only when it is worth a segment. */
  #opensWindow(): boolean {
    if (this.state !== 'established' && this.state !== 'fin-wait-1' && this.state !== 'fin-wait-2') return false;
    const limit = this.limit;
    const edge = advance(this.#expected, Math.min(65_535 << this.#receiveScale, Math.max(0, limit - this.#held)));
    return distance(this.#edge, edge) >= Math.max(2 * this.#mss, limit >> 2);
  }

  /** @param force a part of a segment goes out although it is a sliver: it has waited long enough */
  #output(force = false): void {
    if (!canSend.has(this.state)) return;
    const dataEnd = advance(this.#una, this.#queue.length);
    for (;;) {
      const left = Math.max(0, distance(this.#next, dataEnd)); // after the FIN `next` stands behind the data
      const flight = distance(this.#una, this.#next);
      const room = Math.min(this.#congestion.window + this.#congestion.extra, this.#window) - flight;
      const size = Math.max(0, Math.min(left, this.#mss, room));
      const isLast = size === left;
      const hasFin = isLast && this.#end !== 'open' && (this.#end === 'asked' || this.#next !== advance(this.#end, 1));
      if (size === 0 && !hasFin) break;
      // RFC 9293 §3.8.6.2.1: no slivers; a part of a segment waits for the acknowledgements or for a worthwhile window.
      const isSliver = size < this.#mss && !isLast;
      if (isSliver && !force && (flight > 0 || size < this.#largestWindow / 2)) break;
      this.#sendData(size, isLast, hasFin);
    }
    const isStuck = this.#queue.length > 0 && this.#una === this.#next;
    if (isStuck && this.#timer === 'none') this.#arm('probe', this.#roundTrip.timeout);
  }
  #sendData(size: number, isLast: boolean, hasFin: boolean): void {
    const frame = this.#writer.begin(none, size);
    if (size > 0) this.#queue.copy(distance(this.#una, this.#next), size, frame, headLength);
    const flags = ack | (isLast && size > 0 ? psh : 0) | (hasFin ? fin : 0);
    this.#ackAsked = false;
    this.#host.emit(this.#writer.finish(frame, flags, this.#next, this.#expected, this.#offerWindow()));
    const isNew = !isBefore(this.#next, this.#highest);
    if (isNew && this.#timed === undefined) this.#timed = { sequence: this.#next, at: this.#host.now() };
    this.#next = advance(this.#next, size);
    if (hasFin) {
      this.#end = this.#next;
      this.#next = advance(this.#next, 1);
      if (this.state === 'established') this.state = 'fin-wait-1';
      else if (this.state === 'close-wait') this.state = 'last-ack';
    }
    if (isBefore(this.#highest, this.#next)) this.#highest = this.#next;
    if (this.#timer !== 'retransmit') this.#arm('retransmit', this.#roundTrip.timeout);
  }
  /** The oldest segment again. */
  #retransmit(): void {
    this.#timed = undefined; // Karn: what was sent twice measures nothing
    const size = Math.min(this.#queue.length, this.#mss);
    const hasFin = typeof this.#end === 'number' && size === this.#queue.length;
    if (size === 0 && !hasFin) return;
    const frame = this.#writer.begin(none, size);
    if (size > 0) this.#queue.copy(0, size, frame, headLength);
    const flags = ack | (size > 0 && size === this.#queue.length ? psh : 0) | (hasFin ? fin : 0);
    this.#host.emit(this.#writer.finish(frame, flags, this.#una, this.#expected, this.#offerWindow()));
    this.#arm('retransmit', this.#roundTrip.timeout);
  }

  #sendSyn(): void {
    const isDial = this.state === 'syn-sent';
    const options = encodeTcpOptions({
      mss: this.#ownMss,
      ...(isDial || this.#receiveScale > 0 ? { windowScale: ownScale } : {}),
      ...(isDial || this.#sackAllowed ? { sackPermitted: true } : {}),
    });
    const frame = this.#writer.begin(options, 0);
    const window = Math.min(65_535, this.limit); // never scaled
    const flags = isDial ? syn : syn | ack;
    this.#host.emit(this.#writer.finish(frame, flags, this.#iss, isDial ? 0 : this.#expected, window));
    this.#next = this.#highest = advance(this.#iss, 1);
    this.#arm('retransmit', this.#roundTrip.timeout);
  }
  #askAck(): void {
    this.#ackAsked = true;
    this.#wake();
  }
  #acknowledgeNow(): void {
    this.#ackAsked = false;
    this.#emit(ack, this.#highest, this.#sackAllowed && this.#early.length > 0 ? this.#sack() : none);
  }
  /** RFC 2018 §3. */
  #sack(): Uint8Array {
    const ranges = this.#early.ranges();
    const option = new Uint8Array(4 + ranges.length * 8);
    option.set([1, 1, 5, 2 + ranges.length * 8]);
    ranges.forEach(([from, to], index) => {
      putU32(option, 4 + index * 8, from);
      putU32(option, 8 + index * 8, to);
    });
    return option;
  }
  /** RFC 5961 §7: not more than ten in a second, or they would be an amplifier. */
  #challenge(): void {
    const now = this.#host.now();
    if (now - this.#challengesSince > 1000) {
      this.#challengesSince = now;
      this.#challenges = 0;
    }
    if (this.#challenges++ < 10) this.#acknowledgeNow();
  }
  #emit(flags: number, sequence: number, options: Uint8Array): void {
    const window = flags & rst ? 0 : this.#offerWindow();
    const frame = this.#writer.begin(options, 0);
    this.#host.emit(this.#writer.finish(frame, flags, sequence, flags & ack ? this.#expected : 0, window));
  }

  // --- Time ----------------------------------------------------------------------------------------------------------

  /** `due` is past. */
  tick(): void {
    const timer = this.#timer;
    this.#disarm();
    if (timer === 'time-wait') this.#close();
    else if (timer === 'orphan') this.#abort();
    else if (timer === 'probe') this.#probe();
    else if (timer === 'retransmit') this.#timedOut();
  }
  #timedOut(): void {
    const isHandshake = this.state === 'syn-sent' || this.state === 'syn-received';
    if (++this.#tries > (isHandshake ? patience.handshake : patience.data)) {
      this.#broken('ETIMEDOUT');
      return;
    }
    this.#roundTrip.backOff();
    if (isHandshake) {
      this.#sendSyn();
      return;
    }
    this.#congestion.timedOut(this.#highest, distance(this.#una, this.#next));
    this.#timed = undefined;
    this.#next = this.#una;
    if (this.#window === 0) this.#probe();
    else this.#output();
  }
  /** The window is closed: one byte beyond it, so that its opening cannot get lost (RFC 9293 §3.8.6.1). */
  #probe(): void {
    if (this.#window > 0 || this.#queue.length === 0) {
      this.#output(true);
      return;
    }
    // A peer that answers may keep its window closed for ever; one that does not answer is gone.
    if (++this.#tries > patience.data * 2) {
      this.#broken('ETIMEDOUT');
      return;
    }
    const frame = this.#writer.begin(none, 1);
    this.#queue.copy(0, 1, frame, headLength);
    this.#host.emit(this.#writer.finish(frame, ack | psh, this.#una, this.#expected, this.#offerWindow()));
    if (isBefore(this.#highest, advance(this.#una, 1))) this.#highest = advance(this.#una, 1);
    this.#roundTrip.backOff();
    this.#arm('probe', Math.min(5000, this.#roundTrip.timeout));
  }
  #arm(timer: Timer, ms: number): void {
    this.#timer = timer;
    this.due = this.#host.now() + ms;
    this.#host.schedule(this);
  }
  #disarm(): void {
    this.#timer = 'none';
    this.due = 0;
    this.#host.schedule(this);
  }
  #wake(): void {
    if (this.isAwake || this.state === 'closed') return;
    this.isAwake = true;
    this.#host.wake(this);
  }

  #broken(code: 'ECONNRESET' | 'ECONNREFUSED' | 'ETIMEDOUT'): void {
    if (code === 'ETIMEDOUT' && this.state !== 'syn-sent') this.#emit(rst | ack, this.#highest, none);
    this.#close();
    this.stream.failed(code);
  }
  #close(): void {
    if (this.state === 'closed') return;
    this.state = 'closed';
    this.#disarm();
    this.#host.held(this.account, -this.#queue.length);
    this.#queue.clear();
    this.#early.clear();
    this.#gather = undefined;
    this.#gathered = 0;
    this.#hold(-this.#held);
    this.#host.closed(this);
  }
}

type Timer = 'retransmit' | 'probe' | 'time-wait' | 'orphan';

/** What a SYN says of its sender. */
export interface Syn {
  readonly sequence: number;
  readonly window: number;
  readonly options: TcpOptions;
}

const canSend: ReadonlySet<TcpState> = new Set(['established', 'close-wait', 'fin-wait-1', 'closing', 'last-ack']);
