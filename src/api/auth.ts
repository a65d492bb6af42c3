// auth: signing in and out. A sign-in is a token of a few hours.
import { parseDuration } from '../core/duration.ts';
import { Fault } from '../core/fault.ts';
import { anonymous } from '../trust/index.ts';
import type { ApiDeps } from './deps.ts';
import type { Handlers } from './verbs.ts';

const longest = 24 * 3_600_000;

export function authHandlers(deps: ApiDeps): Pick<Handlers, 'auth.login' | 'auth.logout' | 'auth.whoami'> {
  const { authenticator, directory, gate } = deps;
  return {
    'auth.login': async ({ body, caller, note, signal }) => {
      const life = parseDuration(body.for);
      if (life <= 0 || life > longest) throw new Fault('invalid', 'body.for: a sign-in lasts up to 24h');
      const { user, password } = body;
      const { from } = caller;
      const who = await authenticator.prove({ kind: 'password', user, password, from }, signal).catch(error => {
        // Without the name that was typed: people type passwords into that field.
        const request = { who: anonymous, action: 'user.sign-in' as const, resource: 'api/login', from };
        if (error instanceof Fault) gate.refuse(request, error.code);
        throw error;
      });
      const made = await directory.addToken({ user: who.id, kind: 'login', for: life });
      const until = (made.expires ?? new Date(made.created.getTime() + life)).toISOString();
      note({ token: made.id, until });
      return { token: made.token, id: made.id, user: who.id, until };
    },
    'auth.logout': async ({ caller, about }) => {
      const { who } = caller;
      about(`user/${who.id}`);
      const id = tokenId(who.credential);
      if (id === undefined) throw new Fault('invalid', 'this call carries no token; there is nothing to sign out of');
      await directory.revokeToken(id);
      return { done: true };
    },
    'auth.whoami': async ({ caller: { who, rights } }) => ({
      kind: who.kind,
      id: who.id,
      roles: [...rights.roles],
      groups: [...who.groups],
      credential: who.credential,
      ...(rights.scope === undefined ? {} : { scope: [...rights.scope] }),
      ...(rights.until === undefined ? {} : { until: rights.until.toISOString() }),
    }),
  };
}

const tokenId = (credential: string): string | undefined => /^token:(.+)$/.exec(credential)?.[1];
