// The little HTTP that a SoftEther connection begins with, strict and bounded. Not llhttp: after one of the answers both
// sides leave HTTP at an exact byte, which Node's parser cannot be stopped at.
import type { Duplex } from 'node:stream';
import { Fault } from '../../../core/fault.ts';
import { peek } from '../../../net/peek.ts';

export interface Request {
  readonly method: string;
  readonly target: string;
  /** By name in lower case; of a repeated one the first. */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Buffer;
}

/** SoftEther's own limits: lines of 4,096 bytes, 128 of them; a PACK before the session of 64 KiB. */
const limits = { line: 4096, lines: 128, head: 16 * 1024, body: 64 * 1024 } as const;

/** The next request. @throws Fault `protocol`, the signal's reason */
export async function readRequest(stream: Duplex, signal: AbortSignal): Promise<Request> {
  const { request } = await peek(stream, parseRequest, {
    limit: limits.head + limits.body,
    signal,
    used: ({ used }) => used,
  });
  return request;
}

export function parseRequest(bytes: Buffer): { readonly request: Request; readonly used: number } | 'more' {
  const end = bytes.subarray(0, limits.head).indexOf('\r\n\r\n');
  if (end < 0) {
    if (bytes.length >= limits.head) throw wrong('has a header block longer than 16 KiB');
    return 'more';
  }
  const [first = '', ...lines] = bytes.toString('latin1', 0, end).split('\r\n');
  if (lines.length > limits.lines || [first, ...lines].some(line => line.length > limits.line))
    throw wrong('has too many or too long header lines');
  const [, method, target] = /^([A-Z]{1,16}) ([\x21-\x7e]{1,1024}) HTTP\/1\.1$/.exec(first) ?? [];
  if (!method || !target) throw wrong('has no proper first line');
  const headers = new Map<string, string>();
  for (const line of lines) {
    const [, name, value] = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x20-\x7e\x80-\xff\t]*)$/.exec(line) ?? [];
    if (!name || value === undefined) throw wrong('has a header line that is none');
    const key = name.toLowerCase();
    if (key === 'content-length' && headers.has(key)) throw wrong('has two lengths');
    if (!headers.has(key)) headers.set(key, value.trimEnd());
  }
  if (headers.has('transfer-encoding')) throw wrong('is chunked, which SoftEther never does');
  const length = headers.get('content-length') ?? '0';
  if (!/^\d{1,6}$/.test(length) || Number(length) > limits.body) throw wrong('has a body longer than 64 KiB');
  const used = end + 4 + Number(length);
  if (bytes.length < used) return 'more';
  return { request: { method, target, headers, body: bytes.subarray(end + 4, used) }, used };
}

/** A whole answer; a PACK's is `application/octet-stream`, written exactly so. */
export function answer(status: string, type: string, body: Uint8Array): Buffer {
  const head = [
    `HTTP/1.1 ${status}`,
    `Date: ${new Date().toUTCString()}`,
    'Keep-Alive: timeout=15; max=19',
    'Connection: Keep-Alive',
    `Content-Type: ${type}`,
    `Content-Length: ${body.length}`,
  ];
  return Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`, 'latin1'), body]);
}

const wrong = (what: string): Fault => new Fault('protocol', `the SoftEther request ${what}`);
