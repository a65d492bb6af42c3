// Counts what a peer may send only so often: control frames cost the sender nothing and us an answer each. Both ends.

/** True once more than `most` came within `span` milliseconds. Two counters instead of a list of times. */
export class Flood {
  readonly #most: number;
  readonly #span: number;
  #begun = 0;
  #count = 0;

  constructor(most: number, span = 10_000) {
    this.#most = most;
    this.#span = span;
  }
  isFlooded(now: number): boolean {
    if (now - this.#begun >= this.#span) {
      this.#begun = now;
      this.#count = 0;
    }
    this.#count += 1;
    return this.#count > this.#most;
  }
}
