// TLS over any conn: the server side as an Upgrade; the client side is in tls-dial.ts and exported from here.
import type { X509Certificate } from 'node:crypto';
import { constants } from 'node:crypto';
import { Socket } from 'node:net';
import { type SecureContext, TLSSocket, type TLSSocketOptions } from 'node:tls';
import { Fault } from '../core/fault.ts';
import type { Conn, TlsFacts, Upgrade } from '../core/parts.ts';
import { makeConn } from './conn.ts';
import { layOver } from './reset.ts';
import { failWhenTruncated } from './tls-close.ts';
import { makeContext, sessionContext, type Tuning, tuningOf } from './tls-context.ts';
import { chainOf, depthOf, parseCertificates, verifyText } from './tls-verify.ts';

export { type ClientTlsOptions, dialTls, type OriginateOptions, originateTls } from './tls-dial.ts';

export interface ServerTlsOptions extends Tuning {
  /** PEM, keys decrypted; several = RSA and ECDSA side by side. `cert` holds the leaf, then its intermediates. */
  readonly identities: readonly { readonly cert: string; readonly key: string }[];
  readonly preferServerCiphers?: boolean;
  /** Strict: a client that offers ALPN without overlap gets no_application_protocol (RFC 7301 §3.2). */
  readonly alpn?: readonly string[];
  /** `depth`: intermediates between the client's certificate and a trusted CA, at most. */
  readonly clients?: {
    readonly mode: 'optional' | 'required';
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
  readonly socket: TLSSocketOptions;
  readonly trusted: readonly X509Certificate[];
}

/** @throws Fault `invalid` when the certificate, key, ciphers or curves cannot be used. */
export function upgradeTls(options: ServerTlsOptions): ServerTls {
  let ready = prepare(options);
  const upgrade: Upgrade = (conn, signal) => accept(conn, signal, ready);
  return Object.assign(upgrade, {
    replace(next: ServerTlsOptions) {
      ready = prepare(next);
    },
    [Symbol.dispose]() {},
  });
}

function prepare(options: ServerTlsOptions): Ready {
  const { identities, clients, session, alpn } = options;
  const context: SecureContext = makeContext(
    {
      ...tuningOf(options),
      cert: identities.map(identity => identity.cert),
      key: identities.map(identity => identity.key),
      honorCipherOrder: options.preferServerCiphers ?? false,
      sessionIdContext: sessionContext(options.context),
      sessionTimeout: Math.max(1, Math.round(session.timeout / 1000)),
      ...(session.keys === undefined ? {} : { ticketKeys: Buffer.from(session.keys) }),
      ...(session.tickets ? {} : { secureOptions: constants.SSL_OP_NO_TICKET }),
      ...(clients === undefined ? {} : { ca: [...clients.ca], allowPartialTrustChain: true }),
    },
    'certificate',
  );
  return {
    options,
    trusted: clients === undefined ? [] : parseCertificates(clients.ca, 'the CAs of clients'),
    socket: {
      isServer: true,
      secureContext: context,
      requestCert: clients !== undefined,
      rejectUnauthorized: clients?.mode === 'required',
      ...(alpn === undefined || alpn.length === 0 ? {} : { ALPNProtocols: [...alpn] }),
    },
  };
}

function accept(conn: Conn, signal: AbortSignal, ready: Ready): Promise<Conn> {
  const { options } = ready;
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const raw = conn.stream;
    const tls = new TLSSocket(raw as Socket, ready.socket);
    layOver(tls, raw);
    const settle = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
      tls.off('secure', secure).off('error', failed).off('close', closed);
    };
    const fail = (reason: unknown): void => {
      settle();
      tls.on('error', () => {});
      tls.destroy();
      raw.destroy();
      reject(reason);
    };
    const abort = (): void => fail(signal.reason);
    const failed = (error: Error): void => fail(handshakeFault(error));
    const closed = (): void => fail(early());
    const secure = (): void => {
      try {
        const facts = serverFacts(tls, ready);
        settle();
        // Node keeps errors back until a tls.Server has taken the socket over; here nobody else would see them.
        tls.on('_tlsError', (error: Error) => tls.destroy(error));
        if (raw instanceof Socket) failWhenTruncated(tls, raw);
        const done = makeConn(tls, { peer: conn.peer, ...(conn.local ? { local: conn.local } : {}), tls: facts });
        // OpenSSL's last flight is still being written; an end() before that would send FIN without close_notify.
        setImmediate(resolve, done);
      } catch (error) {
        fail(error);
      }
    };
    const late = (): void => fail(new Fault('timeout', `no TLS handshake within ${options.handshake} ms`));
    const timer = options.handshake > 0 ? setTimeout(late, options.handshake) : undefined;
    signal.addEventListener('abort', abort);
    tls.once('secure', secure).once('error', failed).once('close', closed);
  });
}

/** @throws Fault `unknown-caller` when the client's certificate does not pass */
function serverFacts(tls: TLSSocket, { options, trusted }: Ready): TlsFacts {
  const { servername, alpnProtocol } = tls as TLSSocket & { servername?: string | false | null };
  const resumed = tls.isSessionReused();
  const facts: TlsFacts = {
    ...(servername ? { sni: servername } : {}),
    ...(alpnProtocol ? { alpn: alpnProtocol } : {}),
    protocol: tls.getProtocol() ?? '',
    cipher: tls.getCipher().name,
    resumed,
  };
  if (!options.clients) return facts;
  const leaf = tls.getPeerX509Certificate();
  if (!leaf) {
    if (options.clients.mode === 'optional') return facts;
    throw new Fault('unknown-caller', 'the client showed no certificate, and one is required');
  }
  const wrong = (tls as unknown as { _handle: { verifyError(): NodeJS.ErrnoException | null } })._handle.verifyError();
  if (wrong) {
    throw new Fault('unknown-caller', `the client's certificate ${verifyText(wrong.code ?? wrong.message)}`, {
      cause: wrong,
    });
  }
  // On a resumed session the peer sends no chain: what was checked when the session was made still holds.
  if (resumed) return { ...facts, leaf: leaf.raw };
  const chain = chainOf(leaf, trusted);
  if (!chain)
    throw new Fault('unknown-caller', `the client's certificate ${verifyText('UNABLE_TO_VERIFY_LEAF_SIGNATURE')}`);
  if (depthOf(chain) > options.clients.depth) {
    throw new Fault(
      'unknown-caller',
      `the client's certificate has ${depthOf(chain)} intermediates above it; ${options.clients.depth} are allowed (depth)`,
    );
  }
  return { ...facts, leaf: leaf.raw, chain: chain.map(one => one.raw) };
}

const early = (): Fault => new Fault('protocol', 'the client left before the TLS handshake was done');

const handshakeReasons: readonly (readonly [RegExp, string])[] = [
  [/NO_APPLICATION_PROTOCOL/, 'the client offers no application protocol (ALPN) that is spoken here'],
  [/UNSUPPORTED_PROTOCOL|VERSION_TOO_LOW/, 'the client speaks only TLS versions that are too old'],
  [/NO_SHARED_CIPHER/, 'the client and this side have no cipher in common'],
  [/NO_SUITABLE_KEY_SHARE|NO_SHARED_GROUP/, 'the client and this side have no key exchange group in common'],
  [/PEER_DID_NOT_RETURN_A_CERTIFICATE/, 'the client showed no certificate, and one is required'],
  [/HTTP_REQUEST/, 'the client speaks plain HTTP where TLS is expected'],
  [/WRONG_VERSION_NUMBER|UNKNOWN_PROTOCOL|PACKET_LENGTH_TOO_LONG/, 'the client does not speak TLS'],
  [/ALERT_UNKNOWN_CA|UNKNOWN_CA/, 'the client does not trust this certificate: its CA is unknown to it'],
  [
    /ALERT_(BAD_CERTIFICATE|CERTIFICATE_UNKNOWN)|(BAD_CERTIFICATE|CERTIFICATE_UNKNOWN)/,
    'the client does not accept this certificate',
  ],
  [/CERTIFICATE_EXPIRED/, 'the client finds this certificate expired'],
];

function handshakeFault(error: Error): Error {
  const code = (error as NodeJS.ErrnoException).code ?? '';
  if (!code.startsWith('ERR_SSL')) return error; // a reset is weather; it is not for us to rename
  const text = handshakeReasons.find(([pattern]) => pattern.test(code))?.[1] ?? 'the TLS handshake failed';
  const kind = code.includes('PEER_DID_NOT_RETURN_A_CERTIFICATE') ? 'unknown-caller' : 'protocol';
  return new Fault(kind, text, { cause: error, facts: { reason: code } });
}
