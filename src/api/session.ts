// session: live admissions, read and cut.

import type { SessionView } from '../access/index.ts';
import { Fault } from '../core/fault.ts';
import type { SessionAnswer } from './contract/session.ts';
import type { ApiDeps } from './deps.ts';
import type { Handlers } from './verbs.ts';

export function toSession(view: SessionView): SessionAnswer {
  const { id, action, resource, who, from, rule, since, until, bytes, notes } = view;
  return {
    id,
    action,
    resource,
    who: { kind: who.kind, id: who.id, credential: who.credential },
    from,
    rule,
    since: since.toISOString(),
    ...(until === undefined ? {} : { until: until.toISOString() }),
    bytes: { up: bytes.up, down: bytes.down },
    notes: { ...notes },
  };
}

export function sessionHandlers({
  sessions,
}: ApiDeps): Pick<Handlers, 'session.list' | 'session.show' | 'session.cut'> {
  return {
    'session.list': async ({ query }) => {
      const { action, resource, user } = query;
      const found = [...sessions.list({ action, resource, user })];
      found.sort((a, b) => b.since.getTime() - a.since.getTime());
      return { sessions: found.slice(0, query.limit).map(toSession), total: found.length };
    },
    'session.show': async ({ params }) => {
      const view = sessions.get(params.id);
      if (!view) throw missing(params.id);
      return toSession(view);
    },
    'session.cut': async ({ params, body, note }) => {
      const view = sessions.get(params.id);
      if (!view) throw missing(params.id);
      note({ of: view.who.id, resource: view.resource, reason: body.reason });
      if (!sessions.cut(params.id)) throw missing(params.id);
      return { id: params.id, cut: true };
    },
  };
}

const missing = (id: string): Fault => new Fault('missing', `no live session ${id}; it may have ended`);
