// What a proxy request names: `http://server1:8081/p`, `server1:8081` → a site, in one canonical form.
import { isIPv4, isIPv6 } from 'node:net';
import { Fault } from '../../core/fault.ts';
import { formatIp, ipBytes, parseIp } from '../../wire/ip.ts';

/** Host in lower case without a trailing dot (IPv6 without brackets, v4-mapped as IPv4), and always a port. */
export interface Site {
  readonly host: string;
  readonly port: number;
}

/** `server1:8081`, `[2001:db8::1]:80`: how policies, audit and logs call it. */
export const siteName = ({ host, port }: Site): string => `${hostText(host)}:${port}`;

/** The resource of `access`. */
export const siteResource = (site: Site): string => `web/${siteName(site)}`;

export const hostText = (host: string): string => (host.includes(':') ? `[${host}]` : host);

/** What the Host header says: the port only where it is not 80 (RFC 9110 §4.2.1). */
export const hostHeader = ({ host, port }: Site): string => (port === 80 ? hostText(host) : siteName({ host, port }));

/**
 * `host:port`, as CONNECT has it (RFC 9112 §3.2.3). Without `defaultPort` the port must be written.
 * @throws Fault `protocol`
 */
export function parseAuthority(text: string, defaultPort?: number): Site {
  if (text.includes('@')) throw new Fault('protocol', 'an address with a user name in it is not forwarded');
  const [, bracketed, plain, port] = /^(?:\[([^\]]*)\]|([^:]*))(?::(\d{0,5}))?$/.exec(text) ?? [];
  const host = bracketed !== undefined ? canonicalIPv6(bracketed) : canonicalHost(plain ?? '');
  const number = port === undefined || port === '' ? defaultPort : Number(port);
  if (host === undefined) throw new Fault('protocol', 'the host of this address is not a host name');
  if (number === undefined) throw new Fault('protocol', 'this address needs a port, like server1:443');
  if (number < 1 || number > 65535) throw new Fault('protocol', 'the port of this address is none');
  return { host, port: number };
}

export interface AbsoluteTarget {
  readonly site: Site;
  /** Path and query as they were sent, byte for byte; `/` where there was none, `*` for OPTIONS of the whole server. */
  readonly path: string;
}

/** absolute-form (RFC 9112 §3.2.2), `http:` only. @throws Fault `protocol`; `invalid` for other schemes */
export function parseAbsolute(target: string, method: string): AbsoluteTarget {
  const [, scheme, authority, rest] =
    /^([A-Za-z][A-Za-z0-9+.-]*):\/\/([^/?#]*)([\x21\x22\x24-\x7e]*)$/.exec(target) ?? [];
  if (scheme === undefined || authority === undefined || rest === undefined) {
    throw new Fault('protocol', 'the address of this request cannot be read');
  }
  if (scheme.toLowerCase() !== 'http') {
    throw new Fault('invalid', `${scheme.toLowerCase()}:// is not forwarded as such; ${otherWay(scheme)}`);
  }
  const site = parseAuthority(authority, 80);
  // RFC 9112 §3.2.4: OPTIONS without path and query asks about the server as a whole.
  if (rest === '' && method === 'OPTIONS') return { site, path: '*' };
  return { site, path: rest.startsWith('/') ? rest : `/${rest}` };
}

const otherWay = (scheme: string): string =>
  /^(https|wss?)$/i.test(scheme) ? 'use CONNECT, as browsers do' : 'only http and CONNECT are';

/**
 * A name or an IPv4 address; undefined when it is neither. Underscores are let through: internal names have them. A last
 * label of digits that is no IPv4 address (`127.1`, `0x7f.1`, `2130706433`) is refused: resolvers read it as one.
 */
export function canonicalHost(text: string): string | undefined {
  const host = text.toLowerCase().replace(/\.$/, '');
  if (isIPv4(host)) return host;
  if (host.length === 0 || host.length > 253) return undefined;
  const labels = host.split('.');
  if (!labels.every(label => /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/.test(label))) return undefined;
  return /^(\d+|0x[0-9a-f]*)$/.test(labels.at(-1) ?? '') ? undefined : host;
}

/** Zone ids are refused: they mean something only on the machine that wrote them. */
function canonicalIPv6(text: string): string | undefined {
  if (!isIPv6(text) || text.includes('%')) return undefined;
  const ip = parseIp(text);
  return ip && formatIp(ipBytes(ip, ip.family === 4 ? 4 : 16));
}
