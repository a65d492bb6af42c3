// Which hub, and who: out of what an OpenVPN client says in its TLS, and of the certificate that it has shown there.

import { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import { toFault } from '../../../core/fault.ts';
import type { Address, Conn, Principal } from '../../../core/parts.ts';
import type { Hubs } from '../hubs.ts';
import type { Member } from '../members.ts';
import { Refusal } from '../softether/errors.ts';
import { type Login, type LoginDeps, proveMember, provePlain } from '../softether/login.ts';

export interface OpenVpnLoginDeps extends LoginDeps {
  readonly hubs: Pick<Hubs, 'find' | 'list'>;
}
export interface Shown {
  readonly user: string;
  readonly password: string;
  /** As the profile says it. */
  readonly hub?: string | undefined;
  /** TLS stands. */
  readonly conn: Conn;
}

/** What is shown has to fit, all of it: a wrong password is not made good by a certificate, nor the other way round. */
export async function proveOpenVpn(shown: Shown, deps: OpenVpnLoginDeps, signal: AbortSignal): Promise<Login> {
  const { conn, password } = shown;
  const from = conn.peer;
  const certified = await byCertificate(conn, deps, signal);
  const wish = await wished(shown, certified, from, deps);
  return proveMember({ ...wish, from }, deps, async member => {
    const pinned = member ? isPinned(conn, member, deps) : false;
    if (certified && certified.id !== member?.name) return undefined;
    if (password !== '') return provePlain(password, { from, name: wish.name, member, signal }, deps);
    if (certified) return certified;
    return pinned && member ? deps.members.principal(member) : undefined;
  });
}

/** Names without a hub that they lead to are guesses like others. */
async function wished(
  shown: Shown,
  certified: Principal | undefined,
  from: Address,
  deps: OpenVpnLoginDeps,
): Promise<ReturnType<typeof whereTo>> {
  try {
    return whereTo(shown, certified?.id ?? '', deps);
  } catch (error) {
    await deps.attempts.begin({ from });
    throw error;
  }
}

/** The gate's user whose certificate this is; of a device's or of somebody else's CA nothing. */
async function byCertificate(
  { tls, peer }: Conn,
  { authenticator }: OpenVpnLoginDeps,
  signal: AbortSignal,
): Promise<Principal | undefined> {
  if (!tls?.leaf) return undefined;
  const { leaf, chain } = tls;
  try {
    const who = await authenticator.prove(
      { kind: 'certificate', leaf, ...(chain ? { chain } : {}), from: peer },
      signal,
    );
    if (who.kind !== 'user' || who.id === '') throw new Refusal('auth-failed', 'the certificate is not a user’s');
    return who;
  } catch (error) {
    if (error instanceof Refusal || toFault(error).code !== 'unknown-caller') throw error;
    throw new Refusal('auth-failed', `the certificate does not count: ${toFault(error).message}`);
  }
}

/** The one certificate that the membership names, whoever issued it: TLS has proven its key. */
function isPinned({ stream }: Conn, { certificate }: Member, { clock }: OpenVpnLoginDeps): boolean {
  const raw = certificate && (stream as Partial<TLSSocket>).getPeerX509Certificate?.()?.raw;
  if (!raw || !certificate?.equals(raw)) return false;
  const { validFrom, validTo } = new X509Certificate(raw);
  return new Date(validFrom) <= clock.now() && clock.now() <= new Date(validTo);
}

/**
 * `alice@lab` and `lab\alice` name the hub, or else the profile does. Without it: the one that this member is of, or the
 * only one there is. Which hubs there are is not told.
 */
export function whereTo(
  { user, hub }: Pick<Shown, 'user' | 'hub'>,
  certified: string,
  { hubs, members }: Pick<OpenVpnLoginDeps, 'hubs' | 'members'>,
): { readonly hub: string; readonly name: string } {
  const written = user.slice(0, 255);
  const [, before, after] = /^([^\\]+)\\(.*)$/s.exec(written) ?? [];
  if (before !== undefined && after !== undefined) return { hub: before, name: after || certified };
  const at = written.lastIndexOf('@');
  // A user's own name may hold an @: only what names a hub is one.
  if (at >= 0 && hubs.find(written.slice(at + 1)))
    return { hub: written.slice(at + 1), name: written.slice(0, at) || certified };
  const name = written || certified;
  if (name === '') throw new Refusal('auth-failed', 'neither a user name nor a certificate was shown');
  if (hub !== undefined) return { hub: hub.slice(0, 255), name };
  const all = hubs.list();
  const own = all.filter(hub => members.find(hub.name, name));
  const [only] = own.length > 0 ? own : all;
  if (!only || own.length > 1 || (own.length === 0 && all.length > 1)) {
    if (all.length === 0) throw new Refusal('no-such-hub', 'there is no hub');
    throw new Refusal('auth-failed', `which hub "${name}" wants is not said, and it cannot be told`);
  }
  return { hub: only.name, name };
}
