// One coarse timer for many waits: each live transfer is looked at once a beat, instead of a timer for every chunk.

export interface Beating {
  /** Called every `every` milliseconds while it is enrolled. */
  beat(): void;
}

/** Beats all that are enrolled; runs only while somebody is. */
export class Beat {
  readonly every: number;
  readonly #live = new Set<Beating>();
  #timer: NodeJS.Timeout | undefined;

  constructor(every: number) {
    this.every = every;
  }
  enrol(one: Beating): void {
    this.#live.add(one);
    this.#timer ??= setInterval(() => this.beat(), this.every);
    this.#timer.unref();
  }
  leave(one: Beating): void {
    this.#live.delete(one);
    if (this.#live.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
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
