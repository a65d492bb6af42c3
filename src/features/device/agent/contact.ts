// How the agent reaches its gate: through a proxy where there is one, always verified against the gate's own root, even
// the first time (the one-time code carries that root's fingerprint) and even when the device's clock is wrong.
import { createHash, X509Certificate } from 'node:crypto';
import { request } from 'node:http';
import { isIP } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { Fault } from '../../../core/fault.ts';
import type { Conn } from '../../../core/parts.ts';
import { dialProxy } from '../../../net/http-proxy.ts';
import { dialTcp } from '../../../net/tcp.ts';
import { type OriginateOptions, originateTls } from '../../../net/tls-dial.ts';
import { chainOf, parseCertificates } from '../../../net/tls-verify.ts';
import { enrolAlpn, linkAlpn, times } from '../protocol.ts';
import type { Identity } from './folder.ts';

export interface GateAddress {
  readonly host: string;
  readonly port: number;
  /** What its certificate must say, and its HTTP is asked for. */
  readonly name: string;
}

/** `https://gate.example.com[:port]`. @throws Fault `invalid` */
export function parseGate(text: string, name?: string): GateAddress {
  let url: URL | undefined;
  try {
    url = new URL(text.includes('://') ? text : `https://${text}`);
  } catch {}
  if (url?.protocol !== 'https:' || url.hostname === '') {
    throw new Fault('invalid', `--gate ${text}: write the gate’s address, like https://gate.example.com`);
  }
  const host = url.hostname.replace(/^\[|\]$/g, '');
  return { host, port: Number(url.port) || 443, name: name ?? host };
}

export interface Way {
  readonly gate: GateAddress;
  /** Undefined = straight. */
  readonly proxy: { readonly url: URL; readonly credentials?: string } | undefined;
}

/** A day: certificates are checked against the clock, and beyond this their dates mean nothing. */
export const clockLimit = 86_400_000;

async function dial({ gate, proxy }: Way, signal: AbortSignal): Promise<Conn> {
  const { host, port } = gate;
  if (!proxy) return dialTcp({ host, port, timeout: times.connect, keepAlive: 30_000 }, signal);
  const credentials = proxy.credentials === undefined ? {} : { credentials: proxy.credentials };
  return dialProxy({ proxy: proxy.url, ...credentials, host, port, timeout: times.connect }, signal);
}

type Kind = { readonly alpn: string; readonly identity?: Identity };
const plain: Kind = { alpn: enrolAlpn };
const linkOf = (identity: Identity): Kind => ({ alpn: linkAlpn, identity });

async function speak(way: Way, kind: Kind, verify: OriginateOptions['verify'], signal: AbortSignal): Promise<Conn> {
  const { name } = way.gate;
  const conn = await dial(way, signal);
  return originateTls(
    conn,
    {
      verify,
      handshake: times.connect,
      alpn: [kind.alpn],
      ...(isIP(name) === 0 ? { servername: name } : {}),
      ...(kind.identity ? { identity: kind.identity } : {}),
    },
    signal,
  );
}

/** A verified conn of the device link. `at`: judge dates by this time, not by the device's clock. */
export async function dialLink(
  way: Way,
  roots: readonly string[],
  identity: Identity,
  at: (() => Date) | undefined,
  signal: AbortSignal,
): Promise<Conn> {
  return verified(way, linkOf(identity), roots, at, signal);
}

async function verified(
  way: Way,
  kind: Kind,
  roots: readonly string[],
  at: (() => Date) | undefined,
  signal: AbortSignal,
): Promise<Conn> {
  if (!at) return speak(way, kind, { ca: roots, name: way.gate.name }, signal);
  const conn = await speak(way, kind, false, signal);
  try {
    checkChain(conn.stream as TLSSocket, roots, way.gate, at());
    return conn;
  } catch (error) {
    conn.stream.destroy();
    throw error;
  }
}

/**
 * What OpenSSL checks, but for dates by another clock: signatures up to a pinned root, CAs that are CAs, the purpose, the
 * name. @throws Fault `unreachable`
 */
function checkChain(tls: TLSSocket, roots: readonly string[], gate: GateAddress, at: Date | undefined): void {
  const where = `${gate.host}:${gate.port}`;
  const leaf = tls.getPeerX509Certificate();
  const chain = leaf && chainOf(leaf, parseCertificates(roots, 'the gate’s roots'));
  const refuse = (text: string): void => {
    throw new Fault('unreachable', `the certificate of ${where} ${text}`);
  };
  if (!leaf || !chain || chain.some(one => !one.ca)) {
    throw new Fault('unreachable', `the certificate of ${where} does not come from the CA that this device trusts`);
  }
  // serverAuth (RFC 5280 §4.2.1.12): a device's own certificate must not pass for the gate's.
  if (!leaf.keyUsage?.includes('1.3.6.1.5.5.7.3.1')) refuse('is not meant for a server');
  const { name } = gate;
  if ((isIP(name) === 0 ? leaf.checkHost(name) : leaf.checkIP(name)) === undefined)
    refuse(`is not for ${name}; --name says what it is for`);
  if (!at) return;
  for (const one of [leaf, ...chain]) {
    if (at < new Date(one.validFrom) || at > new Date(one.validTo)) refuse(`was not valid at ${at.toISOString()}`);
  }
}

/** The fault of a certificate whose dates do not fit this device's clock. */
export function isAboutTime(error: unknown): boolean {
  const cause = (error as { cause?: unknown } | undefined)?.cause;
  const code = typeof cause === 'string' ? cause : ((cause as NodeJS.ErrnoException | undefined)?.code ?? '');
  return code === 'CERT_HAS_EXPIRED' || code === 'CERT_NOT_YET_VALID';
}

/**
 * The root with this fingerprint, as the gate shows it. Nothing is sent and nothing else is believed: the next
 * conn is verified with it. @throws Fault `denied` when somebody else answers
 */
export async function fetchRoot(way: Way, fingerprint: string, signal: AbortSignal): Promise<string> {
  const conn = await speak(way, plain, false, signal);
  try {
    const seen = new Set<string>();
    for (
      let at = (conn.stream as TLSSocket).getPeerX509Certificate();
      at && seen.size < 10;
      at = at.issuerCertificate
    ) {
      const print = createHash('sha256').update(at.raw).digest('hex');
      if (print === fingerprint) return at.toString();
      if (seen.has(print)) break;
      seen.add(print);
    }
  } finally {
    conn.stream.destroy();
  }
  const { host, port } = way.gate;
  throw new Fault(
    'denied',
    `${host}:${port} is not the gate that this code is from: its CA is another one. Somebody may stand in between, or the address is wrong. The code was not sent`,
  );
}

export interface Answer {
  readonly status: number;
  readonly body: unknown;
  /** The gate's clock. */
  readonly time: Date;
}

/** The gate's time, over a conn that is verified but for dates. @throws Fault */
export async function gateTime(way: Way, roots: readonly string[], signal: AbortSignal): Promise<Date> {
  const conn = await speak(way, plain, false, signal);
  try {
    checkChain(conn.stream as TLSSocket, roots, way.gate, undefined);
  } catch (error) {
    conn.stream.destroy();
    throw error;
  }
  return (await exchange(conn, way.gate, { method: 'GET', path: '/healthz' }, signal)).time;
}

/** One call of the gate's API. @throws Fault as the gate said it */
export async function callGate(
  way: Way,
  roots: readonly string[],
  at: (() => Date) | undefined,
  call: { readonly method: string; readonly path: string; readonly body?: unknown },
  signal: AbortSignal,
): Promise<Answer> {
  return exchange(await verified(way, plain, roots, at, signal), way.gate, call, signal);
}

const longest = 262_144;

function exchange(
  { stream }: Conn,
  { name, port }: GateAddress,
  call: { readonly method: string; readonly path: string; readonly body?: unknown },
  signal: AbortSignal,
): Promise<Answer> {
  const text = call.body === undefined ? undefined : JSON.stringify(call.body);
  const host = `${name.includes(':') ? `[${name}]` : name}${port === 443 ? '' : `:${port}`}`;
  return new Promise((resolve, reject) => {
    const fail = (cause: unknown): void => {
      stream.destroy();
      reject(
        cause instanceof Fault ? cause : new Fault('unreachable', 'the gate broke off while it answered', { cause }),
      );
    };
    const sending = request({
      createConnection: () => stream as TLSSocket,
      method: call.method,
      path: call.path,
      timeout: times.message,
      signal,
      headers: {
        host,
        connection: 'close',
        ...(text === undefined
          ? {}
          : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }),
      },
    });
    sending.on('timeout', () => fail(new Fault('timeout', 'the gate did not answer in time')));
    sending.on('error', fail);
    sending.on('response', response => {
      let got = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        got += chunk;
        if (got.length > longest) fail(new Fault('protocol', 'the gate’s answer is too long'));
      });
      response.on('error', fail);
      response.on('end', () => {
        stream.destroy();
        const time = new Date(response.headers.date ?? Number.NaN);
        const status = response.statusCode ?? 0;
        try {
          resolve({ status, time, body: got === '' ? undefined : JSON.parse(got) });
        } catch (cause) {
          reject(new Fault('protocol', `${host} does not answer as a gate does`, { cause }));
        }
      });
    });
    sending.end(text);
  });
}

/** SHA-256 of a PEM certificate, hex. */
export const fingerprintOf = (pem: string): string =>
  createHash('sha256').update(new X509Certificate(pem).raw).digest('hex');
