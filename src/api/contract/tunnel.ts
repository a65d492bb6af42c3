// tunnel: a way to a device behind a firewall, for a while; both ends dial out with one-time tokens.
import { z } from 'zod';
import { serviceName, thingName } from '../../features/tunnel/config.ts';
import { durationText, limit, time } from './common.ts';
import { verb } from './verb.ts';

const tag = z.object({ key: z.string().min(1).max(128), value: z.string().max(256) });
const side = z.object({ state: z.enum(['connected', 'disconnected']), changed: time.optional() });

export const tunnel = z.object({
  id: z.string(),
  arn: z.string().meta({ description: 'what AWS’s tools call it' }),
  state: z.enum(['open', 'closed']),
  thing: z.string().optional().meta({ description: 'the device that is told' }),
  services: z.array(z.string()),
  description: z.string().optional(),
  tags: z.array(tag),
  opener: z.string().meta({ description: 'who opened it' }),
  created: time,
  until: time,
  closed: time.optional(),
  source: side,
  destination: side,
  connections: z.number().meta({ description: 'live ones within it' }),
});
export type TunnelAnswer = z.output<typeof tunnel>;

const tokens = {
  sourceToken: z.string().meta({ description: 'shown this once; for the operator’s end' }),
  destinationToken: z.string().meta({ description: 'shown this once; for the device’s end' }),
};

const id = z.object({ id: z.string().regex(/^[a-zA-Z0-9_\-+=:]{1,128}$/, 'the id of a tunnel') });

export const tunnelVerbs = {
  'tunnel.open': verb({
    method: 'POST',
    path: '/v1/tunnels',
    action: 'tunnel.open',
    summary: 'Open a tunnel and tell its device; both tokens are shown this once',
    body: z.strictObject({
      thing: thingName.optional(),
      services: z.array(serviceName).max(100).default([]),
      description: z.string().min(1).max(2048).optional(),
      tags: z.array(tag).max(200).default([]),
      for: durationText.optional().meta({ description: 'at most 12h; default: tunnel.lifetime' }),
    }),
    answer: z.object({ tunnel, ...tokens }),
    changes: true,
    resource: 'device/:thing',
    cli: 'tunnel open',
  }),
  'tunnel.list': verb({
    method: 'GET',
    path: '/v1/tunnels',
    action: 'tunnel.list',
    summary: 'Tunnels, newest first; closed ones for three hours',
    query: z.object({
      thing: thingName.optional(),
      state: z.enum(['open', 'closed']).optional(),
      limit,
    }),
    answer: z.object({ tunnels: z.array(tunnel), total: z.number().meta({ description: 'before the limit' }) }),
    cli: 'tunnel list',
  }),
  'tunnel.show': verb({
    method: 'GET',
    path: '/v1/tunnels/:id',
    action: 'tunnel.list',
    summary: 'One tunnel',
    params: id,
    answer: tunnel,
    resource: 'tunnel/:id',
    cli: 'tunnel show',
  }),
  'tunnel.rotate': verb({
    method: 'POST',
    path: '/v1/tunnels/:id/rotate',
    action: 'tunnel.rotate',
    summary: 'New tokens; the old ones do not count any more, who is connected stays until the new one is used',
    params: id,
    body: z.strictObject({ side: z.enum(['source', 'destination', 'all']).default('all') }),
    answer: z.object({
      tunnel,
      sourceToken: tokens.sourceToken.optional(),
      destinationToken: tokens.destinationToken.optional(),
    }),
    changes: true,
    resource: 'tunnel/:id',
    cli: 'tunnel rotate',
  }),
  'tunnel.close': verb({
    method: 'POST',
    path: '/v1/tunnels/:id/close',
    action: 'tunnel.close',
    summary: 'Close a tunnel now; both ends are told and what they carry ends',
    params: id,
    body: z.strictObject({ erase: z.boolean().default(false).meta({ description: 'and forget it at once' }) }),
    answer: z.object({ id: z.string(), closed: z.literal(true) }),
    changes: true,
    resource: 'tunnel/:id',
    cli: 'tunnel close',
  }),
  'tunnel.notify': verb({
    method: 'POST',
    path: '/v1/tunnels/:id/notify',
    action: 'tunnel.notify',
    summary: 'Tell the device again, over MQTT; a destination token that was used already is replaced',
    params: id,
    body: z.strictObject({
      topic: z.string().min(1).max(512).optional().meta({ description: 'default: $aws/things/<thing>/tunnels/notify' }),
    }),
    answer: z.object({ id: z.string(), topic: z.string(), rotated: z.boolean() }),
    changes: true,
    resource: 'tunnel/:id',
    cli: 'tunnel notify',
  }),
} as const;
