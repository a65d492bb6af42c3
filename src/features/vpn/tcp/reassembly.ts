// Segments that came before what belongs in front of them. Bounded in bytes by the window, and in pieces.
import { advance, distance, isAtMost, isBefore } from '../../../wire/tcp.ts';

interface Piece {
  sequence: number;
  data: Uint8Array;
}

/** Pieces that are kept at most: one-byte segments with gaps between them cost more than their bytes. */
const mostPieces = 1024;

export class Reassembly {
  #pieces: Piece[] = [];
  #latest = -1;
  length = 0;

  /**
   * Keeps a copy: the frame's memory belongs to a larger block.
   * @returns whether anything was kept
   */
  insert(sequence: number, data: Uint8Array): boolean {
    const pieces = this.#pieces;
    let index = pieces.length;
    while (index > 0 && isBefore(sequence, pieces[index - 1]!.sequence)) index--;
    let start = sequence;
    let end = advance(sequence, data.length);
    const before = pieces[index - 1];
    if (before) {
      const beforeEnd = advance(before.sequence, before.data.length);
      if (isBefore(start, beforeEnd)) start = beforeEnd;
    }
    // What lies wholly inside the new piece goes; the first that reaches beyond it cuts it short.
    while (index < pieces.length) {
      const next = pieces[index]!;
      if (!isBefore(next.sequence, end)) break;
      if (isAtMost(advance(next.sequence, next.data.length), end)) {
        this.length -= next.data.length;
        pieces.splice(index, 1);
        continue;
      }
      end = next.sequence;
      break;
    }
    if (!isBefore(start, end) || pieces.length >= mostPieces) return false;
    const from = distance(sequence, start);
    const kept = data.slice(from, from + distance(start, end));
    pieces.splice(index, 0, { sequence: start, data: kept });
    this.length += kept.length;
    this.#latest = start;
    return true;
  }
  /** The bytes that now follow `sequence`, if any are here; older ones are thrown away. */
  take(sequence: number): Uint8Array | undefined {
    for (let first = this.#pieces[0]; first; first = this.#pieces[0]) {
      if (isBefore(sequence, first.sequence)) return undefined;
      this.#pieces.shift();
      this.length -= first.data.length;
      const known = distance(first.sequence, sequence);
      if (known < first.data.length) return first.data.subarray(known);
    }
    return undefined;
  }
  /**
   * Runs of bytes, the one that grew last first (RFC 2018 §4), at most three. Asked for with each segment that comes early,
   * so it makes nothing per piece: there may be a thousand.
   */
  ranges(): (readonly [from: number, to: number])[] {
    let own: readonly [number, number] | undefined;
    const others: (readonly [number, number])[] = [];
    const pieces = this.#pieces;
    for (let at = 0; at < pieces.length; ) {
      const from = pieces[at]!.sequence;
      let to = from;
      let isOwn = false;
      for (; at < pieces.length && pieces[at]!.sequence === to; at++) {
        isOwn ||= to === this.#latest;
        to = advance(to, pieces[at]!.data.length);
      }
      if (isOwn) own = [from, to];
      else if (others.length < 3) others.push([from, to]);
    }
    return own ? [own, ...others.slice(0, 2)] : others;
  }
  clear(): void {
    this.#pieces = [];
    this.length = 0;
  }
}
