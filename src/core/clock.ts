// Time as a part that is handed in, so that tests move it instead of sleeping.

export interface Clock {
  now(): Date;
  /** Calls back once after `ms`; the returned function cancels. Waits longer than 24.8 days are cut into steps. */
  after(ms: number, call: () => void): () => void;
}

const longest = 2 ** 31 - 1; // what setTimeout can hold; more fires at once

export const systemClock: Clock = {
  now: () => new Date(),
  after(ms, call) {
    let timer: NodeJS.Timeout;
    const arm = (left: number): void => {
      timer = setTimeout(() => (left > longest ? arm(left - longest) : call()), Math.min(left, longest));
      timer.unref();
    };
    arm(Math.max(0, ms));
    return () => clearTimeout(timer);
  },
};

/** A clock that stands still until it is moved. */
export class TestClock implements Clock {
  #now: number;
  #waits: { at: number; call: () => void }[] = [];

  constructor(start: Date | string = '2026-01-01T00:00:00Z') {
    this.#now = new Date(start).getTime();
  }
  now(): Date {
    return new Date(this.#now);
  }
  after(ms: number, call: () => void): () => void {
    const wait = { at: this.#now + Math.max(0, ms), call };
    this.#waits.push(wait);
    return () => {
      this.#waits = this.#waits.filter(other => other !== wait);
    };
  }
  /** Moves time on; what falls due on the way is called in order, each at its own time. */
  move(ms: number): void {
    const end = this.#now + ms;
    for (;;) {
      const next = this.#waits.filter(wait => wait.at <= end).sort((a, b) => a.at - b.at)[0];
      if (!next) break;
      this.#waits = this.#waits.filter(wait => wait !== next);
      this.#now = next.at;
      next.call();
    }
    this.#now = end;
  }
}
