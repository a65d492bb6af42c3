// Small pieces for doors on the API's HTTP server: a bounded body, a JSON answer, a Fault as its status.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Fault, faults, toFault } from '../../core/fault.ts';

const longest = 64 * 1024;

/** The body as JSON; an empty one is undefined. @throws Fault `invalid`, `limit` */
export async function readJson(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > longest) throw new Fault('limit', 'the body is longer than 64 KiB');
    chunks.push(chunk);
  }
  if (length === 0) return undefined;
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch (cause) {
    throw new Fault('invalid', 'the body is not JSON', { cause });
  }
}

export function sendJson(
  response: ServerResponse,
  status: number,
  value: unknown,
  headers: Readonly<Record<string, string>> = {},
): void {
  const text = value === undefined ? '' : JSON.stringify(value);
  response.writeHead(status, {
    ...(value === undefined ? {} : { 'content-type': 'application/json; charset=utf-8' }),
    'content-length': Buffer.byteLength(text),
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    ...headers,
  });
  response.end(text);
}

/** The status of a Fault, and what its caller may read: of 401 and 403 no more than that. */
export function answerOf(error: unknown): { readonly fault: Fault; readonly status: number; readonly text: string } {
  const fault = toFault(error);
  const text =
    fault.code === 'unknown-caller'
      ? 'prove who you are'
      : fault.code === 'denied' && fault.facts['approval'] === undefined
        ? 'not allowed'
        : fault.message;
  return { fault, status: faults[fault.code].http, text };
}
