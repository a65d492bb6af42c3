// Addresses that services write → the public ones, and back: compared as URLs are, never as strings.
import { readAuthority, type Scheme, type Site, type Sites } from './map.ts';

export interface Naming {
  readonly sites: Sites;
  /** Whose answer or request this is. */
  readonly site: Site;
  /** The port in the gate's addresses as this client wrote it, `:8443`, or nothing. */
  readonly port: string;
}

interface Parts {
  readonly scheme: string | undefined;
  readonly user: string;
  readonly host: string;
  readonly port: number | undefined;
  /** Path, query and fragment as they were written. */
  readonly rest: string;
}

/** An absolute or scheme-relative address; undefined for everything else. Browsers read `\` as `/` there. */
function parse(text: string): Parts | undefined {
  const [, scheme, authority, rest] = /^(?:([A-Za-z][A-Za-z0-9+.-]*):)?[/\\]{2}([^/?#\\]*)([\s\S]*)$/.exec(text) ?? [];
  if (authority === undefined || rest === undefined) return undefined;
  const at = authority.lastIndexOf('@');
  const place = readAuthority(authority.slice(at + 1));
  return place && { scheme: scheme?.toLowerCase(), user: authority.slice(0, at + 1), ...place, rest };
}

const plain: Readonly<Record<string, Scheme>> = { http: 'http', https: 'https', ws: 'http', wss: 'https' };
const secure: Readonly<Record<string, string>> = { http: 'https', https: 'https', ws: 'wss', wss: 'wss' };

/** What a service wrote, as its clients must see it. What leads elsewhere stays byte for byte. */
export function outward(text: string, { sites, site, port }: Naming): string {
  const parts = parse(text);
  if (!parts) return site.path === '/' ? text : withoutPrefix(text, site.path);
  const { scheme, user, host, rest } = parts;
  if (scheme !== undefined && !(scheme in plain)) return text;
  const found = sites.at(scheme === undefined ? site.scheme : plain[scheme], host, parts.port, site);
  if (!found) return text;
  const isPublic = host === found.name && host !== found.host && host !== found.alias?.host;
  const path = isPublic ? rest : below(rest, found.path);
  if (path === undefined) return text;
  return `${scheme === undefined ? '' : `${secure[scheme]}:`}//${user}${found.name}${port}${path}`;
}

/** What a client wrote (Origin, Referer, Destination), as the service must see it. */
export function inward(text: string, { sites, site, port }: Naming): string {
  const parts = parse(text);
  if (!parts || parts.scheme === undefined || (parts.scheme !== 'https' && parts.scheme !== 'wss')) return text;
  // What stands at another port of the same name is somebody else.
  if ((parts.port ?? 443) !== (port === '' ? 443 : Number(port.slice(1)))) return text;
  const found = parts.host === site.name ? site : sites.find(parts.host);
  if (!found) return text;
  const { authority = found.name } = found;
  const scheme = parts.scheme === 'wss' ? (found.scheme === 'https' ? 'wss' : 'ws') : found.scheme;
  const rest = found.path === '/' || parts.rest === '' ? parts.rest : found.path + parts.rest.replace(/^\//, '');
  return `${scheme}://${parts.user}${authority}${rest}`;
}

/** The path on the service of a path on the site. */
export const innerPath = (path: string, { path: prefix }: Site): string =>
  prefix === '/' || !path.startsWith('/') ? path : prefix + path.slice(1);

/** `/wiki/a` below `/wiki/` → `/a`; undefined when it is not below. */
export function below(path: string, prefix: string): string | undefined {
  if (prefix === '/') return path;
  if (path.startsWith(prefix)) return path.slice(prefix.length - 1);
  const bare = prefix.slice(0, -1);
  if (path === bare || path.startsWith(`${bare}?`) || path.startsWith(`${bare}#`)) return `/${path.slice(bare.length)}`;
  return undefined;
}

const withoutPrefix = (text: string, prefix: string): string =>
  text.startsWith('/') ? (below(text, prefix) ?? text) : text;
