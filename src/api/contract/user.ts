// user: people, their roles, passwords and access keys.
import { z } from 'zod';
import { name, role, time } from './common.ts';
import { verb } from './verb.ts';

export const user = z.object({
  name: z.string(),
  state: z.enum(['active', 'disabled']),
  roles: z.array(role),
  groups: z.array(z.string()),
  password: z.boolean().meta({ description: 'whether one is set' }),
  created: time,
});
export type UserAnswer = z.output<typeof user>;

export const accessKey = z.object({ accessKeyId: z.string(), created: time, state: z.enum(['active', 'revoked']) });

/** Length is what counts (NIST SP 800-63B §3.1.1.2); no rules about digits and signs. */
export const password = z.string().min(8, 'a password has at least 8 characters').max(1024);

const named = z.object({ name });

export const userVerbs = {
  'user.add': verb({
    method: 'POST',
    path: '/v1/users',
    action: 'user.add',
    summary: 'Add a user',
    body: z.strictObject({
      name,
      roles: z.array(role).max(5).default(['member']),
      groups: z.array(name).max(64).default([]),
      password: password.optional(),
    }),
    answer: user,
    changes: true,
    resource: 'user/:name',
    cli: 'user add',
  }),
  'user.list': verb({
    method: 'GET',
    path: '/v1/users',
    action: 'user.list',
    summary: 'Users',
    answer: z.object({ users: z.array(user) }),
    cli: 'user list',
  }),
  'user.show': verb({
    method: 'GET',
    path: '/v1/users/:name',
    action: 'user.list',
    summary: 'One user, with access keys',
    params: named,
    self: 'name',
    answer: user.extend({ keys: z.array(accessKey) }),
    cli: 'user show',
  }),
  'user.remove': verb({
    method: 'DELETE',
    path: '/v1/users/:name',
    action: 'user.remove',
    summary: 'Remove a user; their credentials stop working and their live sessions end',
    params: named,
    answer: z.object({ name: z.string(), removed: z.literal(true) }),
    changes: true,
    resource: 'user/:name',
    cli: 'user remove',
  }),
  'user.passwd': verb({
    method: 'PUT',
    path: '/v1/users/:name/password',
    action: 'user.passwd',
    summary: "Set a user's password; one's own needs the current one",
    params: named,
    body: z.strictObject({ password, current: z.string().max(1024).optional() }),
    answer: z.object({ name: z.string(), changed: z.literal(true) }),
    self: 'name',
    changes: true,
    resource: 'user/:name',
    cli: 'user passwd',
  }),
  'user.link': verb({
    method: 'POST',
    path: '/v1/users/:name/link',
    action: 'user.link-create',
    summary: 'Make a one-time link that signs this user in to the console; valid once, for 15 minutes',
    params: named,
    answer: z.object({ user: z.string(), link: z.string(), until: time }),
    changes: true,
    resource: 'user/:name',
    cli: 'user link',
  }),
  'user.key': verb({
    method: 'POST',
    path: '/v1/users/:name/keys',
    action: 'user.key-create',
    summary: 'Make an access key pair (adds the user as operator if missing); the secret is shown this once',
    params: named,
    answer: z.object({ user: z.string(), accessKeyId: z.string(), secretAccessKey: z.string(), created: time }),
    changes: true,
    resource: 'user/:name',
    cli: 'user key',
  }),
  'user.key-revoke': verb({
    method: 'DELETE',
    path: '/v1/users/:name/keys/:key',
    action: 'user.key-revoke',
    summary: 'Revoke an access key',
    params: z.object({ name, key: z.string().min(1).max(128) }),
    answer: z.object({ accessKeyId: z.string(), revoked: z.literal(true) }),
    changes: true,
    resource: 'user/:name',
    cli: 'user key',
  }),
  'user.totp': verb({
    method: 'POST',
    path: '/v1/users/:name/totp',
    action: 'user.totp-create',
    summary:
      'Set up the codes of an authenticator app; the secret is shown this once, and the one before stops working',
    params: named,
    answer: z.object({ user: z.string(), secret: z.string(), uri: z.string() }),
    changes: true,
    resource: 'user/:name',
    cli: 'user totp',
  }),
  'user.totp-remove': verb({
    method: 'DELETE',
    path: '/v1/users/:name/totp',
    action: 'user.totp-remove',
    summary: 'Take the codes of an authenticator app away',
    params: named,
    answer: z.object({ user: z.string(), removed: z.literal(true) }),
    changes: true,
    resource: 'user/:name',
    cli: 'user totp',
  }),
  'user.role': verb({
    method: 'PUT',
    path: '/v1/users/:name/roles',
    action: 'user.role-change',
    summary: "Set a user's roles",
    params: named,
    body: z.strictObject({ roles: z.array(role).max(5) }),
    answer: user,
    changes: true,
    resource: 'user/:name',
    cli: 'user role',
  }),
} as const;
