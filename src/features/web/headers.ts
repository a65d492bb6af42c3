// Which header fields pass a proxy, and which do not (RFC 9110 §7.6.1). Fields are flat lists, name value name value, as
// they came: case, order and repeats are kept.
import { Fault } from '../../core/fault.ts';
import { cookieIn } from './gate-cookies.ts';

/** name, value, name, value, … */
export type Fields = readonly string[];

/** Of one connection only, never passed on. TE and Trailer are treated where they are used. */
const hopByHop = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authorization',
  'proxy-authenticate',
  'proxy-authentication-info',
  'te',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
]);
/** Made anew by whoever writes the message; a `Connection: content-length` does not take them away. */
const framing = new Set(['host', 'content-length']);

/**
 * Fields by which servers are told who is there: whoever stands behind a proxy believes them, so no client may write
 * them. CGI-like servers read `_` as `-`, and some of them every other sign too. `Proxy` is their HTTP_PROXY.
 */
const identity =
  /^(x-sekisho-.*|x-forwarded(-.*)?|forwarded|proxy|x-real-ip|true-client-ip|cf-connecting-ip|x-cluster-client-ip|x-original-forwarded-for|x-webauth-.*|x-client-(ip|cert|dn|verify)(-.*)?|(x-)?(remote-(user|group|groups|email|name)|ssl-client-.*|client-cert(-chain)?|auth-request-.*|authenticated-(user|groups?)))$/;
const isIdentity = (name: string): boolean => identity.test(other.test(name) ? name.replace(others, '-') : name);
const other = /[^a-z0-9-]/;
const others = /[^a-z0-9-]/g;

/** Values of a field, in order. */
export function valuesOf(fields: Fields, name: string): string[] {
  const found: string[] = [];
  for (let at = 0; at < fields.length; at += 2) {
    if (fields[at]?.toLowerCase() === name) found.push(fields[at + 1] ?? '');
  }
  return found;
}

/** All fields but those of this name. */
export const without = (fields: Fields, name: string): string[] => {
  const out: string[] = [];
  for (let at = 0; at < fields.length; at += 2)
    if (fields[at]?.toLowerCase() !== name) out.push(fields[at] ?? '', fields[at + 1] ?? '');
  return out;
};

/** `a, b , c` → lower-case tokens. */
export const tokensOf = (values: readonly string[]): string[] =>
  values.flatMap(value => value.toLowerCase().split(',')).flatMap(token => token.trim() || []);

/** How a request's body is framed. */
export type Body =
  | { readonly kind: 'none' }
  | { readonly kind: 'length'; readonly length: string }
  | { readonly kind: 'chunked' };

/**
 * Reads the framing of an HTTP/1 request more strictly than the parser does, since two readings of one request are what
 * smuggling is made of. @throws Fault `protocol`; `invalid` (501) for transfer codings other than chunked
 */
export function requestBody(fields: Fields, version: string): Body {
  const lengths = valuesOf(fields, 'content-length');
  const codings = valuesOf(fields, 'transfer-encoding');
  if (codings.length > 0) {
    if (lengths.length > 0) throw new Fault('protocol', 'a request has either a length or a transfer coding'); // RFC 9112 §6.3
    if (version !== '1.1') throw new Fault('protocol', 'HTTP/1.0 knows no transfer codings'); // RFC 9112 §6.1
    if (codings.length > 1 || codings[0]?.toLowerCase() !== 'chunked') {
      throw new Fault('invalid', 'no transfer coding but chunked is understood');
    }
    return { kind: 'chunked' };
  }
  const [length] = lengths;
  if (length === undefined) return { kind: 'none' };
  if (lengths.length > 1 || !/^\d{1,16}$/.test(length))
    throw new Fault('protocol', 'the length of this request cannot be read');
  return length === '0' ? { kind: 'none' } : { kind: 'length', length };
}

/** Checks Host (RFC 9112 §3.2): exactly one, and none but in HTTP/1.0. @throws Fault `protocol` */
export function checkHostField(fields: Fields, version: string): void {
  const hosts = valuesOf(fields, 'host');
  if (hosts.length > 1 || (hosts.length === 0 && version === '1.1')) {
    throw new Fault('protocol', 'a request has exactly one Host');
  }
  if (hosts[0] !== undefined && !/^[\x21-\x2b\x2d\x2e\x30-\x3e\x41-\x7e]*$/.test(hosts[0])) {
    throw new Fault('protocol', 'the Host of this request cannot be read');
  }
}

const bodiless = new Set(['GET', 'HEAD', 'DELETE', 'OPTIONS', 'TRACE']);

export interface Onward {
  /** The new Host. */
  readonly host: string;
  readonly body: Body;
  readonly method: string;
  /** `1.1` or `2.0`, for Via. */
  readonly version: string;
  /** Fields of ours, for services that want to know who is there. */
  readonly extra: Fields;
  /** The gate itself is asked: its cookies are its. */
  readonly isOwn?: boolean;
}

/** What a request says upstream. */
export function requestFields(fields: Fields, { host, body, method, version, extra, isOwn = false }: Onward): string[] {
  const named = connectionTokens(fields);
  const out = ['Host', host];
  const cookies: string[] = [];
  let via = '';
  for (let at = 0; at < fields.length; at += 2) {
    const name = fields[at] ?? '';
    if (name.startsWith(':')) continue;
    const lower = name.toLowerCase();
    if (framing.has(lower) || hopByHop.has(lower) || named?.has(lower) || isIdentity(lower)) continue;
    const value = passed(lower, fields[at + 1] ?? '', isOwn);
    if (value === undefined) continue;
    if (lower === 'via') via = via === '' ? value : `${via}, ${value}`;
    else if (lower === 'cookie' && version === '2.0') cookies.push(value);
    else out.push(name, value);
  }
  if (cookies.length > 0) out.push('Cookie', cookies.join('; ')); // RFC 9113 §8.2.3
  if (tokensOf(valuesOf(fields, 'te')).includes('trailers')) out.push('TE', 'trailers');
  if (body.kind === 'length') out.push('Content-Length', body.length);
  if (body.kind === 'chunked') out.push('Transfer-Encoding', 'chunked');
  if (body.kind === 'none' && !bodiless.has(method)) out.push('Content-Length', '0'); // RFC 9110 §8.6
  out.push('Via', joined(via, version), ...extra);
  return out;
}

const passed = (lower: string, value: string, isOwn: boolean): string | undefined =>
  lower === 'cookie' && !isOwn ? cookieIn(value) : value;

/** What may stand in no value and no path: whoever gets it in writes a second request. */
const unsafe = /[\0\r\n]/;
const token = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

/** A request's head as bytes are sent, latin1. Everything in it has been parsed; it is looked at once more. @throws Fault `protocol` */
export function requestHead(method: string, path: string, fields: Fields): string {
  let head = `${method} ${path} HTTP/1.1\r\n`;
  if (!token.test(method) || /[\0-\x20\x7f-\uffff]/.test(path))
    throw new Fault('protocol', 'this request cannot be sent on');
  for (let at = 0; at < fields.length; at += 2) {
    const name = fields[at] ?? '';
    const value = fields[at + 1] ?? '';
    if (unsafe.test(value) || !token.test(name)) throw new Fault('protocol', 'this request cannot be sent on');
    head += `${name}: ${value}\r\n`;
  }
  return `${head}\r\n`;
}

/** Whether fields may be written as they are. */
export function safeFields(fields: Fields): boolean {
  for (let at = 0; at < fields.length; at += 2)
    if (!token.test(fields[at] ?? '') || unwritable.test(fields[at + 1] ?? '')) return false;
  return true;
}
const unwritable = /[^\t\x20-\x7e\x80-\xff]/;

/** Fields that have been looked at, as lines. */
export function fieldLines(fields: Fields): string {
  let text = '';
  for (let at = 0; at < fields.length; at += 2) text += `${fields[at]}: ${fields[at + 1]}\r\n`;
  return text;
}

/** Early hints that have been looked at, as bytes are sent (RFC 8297). */
export const earlyHints = (links: Fields): string => `HTTP/1.1 103 Early Hints\r\n${fieldLines(links)}\r\n`;

/** What an answer says to the client. `trailer` announces fields after the body, where there can be some. */
export function answerFields(fields: Fields, version: string, trailer: boolean): string[] {
  const named = connectionTokens(fields);
  const out: string[] = [];
  let via = '';
  for (let at = 0; at < fields.length; at += 2) {
    const name = fields[at] ?? '';
    const lower = name.toLowerCase();
    if (hopByHop.has(lower) || (named?.has(lower) && !framing.has(lower))) continue;
    if (lower === 'trailer' && !trailer) continue;
    if (lower === 'via') via = via === '' ? (fields[at + 1] ?? '') : `${via}, ${fields[at + 1]}`;
    else out.push(name, fields[at + 1] ?? '');
  }
  out.push('Via', joined(via, version));
  return out;
}

/** Fields that may come after a body: nothing that frames, routes, or says who is there (RFC 9110 §6.5.1). */
export function trailerFields(fields: Fields): string[] {
  const out: string[] = [];
  for (let at = 0; at < fields.length; at += 2) {
    const name = fields[at] ?? '';
    const lower = name.toLowerCase();
    if (hopByHop.has(lower) || framing.has(lower) || isIdentity(lower) || notTrailing.has(lower)) continue;
    out.push(name, fields[at + 1] ?? '');
  }
  return out;
}
const notTrailing = new Set([
  'trailer',
  'authorization',
  'cookie',
  'set-cookie',
  'content-encoding',
  'content-type',
  'content-range',
  'cache-control',
  'expect',
  'max-forwards',
  'range',
  'via',
]);

/** RFC 9110 §7.6.3; the pseudonym stands for this machine's name, which is nobody's business. */
const joined = (before: string, version: string): string => `${before === '' ? '' : `${before}, `}${version} sekisho`;

/** Names of fields that `Connection` says are of this connection only; undefined for none but the usual ones. */
function connectionTokens(fields: Fields): ReadonlySet<string> | undefined {
  let named: Set<string> | undefined;
  for (let at = 0; at < fields.length; at += 2) {
    const name = fields[at];
    if (name === undefined || name.length !== 10 || name.toLowerCase() !== 'connection') continue;
    const value = fields[at + 1] ?? '';
    if (value === 'keep-alive' || value === 'close') continue;
    named ??= new Set();
    for (const token of tokensOf([value])) named.add(token);
  }
  return named;
}

/** Bytes that header values are made of, so that a name of any script can stand in one: UTF-8, percent-encoded. */
export const encodeValue = (text: string): string =>
  text.replace(/[^\x21-\x24\x26-\x7e]/gu, character => encodeURIComponent(character));
