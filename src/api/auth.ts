// auth: signing in and out. A sign-in is a token of a few hours.
import { parseDuration } from '../core/duration.ts';
import { Fault } from '../core/fault.ts';
import type { Claim, Principal } from '../core/parts.ts';
import { anonymous, roles } from '../trust/index.ts';
import { tokenOf } from './caller.ts';
import type { ApiDeps } from './deps.ts';
import { act, type Handlers } from './verbs.ts';

const longest = 24 * 3_600_000;
/** How long a browser stays signed in. */
const workday = 12 * 3_600_000;

interface SignIn {
  readonly token: string;
  readonly id: string;
  readonly user: string;
  readonly until: string;
}

export function authHandlers(
  deps: ApiDeps,
): Pick<Handlers, 'auth.login' | 'auth.sign-in' | 'auth.logout' | 'auth.whoami'> {
  const { authenticator, directory, gate, totp } = deps;
  /** A one-time link is a factor of its own; a password needs the second one where it is set up. */
  const prove = async (claim: Claim, code: string | undefined, signal: AbortSignal): Promise<Principal> => {
    const who = await authenticator.prove(claim, signal);
    if (claim.kind !== 'password' || !(await totp?.has(who.id))) return who;
    if (code === undefined) throw new Fault('invalid', 'body.totp: the code of your authenticator app is needed too');
    await totp?.prove(who.id, code, claim.from);
    return who;
  };
  const signIn = async (claim: Claim, code: string | undefined, life: number, signal: AbortSignal): Promise<SignIn> => {
    const { from } = claim;
    const who = await prove(claim, code, signal).catch(error => {
      // Without the name that was typed: people type passwords into that field.
      if (error instanceof Fault)
        gate.refuse({ who: anonymous, action: 'user.login', resource: 'user/*', from }, error.code);
      throw error;
    });
    const asked = { who, action: 'user.login', resource: `user/${who.id}`, from, opened: claim.kind } as const;
    return act(gate, asked, async note => {
      const made = await directory.addToken({ user: who.id, kind: 'login', for: life });
      const until = (made.expires ?? new Date(made.created.getTime() + life)).toISOString();
      note({ token: made.id, until });
      return { token: made.token, id: made.id, user: who.id, until };
    });
  };
  return {
    'auth.login': async ({ body, caller: { from }, signal }) => {
      const life = parseDuration(body.for);
      if (life <= 0 || life > longest) throw new Fault('invalid', 'body.for: a sign-in lasts up to 24h');
      const { user, password } = body;
      return signIn({ kind: 'password', user, password, from }, body.totp, life, signal);
    },
    'auth.sign-in': async ({ body, caller: { from }, signal, cookie }) => {
      const claim: Claim =
        'code' in body
          ? { kind: 'code', purpose: 'sign-in', code: body.code, from }
          : { kind: 'password', user: body.user, password: body.password, from };
      const { token, user, until } = await signIn(claim, 'totp' in body ? body.totp : undefined, workday, signal);
      cookie(token);
      return { user, until };
    },
    'auth.logout': async ({ caller: { who, from }, headers, cookie }) => {
      if (headers.authorization === undefined) cookie(undefined);
      const token = tokenOf(directory, who);
      if (!token) throw new Fault('invalid', 'this call carries no token; there is nothing to sign out of');
      const asked = { who, action: 'user.logout', resource: `user/${who.id}`, from, opened: 'self' } as const;
      return act(gate, asked, async note => {
        note({ token: token.id });
        await directory.revokeToken(token.id);
        return { done: true };
      });
    },
    'auth.whoami': async ({ caller: { who, scope, from } }) => {
      const token = tokenOf(directory, who);
      return {
        kind: who.kind,
        id: who.id,
        // Roles travel as groups that no group of people can be called like.
        roles: roles.filter(role => who.groups.includes(`role:${role}`)),
        groups: who.groups.filter(group => !group.startsWith('role:')),
        credential: who.credential,
        ...('host' in from ? { address: from.host } : {}),
        ...(scope === undefined || token?.kind === 'login' ? {} : { scope: [...scope] }),
        ...(token?.expires === undefined ? {} : { until: token.expires.toISOString() }),
      };
    },
  };
}
