// What is known of one admitted access while it lasts, in the gate as in a worker: what it moved, its notes, why it was cut.
import type { AccessRequest, EndReason, Log } from '../core/parts.ts';

/** Notes that one session keeps: some come from the far side. */
const mostNotes = 64;

/** Signal, log and notes are made when they are first asked for: most sessions never ask for all of them. */
export abstract class SessionBook {
  readonly id: string;
  readonly request: AccessRequest;
  up = 0;
  down = 0;
  notes: Record<string, string | number> | undefined;
  readonly #log: Log;
  #childLog: Log | undefined;
  #controller: AbortController | undefined;
  #reason: EndReason | undefined;

  constructor(id: string, request: AccessRequest, log: Log) {
    this.id = id;
    this.request = request;
    this.#log = log;
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

  /** Why it was told to end, if it was. */
  get reason(): EndReason | undefined {
    return this.#reason;
  }

  count(direction: 'up' | 'down', bytes: number): void {
    this[direction] += bytes;
  }

  note(key: string, value: string | number): void {
    this.notes ??= {};
    if (Object.hasOwn(this.notes, key) || Object.keys(this.notes).length < mostNotes) this.notes[key] = value;
  }

  /** Tells whoever holds it to end; false if it was told already. */
  cut(reason: EndReason): boolean {
    if (this.#reason !== undefined) return false;
    this.#reason = reason;
    this.#controller?.abort(reason);
    return true;
  }
}
