// What the gate says in the clear: `gate.http` redirects, answers ACME and hands out the CRL; `gate.metrics` is for Prometheus.
import type { IncomingMessage } from 'node:http';
import type { Answerer } from './plain-http.ts';

export interface GateHttpOptions {
  /** `https://gate.example.com` or with a port; the Host header of a stranger is never repeated. */
  readonly origin: string;
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
    return { status: 308, location: `${site?.(request.headers.host ?? '') ?? origin}${target}` };
  };
}

const isReading = ({ method }: IncomingMessage): boolean => method === 'GET' || method === 'HEAD';

export function metricsHttp(text: () => Promise<string>, contentType: string): Answerer {
  return async (path, request) => {
    if (!isReading(request)) return { status: 405 };
    return path === '/metrics' ? { status: 200, type: contentType, body: await text() } : undefined;
  };
}
