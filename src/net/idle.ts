// One coarse timer for many waits: each live transfer is looked at once a beat, instead of a timer for every chunk.

import type { Clock } from '../core/clock.ts';

export interface Beating {
  /** Called every `every` milliseconds while it is enrolled. */
  beat(): void;
}

/** Calls again and again until the answer is called. */
type Repeat = (every: number, call: () => void) => () => void;

const byInterval: Repeat = (every, call) => {
  const timer = setInterval(call, every);
  timer.unref();
  return () => clearInterval(timer);
};

const byClock =
  (clock: Clock): Repeat =>
  (every, call) => {
    let cancel: () => void;
    const arm = (): void => {
      cancel = clock.after(every, () => {
        arm();
        call();
      });
    };
    arm();
    return () => cancel();
  };

/** Beats all that are enrolled; runs only while somebody is. */
export class Beat {
  readonly every: number;
  readonly #live = new Set<Beating>();
  readonly #repeat: Repeat;
  #stop: (() => void) | undefined;

  /** With a clock the beats come by it: a test that moves the clock moves what is idle. */
  constructor(every: number, clock?: Clock) {
    this.every = every;
    this.#repeat = clock ? byClock(clock) : byInterval;
  }
  enrol(one: Beating): void {
    this.#live.add(one);
    this.#stop ??= this.#repeat(this.every, () => this.beat());
  }
  leave(one: Beating): void {
    this.#live.delete(one);
    if (this.#live.size > 0) return;
    this.#stop?.();
    this.#stop = undefined;
  }
  /** Tests call this instead of waiting. */
  beat(): void {
    for (const one of this.#live) one.beat();
  }
}

/** For idle limits: precise to a second, which is enough from ten seconds up. */
export const slowBeat: Beat = new Beat(1000);
/** For short limits and for rates. */
export const quickBeat: Beat = new Beat(50);
