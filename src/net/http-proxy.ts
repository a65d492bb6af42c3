// Out through an HTTP or HTTPS proxy by CONNECT (RFC 9110 §9.3.6), as HTTPS_PROXY and NO_PROXY say or an option does.
import { isIP } from 'node:net';
import { Fault } from '../core/fault.ts';
import type { Conn } from '../core/parts.ts';
import { Reset } from './reset.ts';
import { dialTcp } from './tcp.ts';
import { originateTls } from './tls-dial.ts';

export interface ProxyOptions {
  /** `http://proxy:3128` or `https://…`; a user and password in it are sent (RFC 7617). */
  readonly proxy: URL;
  /** `user:password`, where they shall not stand in the address. */
  readonly credentials?: string;
  readonly host: string;
  readonly port: number;
  /** Milliseconds for each step. */
  readonly timeout: number;
}

/** Bytes of the proxy's answer. */
const longestAnswer = 16_384;

/** @throws Fault `unreachable`, `timeout`, `denied` (the proxy will not), `unknown-caller` (it wants a password) */
export async function dialProxy(options: ProxyOptions, signal: AbortSignal): Promise<Conn> {
  const { proxy, host, port, timeout } = options;
  const where = proxy.hostname.replace(/^\[|\]$/g, '');
  const secure = proxy.protocol === 'https:';
  const raw = await dialTcp({ host: where, port: Number(proxy.port) || (secure ? 443 : 80), timeout }, signal);
  try {
    const name = { ...(isIP(where) === 0 ? { servername: where } : {}), verify: { name: where }, handshake: timeout };
    const conn = secure ? await originateTls(raw, name, signal) : raw;
    await ask(conn, options, signal);
    // `host` is who the conn leads to, wherever it goes through.
    return { ...conn, peer: { host, port }, close: deadline => conn.close(deadline), stream: conn.stream };
  } catch (error) {
    raw.stream.destroy();
    throw error;
  }
}

function ask(
  { stream }: Conn,
  { proxy, credentials, host, port, timeout }: ProxyOptions,
  signal: AbortSignal,
): Promise<void> {
  const authority = `${host.includes(':') ? `[${host}]` : host}:${port}`;
  const own = proxy.username
    ? `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`
    : undefined;
  const secret = credentials ?? own;
  const lines = [
    `CONNECT ${authority} HTTP/1.1`,
    `Host: ${authority}`,
    ...(secret === undefined ? [] : [`Proxy-Authorization: Basic ${Buffer.from(secret).toString('base64')}`]),
  ];
  return new Promise((resolve, reject) => {
    let got = Buffer.alloc(0);
    const settle = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
      stream.off('readable', look).off('close', closed).off('end', closed);
    };
    const fail = (reason: unknown): void => {
      settle();
      stream.destroy();
      reject(reason);
    };
    const abort = (): void => fail(signal.reason);
    const closed = (): void =>
      fail(
        new Fault('unreachable', `the proxy ${proxy.host} closed the connection instead of answering`, {
          cause: new Reset(),
        }),
      );
    const timer = setTimeout(() => fail(new Fault('timeout', `the proxy ${proxy.host} did not answer`)), timeout);
    const look = (): void => {
      for (let chunk = stream.read() as Buffer | null; chunk; chunk = stream.read() as Buffer | null)
        got = Buffer.concat([got, chunk]);
      const end = got.indexOf('\r\n\r\n');
      if (end < 0) {
        if (got.length > longestAnswer) fail(new Fault('protocol', `the proxy ${proxy.host} answered without end`));
        return;
      }
      const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(got.toString('latin1', 0, 64))?.[1] ?? 0);
      if (status < 200 || status > 299) return void fail(refusal(status, proxy, authority));
      settle();
      const rest = got.subarray(end + 4);
      if (rest.length > 0) stream.unshift(rest);
      resolve();
    };
    stream.on('readable', look).once('close', closed).once('end', closed);
    signal.addEventListener('abort', abort);
    if (signal.aborted) abort();
    else stream.write(`${lines.join('\r\n')}\r\n\r\n`);
  });
}

function refusal(status: number, { host }: URL, authority: string): Fault {
  if (status === 407) {
    return new Fault(
      'unknown-caller',
      `the proxy ${host} wants a user and password; give them in HTTPS_PROXY or a file`,
    );
  }
  if (status === 0) return new Fault('protocol', `${host} does not answer as an HTTP proxy`);
  const code = status >= 500 ? 'unreachable' : 'denied';
  return new Fault(code, `the proxy ${host} does not let ${authority} through (HTTP ${status})`);
}

/** What the environment says for a TLS target: HTTPS_PROXY, then ALL_PROXY, unless NO_PROXY names the host. @throws Fault `invalid` */
export function proxyOf(
  env: Readonly<Record<string, string | undefined>>,
  { host, port }: { readonly host: string; readonly port: number },
): URL | undefined {
  const value = (name: string): string => env[name.toLowerCase()] || env[name] || '';
  const text = value('HTTPS_PROXY') || value('ALL_PROXY');
  if (text === '' || isExempt(value('NO_PROXY'), host, port)) return undefined;
  return parseProxy(text);
}

/** @throws Fault `invalid`; never with what was written, which may hold a password */
export function parseProxy(text: string): URL {
  const url = tryUrl(/^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`);
  if (url && (url.protocol === 'http:' || url.protocol === 'https:')) return url;
  throw new Fault('invalid', 'the proxy is written http://host:port or https://host:port');
}

function tryUrl(text: string): URL | undefined {
  try {
    return new URL(text);
  } catch {
    return undefined;
  }
}

/** `NO_PROXY=localhost,.corp.example,10.0.0.1,host:8443`, `*` = all; a name covers what is below it, as in curl. */
function isExempt(list: string, host: string, port: number): boolean {
  return list
    .toLowerCase()
    .split(/[\s,]+/)
    .filter(entry => entry !== '')
    .some(entry => {
      if (entry === '*') return true;
      const [, name = '', only] = /^(.*?)(?::(\d+))?$/.exec(isIP(entry) === 6 ? `[${entry}]` : entry) ?? [];
      if (only !== undefined && Number(only) !== port) return false;
      const bare = name.replace(/^\*?\./, '').replace(/^\[|\]$/g, '');
      const asked = host.toLowerCase();
      return asked === bare || (isIP(asked) === 0 && asked.endsWith(`.${bare}`));
    });
}
