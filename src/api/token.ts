// token: API tokens with a scope and an end.
import { parseDuration } from '../core/duration.ts';
import { Fault } from '../core/fault.ts';
import type { Token } from '../trust/index.ts';
import { isInScope, tokenOf } from './caller.ts';
import type { TokenAnswer } from './contract/token.ts';
import { noteCuts } from './cut.ts';
import type { ApiDeps } from './deps.ts';
import type { Handlers } from './verbs.ts';

const longest = 366 * 86_400_000;

export function tokenHandlers({
  directory,
  sessions,
  clock,
}: ApiDeps): Pick<Handlers, 'token.create' | 'token.list' | 'token.revoke'> {
  return {
    'token.create': async ({ body, caller, note }) => {
      const life = parseDuration(body.for);
      if (life <= 0 || life > longest)
        throw new Fault('invalid', 'body.for: a token lives up to 366d; make a new one then');
      const beyond = body.scope.filter(pattern => !isInScope(pattern, caller.scope));
      if (beyond.length > 0) {
        throw new Fault('denied', 'a token makes no token that may more than itself', { facts: { beyond } });
      }
      // Whoever found a token that ends tonight must not have one that ends next year. A sign-in is its user.
      const own = tokenOf(directory, caller.who);
      if (own?.kind === 'api' && own.expires && clock.now().getTime() + life > own.expires.getTime()) {
        throw new Fault('denied', `a token makes no token that outlives it; it ends ${own.expires.toISOString()}`);
      }
      const { user, scope, note: label = '' } = body;
      const made = await directory.addToken({ user, scope, for: life, note: label });
      note({ token: made.id, scope, until: made.expires?.toISOString() });
      return { ...toToken(made, clock.now()), token: made.token };
    },
    'token.list': async ({ query }) => ({
      tokens: directory.tokens(query.user).map(token => toToken(token, clock.now())),
    }),
    'token.revoke': async ({ params, note }) => {
      const token = directory.tokens().find(({ id }) => id === params.id);
      if (!token) throw new Fault('missing', `no token ${params.id}`);
      note({ user: token.user });
      noteCuts(sessions, ({ credential }) => credential === `token:${params.id}`, note);
      await directory.revokeToken(params.id);
      return { id: params.id, revoked: true };
    },
  };
}

function toToken({ id, user, kind, note, scope, created, expires, revoked }: Token, now: Date): TokenAnswer {
  return {
    id,
    user,
    kind,
    ...(note === '' ? {} : { note }),
    scope: [...scope],
    created: created.toISOString(),
    ...(expires === undefined ? {} : { until: expires.toISOString() }),
    state: revoked ? 'revoked' : expires && expires <= now ? 'expired' : 'active',
  };
}
