// Room for frames, cut from blocks: one allocation for about 170 frames instead of one each. A block is free again when
// all of its frames are, which the garbage collector sees to.

const block = 262_144;

export class FramePool {
  #block = new ArrayBuffer(0);
  #used = 0;

  /** `length` bytes that may hold anything. */
  take(length: number): Uint8Array {
    if (this.#used + length > this.#block.byteLength) {
      const fresh = Buffer.allocUnsafeSlow(Math.max(block, length));
      this.#block = fresh.buffer as ArrayBuffer;
      this.#used = 0;
    }
    const frame = new Uint8Array(this.#block, this.#used, length);
    this.#used = (this.#used + length + 7) & ~7;
    return frame;
  }
}
