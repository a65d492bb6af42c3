// Errors as AWS's tools read them: `{"__type": "<Name>", "message": "…"}` with a status.
import { type Fault, toFault } from '../../core/fault.ts';

export class AwsError extends Error {
  /** What the CLI prints in brackets, and the SDKs' error name. */
  readonly type: string;
  readonly status: number;
  constructor(type: string, message: string, status = 400) {
    super(message);
    this.type = type;
    this.status = status;
  }
}

export const invalidValue = (field: string, rule: string): AwsError =>
  new AwsError(
    'ValidationException',
    `1 validation error detected: Value at '${field}' failed to satisfy constraint: ${rule}`,
  );

/** Callers who are not known or not allowed learn nothing more. */
const types: Readonly<Record<Fault['code'], readonly [type: string, status: number, text?: string]>> = {
  invalid: ['ValidationException', 400],
  protocol: ['SerializationException', 400],
  'unknown-caller': ['UnrecognizedClientException', 403, 'The security token included in the request is invalid.'],
  denied: ['AccessDeniedException', 403],
  missing: ['ResourceNotFoundException', 400],
  gone: ['ResourceNotFoundException', 400],
  conflict: ['ValidationException', 400],
  limit: ['LimitExceededException', 400],
  unreachable: ['ServiceUnavailable', 503],
  timeout: ['ServiceUnavailable', 503],
  bug: ['InternalFailure', 500, 'The request failed within the gate; its log has the details.'],
};

export function toAwsError(error: unknown): AwsError {
  if (error instanceof AwsError) return error;
  const fault = toFault(error);
  const [type, status, text] = types[fault.code];
  return new AwsError(type, text ?? fault.message, status);
}
