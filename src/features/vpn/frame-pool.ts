// Room for frames, cut from blocks: one allocation for about 170 frames instead of one each. Without recycling a block is
// free again when all of its frames are, which the garbage collector sees to; fresh memory costs more than the copying.

const block = 262_144;
/** Blocks that are kept while nothing is under way. */
const mostSpare = 4;

export class FramePool {
  readonly #recycles: boolean;
  #block = new ArrayBuffer(0);
  #used = 0;
  /** Full: since the last turn ended, and before. */
  #full: ArrayBuffer[] = [];
  #done: ArrayBuffer[] = [];
  readonly #spare: ArrayBuffer[] = [];

  /** @param recycles whoever is given a frame is done with it before the next turn begins */
  constructor(recycles = false) {
    this.#recycles = recycles;
  }

  /** `length` bytes that may hold anything. */
  take(length: number): Uint8Array {
    if (this.#used + length > this.#block.byteLength) {
      if (this.#recycles && this.#block.byteLength === block) this.#full.push(this.#block);
      this.#block = this.#spare.pop() ?? (Buffer.allocUnsafeSlow(Math.max(block, length)).buffer as ArrayBuffer);
      this.#used = 0;
    }
    const frame = new Uint8Array(this.#block, this.#used, length);
    this.#used = (this.#used + length + 7) & ~7;
    return frame;
  }

  /** What was handed over in the turns before is free. */
  turnBegins(): void {
    for (const one of this.#done) if (this.#spare.length < mostSpare) this.#spare.push(one);
    this.#done.length = 0;
  }
  /** Everything that was taken so far is handed over. */
  turnEnds(): void {
    if (this.#full.length === 0) return;
    this.#done.push(...this.#full);
    this.#full.length = 0;
  }
}
