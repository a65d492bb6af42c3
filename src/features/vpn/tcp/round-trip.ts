// When to send again: round trips measured, and the time-out made of them (RFC 6298). Milliseconds.

/** RFC 6298 §2.4 wants a second at least; every stack in use takes 200 ms, and so do hubs, whose loss is a full queue. */
const least = 200;
const most = 60_000;
/** The step of the clock that the timers run by (its G). */
const grain = 50;

export class RoundTrip {
  #smooth = -1;
  #vary = 0;
  /** The present time-out. */
  timeout = 1000;

  measured(ms: number): void {
    if (this.#smooth < 0) {
      this.#smooth = ms;
      this.#vary = ms / 2;
    } else {
      this.#vary = 0.75 * this.#vary + 0.25 * Math.abs(this.#smooth - ms);
      this.#smooth = 0.875 * this.#smooth + 0.125 * ms;
    }
    this.timeout = Math.min(most, Math.max(least, this.#smooth + Math.max(grain, 4 * this.#vary)));
  }
  /** §5.5: after a time-out the next one is twice as long. */
  backOff(): void {
    this.timeout = Math.min(most, this.timeout * 2);
  }
}
