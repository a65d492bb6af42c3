// What signing in and changing one's own proofs share: what was proven, for how long it counts, and its renewal.
import { randomBytes } from 'node:crypto';
import { Fault } from '../core/fault.ts';
import type { Address, Claim, Principal } from '../core/parts.ts';
import { bindingHash, type Token, trustConfig } from '../trust/index.ts';
import { boundTo, type Caller, tokenOf } from './caller.ts';
import type { ApiDeps } from './deps.ts';
import { isStrong, settingUp, wantsFactor } from './factor.ts';

/** What somebody shows. */
export type Shown =
  | { readonly user: string; readonly password: string; readonly totp?: string | undefined; readonly passkey?: unknown }
  | { readonly passkey: unknown }
  | { readonly code: string }
  | { readonly oidc: string; readonly how: 'oidc' | 'oidc+mfa'; readonly binding: string };

export interface Proof {
  readonly who: Principal;
  /** `password+totp`: stands in the record, and in the list of sign-ins. */
  readonly how: string;
  /** What it is good for, where that is not everything. */
  readonly scope?: readonly string[];
}

/** The purpose of challenges for the console. */
export const passkeyPurpose = 'sign-in';
/** A code from the way back from the provider is worth nothing without what the page that began it has kept. */
export const oidcPurpose = (how: string, binding: string): string => `${how} ${bindingHash(binding)}`;
/** How long ago the last proof may be when passkeys and codes are changed. */
const recent = 15 * 60_000;
const defaults = trustConfig.parse({});

export function createProver(deps: ApiDeps) {
  const { authenticator, totp, passkeys } = deps;
  const settings = () => deps.signIn?.() ?? defaults;
  const byPasskey = (response: unknown, from: Address, signal: AbortSignal): Promise<Principal> =>
    authenticator.prove({ kind: 'passkey', purpose: passkeyPurpose, response, from }, signal);

  /** @throws Fault `unknown-caller`, `limit`, `invalid` where something more is needed */
  async function second(shown: Extract<Shown, { user: string }>, who: Principal, from: Address, signal: AbortSignal) {
    const hasCode = (await totp?.has(who.id)) === true;
    const hasPasskey = passkeys?.has(who.id) === true;
    if (!hasCode && !hasPasskey) return 'password';
    if (shown.passkey !== undefined) {
      if ((await byPasskey(shown.passkey, from, signal)).id === who.id) return 'password+passkey';
      throw new Fault('unknown-caller', 'this passkey is somebody else\u2019s');
    }
    if (hasCode && shown.totp !== undefined) {
      await totp?.prove(who.id, shown.totp, from);
      return 'password+totp';
    }
    throw new Fault(
      'invalid',
      hasCode
        ? `body.totp: the code of your authenticator app${hasPasskey ? ', or your passkey,' : ''} is needed too`
        : 'body.passkey: your passkey is needed too; programs use an API token',
    );
  }

  return {
    settings,
    /** What proves most is named in the record: `claim.kind` of the first. */
    async prove(shown: Shown, from: Address, signal: AbortSignal): Promise<Proof> {
      if ('password' in shown) {
        const { user, password } = shown;
        const who = await authenticator.prove({ kind: 'password', user, password, from }, signal);
        return limited(who, await second(shown, who, from, signal));
      }
      if ('passkey' in shown) return { who: await byPasskey(shown.passkey, from, signal), how: 'passkey' };
      if ('oidc' in shown) {
        const { oidc: code, how, binding } = shown;
        const who = await authenticator.prove({ kind: 'code', purpose: oidcPurpose(how, binding), code, from }, signal);
        return limited(who, how);
      }
      const claim: Claim = { kind: 'code', purpose: 'sign-in', code: shown.code, from };
      return limited(await authenticator.prove(claim, signal), 'link');
    },
  };

  function limited(who: Principal, how: string): Proof {
    const isWanted = wantsFactor(who.groups, settings()['second-factor']);
    return isWanted && !isStrong(how) ? { who, how, scope: settingUp } : { who, how };
  }
}

/** A browser's sign-in: the token for its cookie, and the key that the cookie counts beside. */
export async function signBrowserIn(
  { directory }: Pick<ApiDeps, 'directory'>,
  { who, how, scope }: Proof,
  from: Address,
  life: number,
): Promise<{ readonly token: Token & { readonly token: string }; readonly key: string }> {
  const key = randomBytes(24).toString('base64url');
  const wanted = { user: who.id, kind: 'login', for: life, how, address: placeOf(from), bound: boundTo(key) } as const;
  return { key, token: await directory.addToken({ ...wanted, ...(scope === undefined ? {} : { scope }) }) };
}

export const placeOf = (from: Address): string => ('host' in from ? from.host : '');

/**
 * Somebody who changes what they prove themselves with is asked again where the last proof is old: a browser that was
 * left open must not become another's for good. @throws Fault `denied`, `conflict`
 */
export function checkProven({ directory, clock }: Pick<ApiDeps, 'directory' | 'clock'>, caller: Caller): Token {
  const token = tokenOf(directory, caller.who);
  if (token?.kind !== 'login') throw new Fault('denied', 'only somebody who has signed in may do this');
  if (clock.now().getTime() - (token.proven?.getTime() ?? 0) > recent)
    throw new Fault('conflict', 'prove once more who you are (POST /v1/prove): the last time is over 15 minutes ago');
  return token;
}

/**
 * All sign-ins of this user have ended, or are about to: whoever has changed their own proofs in a browser goes on, by a
 * new token.
 */
export async function renewing<T>(
  { directory, clock }: Pick<ApiDeps, 'directory' | 'clock'>,
  { caller, isSelf, cookie }: { readonly caller: Caller; readonly isSelf: boolean; cookie(token: string): void },
  change: () => Promise<T>,
): Promise<T> {
  const before = isSelf ? tokenOf(directory, caller.who) : undefined;
  const done = await change();
  if (!before || before.bound === '' || !before.expires) return done;
  const { user, how, address, bound, scope, proven, expires } = before;
  const life = Math.max(1, expires.getTime() - clock.now().getTime());
  const wanted = { user, kind: 'login', how, address, bound, scope, for: life, ...(proven ? { proven } : {}) } as const;
  cookie((await directory.addToken(wanted)).token);
  return done;
}
