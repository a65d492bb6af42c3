// proxy: the stream routes, what each listens on, where it goes, how its upstreams are.
import { z } from 'zod';
import { verb } from './verb.ts';

export const upstream = z.object({
  url: z.string(),
  state: z.enum(['up', 'down', 'unknown', 'backup']),
  live: z.number(),
  failed: z.number(),
  note: z.string().optional(),
});

export const route = z.object({
  name: z.string(),
  listen: z.string(),
  tls: z.string().meta({ description: 'terminate, originate, re-encrypt, pass-through or plain' }),
  state: z.enum(['open', 'draining', 'failed']),
  live: z.number().meta({ description: 'connections now' }),
  total: z.number().meta({ description: 'connections since the start' }),
  failed: z.number(),
  upstreams: z.array(upstream),
  warnings: z.array(z.string()).meta({ description: 'what is weak about it, e.g. `verify: off`' }),
});
export type RouteAnswer = z.output<typeof route>;

export const proxyVerbs = {
  'proxy.list': verb({
    method: 'GET',
    path: '/v1/proxy',
    action: 'proxy.list',
    summary: 'Routes with their state and upstreams',
    answer: z.object({ routes: z.array(route) }),
    cli: 'proxy list',
  }),
} as const;
