// What the gate says in the clear: `gate.http` redirects, answers ACME and hands out the CRL; `gate.metrics` is for Prometheus.
import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import type { Answerer } from './plain-http.ts';

export interface GateHttpOptions {
  /** `https://gate.example.com` or with a port; the Host header of a stranger is never repeated. */
  readonly origin: () => string;
  /** The answer to an ACME challenge at this path, where one is open. */
  readonly challenge: (path: string) => string | undefined;
  readonly crl: () => Promise<{ readonly pem: string; readonly der: Uint8Array }>;
  readonly root: () => string;
  /** `https://server1.example.com` where the Host is a site's name. */
  readonly site?: (host: string) => string | undefined;
}

const acmePath = '/.well-known/acme-challenge/'; // RFC 8555 §8.3

export function gateHttp({ origin, challenge, crl, root, site }: GateHttpOptions): Answerer {
  return async (path, request) => {
    const isRead = isReading(request);
    if (isRead && path.startsWith(acmePath)) {
      const text = challenge(path);
      return text === undefined ? undefined : { status: 200, type: 'application/octet-stream', body: text };
    }
    if (isRead && path === '/ca.crl') return { status: 200, type: 'application/pkix-crl', body: (await crl()).der }; // RFC 5280 §4.2.1.13
    if (isRead && path === '/ca.pem') return { status: 200, type: 'application/x-pem-file', body: root() };
    // Somebody takes this for a proxy: sent on to https they would come back with everything they meant for a stranger.
    if (!request.url?.startsWith('/')) return { status: 403, body: 'this is not a proxy\n' };
    // Only what a path may hold goes into the answer; anything else leads to the front page.
    const target = /^\/[\x21-\x7e]*$/.test(request.url ?? '') && !request.url?.startsWith('//') ? request.url : '/';
    return { status: 308, location: `${site?.(request.headers.host ?? '') ?? origin()}${target}` };
  };
}

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
