// A session that a worker holds on the gate's word: counts and notes are kept here and sent with its end.
import type { AccessRequest, Log } from '../core/parts.ts';
import { SessionBook } from './session-book.ts';

/** Everything of core's Session but its brand. */
export class RemoteSession extends SessionBook {
  /** Milliseconds since 1970; the gate process ends it then, and without one this process does. */
  until: number | undefined;
  readonly #finish: (session: RemoteSession) => void;
  #told = 0;
  #isOver = false;

  constructor(id: string, request: AccessRequest, log: Log, finish: (session: RemoteSession) => void) {
    super(id, request, log);
    this.#finish = finish;
  }

  hasMoved(): boolean {
    const total = this.up + this.down;
    if (total === this.#told) return false;
    this.#told = total;
    return true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#finish(this);
  }
}
