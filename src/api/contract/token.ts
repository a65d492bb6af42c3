// token: API tokens with a scope and an end.
import { z } from 'zod';
import { durationText, name, time } from './common.ts';
import { verb } from './verb.ts';

export const token = z.object({
  id: z.string(),
  user: z.string(),
  kind: z.enum(['api', 'login']).meta({ description: 'login = a signed-in browser or command line' }),
  note: z.string().optional(),
  scope: z.array(z.string()).meta({ description: 'actions, `*` matches any run; never more than the user may' }),
  created: time,
  until: time.optional(),
  state: z.enum(['active', 'expired', 'revoked']),
});
export type TokenAnswer = z.output<typeof token>;

export const scope = z
  .array(
    z
      .string()
      .max(64)
      .regex(/^(\*|[a-z]+\.(\*|[a-z-]+))$/, 'a scope is an action like cert.issue, a word like cert.*, or *'),
  )
  .min(1)
  .max(64);

export const tokenVerbs = {
  'token.create': verb({
    method: 'POST',
    path: '/v1/tokens',
    action: 'user.token-create',
    summary: 'Make an API token; it is shown this once',
    body: z.strictObject({
      user: name,
      scope,
      for: durationText.default('90d'),
      note: z.string().max(200).optional(),
    }),
    answer: token.extend({ token: z.string() }),
    self: 'user',
    changes: true,
    resource: 'user/:user',
    cli: 'token create',
  }),
  'token.list': verb({
    method: 'GET',
    path: '/v1/tokens',
    action: 'user.list',
    summary: 'API tokens',
    query: z.object({ user: name.optional() }),
    answer: z.object({ tokens: z.array(token) }),
    cli: 'token list',
  }),
  'token.revoke': verb({
    method: 'DELETE',
    path: '/v1/tokens/:id',
    action: 'user.token-revoke',
    summary: 'Revoke an API token; what it holds open ends',
    params: z.object({ id: z.string().min(1).max(128) }),
    answer: z.object({ id: z.string(), revoked: z.literal(true) }),
    changes: true,
    resource: 'token/:id',
    cli: 'token revoke',
  }),
} as const;
