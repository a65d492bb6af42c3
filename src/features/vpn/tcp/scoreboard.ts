// What the peer has received beyond a gap, as it says itself (RFC 2018): so that a window that lost much is mended in a few
// round trips, not in one for each segment. What it says of more ranges than are kept here costs a segment sent twice.
import { isAtMost, isBefore } from '../../../wire/tcp.ts';

interface Range {
  readonly from: number;
  readonly to: number;
}

/** Gaps of one window that are told apart: further ones are found when these have been mended. */
const most = 256;

export class Scoreboard {
  /** In their order, with gaps between them. */
  #ranges: Range[] = [];

  get isEmpty(): boolean {
    return this.#ranges.length === 0;
  }
  clear(): void {
    if (this.#ranges.length > 0) this.#ranges = [];
  }

  /**
   * One range that the peer has. @returns whether that is news
   * @param una what is acknowledged, `highest` what was ever sent: what lies outside is a lie, or old
   */
  add(from: number, to: number, una: number, highest: number): boolean {
    if (!isBefore(una, from) || !isBefore(from, to) || isBefore(highest, to)) return false;
    const ranges = this.#ranges;
    // Most news goes on where the last range ends.
    let first = ranges.length;
    while (first > 0 && isAtMost(from, ranges[first - 1]!.to)) first--;
    let next = first;
    let [low, high] = [from, to];
    for (; next < ranges.length && isAtMost(ranges[next]!.from, high); next++) {
      if (isAtMost(ranges[next]!.from, from) && isAtMost(to, ranges[next]!.to)) return false;
      if (isBefore(ranges[next]!.from, low)) low = ranges[next]!.from;
      if (isBefore(high, ranges[next]!.to)) high = ranges[next]!.to;
    }
    if (next === first && ranges.length >= most) return false;
    ranges.splice(first, next - first, { from: low, to: high });
    return true;
  }
  /** Everything before `una` is acknowledged; who asks for what he said he has, has thrown it away (RFC 2018 §8). */
  acknowledged(una: number): void {
    let gone = 0;
    while (gone < this.#ranges.length && isAtMost(this.#ranges[gone]!.from, una)) gone++;
    if (gone > 0) this.#ranges.splice(0, gone);
  }
  /** Whether the peer has something from behind `at`. */
  reaches(at: number): boolean {
    const last = this.#ranges.at(-1);
    return last !== undefined && isBefore(at, last.to);
  }
  /** The first bytes from `from` on that the peer lacks although it has later ones. */
  hole(from: number): Range | undefined {
    let at = from;
    for (const range of this.#ranges) {
      if (isBefore(at, range.from)) return { from: at, to: range.from };
      if (isBefore(at, range.to)) at = range.to;
    }
    return undefined;
  }
}
