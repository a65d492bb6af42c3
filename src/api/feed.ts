// A bounded queue between those who tell and one who reads at its own speed. Who takes nothing for long loses the feed.

/** What ends a feed on our side. */
export type FeedEnd = 'slow' | 'closed';

export class Feed<T> implements AsyncIterable<T> {
  readonly #limit: number;
  readonly #items: T[] = [];
  #end: FeedEnd | undefined;
  #wake: (() => void) | undefined;
  #room: (() => void) | undefined;
  #isTaken = true;

  /** @param limit items that may wait */
  constructor(limit: number) {
    this.#limit = limit;
  }
  /** Why it ended, once it has. */
  get end(): FeedEnd | undefined {
    return this.#end;
  }
  /** Adds an item if there is room: for what is told again in another way. */
  offer(item: T): boolean {
    if (this.#end || this.#items.length >= this.#limit) return false;
    this.#items.push(item);
    this.#wake?.();
    return true;
  }
  /** Adds an item once there is room: a burst is no fault of its reader. */
  async put(item: T): Promise<void> {
    while (!this.#end && !this.offer(item)) {
      await new Promise<void>(resolve => {
        this.#room = resolve;
      });
    }
  }
  /** Whether something waits of which nothing was taken since this was asked before. */
  isStuck(): boolean {
    const isStuck = this.#items.length > 0 && !this.#isTaken;
    this.#isTaken = false;
    return isStuck;
  }
  close(end: FeedEnd = 'closed'): void {
    this.#end ??= end;
    this.#wake?.();
    this.#room?.();
  }
  /** What waits is still read after `closed`; after `slow` it is dropped. */
  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    for (;;) {
      const item = this.#end === 'slow' ? undefined : this.#items.shift();
      if (item !== undefined) {
        this.#isTaken = true;
        this.#room?.();
        yield item;
      } else if (this.#end) {
        return;
      } else {
        await new Promise<void>(resolve => {
          this.#wake = resolve;
        });
      }
    }
  }
}
