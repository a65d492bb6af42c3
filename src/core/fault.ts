// The one error class, and the one table that says what each code means at every edge.

/** What the caller should do about it. One row a code; each edge reads its own column. */
export const faults: Readonly<Record<FaultCode, FaultRow>> = {
  invalid: { http: 400, exit: 2, log: 'info', means: 'fix the input or config' },
  'unknown-caller': { http: 401, exit: 3, log: 'info', means: 'prove who you are' },
  denied: { http: 403, exit: 3, log: 'info', means: 'not allowed' },
  missing: { http: 404, exit: 4, log: 'info', means: 'not there' },
  gone: { http: 410, exit: 4, log: 'info', means: 'expired' },
  conflict: { http: 409, exit: 4, log: 'info', means: 'taken' },
  limit: { http: 429, exit: 5, log: 'warn', means: 'quota or rate' },
  unreachable: { http: 502, exit: 6, log: 'warn', means: 'the far side cannot be reached; try again' },
  timeout: { http: 504, exit: 6, log: 'warn', means: 'the far side is too slow; try again' },
  protocol: { http: 400, exit: 7, log: 'info', means: 'the peer spoke wrongly; drop it' },
  bug: { http: 500, exit: 1, log: 'error', means: 'ours' },
} as const satisfies Record<string, { http: number; exit: number; log: 'info' | 'warn' | 'error'; means: string }>;

export type FaultCode =
  | 'invalid'
  | 'unknown-caller'
  | 'denied'
  | 'missing'
  | 'gone'
  | 'conflict'
  | 'limit'
  | 'unreachable'
  | 'timeout'
  | 'protocol'
  | 'bug';

export interface FaultRow {
  readonly http: number;
  /** Exit status of the command line. */
  readonly exit: number;
  readonly log: 'info' | 'warn' | 'error';
  readonly means: string;
}

export interface FaultOptions {
  readonly cause?: unknown;
  /** For the log only, never for the caller. */
  readonly facts?: Readonly<Record<string, unknown>>;
}

/**
 * An error with a stable code and a sentence that the user can act on. `cause` and `facts` are for us.
 * Wrap where meaning is added; catch only at edges.
 */
export class Fault extends Error {
  override readonly name = 'Fault';
  readonly code: FaultCode;
  readonly facts: Readonly<Record<string, unknown>>;

  constructor(code: FaultCode, publicText: string, options: FaultOptions = {}) {
    super(publicText, 'cause' in options ? { cause: options.cause } : undefined);
    this.code = code;
    this.facts = options.facts ?? {};
  }
}

/** Anything that is not a Fault is a bug of ours; what the caller sees of it says nothing else. */
export function toFault(error: unknown): Fault {
  if (error instanceof Fault) return error;
  return new Fault('bug', 'internal error; the log has the details', { cause: error });
}

/** A connection that ended without manners: weather, not an error (ECONNRESET, EPIPE, aborted, premature close). */
export function isWeather(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  return code !== undefined && weather.has(code);
}
const weather = new Set([
  'ECONNRESET',
  'EPIPE',
  'ECONNABORTED',
  'ETIMEDOUT',
  'ERR_STREAM_PREMATURE_CLOSE',
  'ERR_STREAM_DESTROYED',
  'ERR_STREAM_WRITE_AFTER_END',
  'ABORT_ERR',
]);
