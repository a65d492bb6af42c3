// One admitted access while it lasts: when it ends, who is told, and the record of its end.
import type { AccessRequest, EndReason, Log } from '../core/parts.ts';
import { SessionBook } from './session-book.ts';

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

/** Everything of core's Session but its brand, which only the gate gives. */
export class LiveSession extends SessionBook implements AsyncDisposable {
  readonly rule: string;
  readonly since: Date;
  readonly until: Date | undefined;
  /** Not shown to anybody before its opening is on the disk. */
  isOpen = false;
  readonly #finish: (session: LiveSession) => Promise<void>;
  #watch: ((reason: EndReason) => void) | undefined;
  #finished: Promise<void> | undefined;

  constructor({ id, request, rule, since, until, log, finish }: LiveSessionOptions) {
    super(id, request, log);
    this.rule = rule;
    this.since = since;
    this.until = until;
    this.#finish = finish;
  }

  /** False also where it is over. */
  override cut(reason: EndReason): boolean {
    if (this.#finished || !super.cut(reason)) return false;
    this.#watch?.(reason);
    return true;
  }

  /** One listener without an AbortSignal: the seam to the workers. */
  watch(call: (reason: EndReason) => void): void {
    this.#watch = call;
    if (this.reason !== undefined) call(this.reason);
  }

  /** Once, however often it is asked. Resolves when the closing record is written or safely kept. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#finished ??= this.#finish(this);
    return this.#finished;
  }
}
