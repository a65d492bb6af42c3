// Delay, jitter and loss of an access list's line: a bad connection, simulated.
import { randomInt } from 'node:crypto';
import type { Clock } from '../../../core/clock.ts';
import type { FilterLine } from './filter.ts';

/** Frames on their slow way at one time; further ones are lost. */
const most = 8192;

export class BadLine {
  readonly #clock: Clock;
  #held = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }
  loses({ loss }: FilterLine): boolean {
    return randomInt(10_000) < loss * 100;
  }
  /** Calls after the line's delay, give or take its jitter. */
  hold({ delay, jitter }: FilterLine, call: () => void): void {
    if (this.#held >= most) return;
    this.#held++;
    const swing = (delay * jitter) / 100;
    const wait = swing >= 1 ? delay - swing + randomInt(Math.round(swing * 2) + 1) : delay;
    this.#clock.after(wait, () => {
      this.#held--;
      call();
    });
  }
}
