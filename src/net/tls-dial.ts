// TLS towards a target: connect, handshake, and verification whose failures say what is wrong and what to do.
import type { X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import { Fault } from '../core/fault.ts';
import type { Conn, TlsFacts } from '../core/parts.ts';
import { makeConn } from './conn.ts';
import { dialTcp } from './tcp.ts';
import { checkServer, type Verify } from './tls-check.ts';
import { failWhenTruncated } from './tls-close.ts';
import { makeContext, type Tuning, tuningOf } from './tls-context.ts';
import { dialTlsFault } from './tls-reasons.ts';
import { trustSystem } from './tls-roots.ts';
import { parseCertificates, splitPem } from './tls-verify.ts';

export type { Verify } from './tls-check.ts';

/** TLS towards a peer that is already connected. */
export interface OriginateOptions extends Tuning {
  /** Milliseconds; 0 = only the signal counts. */
  readonly handshake: number;
  /** `false` = whoever answers is believed. */
  readonly verify: false | Verify;
  /** The server name sent (SNI). Absent or an IP address = none is sent. */
  readonly servername?: string;
  readonly identity?: { readonly cert: string; readonly key: string };
  readonly alpn?: readonly string[];
  /** Where a session for resumption is kept. One store per target, identity and verification. */
  readonly session?: { get(): Buffer | undefined; set(session: Buffer): void };
}
export interface ClientTlsOptions extends OriginateOptions {
  readonly host: string;
  readonly port: number;
  readonly bind?: string;
  /** Milliseconds for the TCP connection; 0 = as long as the system tries. */
  readonly connect: number;
  readonly keepAlive?: number | false;
}
/** @throws Fault `unreachable`, `timeout`, or `invalid` for options that cannot be used */
export async function dialTls(options: ClientTlsOptions, signal: AbortSignal): Promise<Conn> {
  const prepared = prepare(options);
  const { host, port, bind, keepAlive } = options;
  const conn = await dialTcp(
    {
      host,
      port,
      timeout: options.connect,
      ...(bind === undefined ? {} : { bind }),
      ...(keepAlive === undefined ? {} : { keepAlive }),
    },
    signal,
  );
  return handshake(conn, prepared, `${host}:${port}`, signal);
}

/** The client side over a conn that stands (a tunnel, a unix socket). The conn is destroyed when it fails. */
export async function originateTls(conn: Conn, options: OriginateOptions, signal: AbortSignal): Promise<Conn> {
  const where = 'host' in conn.peer ? `${conn.peer.host}:${conn.peer.port}` : conn.peer.path;
  try {
    return await handshake(conn, prepare(options), where, signal);
  } catch (error) {
    conn.stream.destroy();
    throw error;
  }
}

interface Prepared {
  readonly options: OriginateOptions;
  readonly connect: ConnectionOptions;
  /** Absent = the system's. */
  readonly trusted: readonly X509Certificate[] | undefined;
  /** Sessions made under these options → the leaf they were verified with. No other session is ever offered. */
  readonly sessions: WeakMap<Buffer, Uint8Array | undefined>;
}

/** What is the same for every connection is made once per options object. */
const preparedBefore = new WeakMap<OriginateOptions, Prepared>();

function prepare(options: OriginateOptions): Prepared {
  const before = preparedBefore.get(options);
  if (before) return before;
  const { verify, identity, alpn, servername } = options;
  const ca = verify === false ? undefined : verify.ca;
  const crls = verify === false ? [] : splitPem(verify.crls ?? [], 'X509 CRL');
  if (verify !== false && ca === undefined) trustSystem();
  const secureContext = makeContext(
    {
      ...tuningOf(options),
      ...(identity ? { cert: identity.cert, key: identity.key } : {}),
      ...(ca === undefined ? {} : { ca: [...ca], allowPartialTrustChain: true }),
      ...(crls.length === 0 ? {} : { crl: crls }),
    },
    'upstream TLS',
  );
  const prepared: Prepared = {
    options,
    connect: {
      secureContext,
      // Judged by us after the handshake, so that each failure gets its own sentence.
      rejectUnauthorized: false,
      checkServerIdentity: () => undefined,
      servername: servername !== undefined && isIP(servername) === 0 ? servername : '',
      ...(alpn === undefined || alpn.length === 0 ? {} : { ALPNProtocols: [...alpn] }),
    },
    trusted: ca === undefined ? undefined : parseCertificates(ca, 'the CAs to verify with'),
    sessions: new WeakMap(),
  };
  preparedBefore.set(options, prepared);
  return prepared;
}

function handshake(conn: Conn, prepared: Prepared, where: string, signal: AbortSignal): Promise<Conn> {
  const { options } = prepared;
  const raw = conn.stream;
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      raw.destroy();
      return reject(signal.reason);
    }
    const kept = options.session?.get();
    const session = kept && prepared.sessions.has(kept) ? kept : undefined;
    const tls = connect({ ...prepared.connect, socket: raw, ...(session ? { session } : {}) });
    tls.on('error', () => {}); // whoever must know is told by its own listener; nobody may bring the process down
    failWhenTruncated(tls, raw, options.closeNotify === 'required');
    // TLS 1.2 gives its session before the handshake is over, TLS 1.3 after; none is kept that was not verified.
    let facts: TlsFacts | undefined;
    let early: Buffer | undefined;
    const keep = (ticket: Buffer): void => {
      if (!facts) early = ticket;
      else {
        prepared.sessions.set(ticket, facts.leaf);
        options.session?.set(ticket);
      }
    };
    if (options.session) tls.on('session', keep);
    const settle = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
      tls.off('secureConnect', secure).off('error', failed).off('close', closed);
    };
    const fail = (reason: unknown): void => {
      settle();
      tls.destroy();
      raw.destroy();
      reject(reason);
    };
    const abort = (): void => fail(signal.reason);
    const failed = (error: Error): void => fail(dialTlsFault(error, where));
    const closed = (): void =>
      fail(new Fault('unreachable', `${where} closed the connection during the TLS handshake`));
    const secure = (): void => {
      try {
        facts = factsOf(tls, prepared, where, session && prepared.sessions.get(session));
        settle();
        if (early) keep(early);
        const done = makeConn(tls, { peer: conn.peer, ...(conn.local ? { local: conn.local } : {}), tls: facts });
        // OpenSSL's last flight is still being written; an end() before that would send FIN without close_notify.
        setImmediate(resolve, done);
      } catch (error) {
        // Not now: this is called from within OpenSSL.
        settle();
        setImmediate(fail, error);
      }
    };
    const late = (): void =>
      fail(new Fault('timeout', `${where} did not finish the TLS handshake within ${options.handshake} ms`));
    const timer = options.handshake > 0 ? setTimeout(late, options.handshake) : undefined;
    signal.addEventListener('abort', abort);
    tls.once('secureConnect', secure).once('error', failed).once('close', closed);
  });
}

/** @throws Fault `unreachable` when the server's certificate does not pass */
function factsOf(
  tls: TLSSocket,
  { options, trusted }: Prepared,
  where: string,
  before: Uint8Array | undefined,
): TlsFacts {
  const { verify, servername } = options;
  const { alpnProtocol } = tls;
  const resumed = tls.isSessionReused();
  const facts: TlsFacts = {
    ...(servername === undefined ? {} : { sni: servername }),
    ...(alpnProtocol ? { alpn: alpnProtocol } : {}),
    protocol: tls.getProtocol() ?? '',
    cipher: tls.getCipher().name,
    resumed,
  };
  if (verify === false) return facts;
  // A resumed session shows no certificate: it is as good as the handshake that made it, under these very options.
  if (resumed && tls.authorized) return before ? { ...facts, leaf: before } : facts;
  return { ...facts, ...checkServer(tls, verify, trusted, where) };
}
