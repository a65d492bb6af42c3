// status: what is open right now, to whom, until when, and why — one answer.
import { z } from 'zod';
import { time } from './common.ts';
import { route } from './proxy.ts';
import { session } from './session.ts';
import { tunnel } from './tunnel.ts';
import { verb } from './verb.ts';

export const health = z.enum(['ok', 'degraded', 'down']);

export const status = z.object({
  name: z.string(),
  version: z.string(),
  health,
  since: time,
  now: time,
  listeners: z.array(z.object({ name: z.string(), listen: z.string(), note: z.string().optional() })),
  routes: z.array(route),
  sessions: z.array(session).meta({ description: 'the newest hundred' }),
  live: z.number().meta({ description: 'all live sessions' }),
  tunnels: z.array(tunnel).meta({ description: 'open ones, the newest hundred' }),
  openTunnels: z.number().meta({ description: 'all open tunnels' }),
  approvals: z.number().meta({ description: 'requests that wait for a yes' }),
  warnings: z.array(z.string()).meta({ description: 'what is weak or unwell, in sentences' }),
});
export type StatusAnswer = z.output<typeof status>;

export const statusVerbs = {
  'status.show': verb({
    method: 'GET',
    path: '/v1/status',
    action: 'api.status',
    summary: 'What is open right now, to whom, until when, and why',
    answer: status,
    cli: 'status',
  }),
} as const;
