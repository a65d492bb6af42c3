// What a connection sends (RFC 9293 §3.3.1 and §3.8): sequence numbers, the peer's window, acknowledgements, and what is
// sent again.
import { advance, distance, isAtMost, isBefore, readSack, tcpFlags } from '../../../wire/tcp.ts';
import type { Alarm } from './alarm.ts';
import { Congestion } from './congestion.ts';
import type { Account, TcpHost } from './parts.ts';
import { RoundTrip } from './round-trip.ts';
import { Scoreboard } from './scoreboard.ts';
import { SendQueue } from './send-queue.ts';
import type { Voice } from './voice.ts';

const { fin, psh, ack } = tcpFlags as { fin: 1; psh: 8; ack: 16 };
/** Retransmissions until the peer counts as gone. */
const mostTries = 10;

/** What its connection is told. */
export interface OutgoingEvents {
  /** Our FIN went out, for the first time or again. */
  readonly finSent: () => void;
  readonly acknowledged: () => void;
  /** There may be something to send. */
  readonly wake: () => void;
  /** The peer does not answer. */
  readonly lost: () => void;
}
/** Of an acknowledgement: it is new, old or a duplicate; it covers our FIN; it is of something that was never sent. */
export type Acknowledged = 'went-on' | 'fin' | 'wrong';

export class Outgoing {
  readonly #host: TcpHost;
  readonly #account: Account;
  readonly #voice: Voice;
  readonly #alarm: Alarm;
  readonly #events: OutgoingEvents;
  readonly iss: number;
  mss: number;
  /** Of windows that the peer sends. */
  scale = 0;
  /** The highest ever sent; `next` goes back to `una` after a time-out. */
  highest: number;
  readonly roundTrip: RoundTrip = new RoundTrip();
  /** Times that the same was sent. */
  tries = 0;
  #una: number;
  #next: number;
  #window = 0;
  #largestWindow = 0;
  #wl1 = 0;
  #wl2 = 0;
  readonly #queue = new SendQueue();
  /** Nothing more will be written; then the sequence number that the FIN has. */
  #end: 'open' | 'asked' | number = 'open';
  #congestion: Congestion;
  #timed: { sequence: number; at: number } | undefined;
  readonly #board = new Scoreboard();
  /** Holes before this were sent again since the recovery began. */
  #resent = 0;
  /** What was sent when the first of them was sent again: who has later bytes and lacks it still, has lost it once more. */
  #again = 0;

  constructor(
    around: { readonly host: TcpHost; readonly account: Account; readonly voice: Voice; readonly alarm: Alarm },
    first: { readonly sequence: number; readonly mss: number },
    events: OutgoingEvents,
  ) {
    this.#host = around.host;
    this.#account = around.account;
    this.#voice = around.voice;
    this.#alarm = around.alarm;
    this.#events = events;
    this.mss = first.mss;
    this.iss = first.sequence;
    this.#una = this.#next = this.highest = this.iss;
    this.#congestion = new Congestion(this.mss, this.iss);
  }

  /** Bytes written and not acknowledged. */
  get length(): number {
    return this.#queue.length;
  }
  get isOpen(): boolean {
    return this.#end === 'open';
  }

  write(chunk: Uint8Array): void {
    this.#queue.push(chunk);
    this.#host.held(this.#account, chunk.length);
  }
  /** @returns false when it was asked for before */
  end(): boolean {
    if (this.#end !== 'open') return false;
    this.#end = 'asked';
    return true;
  }
  clear(): void {
    this.#host.held(this.#account, -this.#queue.length);
    this.#queue.clear();
  }

  // --- Handshake -----------------------------------------------------------------------------------------------------

  learnPeer(mss: number, scale: number): void {
    this.mss = mss;
    this.scale = scale;
    this.#congestion = new Congestion(mss, this.iss);
  }
  /** The window of a SYN, never scaled (RFC 7323 §2.2). */
  began(window: number, sequence: number, acknowledgement?: number): void {
    this.#window = this.#largestWindow = window;
    this.#wl1 = sequence;
    if (acknowledgement !== undefined) this.#wl2 = acknowledgement;
  }
  synSent(): void {
    this.#next = this.highest = advance(this.iss, 1);
    this.#alarm.set('retransmit', this.roundTrip.timeout);
  }
  synAcknowledged(): void {
    this.#una = advance(this.iss, 1);
  }
  /** The handshake's last word: its window is the first scaled one. */
  opened(window: number, sequence: number, acknowledgement: number): void {
    this.synAcknowledged();
    this.#window = window << this.scale;
    this.#wl1 = sequence;
    this.#wl2 = acknowledgement;
  }

  /** The options of an acknowledgement. @returns whether the peer has something of which we did not know */
  sacked(bytes: Uint8Array, at: number, end: number): boolean {
    return readSack(bytes, at, end, (from, to) => this.#board.add(from, to, this.#una, this.highest));
  }

  // --- Acknowledgements ----------------------------------------------------------------------------------------------

  /** `isNews`: by SACK it told of something. */
  acknowledged(
    sequence: number,
    acknowledgement: number,
    window: number,
    isEmpty: boolean,
    isNews = false,
  ): Acknowledged {
    const scaled = window << this.scale;
    if (isBefore(this.highest, acknowledgement)) return 'wrong'; // of something that was never sent
    const before = distance(acknowledgement, this.#una);
    // RFC 5961 §5.2: an old one is taken only from within the largest window there was.
    if (before > Math.max(65_535, this.#largestWindow)) return 'wrong';
    const wasWindow = this.#window;
    if (isBefore(this.#wl1, sequence) || (this.#wl1 === sequence && isAtMost(this.#wl2, acknowledgement))) {
      this.#window = scaled;
      this.#largestWindow = Math.max(this.#largestWindow, scaled);
      this.#wl1 = sequence;
      this.#wl2 = acknowledgement;
      if (this.#alarm.waits === 'probe') {
        this.tries = 0; // it answers, and may keep its window closed for as long as it likes
        if (scaled > 0) this.#alarm.clear();
      }
      if (scaled > wasWindow) this.#events.wake();
    }
    if (before < 0) return this.#advance(acknowledgement) ? 'fin' : 'went-on';
    // RFC 5681 §2: a duplicate says nothing new while something is under way; RFC 6675 §2: or something new of what is
    // beyond the gap.
    if (before === 0 && isEmpty && (isNews || scaled === wasWindow) && this.#una !== this.#next) {
      const advice = this.#congestion.duplicate(this.#una, this.highest, distance(this.#una, this.#next));
      if (advice === 'retransmit') {
        this.#resent = this.#una;
        this.#again = this.highest;
        this.#mend();
      } else if (this.#congestion.isRecovering && this.#resendNext()) this.#congestion.replaced();
      this.#events.wake();
    }
    return 'went-on';
  }
  /** @returns whether our FIN is acknowledged */
  #advance(acknowledgement: number): boolean {
    const acked = distance(this.#una, acknowledgement);
    const isFin = typeof this.#end === 'number' && isBefore(this.#end, acknowledgement);
    this.#una = acknowledgement;
    if (isBefore(this.#next, acknowledgement)) this.#next = acknowledgement;
    const gone = isFin ? this.#queue.length : Math.min(acked, this.#queue.length);
    this.#queue.drop(gone);
    this.#host.held(this.#account, -gone);
    if (this.#timed && isBefore(this.#timed.sequence, acknowledgement)) {
      this.roundTrip.measured(this.#host.now() - this.#timed.at);
      this.#timed = undefined;
    }
    this.tries = 0;
    this.#board.acknowledged(acknowledgement);
    const flight = distance(acknowledgement, this.#next);
    const advice = this.#congestion.acknowledged(acknowledgement, acked, flight);
    if (this.#una === this.highest) this.#alarm.clear();
    else this.#alarm.set('retransmit', this.roundTrip.timeout);
    if (advice === 'retransmit') this.#mend();
    this.#events.acknowledged();
    this.#events.wake();
    return isFin;
  }

  // --- Data ----------------------------------------------------------------------------------------------------------

  /** @param force a part of a segment goes out although it is a sliver: it has waited long enough */
  output(force = false): void {
    const dataEnd = advance(this.#una, this.#queue.length);
    for (;;) {
      const left = Math.max(0, distance(this.#next, dataEnd)); // after the FIN `next` stands behind the data
      const flight = distance(this.#una, this.#next);
      const room = Math.min(this.#congestion.window + this.#congestion.extra, this.#window) - flight;
      const size = Math.max(0, Math.min(left, this.mss, room));
      const isLast = size === left;
      const hasFin = isLast && this.#end !== 'open' && (this.#end === 'asked' || this.#next !== advance(this.#end, 1));
      if (size === 0 && !hasFin) break;
      // RFC 9293 §3.8.6.2.1: no slivers; a part of a segment waits for the acknowledgements or for a worthwhile window.
      const isSliver = size < this.mss && !isLast;
      if (isSliver && !force && (flight > 0 || size < this.#largestWindow / 2)) break;
      this.#send(size, isLast, hasFin);
    }
    const isStuck = this.#queue.length > 0 && this.#una === this.#next;
    if (isStuck && this.#alarm.waits === 'none') this.#alarm.set('probe', this.roundTrip.timeout);
  }
  #send(size: number, isLast: boolean, hasFin: boolean): void {
    const flags = ack | (isLast && size > 0 ? psh : 0) | (hasFin ? fin : 0);
    this.#voice.owesAck = false;
    this.#voice.data(this.#queue, distance(this.#una, this.#next), size, flags, this.#next);
    const isNew = !isBefore(this.#next, this.highest);
    if (isNew && this.#timed === undefined) this.#timed = { sequence: this.#next, at: this.#host.now() };
    this.#next = advance(this.#next, size);
    if (hasFin) {
      this.#end = this.#next;
      this.#next = advance(this.#next, 1);
      this.#events.finSent();
    }
    if (isBefore(this.highest, this.#next)) this.highest = this.#next;
    if (this.#alarm.waits !== 'retransmit') this.#alarm.set('retransmit', this.roundTrip.timeout);
  }
  /** What the peer lacks, once in each recovery; where it does not say what that is, the oldest segment. */
  #mend(): void {
    if (this.#resendHole() || isBefore(this.#una, this.#resent)) return;
    this.#retransmit();
    this.#resent = advance(this.#una, Math.min(this.#queue.length, this.mss));
  }
  #resendNext(): boolean {
    if (this.#resendHole()) return true;
    if (!this.#board.reaches(this.#again)) return false;
    this.#resent = this.#una;
    this.#again = this.highest;
    return this.#resendHole();
  }
  #resendHole(): boolean {
    const hole = this.#board.hole(isBefore(this.#resent, this.#una) ? this.#una : this.#resent);
    if (!hole) return false;
    const offset = distance(this.#una, hole.from);
    const size = Math.min(this.mss, distance(hole.from, hole.to), this.#queue.length - offset);
    if (size <= 0) return false;
    this.#timed = undefined;
    this.#voice.data(this.#queue, offset, size, ack, hole.from);
    this.#resent = advance(hole.from, size);
    this.#alarm.set('retransmit', this.roundTrip.timeout);
    return true;
  }
  /** The oldest segment again. */
  #retransmit(): void {
    this.#timed = undefined; // Karn: what was sent twice measures nothing
    const size = Math.min(this.#queue.length, this.mss);
    const hasFin = typeof this.#end === 'number' && size === this.#queue.length;
    if (size === 0 && !hasFin) return;
    const flags = ack | (size > 0 && size === this.#queue.length ? psh : 0) | (hasFin ? fin : 0);
    this.#voice.data(this.#queue, 0, size, flags, this.#una);
    this.#alarm.set('retransmit', this.roundTrip.timeout);
  }

  // --- Time ----------------------------------------------------------------------------------------------------------

  timedOut(): void {
    if (++this.tries > mostTries) {
      this.#events.lost();
      return;
    }
    this.roundTrip.backOff();
    this.#congestion.timedOut(this.highest, distance(this.#una, this.#next));
    this.#timed = undefined;
    // RFC 2018 §8: what it said it has, it may have thrown away. Acknowledgements will jump over it.
    this.#board.clear();
    this.#next = this.#resent = this.#una;
    if (this.#window === 0) this.probe();
    else this.output();
  }
  /** The window is closed: one byte beyond it, so that its opening cannot get lost (RFC 9293 §3.8.6.1). */
  probe(): void {
    if (this.#window > 0 || this.#queue.length === 0) {
      this.output(true);
      return;
    }
    // A peer that answers may keep its window closed for ever; one that does not answer is gone.
    if (++this.tries > mostTries * 2) {
      this.#events.lost();
      return;
    }
    this.#voice.data(this.#queue, 0, 1, ack | psh, this.#una);
    if (isBefore(this.highest, advance(this.#una, 1))) this.highest = advance(this.#una, 1);
    this.roundTrip.backOff();
    this.#alarm.set('probe', Math.min(5000, this.roundTrip.timeout));
  }
}
