// How much may be under way: slow start and congestion avoidance (RFC 5681), NewReno's recovery (RFC 6582), a first
// window of ten segments (RFC 6928). Bytes.
import { advance, isAtMost, isBefore } from '../../../wire/tcp.ts';

const most = 8 * 1024 * 1024;

/** What the sender does after an acknowledgement. */
export type Advice = 'go-on' | 'retransmit';

export class Congestion {
  readonly #mss: number;
  #threshold = most;
  #duplicates = 0;
  #state: 'open' | 'recovery' = 'open';
  /** The highest sequence number sent when the last recovery or time-out began. */
  #recover: number;
  window: number;

  constructor(mss: number, initialSequence: number) {
    this.#mss = mss;
    this.#recover = initialSequence;
    this.window = Math.min(10 * mss, Math.max(2 * mss, 14_600));
  }
  /** What may be sent beyond `window`: one segment for each of the first two duplicates (RFC 3042). */
  get extra(): number {
    return this.#state === 'open' ? Math.min(2, this.#duplicates) * this.#mss : 0;
  }

  get isRecovering(): boolean {
    return this.#state === 'recovery';
  }
  /** What left the network was replaced by an old segment, not by a new one. */
  replaced(): void {
    this.window = Math.max(this.#mss, this.window - this.#mss);
  }

  /** `una` is already moved on by `acked` bytes; `flight` is what remains under way. */
  acknowledged(una: number, acked: number, flight: number): Advice {
    this.#duplicates = 0;
    if (this.#state === 'recovery') {
      if (isBefore(una, this.#recover)) {
        // Partial (RFC 6582 §3.2 step 3): the next hole, at once.
        this.window = Math.max(this.#mss, this.window - acked + (acked >= this.#mss ? this.#mss : 0));
        return 'retransmit';
      }
      this.#state = 'open';
      this.window = Math.min(this.#threshold, Math.max(flight, this.#mss) + this.#mss);
      return 'go-on';
    }
    // A window that was not used says nothing about a larger one (RFC 7661 in its simplest form).
    if (flight + acked < this.window / 2) return 'go-on';
    const more = this.window < this.#threshold ? acked : Math.max(1, (this.#mss * acked) / this.window);
    this.window = Math.min(most, this.window + more);
    return 'go-on';
  }
  duplicate(una: number, highest: number, flight: number): Advice {
    this.#duplicates++;
    if (this.#state === 'recovery') {
      this.window += this.#mss; // another segment has left the network
      return 'go-on';
    }
    if (this.#duplicates !== 3 || isAtMost(una, this.#recover)) return 'go-on';
    this.#threshold = Math.max(flight / 2, 2 * this.#mss);
    this.#recover = highest;
    this.#state = 'recovery';
    this.window = this.#threshold + 3 * this.#mss;
    return 'retransmit';
  }
  timedOut(highest: number, flight: number): void {
    this.#threshold = Math.max(flight / 2, 2 * this.#mss);
    this.#recover = advance(highest, -1);
    this.#state = 'open';
    this.#duplicates = 0;
    this.window = this.#mss;
  }
}
