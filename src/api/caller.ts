// Who calls: the peer of the unix socket is the administrator, everybody else shows a token with each request.
import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { Fault } from '../core/fault.ts';
import type { Action, Address, Conn, Principal } from '../core/parts.ts';
import { localAdministrator, type Token } from '../trust/index.ts';
import type { ApiDeps } from './deps.ts';
import { lacksFactor, settingUp } from './factor.ts';

export interface Caller {
  readonly who: Principal;
  readonly from: Address;
  /** What the credential was limited to: action patterns. undefined = everything its user may. */
  readonly scope?: readonly string[];
}

/**
 * RFC 6265bis §4.1.3.2: `__Host-` keeps every other host from setting it. Sites and endpoints of this gate may be
 * same-site with the console, so SameSite alone defends nothing: see `cookieOf`.
 */
const cookieName = '__Host-sekisho';
export const signInCookie = (token: string | undefined): string =>
  `${cookieName}=${token ?? ''}; Path=/; Secure; HttpOnly; SameSite=Strict${token === undefined ? '; Max-Age=0' : ''}`;

/** What a browser keeps of its own beside the cookie, as the database knows it. */
export const boundTo = (key: string): string => createHash('sha256').update(key).digest('hex');

/**
 * A bearer token in the Authorization header, or the console's cookie from the console's own pages. Never a query, and
 * never the client certificate that a browser adds to every call by itself. @throws Fault `unknown-caller`, `limit`
 */
export async function identifyCaller(
  headers: IncomingHttpHeaders,
  conn: Conn,
  isLocal: boolean,
  { authenticator, standing, directory, signIn }: Pick<ApiDeps, 'authenticator' | 'standing' | 'directory' | 'signIn'>,
): Promise<Caller> {
  const bearer = bearerOf(headers.authorization);
  const token = bearer ?? cookieOf(headers);
  const from = conn.peer;
  if (token !== undefined) {
    const proven = await authenticator.prove({ kind: 'token', token, from }, AbortSignal.timeout(10_000));
    const who = standing(proven);
    const shown = tokenOf(directory, who);
    checkBound(shown?.bound ?? '', bearer === undefined, headers);
    const isWeak = lacksFactor(shown, who.groups, signIn?.()['second-factor'] ?? []);
    const scope = isWeak ? settingUp : who.attributes.get('scope');
    return scope === undefined ? { who, from } : { who, from, scope };
  }
  // File permissions of the gate's folder proved who opens the socket in it.
  if (isLocal) return { who: standing(localAdministrator), from };
  throw new Fault('unknown-caller', 'no token was sent');
}

/** RFC 6750 §2.1. @throws Fault `unknown-caller` for another scheme: a call that meant to prove something must not pass as one that did not */
function bearerOf(header: string | undefined): string | undefined {
  if (header === undefined) return undefined;
  const token = /^bearer +([\w~+/.=:-]{1,1024})$/i.exec(header)?.[1];
  if (token === undefined) throw new Fault('unknown-caller', 'the Authorization header is not "Bearer <token>"');
  return token;
}

/**
 * A cookie counts only where the browser itself says that a page of this very origin asks (Fetch Metadata): a browser
 * that sends no such header has no business with a cookie of ours. @throws Fault `denied` for anybody else's page
 */
function cookieOf(headers: IncomingHttpHeaders): string | undefined {
  const values = (headers.cookie ?? '').split(/; */).filter(pair => pair.startsWith(`${cookieName}=`));
  const token = values.length === 1 ? values[0]?.slice(cookieName.length + 1) : undefined;
  if (!token || !/^[\w~+/.=:-]{1,1024}$/.test(token)) return undefined;
  if (headers['sec-fetch-site'] !== 'same-origin') {
    throw new Fault('denied', 'the console answers only to pages of its own; programs send a token');
  }
  return token;
}

/**
 * Cookies know no ports (RFC 6265 §8.5): an endpoint on another port of this host is sent the console's cookie, and may
 * plant one. So the cookie counts only beside a key that the console's pages keep, for their origin alone, port
 * included; and a browser's token counts as a cookie only. WebSockets, which send no fields of ours, name the key as a
 * subprotocol. @throws Fault `unknown-caller`
 */
function checkBound(bound: string, isCookie: boolean, headers: IncomingHttpHeaders): void {
  if (bound === '' && !isCookie) return;
  const offered = /(?:^|,\s*)sekisho-key\.([\w-]+)/.exec(headers['sec-websocket-protocol'] ?? '')?.[1];
  const key = headers['sekisho-key'] ?? offered;
  const shown = Buffer.from(boundTo(typeof key === 'string' ? key : ''));
  const wanted = Buffer.from(bound);
  if (isCookie && wanted.length === shown.length && timingSafeEqual(shown, wanted)) return;
  throw new Fault('unknown-caller', 'this sign-in belongs to a browser that is not this one');
}

/** Whether a scope holds this action, or all that a pattern like `cert.*` holds. */
export function isInScope(action: Action | string, scope: readonly string[] | undefined): boolean {
  if (scope === undefined) return true;
  const word = action.split('.')[0];
  return scope.some(pattern => pattern === '*' || pattern === action || pattern === `${word}.*`);
}

/** The token that a caller showed. */
export function tokenOf(
  directory: Pick<ApiDeps['directory'], 'tokens'>,
  who: Pick<Principal, 'id' | 'credential'>,
): Token | undefined {
  const id = /^token:(.+)$/.exec(who.credential)?.[1];
  return id === undefined ? undefined : directory.tokens(who.id).find(token => token.id === id);
}
