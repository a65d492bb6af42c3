// What TLSSocket asks of a `tls.Server` during a handshake, without there being one: kept sessions, and an OCSP answer.
import { EventEmitter } from 'node:events';
import type { SecureContext, Server } from 'node:tls';
import type { SessionCache } from './tls-cache.ts';

/** An OCSP answer about these certificates (PEM), DER; undefined where there is none. Never rejects. */
export type Staple = (certs: readonly string[]) => Promise<Uint8Array | undefined>;

interface Wanted {
  readonly cache: SessionCache | undefined;
  readonly staple: Staple | undefined;
  readonly certs: readonly string[];
  readonly context: SecureContext;
}

/** Undefined when nothing of it is wanted: then Node calls nobody, and a handshake costs less. */
export function handshakeServer({ cache, staple, certs, context }: Wanted): Server | undefined {
  if (!staple) return cache?.server;
  const server = new EventEmitter();
  // Node asks only where it finds the context that it would read the certificate from.
  Object.assign(server, { _sharedCreds: context });
  for (const event of ['newSession', 'resumeSession'] as const) {
    for (const listener of cache?.server.listeners(event) ?? []) server.on(event, listener as () => void);
  }
  server.on('OCSPRequest', (_cert: unknown, _issuer: unknown, done: (error: null, answer: Buffer | null) => void) => {
    void staple(certs).then(answer => done(null, answer ? Buffer.from(answer) : null));
  });
  return server as Server;
}
