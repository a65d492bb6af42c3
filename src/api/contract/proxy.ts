// proxy: the stream routes, what each listens on, where it goes, how its upstreams are.
import { z } from 'zod';
import { verb } from './verb.ts';

export const upstream = z.object({
  url: z.string(),
  address: z.string().meta({ description: 'what the name resolved to' }),
  state: z.enum(['up', 'failed', 'unhealthy', 'down']).meta({
    description: 'failed = refused lately; unhealthy = fails its health check; down = switched off in the file',
  }),
  backup: z.boolean(),
  live: z.number(),
  fails: z.number(),
});

export const route = z.object({
  name: z.string(),
  listens: z.array(z.string()),
  live: z.number().meta({ description: 'connections now' }),
  draining: z.number().meta({ description: 'connections of earlier versions of this route' }),
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
