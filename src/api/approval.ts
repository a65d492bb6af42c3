// approval: what waits for a yes. The room that keeps the requests writes the votes into the audit itself.
import type { ApprovalView } from '../access/index.ts';
import type { ApprovalAnswer } from './contract/approval.ts';
import type { ApiDeps } from './deps.ts';
import type { Handlers } from './verbs.ts';

type Verbs = 'approval.list' | 'approval.approve' | 'approval.refuse';

export function approvalHandlers({ approvals }: ApiDeps): Pick<Handlers, Verbs> {
  return {
    'approval.list': async ({ query }) => ({ approvals: (await approvals.list(query)).map(toApproval) }),
    'approval.approve': async ({ params, caller }) =>
      toApproval(await approvals.approve({ id: params.id, by: caller.who })),
    'approval.refuse': async ({ params, body, caller }) =>
      toApproval(await approvals.refuse({ id: params.id, by: caller.who, reason: body.reason })),
  };
}

function toApproval({ asked, until, count, votes, asks, who, ...rest }: ApprovalView): ApprovalAnswer {
  return {
    ...rest,
    who: { ...who },
    asks: { ...asks },
    asked: asked.toISOString(),
    until: until.toISOString(),
    needed: count,
    votes: votes.map(({ at, ...vote }) => ({ ...vote, at: at.toISOString() })),
  };
}
