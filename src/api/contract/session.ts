// session: a live admission — who, on what, from where, by which rule, until when.
import { z } from 'zod';
import { limit, time, who } from './common.ts';
import { verb } from './verb.ts';

export const session = z.object({
  id: z.string(),
  action: z.string(),
  resource: z.string(),
  who,
  from: z.string(),
  rule: z.string().meta({ description: 'why it was allowed' }),
  since: time,
  until: time.optional(),
  bytes: z.object({ up: z.number(), down: z.number() }),
  notes: z.record(z.string(), z.union([z.string(), z.number()])),
});
export type SessionAnswer = z.output<typeof session>;

const id = z.object({ id: z.string().min(1).max(128) });

export const sessionVerbs = {
  'session.list': verb({
    method: 'GET',
    path: '/v1/sessions',
    action: 'session.list',
    summary: 'Live sessions, newest first',
    query: z.object({
      resource: z.string().max(256).optional().meta({ description: 'only on this resource; `*` matches any run' }),
      action: z.string().max(128).optional(),
      user: z.string().max(128).optional(),
      limit,
    }),
    answer: z.object({ sessions: z.array(session), total: z.number().meta({ description: 'before the limit' }) }),
    cli: 'session list',
  }),
  'session.show': verb({
    method: 'GET',
    path: '/v1/sessions/:id',
    action: 'session.list',
    summary: 'One live session',
    params: id,
    answer: session,
    cli: 'session show',
  }),
  'session.cut': verb({
    method: 'POST',
    path: '/v1/sessions/:id/cut',
    action: 'session.cut',
    summary: 'End one live session now',
    params: id,
    body: z.object({ reason: z.string().max(200).optional() }),
    answer: z.object({ id: z.string(), cut: z.literal(true) }),
    changes: true,
    resource: 'session/:id',
    cli: 'session cut',
  }),
} as const;
