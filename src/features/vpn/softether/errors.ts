// The numbers that SoftEther's programs show sentences for; one table for members and administrators.
import { type Fault, type FaultCode, toFault } from '../../../core/fault.ts';

export const errorCodes = {
  ok: 0,
  disconnected: 3,
  protocol: 4,
  'auth-type-not-supported': 7,
  'no-such-hub': 8,
  'auth-failed': 9,
  'hub-stopping': 10,
  'session-removed': 11,
  denied: 12,
  'session-timeout': 13,
  'invalid-protocol': 14,
  'too-many-connections': 15,
  'hub-busy': 16,
  'too-many-sessions': 20,
  internal: 23,
  'no-such-object': 29,
  'not-supported': 33,
  'invalid-parameter': 38,
  'not-a-controller': 46,
  'not-enough-right': 52,
  'no-such-listener': 53,
  'listener-exists': 54,
  'not-a-cluster-member': 55,
  'hub-exists': 57,
  'too-many-rules': 62,
  'no-such-group': 65,
  'user-exists': 66,
  'group-exists': 67,
  'not-a-password': 68,
  'old-password-wrong': 69,
  'nat-session': 78,
  'nat-not-running': 80,
  'bridge-session': 82,
  'no-bridge-here': 84,
  'no-such-switch': 93,
  'invalid-name': 94,
  'server-refuses': 105,
  'monitor-denied': 107,
  'bridge-denied': 108,
  'address-denied': 109,
  'object-exists': 112,
  'auto-disconnected': 126,
} as const;
export type ErrorName = keyof typeof errorCodes;

/** A refusal in SoftEther's words; `reason` is for the audit and the log. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
  readonly code: ErrorName;
  constructor(code: ErrorName, reason: string) {
    super(reason);
    this.code = code;
  }
}

const ofFault: Readonly<Record<FaultCode, ErrorName>> = {
  invalid: 'invalid-parameter',
  'unknown-caller': 'auth-failed',
  denied: 'denied',
  missing: 'no-such-object',
  gone: 'session-removed',
  conflict: 'object-exists',
  limit: 'server-refuses',
  unreachable: 'server-refuses',
  timeout: 'server-refuses',
  protocol: 'protocol',
  bug: 'internal',
};

/** Any error as the number that goes on the wire. */
export function errorCodeOf(error: unknown): number {
  if (error instanceof Refusal) return errorCodes[error.code];
  const fault: Fault = toFault(error);
  return errorCodes[ofFault[fault.code]];
}
