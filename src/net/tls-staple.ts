// What TLSSocket asks of a `tls.Server` during a handshake, without there being one: kept sessions, and an OCSP answer.
import { X509Certificate } from 'node:crypto';
import { EventEmitter } from 'node:events';
import type { SecureContext, Server, TLSSocket } from 'node:tls';
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
  const kinds = certs.map(cert => new X509Certificate(cert).publicKey.asymmetricKeyType);
  server.on('OCSPRequest', (tls: TLSSocket | undefined, _issuer: unknown, done: Done) => {
    const first = certs.length > 1 && tls ? kinds.indexOf(kindShown(tls)) : 0;
    // GnuTLS looks at the first answer alone, and breaks off when it is about another certificate.
    const ordered = first > 0 ? [certs[first] ?? '', ...certs.filter((_, at) => at !== first)] : certs;
    void staple(ordered).then(answer => done(null, answer ? Buffer.from(answer) : null));
  });
  return server as Server;
}

type Done = (error: null, answer: Buffer | null) => void;

/** The same server for one connection, which then is the first thing that its `OCSPRequest` brings. */
export function serverOf(server: Server, tls: () => TLSSocket): Server {
  const emit = (event: string, ...args: unknown[]): boolean =>
    event === 'OCSPRequest' ? server.emit(event, tls(), args[1], args[2]) : server.emit(event, ...args);
  return Object.assign(Object.create(server) as Server, { emit });
}

/**
 * The kind of key whose certificate OpenSSL is about to show. In TLS 1.3 the client's first signature algorithm that we
 * have a key for says it (RFC 8446 §4.4.2.2); before that the cipher suite does, which is not known here yet: whoever
 * verifies ECDSA puts its suites first.
 */
function kindShown(tls: TLSSocket): 'ec' | 'rsa' {
  const shared = tls.getSharedSigalgs();
  if (tls.getProtocol() !== 'TLSv1.3') return shared.some(name => name.startsWith('ECDSA')) ? 'ec' : 'rsa';
  return shared.find(name => /^(ECDSA|RSA-PSS)/.test(name))?.startsWith('ECDSA') ? 'ec' : 'rsa';
}
