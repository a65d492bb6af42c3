// From this machine to a tunnel's endpoint: through an HTTP proxy if there is one, TLS always verified, then the WebSocket.
import { connect as connectTcp, isIP, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import * as tls from 'node:tls';
import { Fault, isWeather } from '../../core/fault.ts';
import { dialWebSocket, type MessagePipe, UpgradeRefused } from '../../net/websocket.ts';

export interface Endpoint {
  readonly host: string;
  readonly port: number;
  /** Amazon's own: it is offered nothing that it does not know. */
  readonly isAws: boolean;
}

export interface DialTunnelOptions {
  readonly endpoint: Endpoint;
  readonly mode: 'source' | 'destination';
  readonly token: string;
  readonly clientToken: string;
  readonly ca?: string | readonly string[];
  readonly proxy?: string;
  readonly signal: AbortSignal;
}

/** Ours: half-close and a window for each connection. Whoever does not know it picks the other. */
export const ownProtocol = 'sekisho.tunnel-1';
export const awsProtocol = 'aws.iot.securetunneling-3.0';

/** Milliseconds for each of connect, proxy, TLS and upgrade. */
const patience = 15_000;
/** Of one message; AWS sends at most 131,076 bytes. */
const longestMessage = 256 * 1024;

/** `gate.example.com:8443`, an https:// or wss:// URL of a host, or a region of AWS. @throws Fault `invalid` */
export function endpointOf(options: { readonly endpoint?: string; readonly region?: string }): Endpoint {
  const { endpoint, region } = options;
  if ((endpoint === undefined) === (region === undefined)) {
    throw new Fault('invalid', 'say where the tunnel is: an endpoint (the gate) or a region (AWS), and not both');
  }
  if (region !== undefined) {
    if (!/^[a-z]{2}(-[a-z]+)+-\d$/.test(region)) {
      throw new Fault('invalid', `"${region}" is not a region of AWS; write for example ap-northeast-1`);
    }
    const suffix = region.startsWith('cn-') ? 'amazonaws.com.cn' : 'amazonaws.com';
    return { host: `data.tunneling.iot.${region}.${suffix}`, port: 443, isAws: true };
  }
  const text = endpoint ?? '';
  const full = /^(https|wss):\/\//.test(text) ? text : `https://${text}`;
  const url = URL.canParse(full) ? new URL(full) : undefined;
  if (
    url === undefined ||
    url.username !== '' ||
    url.hash !== '' ||
    url.search !== '' ||
    !/^\/(tunnel)?$/.test(url.pathname)
  ) {
    throw new Fault('invalid', `"${text}" is not an endpoint; write https://gate.example.com or gate.example.com:8443`);
  }
  const host = url.hostname.replace(/^\[|\]$/g, '');
  return { host, port: Number(url.port || 443), isAws: /\.(amazonaws\.com(\.cn)?|api\.aws)$/.test(host) };
}

/** What is worth another try, and what is not. */
export type Dialled =
  | { readonly pipe: MessagePipe; readonly isOurs: boolean }
  | { readonly fatal: Fault }
  | { readonly passing: string };

/** Never rejects but with the signal's reason. */
export async function dialTunnel(options: DialTunnelOptions): Promise<Dialled> {
  const { endpoint, mode, token, clientToken, signal } = options;
  const where = `${endpoint.host}:${endpoint.port}`;
  try {
    const stream = await dialSecure(options);
    const host = isIP(endpoint.host) === 6 ? `[${endpoint.host}]` : endpoint.host;
    const pipe = await dialWebSocket({
      url: `wss://${host}:${endpoint.port}/tunnel?local-proxy-mode=${mode}`,
      stream,
      protocols: endpoint.isAws ? [awsProtocol] : [ownProtocol, awsProtocol],
      headers: { 'access-token': token, 'client-token': clientToken, 'user-agent': 'sekisho-tunnel' },
      maxMessage: longestMessage,
      timeout: patience,
      unmasked: !endpoint.isAws,
      signal,
    });
    return { pipe, isOurs: pipe.protocol === ownProtocol };
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    return judge(error, where);
  }
}

function judge(error: unknown, where: string): Dialled {
  if (error instanceof UpgradeRefused) {
    const said = error.text === '' ? `HTTP ${error.status}` : error.text;
    if (error.status >= 500 || error.status === 429 || error.status === 408) return { passing: `${where}: ${said}` };
    return {
      fatal: new Fault('denied', `${where} does not let this side in: ${said}`, { facts: { status: error.status } }),
    };
  }
  const code = (error as NodeJS.ErrnoException).code ?? '';
  const trouble = certificateTrouble[code];
  if (trouble) return { fatal: new Fault('unreachable', `the certificate of ${where} ${trouble}`, { cause: error }) };
  if (error instanceof Fault && error.code !== 'timeout' && error.code !== 'unreachable') return { fatal: error };
  const why = error instanceof Error ? error.message || code : String(error);
  return { passing: isWeather(error) ? `${where} closed the connection (${code})` : `${where}: ${why}` };
}

/** Localproxy tries these for ever; nobody is helped by that. */
const certificateTrouble: Readonly<Record<string, string>> = {
  SELF_SIGNED_CERT_IN_CHAIN:
    'comes from a CA that this machine does not trust; name its CA with --ca (on the gate: sekisho cert ca)',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    'comes from a CA that this machine does not trust; name its CA with --ca (on the gate: sekisho cert ca)',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    'comes from a CA that this machine does not trust; name its CA with --ca (on the gate: sekisho cert ca)',
  UNABLE_TO_GET_ISSUER_CERT:
    'comes from a CA that this machine does not trust; name its CA with --ca (on the gate: sekisho cert ca)',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'is signed by nobody but itself; name it with --ca if it is the right one',
  CERT_HAS_EXPIRED: 'has expired; is the clock of this machine right?',
  CERT_NOT_YET_VALID: 'is not valid yet; is the clock of this machine right?',
  ERR_TLS_CERT_ALTNAME_INVALID: 'is for another name; dial the name that stands in it',
  CERT_SIGNATURE_FAILURE: 'carries a signature that does not fit; somebody may stand between',
};

/** TCP or the proxy's CONNECT, then TLS. @throws Fault, or the socket's error */
async function dialSecure({ endpoint, ca, proxy, signal }: DialTunnelOptions): Promise<Duplex> {
  const { host, port } = endpoint;
  const raw = proxy === undefined ? await dialPlain(host, port, signal) : await dialThrough(proxy, host, port, signal);
  return secured({ socket: raw, host, ...(isIP(host) === 0 ? { servername: host } : {}), ...trusting(ca) }, signal);
}

/** This machine's own store besides Node's list, where this Node can read it. */
function trusting(ca: string | readonly string[] | undefined): { ca?: string[] } {
  if (ca !== undefined) return { ca: typeof ca === 'string' ? [ca] : [...ca] };
  const read = (tls as { getCACertificates?: (kind: string) => string[] }).getCACertificates;
  return read ? { ca: [...new Set([...read('default'), ...read('system')])] } : {};
}

function secured(options: tls.ConnectionOptions, signal: AbortSignal): Promise<tls.TLSSocket> {
  return settled(signal, 'the TLS handshake', (resolve, reject) => {
    const socket = tls.connect({ ...options, ALPNProtocols: ['http/1.1'], minVersion: 'TLSv1.2' });
    socket.once('secureConnect', () => resolve(socket));
    socket.once('error', reject);
    socket.once('close', () => reject(new Fault('unreachable', 'the connection was closed within the TLS handshake')));
    return socket;
  });
}

const dialPlain = (host: string, port: number, signal: AbortSignal): Promise<Socket> =>
  settled(signal, `connecting to ${host}:${port}`, (resolve, reject) => {
    const socket = connectTcp({ host, port, noDelay: true, keepAlive: true, keepAliveInitialDelay: 30_000 });
    socket.once('connect', () => resolve(socket));
    socket.once('error', reject);
    return socket;
  });

/** RFC 9110 §9.3.6. */
async function dialThrough(proxy: string, host: string, port: number, signal: AbortSignal): Promise<Duplex> {
  const url = URL.canParse(proxy) ? new URL(proxy) : undefined;
  if (!url || !/^https?:$/.test(url.protocol)) {
    throw new Fault('invalid', 'the proxy is not an http:// or https:// address'); // not its text: it may hold a password
  }
  const name = url.hostname.replace(/^\[|\]$/g, '');
  const at = Number(url.port) || (url.protocol === 'https:' ? 443 : 80);
  const plain = await dialPlain(name, at, signal);
  const socket: Duplex =
    url.protocol === 'https:'
      ? await secured(
          { socket: plain, host: name, ...(isIP(name) === 0 ? { servername: name } : {}), ...trusting(undefined) },
          signal,
        )
      : plain;
  const credentials = Buffer.from(`${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`);
  const authority = `${host.includes(':') ? `[${host}]` : host}:${port}`;
  socket.write(
    `CONNECT ${authority} HTTP/1.1\r\nhost: ${authority}\r\n${
      url.username === '' ? '' : `proxy-authorization: Basic ${credentials.toString('base64')}\r\n`
    }\r\n`,
  );
  const status = await settled<number>(signal, `the proxy ${name}:${at}`, (resolve, reject) => {
    let head = Buffer.alloc(0);
    const take = (chunk: Buffer): void => {
      head = Buffer.concat([head, chunk]);
      const end = head.indexOf('\r\n\r\n');
      if (end < 0 && head.length < 16_384) return;
      socket.off('data', take).off('error', reject).off('close', gone);
      socket.pause();
      if (end >= 0 && head.length > end + 4) socket.unshift(head.subarray(end + 4));
      resolve(Number(/^HTTP\/1\.[01] (\d{3})/.exec(head.toString('latin1', 0, 20))?.[1] ?? 0));
    };
    const gone = (): void => reject(new Fault('unreachable', `the proxy ${name}:${at} hung up`));
    socket.on('data', take).once('error', reject).once('close', gone);
    return socket;
  });
  if (status >= 200 && status < 300) return socket;
  socket.destroy();
  if (status === 407)
    throw new Fault('denied', `the proxy ${name}:${at} wants a user and a password, or others than these`);
  throw new Fault('unreachable', `the proxy ${name}:${at} does not lead to ${authority} (HTTP ${status || 'nothing'})`);
}

/** A step that ends in time, or its socket is destroyed. */
function settled<T>(
  signal: AbortSignal,
  what: string,
  step: (resolve: (value: T) => void, reject: (error: unknown) => void) => Duplex,
): Promise<T> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    let socket: Duplex | undefined;
    const settle = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
    };
    const fail = (error: unknown): void => {
      settle();
      socket?.on('error', () => {});
      socket?.destroy();
      reject(error);
    };
    const abort = (): void => fail(signal.reason);
    const timer = setTimeout(
      () => fail(new Fault('timeout', `${what} took longer than ${patience / 1000} s`)),
      patience,
    );
    signal.addEventListener('abort', abort);
    socket = step(value => {
      settle();
      resolve(value);
    }, fail);
  });
}
