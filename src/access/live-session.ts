// One admitted access while it lasts: what it moved, when it ends, and why it ended.
import type { AccessRequest, EndReason, Log } from '../core/parts.ts';

export interface LiveSessionOptions {
  readonly id: string;
  readonly request: AccessRequest;
  readonly rule: string;
  readonly since: Date;
  readonly until: Date | undefined;
  readonly log: Log;
  /** Called once, when the session is over: writes the closing record. */
  readonly finish: (session: LiveSession) => Promise<void>;
}

/**
 * Everything of core's Session but its brand, which only the gate gives. Signal and log are made when they are first
 * asked for: sessions that workers hold never ask.
 */
export class LiveSession implements AsyncDisposable {
  readonly id: string;
  readonly request: AccessRequest;
  readonly rule: string;
  readonly since: Date;
  readonly until: Date | undefined;
  up = 0;
  down = 0;
  readonly notes: Record<string, string | number> = {};
  /** Not shown to anybody before its opening is on the disk. */
  isOpen = false;
  readonly #log: Log;
  readonly #finish: (session: LiveSession) => Promise<void>;
  #childLog: Log | undefined;
  #controller: AbortController | undefined;
  #reason: EndReason | undefined;
  #watch: ((reason: EndReason) => void) | undefined;
  #finished: Promise<void> | undefined;

  constructor({ id, request, rule, since, until, log, finish }: LiveSessionOptions) {
    this.id = id;
    this.request = request;
    this.rule = rule;
    this.since = since;
    this.until = until;
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

  /** Why it was told to end, if it was. */
  get reason(): EndReason | undefined {
    return this.#reason;
  }

  count(direction: 'up' | 'down', bytes: number): void {
    this[direction] += bytes;
  }

  note(key: string, value: string | number): void {
    // Bounded: some values come from the far side.
    if (Object.hasOwn(this.notes, key) || Object.keys(this.notes).length < 64) this.notes[key] = value;
  }

  /** Tells whoever holds it to end; false if it was told already or is over. */
  cut(reason: EndReason): boolean {
    if (this.#reason !== undefined || this.#finished) return false;
    this.#reason = reason;
    this.#controller?.abort(reason);
    this.#watch?.(reason);
    return true;
  }

  /** One listener without an AbortSignal: the seam to the workers. */
  watch(call: (reason: EndReason) => void): void {
    this.#watch = call;
    if (this.#reason !== undefined) call(this.#reason);
  }

  /** Once, however often it is asked. Resolves when the closing record is written or safely kept. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#finished ??= this.#finish(this);
    return this.#finished;
  }
}
