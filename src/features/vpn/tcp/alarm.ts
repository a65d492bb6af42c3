// What a connection waits for: one thing at a time.

export type Wait = 'retransmit' | 'probe' | 'time-wait' | 'orphan';

export class Alarm {
  readonly #now: () => number;
  readonly #changed: () => void;
  waits: Wait | 'none' = 'none';
  /** Milliseconds; 0 = never. */
  due = 0;

  /** `changed` is called whenever `due` is another. */
  constructor(now: () => number, changed: () => void) {
    this.#now = now;
    this.#changed = changed;
  }
  set(wait: Wait, ms: number): void {
    this.waits = wait;
    this.due = this.#now() + ms;
    this.#changed();
  }
  clear(): void {
    this.waits = 'none';
    this.due = 0;
    this.#changed();
  }
}
