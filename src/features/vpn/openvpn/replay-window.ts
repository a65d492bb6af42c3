// Which packet numbers were seen: each counts once, and those too old count as seen (RFC 6479).

/** Packets may be overtaken by this many others. */
const width = 1024;

export class ReplayWindow {
  readonly #seen: Uint32Array;
  readonly #width: number;
  #newest = 0;

  /** @param ordered 1 = each number has to be above the one before */
  constructor(ordered = width) {
    this.#width = ordered;
    this.#seen = new Uint32Array(ordered);
  }
  get newest(): number {
    return this.#newest;
  }
  /** Numbers begin at 1. */
  mayCome(id: number): boolean {
    if (id > this.#newest) return true;
    if (id === 0 || id + this.#width <= this.#newest) return false;
    return this.#seen[id % this.#width] !== id;
  }
  /** To be called for what has proven to be genuine. */
  came(id: number): void {
    this.#seen[id % this.#width] = id;
    if (id > this.#newest) this.#newest = id;
  }
}
