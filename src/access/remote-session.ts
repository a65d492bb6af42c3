// A session that a worker holds on the gate's word: counts and notes are kept here and sent with its end.
import type { AccessRequest, EndReason, Log } from '../core/parts.ts';

/** Everything of core's Session but its brand. Signal and log are made when they are first asked for. */
export class RemoteSession {
  readonly id: string;
  readonly request: AccessRequest;
  /** Milliseconds since 1970; the gate process ends it then, and without one this process does. */
  until: number | undefined;
  up = 0;
  down = 0;
  notes: Record<string, string | number> | undefined;
  readonly #log: Log;
  readonly #finish: (session: RemoteSession) => void;
  #childLog: Log | undefined;
  #controller: AbortController | undefined;
  #reason: EndReason | undefined;
  #told = 0;
  #isOver = false;

  constructor(id: string, request: AccessRequest, log: Log, finish: (session: RemoteSession) => void) {
    this.id = id;
    this.request = request;
    this.#log = log;
    this.#finish = finish;
  }

  get signal(): AbortSignal {
    if (!this.#controller) {
      this.#controller = new AbortController();
      if (this.#reason !== undefined) this.#controller.abort(this.#reason);
    }
    return this.#controller.signal;
  }

  get log(): Log {
    this.#childLog ??= this.#log.child({ session: this.id });
    return this.#childLog;
  }

  count(direction: 'up' | 'down', bytes: number): void {
    this[direction] += bytes;
  }

  note(key: string, value: string | number): void {
    this.notes ??= {};
    if (Object.hasOwn(this.notes, key) || Object.keys(this.notes).length < 64) this.notes[key] = value;
  }

  cut(reason: EndReason): void {
    if (this.#reason !== undefined) return;
    this.#reason = reason;
    this.#controller?.abort(reason);
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
