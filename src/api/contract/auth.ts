// auth: signing in with a password, and out; a sign-in is a short-lived token.
import { z } from 'zod';
import { durationText, name, role, time } from './common.ts';
import { verb } from './verb.ts';

/** Of the authenticator app, for those who have one set up. */
const totp = z
  .string()
  .regex(/^\d{6}$/, 'a code has six digits')
  .optional();

export const authVerbs = {
  'auth.login': verb({
    method: 'POST',
    path: '/v1/login',
    action: 'public',
    summary: 'Sign in with a password; the answer is a short-lived token for the Authorization header',
    body: z.strictObject({
      user: name,
      password: z.string().min(1).max(1024),
      totp,
      for: durationText.default('12h').meta({ description: 'at most 24h' }),
    }),
    answer: z.object({ token: z.string(), id: z.string(), user: z.string(), until: time }),
    cli: 'login',
  }),
  'auth.sign-in': verb({
    method: 'POST',
    path: '/v1/sign-in',
    action: 'public',
    summary: 'Sign a browser in, with a password or the code of a one-time link; the answer sets a cookie',
    body: z.union([
      z.strictObject({ user: name, password: z.string().min(1).max(1024), totp }),
      z.strictObject({ code: z.string().min(1).max(256) }),
    ]),
    answer: z.object({ user: z.string(), until: time }),
  }),
  'auth.logout': verb({
    method: 'POST',
    path: '/v1/logout',
    action: 'known',
    summary: 'End the token that this call carries',
    answer: z.object({ done: z.literal(true) }),
    cli: 'logout',
  }),
  'auth.whoami': verb({
    method: 'GET',
    path: '/v1/whoami',
    action: 'known',
    summary: 'Who the gate takes this caller for',
    answer: z.object({
      kind: z.string(),
      id: z.string(),
      roles: z.array(role),
      groups: z.array(z.string()),
      credential: z.string(),
      address: z.string().optional().meta({ description: 'where the caller comes from, as the gate sees it' }),
      scope: z.array(z.string()).optional(),
      until: time.optional(),
    }),
    cli: 'whoami',
  }),
} as const;
