// What the gate says in the clear: `gate.http` redirects, answers ACME and hands out the CRL; `gate.metrics` is for Prometheus.
import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import type { Answer, Answerer } from './plain-http.ts';

export interface GateHttpOptions {
  /** `https://gate.example.com` or with a port; the Host header of a stranger is never repeated. */
  readonly origin: () => string;
  /** The answer to an ACME challenge at this path, where one is open. */
  readonly challenge: (path: string) => string | undefined;
  readonly crl: (number?: number) => Promise<{ readonly pem: string; readonly der: Uint8Array }>;
  /** One OCSP request, answered; DER both. */
  readonly ocsp: (request: Uint8Array) => Promise<Uint8Array>;
  readonly root: () => string;
  /** `https://server1.example.com` where the Host is a site's name. */
  readonly site?: (host: string) => string | undefined;
}

const acmePath = '/.well-known/acme-challenge/'; // RFC 8555 §8.3

export function gateHttp({ origin, challenge, crl, ocsp, root, site }: GateHttpOptions): Answerer {
  return async (path, request) => {
    const isRead = isReading(request);
    if (isRead && path.startsWith(acmePath)) {
      const text = challenge(path);
      return text === undefined ? undefined : { status: 200, type: 'application/octet-stream', body: text };
    }
    const known = (isRead && (await revocationList(path, crl))) || (await ocspAnswer(path, request, ocsp));
    if (known) return known === 'none' ? undefined : known;
    if (isRead && path === '/ca.pem') return { status: 200, type: 'application/x-pem-file', body: root() };
    // Somebody takes this for a proxy: sent on to https they would come back with everything they meant for a stranger.
    if (!request.url?.startsWith('/')) return { status: 403, body: 'this is not a proxy\n' };
    // Only what a path may hold goes into the answer; anything else leads to the front page.
    const target = /^\/[\x21-\x7e]*$/.test(request.url ?? '') && !request.url?.startsWith('//') ? request.url : '/';
    return { status: 308, location: `${site?.(request.headers.host ?? '') ?? origin()}${target}` };
  };
}

/** RFC 5280 §4.2.1.13. */
async function revocationList(path: string, crl: GateHttpOptions['crl']): Promise<Answer | 'none' | undefined> {
  const list = /^\/ca(?:-(\d{1,6}))?\.crl$/.exec(path);
  if (!list) return undefined;
  const { der } = await crl(list[1] === undefined ? undefined : Number(list[1]));
  return der.length === 0 ? 'none' : { status: 200, type: 'application/pkix-crl', body: der };
}

async function ocspAnswer(
  path: string,
  request: IncomingMessage,
  ocsp: GateHttpOptions['ocsp'],
): Promise<Answer | undefined> {
  const question = await ocspRequest(path, request);
  return question && { status: 200, type: 'application/ocsp-response', body: await ocsp(question) };
}

/** RFC 6960 appendix A: DER as a body, or base64 in the path. What is too long is cut, and then cannot be read. */
export async function ocspRequest(path: string, request: IncomingMessage): Promise<Uint8Array | undefined> {
  if (request.method === 'GET' && path.startsWith('/ocsp/')) {
    try {
      return Buffer.from(decodeURIComponent(path.slice('/ocsp/'.length)), 'base64');
    } catch {
      return Buffer.alloc(0); // a % that encodes nothing
    }
  }
  if (request.method !== 'POST' || path !== '/ocsp') return undefined;
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    size += chunk.length;
    if (size > longestOcsp) break;
  }
  return Buffer.concat(chunks);
}
/** One byte more than is answered. */
const longestOcsp = 4096;

const isReading = ({ method }: IncomingMessage): boolean => method === 'GET' || method === 'HEAD';

export interface MetricsHttpOptions {
  readonly text: () => Promise<string>;
  readonly contentType: string;
  /** What the gate is called. */
  readonly names: () => readonly string[];
}

export function metricsHttp({ text, contentType, names }: MetricsHttpOptions): Answerer {
  return async (path, request) => {
    if (!isReading(request)) return { status: 405 };
    if (!isOurs(request.headers.host, names())) return { status: 421, body: 'this gate does not go by that name\n' };
    return path === '/metrics' ? { status: 200, type: contentType, body: await text() } : undefined;
  };
}

/**
 * DNS rebinding: a page whose own name suddenly leads here would send that name as Host. An address in its place cannot
 * have been rebound, and a request without any (HTTP/1.0) comes from no browser.
 */
function isOurs(host: string | undefined, names: readonly string[]): boolean {
  if (host === undefined) return true;
  const parts = /^(?:\[([^\]]+)\]|([^:]*))(?::\d{1,5})?$/.exec(host);
  const name = (parts?.[1] ?? parts?.[2] ?? '').toLowerCase();
  return isIP(name) !== 0 || name === 'localhost' || names.some(one => one.toLowerCase() === name);
}
