// approval: what waits for a yes.
import type { ApprovalAnswer } from './contract/approval.ts';
import type { ApiDeps, Approval } from './deps.ts';
import type { Handlers } from './verbs.ts';

type Verbs = 'approval.list' | 'approval.approve' | 'approval.refuse';

export function approvalHandlers({ approvals }: ApiDeps): Pick<Handlers, Verbs> {
  return {
    'approval.list': async ({ query }) => ({
      approvals: (await approvals.list())
        .filter(({ state }) => query.state === undefined || state === query.state)
        .map(toApproval),
    }),
    'approval.approve': async ({ params, caller }) => toApproval(await approvals.approve(params.id, caller.who)),
    'approval.refuse': async ({ params, body, caller, note }) => {
      if (body.reason !== undefined) note({ reason: body.reason });
      return toApproval(await approvals.refuse(params.id, caller.who, body.reason));
    },
  };
}

function toApproval(one: Approval): ApprovalAnswer {
  const { id, action, resource, who, from, rule, reason, created, expires, state, by, count, votes } = one;
  return {
    id,
    action,
    resource,
    who: { kind: who.kind, id: who.id, credential: who.credential },
    from: from ?? '',
    rule,
    ...(reason === undefined ? {} : { reason }),
    asked: created.toISOString(),
    until: expires.toISOString(),
    state,
    group: by,
    needed: count,
    approvals: votes
      .filter(({ vote }) => vote === 'approve')
      .map(({ voter, at }) => ({ user: voter, at: at.toISOString() })),
  };
}
