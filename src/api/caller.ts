// Who calls: the peer of the unix socket is the administrator, everybody else shows a token with each request.
import type { IncomingHttpHeaders } from 'node:http';
import { Fault } from '../core/fault.ts';
import type { Action, Address, Authenticator, Conn, Principal } from '../core/parts.ts';
import { localAdministrator } from '../trust/index.ts';
import type { ApiDeps, Rights } from './deps.ts';

export interface Caller {
  readonly who: Principal;
  readonly from: Address;
  readonly rights: Rights;
}

export const nobodysRights: Rights = { roles: [], grants: () => undefined };

/**
 * A bearer token in the Authorization header, and nothing else: not a query, not a cookie, and not the client
 * certificate that a browser adds to every call by itself. @throws Fault `unknown-caller`, `limit`
 */
export async function identifyCaller(
  headers: IncomingHttpHeaders,
  conn: Conn,
  isLocal: boolean,
  { authenticator, rights }: Pick<ApiDeps, 'authenticator' | 'rights'>,
  signal: AbortSignal,
): Promise<Caller> {
  const token = bearerOf(headers.authorization);
  if (token !== undefined) return prove(token, conn.peer, authenticator, rights, signal);
  // File permissions of the gate's folder proved who opens the socket in it.
  if (isLocal) return { who: localAdministrator, from: conn.peer, rights: rights(localAdministrator) };
  throw new Fault('unknown-caller', 'no token was sent');
}

async function prove(
  token: string,
  from: Address,
  authenticator: Authenticator,
  rights: ApiDeps['rights'],
  signal: AbortSignal,
): Promise<Caller> {
  const who = await authenticator.prove({ kind: 'token', token, from }, signal);
  return { who, from, rights: rights(who) };
}

/** RFC 6750 §2.1. @throws Fault `unknown-caller` for another scheme: a call that meant to prove something must not pass as one that did not */
function bearerOf(header: string | undefined): string | undefined {
  if (header === undefined) return undefined;
  const token = /^bearer +([\w~+/.=:-]{1,1024})$/i.exec(header)?.[1];
  if (token === undefined) throw new Fault('unknown-caller', 'the Authorization header is not "Bearer <token>"');
  return token;
}

/** The rule by which a caller may do this. @throws Fault `denied` */
export function permit(caller: Caller, action: Action | 'known' | 'public'): string {
  if (action === 'public' || action === 'known') return action;
  const rule = caller.rights.grants(action);
  if (rule === undefined) throw new Fault('denied', `no role or scope grants ${action}`, { facts: { action } });
  return rule;
}
