// Bytes that were written and not yet acknowledged, addressed by their distance from the oldest of them.

/** Writes smaller than this are gathered, so that a million of them are not a million pieces. */
const block = 4096;

export class SendQueue {
  #pieces: Uint8Array[] = [];
  /** Bytes of the first piece that are acknowledged already. */
  #skip = 0;
  /** Bytes used of the last piece when it is a gathering block; -1 when it is not. */
  #gathered = -1;
  length = 0;
  /** Where the last read ended, so that reading on does not begin at the front. */
  #atPiece = 0;
  #atOffset = 0;

  push(chunk: Uint8Array): void {
    this.length += chunk.length;
    if (chunk.length >= block / 2) {
      this.#seal();
      this.#pieces.push(chunk);
      return;
    }
    let rest = chunk;
    while (rest.length > 0) {
      if (this.#gathered < 0 || this.#gathered === block) {
        this.#seal();
        this.#pieces.push(new Uint8Array(block));
        this.#gathered = 0;
      }
      const last = this.#pieces[this.#pieces.length - 1]!;
      const part = rest.subarray(0, block - this.#gathered);
      last.set(part, this.#gathered);
      this.#gathered += part.length;
      rest = rest.subarray(part.length);
    }
  }

  /** Copies `length` bytes from `offset` on. Both lie within what is here. */
  copy(offset: number, length: number, to: Uint8Array, at: number): void {
    let piece = 0;
    let start = -this.#skip; // where the piece begins, as an offset
    if (offset >= this.#atOffset) {
      piece = this.#atPiece;
      start = this.#atOffset;
    }
    let left = length;
    let target = at;
    let from = offset;
    for (; left > 0; piece++) {
      const bytes = this.#pieces[piece]!;
      const size = piece === this.#pieces.length - 1 && this.#gathered >= 0 ? this.#gathered : bytes.length;
      if (from >= start + size) {
        start += size;
        continue;
      }
      const inside = from - start;
      const take = Math.min(left, size - inside);
      to.set(bytes.subarray(inside, inside + take), target);
      left -= take;
      target += take;
      from += take;
      this.#atPiece = piece;
      this.#atOffset = start;
      start += size;
    }
  }

  /** The first `count` bytes are not needed any more. */
  drop(count: number): void {
    this.length -= count;
    let skip = this.#skip + count;
    let gone = 0;
    while (gone < this.#pieces.length) {
      const isLast = gone === this.#pieces.length - 1;
      const size = isLast && this.#gathered >= 0 ? this.#gathered : this.#pieces[gone]!.length;
      if (skip < size || (isLast && this.#gathered >= 0 && this.#gathered < block && skip === size)) break;
      skip -= size;
      gone++;
    }
    if (gone > 0) {
      if (gone === this.#pieces.length) this.#gathered = -1;
      this.#pieces.splice(0, gone);
    }
    this.#skip = skip;
    this.#atPiece = Math.max(0, this.#atPiece - gone);
    this.#atOffset = this.#atPiece === 0 ? -skip : this.#atOffset - count;
  }
  clear(): void {
    this.#pieces = [];
    this.length = this.#skip = this.#atPiece = this.#atOffset = 0;
    this.#gathered = -1;
  }

  #seal(): void {
    const last = this.#pieces.length - 1;
    if (this.#gathered >= 0 && last >= 0) this.#pieces[last] = this.#pieces[last]!.subarray(0, this.#gathered);
    this.#gathered = -1;
  }
}
