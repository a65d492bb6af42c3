// What the gate says in the clear: `gate.http` redirects, answers ACME and hands out the CRL; `gate.metrics` is for Prometheus.
import { isIP } from 'node:net';
import type { Answerer } from './plain-http.ts';

export interface GateHttpOptions {
  /** `https://gate.example.com` or with a port; the Host header of a stranger is never repeated. */
  readonly origin: string;
  /** The answer to an ACME challenge at this path, where one is open. */
  readonly challenge: (path: string) => string | undefined;
  readonly crl: () => Promise<{ readonly pem: string; readonly der: Uint8Array }>;
  readonly root: () => string;
}

const acmePath = '/.well-known/acme-challenge/'; // RFC 8555 §8.3

export function gateHttp({ origin, challenge, crl, root }: GateHttpOptions): Answerer {
  return async (path, request) => {
    if (path.startsWith(acmePath)) {
      const text = challenge(path);
      return text === undefined ? undefined : { status: 200, type: 'application/octet-stream', body: text };
    }
    if (path === '/ca.crl') return { status: 200, type: 'application/pkix-crl', body: (await crl()).der }; // RFC 5280 §4.2.1.13
    if (path === '/ca.pem') return { status: 200, type: 'application/x-pem-file', body: root() };
    // Only what a path may hold goes into the answer; anything else leads to the front page.
    const target = /^\/[\x21-\x7e]*$/.test(request.url ?? '') && !request.url?.startsWith('//') ? request.url : '/';
    return { status: 308, location: `${origin}${target}` };
  };
}

export interface MetricsHttpOptions {
  readonly text: () => Promise<string>;
  readonly contentType: string;
  /** What the gate is called. */
  readonly names: () => readonly string[];
}

export function metricsHttp({ text, contentType, names }: MetricsHttpOptions): Answerer {
  return async (path, { headers: { host } }) => {
    if (!isOurs(host, names())) return { status: 421, body: 'this gate does not go by that name\n' };
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
