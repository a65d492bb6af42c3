// TLS towards a target: connect, handshake, and verification whose failures say what is wrong and what to do.
import type { X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import { Fault } from '../core/fault.ts';
import type { Conn, TlsFacts } from '../core/parts.ts';
import { makeConn } from './conn.ts';
import { dialTcp } from './tcp.ts';
import { failWhenTruncated } from './tls-close.ts';
import { makeContext, type Tuning, tuningOf } from './tls-context.ts';
import { dialTlsFault } from './tls-reasons.ts';
import { systemRoots, trustSystem } from './tls-roots.ts';
import { chainOf, depthOf, parseCertificates, pinOf, splitPem, verifyText } from './tls-verify.ts';

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
export interface Verify {
  /** PEM; absent = the system's CAs. */
  readonly ca?: readonly string[];
  /** The DNS name or IP address that the certificate must carry. */
  readonly name: string;
  /** SHA-256 of SubjectPublicKeyInfo, base64, with or without `sha256/`; one of them must be in the chain. */
  readonly pins?: readonly string[];
  /** Intermediates, at most. */
  readonly depth?: number;
  /** PEM. Every CA of the chain needs one. */
  readonly crls?: readonly string[];
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
    failWhenTruncated(tls, raw);
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
        facts = clientFacts(tls, prepared, where, session && prepared.sessions.get(session));
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
function clientFacts(
  tls: TLSSocket,
  { options, trusted }: Prepared,
  where: string,
  before: Uint8Array | undefined,
): TlsFacts {
  const { verify } = options;
  const resumed = tls.isSessionReused();
  const { alpnProtocol } = tls;
  const facts: TlsFacts = {
    ...(options.servername === undefined ? {} : { sni: options.servername }),
    ...(alpnProtocol ? { alpn: alpnProtocol } : {}),
    protocol: tls.getProtocol() ?? '',
    cipher: tls.getCipher().name,
    resumed,
  };
  if (verify === false) return facts;
  const refuse = (text: string, cause?: unknown): never => {
    throw new Fault('unreachable', `the certificate of ${where} ${text}`, cause === undefined ? {} : { cause });
  };
  if (!tls.authorized) {
    const error = tls.authorizationError as unknown as string | Error;
    refuse(
      verifyText(typeof error === 'string' ? error : ((error as NodeJS.ErrnoException)?.code ?? String(error))),
      error,
    );
  }
  // A resumed session shows no certificate: it is as good as the handshake that made it, under these very options.
  if (resumed) return before ? { ...facts, leaf: before } : facts;
  const leaf = tls.getPeerX509Certificate();
  // Node shows a client no certificate on a resumed session. It was judged when the session was made, under the same
  // options: a store of sessions belongs to one target and one way to verify it.
  if (!leaf) return resumed ? facts : refuse('was not shown');
  if (!carries(leaf, verify.name)) {
    refuse(`is not for ${verify.name}: ${namesOf(leaf)}; dial it by a name it carries, or set the name to verify`);
  }
  const chain =
    trusted || verify.depth !== undefined || verify.pins ? chainOf(leaf, trusted ?? systemRoots()) : undefined;
  if (verify.depth !== undefined && (!chain || depthOf(chain) > verify.depth)) {
    refuse(`has ${chain ? depthOf(chain) : 'too many'} intermediates above it; ${verify.depth} are allowed (depth)`);
  }
  if (verify.pins && ![leaf, ...(chain ?? [])].some(one => isPinned(one, verify.pins))) {
    refuse(`does not have a pinned key; its own is sha256/${pinOf(leaf)}`);
  }
  return { ...facts, leaf: leaf.raw, ...(chain ? { chain: chain.map(one => one.raw) } : {}) };
}

/** RFC 6125, as OpenSSL does it: the subject's CN counts only where there is no subjectAltName of that kind. */
const carries = (leaf: X509Certificate, name: string): boolean =>
  (isIP(name) === 0 ? leaf.checkHost(name, { partialWildcards: false }) : leaf.checkIP(name)) !== undefined;

const isPinned = (certificate: X509Certificate, pins: readonly string[] = []): boolean => {
  const own = pinOf(certificate);
  return pins.some(pin => pin.replace(/^sha256\//, '') === own);
};

const namesOf = (leaf: X509Certificate): string => {
  const names = leaf.subjectAltName?.replaceAll('IP Address:', '').replaceAll('DNS:', '');
  return names ? `it carries ${names.slice(0, 200)}` : 'it carries no names at all (subjectAltName)';
};
