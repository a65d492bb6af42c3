// auth: signing in and out; a sign-in is a short-lived token.
import { z } from 'zod';
import { done, durationText, name, role, time } from './common.ts';
import { verb } from './verb.ts';

/** Of the authenticator app, for those who have one set up. */
const totp = z
  .string()
  .regex(/^\d{6}$/, 'a code has six digits')
  .optional();
/** `PublicKeyCredential.toJSON()` of a browser; looked at closely by whoever checks it. */
export const passkeyAnswer = z
  .looseObject({ id: z.string().max(1400), type: z.string().max(32) })
  .meta({ description: 'what navigator.credentials gave, as JSON (WebAuthn)' });
/** `PublicKeyCredential.parse…OptionsFromJSON()` of a browser reads it. */
export const passkeyOptions = z.looseObject({ challenge: z.string() });
const password = z.string().min(1).max(1024);

const signIn = z.object({
  id: z.string(),
  how: z.string().meta({ description: 'password, password+totp, password+passkey, passkey, link or oidc' }),
  address: z.string(),
  since: time,
  seen: time.optional().meta({ description: 'last call, since the gate was started' }),
  until: time.optional(),
  current: z.boolean().meta({ description: 'whether it is the one that asks' }),
});

export const authVerbs = {
  'auth.login': verb({
    method: 'POST',
    path: '/v1/login',
    action: 'public',
    summary: 'Sign in with a password; the answer is a short-lived token for the Authorization header',
    body: z.strictObject({
      user: name,
      password,
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
    summary:
      'Sign a browser in, with a password, a passkey or the code of a one-time link; the answer sets a cookie, which counts only beside the key in it (header Sekisho-Key)',
    body: z.union([
      z.strictObject({ user: name, password, totp, passkey: passkeyAnswer.optional() }),
      z.strictObject({ passkey: passkeyAnswer }),
      z.strictObject({ code: z.string().min(1).max(256) }),
      z.strictObject({
        oidc: z.string().min(1).max(256).meta({ description: 'the code that the way back from the provider brought' }),
        how: z.enum(['oidc', 'oidc+mfa']),
        binding: z.string().min(1).max(256).meta({ description: 'what the start answered' }),
      }),
    ]),
    answer: z.object({ user: z.string(), until: time, key: z.string() }),
    noCli: 'a browser signs in with it; the command line has `login`, and `SEKISHO_TOKEN` where people come by OpenID',
  }),
  'auth.ways': verb({
    method: 'GET',
    path: '/v1/sign-in',
    action: 'public',
    summary: 'Which ways there are to sign in, besides a password and a one-time link',
    answer: z.object({
      passkey: z.boolean(),
      oidc: z.object({ name: z.string() }).optional(),
    }),
    noCli: 'a browser signs in with it; the command line has `login`, and `SEKISHO_TOKEN` where people come by OpenID',
  }),
  'auth.passkey-ask': verb({
    method: 'POST',
    path: '/v1/sign-in/passkey',
    action: 'public',
    summary: 'What a browser is asked to sign with a passkey: good once, for 5 minutes; the same for everybody',
    answer: passkeyOptions,
    noCli: 'a browser signs in with it; the command line has `login`, and `SEKISHO_TOKEN` where people come by OpenID',
  }),
  'auth.oidc': verb({
    method: 'POST',
    path: '/v1/sign-in/oidc',
    action: 'public',
    summary: "Begin to sign in by the OpenID provider: its page's address, and what this page keeps until it is back",
    answer: z.object({ url: z.string(), binding: z.string() }),
    noCli: 'a browser signs in with it; the command line has `login`, and `SEKISHO_TOKEN` where people come by OpenID',
  }),
  'auth.prove': verb({
    method: 'POST',
    path: '/v1/prove',
    action: 'known',
    summary: 'Prove once more who is signed in; changes of passkeys and codes want it every 15 minutes',
    body: z.union([
      z.strictObject({ password, totp, passkey: passkeyAnswer.optional() }),
      z.strictObject({ passkey: passkeyAnswer }),
    ]),
    answer: done,
    noCli: 'it adds a factor to a browser’s sign-in; `login` asks for the factor at once',
  }),
  'auth.list': verb({
    method: 'GET',
    path: '/v1/sign-ins',
    action: 'known',
    summary: 'Where the caller is signed in',
    answer: z.object({ signIns: z.array(signIn) }),
    cli: 'whoami',
  }),
  'auth.end': verb({
    method: 'DELETE',
    path: '/v1/sign-ins/:id',
    action: 'known',
    summary: 'End one sign-in of the caller; `others` ends all but the one that asks',
    params: z.object({ id: z.string().min(1).max(128) }),
    answer: z.object({ ended: z.array(z.string()) }),
    cli: 'logout',
  }),
  'auth.logout': verb({
    method: 'POST',
    path: '/v1/logout',
    action: 'known',
    summary: 'End the token that this call carries',
    answer: z.object({
      done: z.literal(true),
      onward: z.string().optional().meta({ description: 'where to sign out of the OpenID provider too' }),
    }),
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
      secondFactor: z
        .literal('missing')
        .optional()
        .meta({ description: 'the roles want a second factor: this sign-in may do nothing but set one up' }),
    }),
    cli: 'whoami',
  }),
} as const;
