// status and proxy: what is open right now.
import { formatAddress } from '../core/address.ts';
import type { RouteState } from '../features/proxy/index.ts';
import type { RouteAnswer } from './contract/proxy.ts';
import type { ApiDeps } from './deps.ts';
import { toSession } from './session.ts';
import { toTunnel } from './tunnel.ts';
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
      const tunnels = house.tunnels?.()?.list({ state: 'open' }) ?? [];
      const waiting = await approvals.list({ state: 'waiting' });
      return {
        name: house.names()[0] ?? 'localhost',
        version: house.version,
        health: house.health(),
        since: house.since.toISOString(),
        now: clock.now().toISOString(),
        listeners: house.listeners(),
        routes: (await house.routes()).map(toRoute),
        sessions: newest.map(toSession),
        live: live.length,
        tunnels: tunnels.slice(0, 100).map(toTunnel),
        openTunnels: tunnels.length,
        approvals: waiting.length,
        warnings: [...house.warnings()],
      };
    },
    'proxy.list': async () => ({ routes: (await house.routes()).map(toRoute) }),
  };
}

function toRoute({ name, listens, live, draining, upstreams, warnings }: RouteState): RouteAnswer {
  return {
    name,
    // Where port 0 was asked for, the one that it became is what people need.
    listens: listens.map(({ written, address }) =>
      written.endsWith(':0') ? `${written} (${formatAddress(address)})` : written,
    ),
    live,
    draining,
    upstreams: upstreams.map(({ url, address, state, backup, live: own, fails }) => ({
      url,
      address,
      state,
      backup,
      live: own,
      fails,
    })),
    warnings: [...warnings],
  };
}
