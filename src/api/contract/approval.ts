// approval: requests that a rule lets in only after others said yes.
import { z } from 'zod';
import { time, who } from './common.ts';
import { verb } from './verb.ts';

export const approval = z.object({
  id: z.string(),
  action: z.string(),
  resource: z.string(),
  who,
  from: z.string(),
  rule: z.string(),
  asks: z.record(z.string(), z.unknown()).meta({ description: 'what was asked for: for, from, reason' }),
  asked: time,
  until: time.meta({ description: 'while it waits: when it lapses; once approved: until when it is good' }),
  state: z.enum(['waiting', 'approved', 'refused', 'expired', 'used']),
  group: z.string().meta({ description: 'whose members may say yes' }),
  needed: z.number(),
  votes: z.array(z.object({ user: z.string(), vote: z.enum(['approve', 'refuse']), reason: z.string(), at: time })),
});
export type ApprovalAnswer = z.output<typeof approval>;

const id = z.object({ id: z.string().min(1).max(128) });

export const approvalVerbs = {
  'approval.list': verb({
    method: 'GET',
    path: '/v1/approvals',
    action: 'api.approvals',
    summary: 'Requests that wait for a yes, and what became of others',
    query: z.object({ state: z.enum(['waiting', 'approved', 'refused', 'expired', 'used']).optional() }),
    answer: z.object({ approvals: z.array(approval) }),
    cli: 'approval list',
  }),
  'approval.approve': verb({
    method: 'POST',
    path: '/v1/approvals/:id/approve',
    action: 'api.approve',
    summary: 'Say yes; nobody approves a request of their own',
    params: id,
    answer: approval,
    cli: 'approval approve',
  }),
  'approval.refuse': verb({
    method: 'POST',
    path: '/v1/approvals/:id/refuse',
    action: 'api.approve',
    summary: 'Say no',
    params: id,
    body: z.strictObject({ reason: z.string().max(200).optional() }),
    answer: approval,
    cli: 'approval refuse',
  }),
} as const;
