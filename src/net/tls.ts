// TLS over any conn: the server side as an Upgrade; the client side is in tls-dial.ts and exported from here.
import { constants } from 'node:crypto';
import type { Socket } from 'node:net';
import { type SecureContext, type Server, TLSSocket, type TLSSocketOptions } from 'node:tls';
import { Fault } from '../core/fault.ts';
import type { Conn, Upgrade } from '../core/parts.ts';
import { makeConn } from './conn.ts';
import { Reset } from './reset.ts';
import { refuseCertificate, watchSecret } from './tls-alert.ts';
import { makeSessionCache, type SessionCache } from './tls-cache.ts';
import { failWhenTruncated } from './tls-close.ts';
import { makeContext, serverCiphers, sessionContext, type Tuning, tuningOf } from './tls-context.ts';
import { type ClientCheck, judge, SeenLeaves } from './tls-judge.ts';
import { acceptFault } from './tls-reasons.ts';
import { handshakeServer, type Staple, serverOf } from './tls-staple.ts';
import { parseCertificates } from './tls-verify.ts';

export { type ClientTlsOptions, dialTls, type OriginateOptions, originateTls } from './tls-dial.ts';

export interface ServerTlsOptions extends Tuning {
  /** PEM, keys decrypted; several = RSA and ECDSA side by side. `cert` holds the leaf, then its intermediates. */
  readonly identities: readonly { readonly cert: string; readonly key: string }[];
  readonly preferServerCiphers?: boolean;
  /** Strict: a client that offers ALPN without overlap gets no_application_protocol (RFC 7301 §3.2). */
  readonly alpn?: readonly string[];
  /** `depth`: intermediates between the client's certificate and a trusted CA, at most. */
  readonly clients?: {
    /** `requested`: a bad certificate becomes `TlsFacts.refused` instead of an alert. */
    readonly mode: 'requested' | 'optional' | 'required';
    readonly ca: readonly string[];
    readonly depth: number;
  };
  readonly session: {
    readonly tickets: boolean;
    /** Sessions kept for TLS 1.2 clients without tickets; 0 = none. */
    readonly cache: number;
    /** Milliseconds. */
    readonly timeout: number;
    /** 48 bytes, shared by all workers; without it each context makes its own. */
    readonly keys?: Uint8Array;
  };
  /** One text per trust set and name: a session made under another one is not resumed. */
  readonly context: string;
  /** Shown to clients that ask for it in the handshake (OCSP stapling). */
  readonly staple?: Staple;
  /** Milliseconds for the handshake; 0 = only the caller's signal counts. */
  readonly handshake: number;
}

/** Replacing changes what later handshakes see; live conns keep what they have. */
export interface ServerTls extends Upgrade, Disposable {
  /** @throws Fault `invalid`, and then nothing has changed. */
  replace(options: ServerTlsOptions): void;
}

interface Ready {
  readonly options: ServerTlsOptions;
  readonly cache: SessionCache | undefined;
  readonly socket: TLSSocketOptions;
  readonly clients: ClientCheck | undefined;
}

/** @throws Fault `invalid` when the certificate, key, ciphers or curves cannot be used. */
export function upgradeTls(options: ServerTlsOptions): ServerTls {
  let ready = prepare(options);
  const upgrade: Upgrade = (conn, signal) => accept(conn, signal, ready);
  return Object.assign(upgrade, {
    replace(next: ServerTlsOptions) {
      ready = prepare(next, ready);
    },
    /** Nothing is held but memory. */
    [Symbol.dispose]() {},
  });
}

function prepare(options: ServerTlsOptions, before?: Ready): Ready {
  const { identities, clients, session, alpn } = options;
  const kept = before?.options.context === options.context && before.options.session.cache === session.cache;
  const cache = kept ? before.cache : session.cache > 0 ? makeSessionCache(session.cache) : undefined;
  const context: SecureContext = makeContext(
    {
      ...tuningOf(options, serverCiphers),
      cert: identities.map(identity => identity.cert),
      key: identities.map(identity => identity.key),
      honorCipherOrder: options.preferServerCiphers ?? false,
      // Whatever the caller's text is, a session never outlives the trust it was made under.
      sessionIdContext: sessionContext(JSON.stringify([options.context, clients ?? null])),
      sessionTimeout: Math.max(1, Math.round(session.timeout / 1000)),
      ...(session.keys === undefined ? {} : { ticketKeys: Buffer.from(session.keys) }),
      ...(session.tickets ? {} : { secureOptions: constants.SSL_OP_NO_TICKET }),
      ...(clients === undefined ? {} : { ca: [...clients.ca], allowPartialTrustChain: true }),
    },
    'certificate',
  );
  const certs = identities.map(identity => identity.cert);
  const server = handshakeServer({ cache, staple: options.staple, certs, context });
  return {
    options,
    cache,
    clients: clients && {
      ...clients,
      trusted: parseCertificates(clients.ca, 'the CAs of clients'),
      seen: (kept ? before.clients?.seen : undefined) ?? new SeenLeaves(),
    },
    socket: {
      isServer: true,
      secureContext: context,
      requestCert: clients !== undefined,
      rejectUnauthorized: clients?.mode === 'required',
      ...(server ? { server } : {}),
      ...(alpn === undefined || alpn.length === 0 ? {} : { ALPNProtocols: [...alpn] }),
    },
  };
}

function accept(conn: Conn, signal: AbortSignal, ready: Ready): Promise<Conn> {
  const { options } = ready;
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const raw = conn.stream;
    const { server } = ready.socket;
    const own =
      server && options.staple ? { ...ready.socket, server: serverOf(server as Server, () => tls) } : ready.socket;
    const tls: TLSSocket = new TLSSocket(raw as Socket, own);
    tls.on('error', () => {}); // whoever must know is told by its own listener; nobody may bring the process down
    failWhenTruncated(tls, raw, options.closeNotify === 'required');
    const watched = options.clients ? watchSecret(tls) : {};
    const settle = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
      tls.off('secure', secure).off('error', failed).off('end', closed).off('close', closed);
    };
    const fail = (reason: unknown): void => {
      settle();
      tls.destroy();
      raw.destroy();
      reject(reason);
    };
    const abort = (): void => fail(signal.reason);
    const failed = (error: Error): void => fail(acceptFault(error));
    const closed = (): void => fail(new Reset());
    const secure = (): void => {
      const verdict = judge(tls, ready.clients);
      if ('code' in verdict) {
        settle();
        refuseCertificate(tls, raw, verdict.code, watched.secret);
        // Not now: OpenSSL's object would be freed under its own feet, and the process with it.
        setImmediate(fail, verdict.fault);
        return;
      }
      settle();
      // A tls.Server would say so; node:http2 waits for it before it speaks over a socket.
      (tls as { secureConnecting?: boolean }).secureConnecting = false;
      // Node keeps errors back until a tls.Server has taken the socket over; here nobody else would see them.
      tls.on('_tlsError', (error: Error) => tls.destroy(error));
      const done = makeConn(tls, { peer: conn.peer, ...(conn.local ? { local: conn.local } : {}), tls: verdict.facts });
      // OpenSSL's last flight is still being written; an end() before that would send FIN without close_notify.
      setImmediate(resolve, done);
    };
    const late = (): void => fail(new Fault('timeout', `no TLS handshake within ${options.handshake} ms`));
    const timer = options.handshake > 0 ? setTimeout(late, options.handshake) : undefined;
    signal.addEventListener('abort', abort);
    // A client that ends before it has said anything is half-open, not closed: nobody else would notice.
    tls.once('secure', secure).once('error', failed).once('end', closed).once('close', closed);
  });
}
