// status and proxy: what is open right now.
import type { ApiDeps } from './deps.ts';
import { toSession } from './session.ts';
import type { Handlers } from './verbs.ts';

export function statusHandlers({
  house,
  sessions,
  approvals,
  clock,
}: ApiDeps): Pick<Handlers, 'status.show' | 'proxy.list'> {
  return {
    'status.show': async () => {
      const live = sessions.list();
      const newest = [...live].sort((a, b) => b.since.getTime() - a.since.getTime()).slice(0, 100);
      const waiting = (await approvals.list()).filter(({ state }) => state === 'waiting');
      return {
        name: house.names()[0] ?? 'localhost',
        version: house.version,
        health: house.health(),
        since: house.since.toISOString(),
        now: clock.now().toISOString(),
        listeners: house.listeners(),
        routes: house.routes(),
        sessions: newest.map(toSession),
        live: live.length,
        approvals: waiting.length,
        warnings: [...house.warnings()],
      };
    },
    'proxy.list': async () => ({ routes: house.routes() }),
  };
}
