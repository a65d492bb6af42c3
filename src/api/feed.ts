// A bounded queue between those who tell and one who reads at its own speed. Too slow a reader loses the feed, not us.

/** What ends a feed on our side. */
export type FeedEnd = 'slow' | 'closed';

export class Feed<T> implements AsyncIterable<T> {
  readonly #limit: number;
  readonly #onSlow: (() => void) | undefined;
  readonly #items: T[] = [];
  #end: FeedEnd | undefined;
  #wake: (() => void) | undefined;
  #room: (() => void) | undefined;

  /** @param limit items that may wait */
  constructor(limit: number, onSlow?: () => void) {
    this.#limit = limit;
    this.#onSlow = onSlow;
  }
  /** Why it ended, once it has. */
  get end(): FeedEnd | undefined {
    return this.#end;
  }
  /** Adds an item, or ends the feed as `slow` when its reader is a whole queue behind. */
  push(item: T): void {
    if (this.#end) return;
    if (this.#items.length >= this.#limit) {
      this.close('slow');
      this.#onSlow?.();
      return;
    }
    this.#items.push(item);
    this.#wake?.();
  }
  /** Adds an item once there is room: for the past, which can wait, unlike the present. */
  async put(item: T): Promise<void> {
    while (!this.#end && this.#items.length >= this.#limit) {
      await new Promise<void>(resolve => {
        this.#room = resolve;
      });
    }
    this.push(item);
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
