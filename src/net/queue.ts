// The short queue between accepting and serving: bounded, so that a flood waits in the kernel or is turned away.
import type { Conn } from '../core/parts.ts';

/** Conns in the order they came; one consumer. */
export class ConnQueue {
  readonly #limit: number;
  readonly #conns: Conn[] = [];
  #waiting: ((result: IteratorResult<Conn, undefined>) => void) | undefined;
  #state: 'open' | 'closed' = 'open';

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** False when the queue is full or closed: the caller gets rid of the conn. */
  push(conn: Conn): boolean {
    if (this.#state === 'closed') return false;
    if (this.#waiting) {
      const deliver = this.#waiting;
      this.#waiting = undefined;
      deliver({ done: false, value: conn });
      return true;
    }
    if (this.#conns.length >= this.#limit) return false;
    this.#conns.push(conn);
    return true;
  }

  /** Ends the iteration; conns that nobody took are destroyed. */
  close(): void {
    this.#state = 'closed';
    for (const conn of this.#conns.splice(0)) conn.stream.destroy();
    this.#waiting?.({ done: true, value: undefined });
    this.#waiting = undefined;
  }

  [Symbol.asyncIterator](): AsyncIterator<Conn, undefined> {
    return {
      next: () => {
        // A conn that died while it waited is nobody's business any more.
        for (let conn = this.#conns.shift(); conn; conn = this.#conns.shift()) {
          if (!conn.stream.destroyed) return Promise.resolve({ done: false, value: conn });
        }
        if (this.#state === 'closed') return Promise.resolve({ done: true, value: undefined });
        return new Promise(resolve => {
          this.#waiting = resolve;
        });
      },
    };
  }
}
