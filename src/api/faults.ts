// Anything that was thrown → one JSON answer. 401 and 403 say no more than that.
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { hasZodFastifySchemaValidationErrors, isResponseSerializationError } from 'fastify-type-provider-zod';
import { Fault, type FaultCode, faults, isWeather, toFault } from '../core/fault.ts';
import type { Log, Metrics } from '../core/parts.ts';

/** Fastify's own refusals that are the caller's to mend. */
const known: Record<string, { code: FaultCode; text: string }> = {
  FST_ERR_CTP_INVALID_MEDIA_TYPE: { code: 'invalid', text: 'the body must be JSON (content-type: application/json)' },
  FST_ERR_CTP_EMPTY_JSON_BODY: { code: 'invalid', text: 'the body is empty; this call needs JSON' },
  FST_ERR_CTP_INVALID_JSON_BODY: { code: 'invalid', text: 'the body is not JSON' },
  FST_ERR_CTP_BODY_TOO_LARGE: { code: 'limit', text: 'the body is longer than 1 MiB' },
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: { code: 'protocol', text: 'the body is not as long as it says' },
};

/**
 * What the caller may read of a Fault: for 401 and 403 the same words whatever the reason was. Only who has been let in
 * but for an approval is told what they wait for.
 */
export function publicText(fault: Fault): string {
  if (fault.code === 'unknown-caller') return 'prove who you are: sign in, or send a valid token';
  if (fault.code === 'denied' && fault.facts['approval'] === undefined) return 'not allowed';
  return fault.message;
}

export function asFault(error: unknown): Fault {
  if (error instanceof Fault) return error;
  if (hasZodFastifySchemaValidationErrors(error)) {
    const { validation, validationContext = 'input' } = error;
    const part = validationContext === 'querystring' ? 'query' : validationContext;
    const texts = validation.map(({ instancePath, message }) => {
      const path = instancePath.replace(/\/$/, '').replaceAll('/', '.');
      return `${part}${path}: ${message}`;
    });
    return new Fault('invalid', texts.slice(0, 10).join('; '), { cause: error });
  }
  const { code = '', statusCode = 500 } = error as FastifyError;
  const row = known[code];
  if (row) return new Fault(row.code, row.text, { cause: error });
  if (statusCode < 500 && !isResponseSerializationError(error)) {
    return new Fault('invalid', (error as Error).message, { cause: error });
  }
  return toFault(error);
}

export function faultHandler({ log, metrics }: { log: Log; metrics: Metrics }) {
  return (error: unknown, request: FastifyRequest, reply: FastifyReply): void => {
    const fault = asFault(error);
    const { http, log: level } = faults[fault.code];
    if (!isWeather(fault.cause)) {
      const facts = {
        request: request.id,
        method: request.method,
        path: pathOf(request),
        code: fault.code,
        ...fault.facts,
      };
      log[level](fault.code === 'bug' ? { ...facts, cause: fault.cause } : facts, fault.message);
    }
    metrics.count('api_faults_total', { code: fault.code });
    if (fault.code === 'unknown-caller') reply.header('www-authenticate', 'Bearer realm="sekisho"');
    sendFault(reply, http, { code: fault.code, message: publicText(fault), request: request.id });
  };
}

export function sendFault(
  reply: FastifyReply,
  status: number,
  error: { code: string; message: string; request: string },
): void {
  // Serialised here: no schema of a route should stand between a fault and its caller.
  void reply
    .code(status)
    .header('content-type', 'application/json; charset=utf-8')
    .serializer((payload: unknown) => JSON.stringify(payload))
    .send({ error });
}

/** Without the query: it is for the caller's eyes, and the log keeps paths only. */
export const pathOf = (request: FastifyRequest): string => request.url.split('?')[0] ?? '';
