// endpoint: an address with an end, for who may reach it, leading to a device's service or to a TCP service.
import { z } from 'zod';
import { durationText, name, time } from './common.ts';
import { verb } from './verb.ts';

const cidr = z
  .string()
  .max(64)
  .regex(/^[0-9a-fA-F.:]+(\/\d{1,3})?$/, 'write an address or a network like 203.0.113.7/32 or 2001:db8::/48')
  .meta({ example: '203.0.113.7/32' });

/** `none`: plain. `end`: TLS ends at the gate. `pass`: the bytes are the target's own TLS, unread. */
const tls = z.enum(['none', 'end', 'pass']);

const limits = {
  latch: z.boolean().meta({ description: 'the first address that is let in owns it; an IPv6 /64 is one address' }),
  once: z.boolean().meta({ description: 'one connection, then it is over' }),
  connections: z.int().min(1).max(100_000).meta({ description: 'at a time' }),
  rate: z.int().min(0).meta({ description: 'bytes per second, each way of each connection; 0 = as fast as it goes' }),
  perMinute: z.int().min(0).max(1_000_000).meta({ description: 'new connections a minute; 0 = any number' }),
  certificate: z.boolean().meta({ description: 'a client certificate of a user must be shown' }),
  users: z.array(name).max(64).meta({ description: 'only these users, by certificate or sign-in' }),
  signIn: z.boolean().meta({ description: 'an address is let in after a sign-in from it on the page' }),
  drain: z.boolean().meta({ description: 'at the end connections go on until they end by themselves' }),
};

export const endpoint = z.object({
  id: z.string(),
  state: z.enum(['waiting', 'open', 'closed']),
  target: z.string().meta({ example: 'device://pump-7/ssh' }),
  host: z.string().optional().meta({ description: 'where the port is reached' }),
  port: z.number().optional(),
  name: z.string().optional().meta({ description: 'its own host name, on the gate’s own port' }),
  namePort: z.number().optional(),
  tls,
  created: time,
  opened: time.optional(),
  until: time.meta({ description: 'its end; while it waits: when the request lapses' }),
  ended: time.optional(),
  cause: z.string().optional().meta({ description: 'why it is over' }),
  from: z.array(z.string()).meta({ description: 'who may come' }),
  ...limits,
  idle: z.string().optional(),
  owner: z.string(),
  reason: z.string().optional(),
  latched: z.string().optional().meta({ description: 'the address that owns it' }),
  unlocked: z.number().optional().meta({ description: 'addresses that somebody signed in from' }),
  live: z.number().meta({ description: 'connections now' }),
  approval: z.string().optional().meta({ description: 'the request it waits for, or was opened by' }),
  page: z.string().optional().meta({ description: 'where to sign in' }),
});
export type EndpointAnswer = z.output<typeof endpoint>;

const id = z.object({ id: z.string().min(4).max(64) });

export const endpointVerbs = {
  'endpoint.open': verb({
    method: 'POST',
    path: '/v1/endpoints',
    action: 'known',
    summary: 'Open an endpoint, or ask for it where a rule wants approvals; needs endpoint.open on the target',
    body: z.strictObject({
      target: z.string().min(1).max(512).meta({ example: 'device://pump-7/ssh' }),
      for: durationText.optional().meta({ description: 'default: endpoint.lifetime.default' }),
      from: z.array(cidr).min(1).max(64).optional().meta({ description: 'default: the caller’s own address' }),
      tls: tls.default('none'),
      port: z.boolean().optional().meta({ description: 'a port of the pool; default yes' }),
      name: z.boolean().optional().meta({ description: 'a host name on the gate’s port; default with TLS' }),
      latch: limits.latch.optional(),
      once: limits.once.optional(),
      connections: limits.connections.optional(),
      idle: durationText.optional().meta({ description: 'without a byte for so long a connection ends' }),
      rate: limits.rate.optional(),
      perMinute: limits.perMinute.optional(),
      certificate: limits.certificate.optional(),
      users: limits.users.optional(),
      signIn: limits.signIn.optional(),
      drain: limits.drain.optional(),
      reason: z.string().max(500).optional().meta({ description: 'why, for approvers and the audit' }),
    }),
    answer: endpoint.extend({
      link: z.string().optional().meta({ description: 'signs in whoever opens it, once, within 15 minutes' }),
    }),
    cli: 'endpoint open',
  }),
  'endpoint.list': verb({
    method: 'GET',
    path: '/v1/endpoints',
    action: 'known',
    summary: 'Endpoints that wait or are open; all of them with endpoint.list, else one’s own',
    query: z.object({
      ended: z.coerce.number().int().min(0).max(1000).default(0).meta({ description: 'and so many that are over' }),
    }),
    answer: z.object({ endpoints: z.array(endpoint) }),
    cli: 'endpoint list',
  }),
  'endpoint.show': verb({
    method: 'GET',
    path: '/v1/endpoints/:id',
    action: 'known',
    summary: 'One endpoint; somebody else’s needs endpoint.show',
    params: id,
    answer: endpoint,
    cli: 'endpoint show',
  }),
  'endpoint.extend': verb({
    method: 'POST',
    path: '/v1/endpoints/:id/extend',
    action: 'known',
    summary: 'Longer, within the policy of who opened it; somebody else’s needs endpoint.extend',
    params: id,
    body: z.strictObject({ for: durationText.optional() }),
    answer: endpoint,
    cli: 'endpoint extend',
  }),
  'endpoint.close': verb({
    method: 'DELETE',
    path: '/v1/endpoints/:id',
    action: 'known',
    summary: 'End it, and who is inside; somebody else’s needs endpoint.close',
    params: id,
    query: z.object({
      drain: z.stringbool().optional().meta({ description: 'who is inside may go on' }),
    }),
    answer: endpoint,
    cli: 'endpoint close',
  }),
  'endpoint.approve': verb({
    method: 'POST',
    path: '/v1/endpoints/:id/approve',
    action: 'endpoint.approve',
    summary: 'Say yes, or no with `refuse`, to an endpoint that waits; nobody decides about their own',
    params: id,
    body: z.strictObject({ refuse: z.boolean().default(false), reason: z.string().max(200).optional() }),
    answer: endpoint,
    cli: 'endpoint approve',
  }),
  'endpoint.link': verb({
    method: 'POST',
    path: '/v1/endpoints/:id/link',
    action: 'known',
    summary: 'A one-time link that unlocks the address it is opened from; for who opened the endpoint',
    params: id,
    answer: z.object({ link: z.string(), until: time }),
    cli: 'endpoint link',
  }),
  'endpoint.evidence': verb({
    method: 'GET',
    path: '/v1/endpoints/:id/evidence',
    action: 'known',
    summary:
      'Request, approvals, connections, bytes and end as one signed JSON document; somebody else’s needs audit.export',
    params: id,
    answer: z.looseObject({}),
    stream: 'bytes',
    cli: 'endpoint evidence',
  }),
} as const;
