// auth: signing in and out. A sign-in is a token of a few hours.
import { parseDuration } from '../core/duration.ts';
import { Fault } from '../core/fault.ts';
import type { Address } from '../core/parts.ts';
import { anonymous, roles, type Token } from '../trust/index.ts';
import { tokenOf } from './caller.ts';
import type { ApiDeps } from './deps.ts';
import { oidcCookie } from './oidc-door.ts';
import { createProver, type Proof, passkeyPurpose, placeOf, type Shown, signBrowserIn } from './sign-in.ts';
import { act, type Handlers } from './verbs.ts';

const longest = 24 * 3_600_000;

type Verbs = Extract<keyof Handlers, `auth.${string}`>;

export function authHandlers(deps: ApiDeps): Pick<Handlers, Verbs> {
  const { directory, gate, passkeys, clock } = deps;
  const prover = createProver(deps);
  /** What was shown, proven; then `make` under an admitted act. */
  const signIn = async <T>(
    shown: Shown,
    from: Address,
    signal: AbortSignal,
    make: (proof: Proof) => Promise<T & { readonly token: Token }>,
  ): Promise<T & { readonly token: Token }> => {
    const proof = await prover.prove(shown, from, signal).catch(error => {
      // Without the name that was typed: people type passwords into that field.
      if (error instanceof Fault)
        gate.refuse({ who: anonymous, action: 'user.login', resource: 'user/*', from }, error.code);
      throw error;
    });
    const { who, how } = proof;
    const opened = (['password', 'passkey', 'oidc'] as const).find(one => one in shown) ?? 'code';
    return act(gate, { who, action: 'user.login', resource: `user/${who.id}`, from, opened }, async note => {
      const made = await make(proof);
      note({ token: made.token.id, how, until: made.token.expires?.toISOString() });
      return made;
    });
  };
  const untilOf = ({ expires, created }: Token): string => (expires ?? created).toISOString();
  /** @throws Fault `denied`: an API token is no sign-in, and sees none */
  const ownOf = (who: Parameters<typeof tokenOf>[1]): Token => {
    const token = tokenOf(directory, who);
    if (token?.kind !== 'login') throw new Fault('denied', 'only somebody who has signed in may do this');
    return token;
  };
  const alive = (user: string): Token[] =>
    directory
      .tokens(user)
      .filter(({ kind, revoked, expires }) => kind === 'login' && !revoked && (!expires || expires > clock.now()));

  return {
    'auth.login': async ({ body, caller: { from }, signal }) => {
      const life = parseDuration(body.for);
      if (life <= 0 || life > longest) throw new Fault('invalid', 'body.for: a sign-in lasts up to 24h');
      const { token } = await signIn(body, from, signal, async ({ who, how, scope }) => {
        const wanted = { user: who.id, kind: 'login', for: life, how, address: placeOf(from) } as const;
        return { token: await directory.addToken({ ...wanted, ...(scope === undefined ? {} : { scope }) }) };
      });
      return { token: token.token, id: token.id, user: token.user, until: untilOf(token) };
    },
    'auth.sign-in': async ({ body, caller: { from }, signal, cookie }) => {
      const life = prover.settings()['sign-in'].for;
      const { token, key } = await signIn(body, from, signal, proof => signBrowserIn(deps, proof, from, life));
      cookie(token.token);
      return { user: token.user, until: untilOf(token), key };
    },
    'auth.ways': async () => {
      const provider = await deps.oidc?.();
      return { passkey: passkeys !== undefined, ...(provider ? { oidc: { name: provider.name } } : {}) };
    },
    'auth.oidc': async ({ setCookie }) => {
      const provider = await deps.oidc?.();
      if (!provider) throw new Fault('missing', 'this gate knows no OpenID provider; trust.oidc names one');
      const { url, cookie, binding } = await provider.start();
      setCookie(oidcCookie(cookie));
      return { url, binding };
    },
    'auth.passkey-ask': async () => {
      if (!passkeys) throw new Fault('missing', 'this gate keeps no passkeys');
      return { ...(await passkeys.challenge(passkeyPurpose)) };
    },
    'auth.prove': async ({ body, caller: { who, from }, signal }) => {
      const { id } = ownOf(who);
      const shown = 'password' in body ? { ...body, user: who.id } : body;
      const asked = { who, action: 'user.prove', resource: `user/${who.id}`, from, opened: 'self' } as const;
      const proof = await prover.prove(shown, from, signal).catch(error => {
        if (error instanceof Fault) gate.refuse(asked, error.code);
        throw error;
      });
      if (proof.who.id !== who.id) throw new Fault('denied', 'this passkey is somebody else\u2019s');
      return act(gate, asked, async note => {
        note({ token: id, how: proof.how });
        await directory.proveToken(id);
        return { done: true };
      });
    },
    'auth.list': async ({ caller: { who } }) => {
      const own = ownOf(who);
      const signIns = alive(who.id).map(({ id, how, address, created, expires }) => ({
        ...{ id, how, address, since: created.toISOString(), current: id === own.id },
        ...(directory.seen(id) ? { seen: directory.seen(id)?.toISOString() } : {}),
        ...(expires ? { until: expires.toISOString() } : {}),
      }));
      return { signIns: signIns.toReversed() };
    },
    'auth.end': async ({ params, caller: { who, from } }) => {
      const own = ownOf(who);
      const all = alive(who.id);
      const wanted =
        params.id === 'others' ? all.filter(({ id }) => id !== own.id) : all.filter(({ id }) => id === params.id);
      if (wanted.length === 0 && params.id !== 'others') throw new Fault('missing', `you have no sign-in ${params.id}`);
      const asked = { who, action: 'user.logout', resource: `user/${who.id}`, from, opened: 'self' } as const;
      return act(gate, asked, async note => {
        const ended = wanted.map(({ id }) => id);
        note({ token: ended });
        for (const id of ended) await directory.revokeToken(id);
        return { ended };
      });
    },
    'auth.logout': async ({ caller: { who, from }, headers, cookie }) => {
      if (headers.authorization === undefined) cookie(undefined);
      const token = tokenOf(directory, who);
      if (!token) throw new Fault('invalid', 'this call carries no token; there is nothing to sign out of');
      const asked = { who, action: 'user.logout', resource: `user/${who.id}`, from, opened: 'self' } as const;
      return act(gate, asked, async note => {
        note({ token: token.id });
        await directory.revokeToken(token.id);
        const onward = token.how.startsWith('oidc') ? (await deps.oidc?.())?.goodbye : undefined;
        return { done: true, ...(onward ? { onward } : {}) };
      });
    },
    'auth.whoami': async ({ caller: { who, scope, from } }) => {
      const token = tokenOf(directory, who);
      const isLimited = token?.kind === 'login' && scope !== undefined && !scope.includes('*');
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
        ...(isLimited ? { secondFactor: 'missing' as const } : {}),
      };
    },
  };
}
