// Bytes that were written and not yet acknowledged, addressed by their distance from the oldest of them. They are copied
// into blocks that all queues share and use again: memory that the kernel hands out anew costs far more than the copy.

const size = 16_384;
const shift = 14;
const mask = size - 1;
/** Blocks that are kept while no queue needs them. */
const mostSpare = 512;
const spare: Buffer[] = [];

export class SendQueue {
  readonly #blocks: Buffer[] = [];
  /** Where the oldest byte lies in the first block. */
  #start = 0;
  length = 0;

  push(chunk: Uint8Array): void {
    let at = this.#start + this.length;
    this.length += chunk.length;
    for (let from = 0; from < chunk.length; ) {
      const offset = at & mask;
      if (at >> shift === this.#blocks.length) this.#blocks.push(spare.pop() ?? Buffer.allocUnsafeSlow(size));
      const take = Math.min(size - offset, chunk.length - from);
      this.#blocks[at >> shift]!.set(take === chunk.length ? chunk : chunk.subarray(from, from + take), offset);
      from += take;
      at += take;
    }
  }

  /** Copies `length` bytes from `offset` on. Both lie within what is here. */
  copy(offset: number, length: number, to: Uint8Array, target: number): void {
    let at = this.#start + offset;
    for (let done = 0; done < length; ) {
      const from = at & mask;
      const take = Math.min(size - from, length - done);
      this.#blocks[at >> shift]!.copy(to, target + done, from, from + take);
      done += take;
      at += take;
    }
  }

  /** The first `count` bytes are not needed any more. */
  drop(count: number): void {
    this.length -= count;
    this.#start += count;
    this.#free(this.length === 0 ? this.#blocks.length : this.#start >> shift);
    this.#start = this.length === 0 ? 0 : this.#start & mask;
  }
  clear(): void {
    this.drop(this.length);
  }
  #free(count: number): void {
    if (count === 0) return;
    for (const block of this.#blocks.splice(0, count)) if (spare.length < mostSpare) spare.push(block);
  }
}
