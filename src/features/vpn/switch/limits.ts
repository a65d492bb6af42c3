// What a port may send in a time: a token bucket for bytes or frames, and SoftEther's broadcast storm limiter.

/** Tokens that come back with time. Times are milliseconds. */
export class Bucket {
  readonly #perMs: number;
  readonly #most: number;
  #tokens: number;
  #at: number;

  constructor(perSecond: number, burst: number, now: number) {
    this.#perMs = perSecond / 1000;
    this.#most = burst;
    this.#tokens = burst;
    this.#at = now;
  }
  /** False = there are not enough left; then none are taken. */
  take(amount: number, now: number): boolean {
    if (now > this.#at) {
      this.#tokens = Math.min(this.#most, this.#tokens + (now - this.#at) * this.#perMs);
      this.#at = now;
    }
    if (this.#tokens < amount) return false;
    this.#tokens -= amount;
    return true;
  }
}

const buckets = 256;
/** Milliseconds. */
const window = 500;
/** Group frames a second of one conversation that nobody minds. */
const calm = 32;

/**
 * Group frames of one port, by conversation (source MAC, source IP, target IP): what exceeds 32 a second in half a
 * second is thinned out, one in 2, 4, … 64, then none at all; when it calms down the thinning halves. Different
 * conversations that fall into one bucket are one.
 */
export class StormLimiter {
  readonly #key = new Int32Array(buckets);
  readonly #began = new Float64Array(buckets);
  readonly #frames = new Uint32Array(buckets);
  readonly #discard = new Uint16Array(buckets);

  /** @returns whether this frame may go on */
  pass(macWord: number, source: number, target: number, now: number): boolean {
    const key = (Math.imul(macWord, 0x85ebca6b) ^ Math.imul(source, 0xc2b2ae35) ^ Math.imul(target, 0x27d4eb2f)) | 0;
    const at = (key ^ (key >>> 16)) & (buckets - 1);
    const elapsed = now - this.#began[at]!;
    if (elapsed >= window) {
      const rate = (this.#frames[at]! * 1000) / elapsed;
      const discard = this.#discard[at]!;
      // A conversation that begins anew, or another one in a bucket that had rested, starts free.
      if (elapsed > 8 * window || (this.#key[at] !== key && rate <= calm)) this.#discard[at] = 0;
      else if (rate > calm) this.#discard[at] = Math.min(1024, Math.max(1, discard) * 2);
      else this.#discard[at] = discard >> 1;
      this.#began[at] = now;
      this.#frames[at] = 0;
      this.#key[at] = key;
    }
    const count = ++this.#frames[at]!;
    const discard = this.#discard[at]!;
    if (discard < 3) return count <= calm * 4; // half a second without a judgement yet has an end too
    return discard < 128 && count % discard === 0 && count / discard <= calm / 2;
  }
}
