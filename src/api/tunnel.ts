// tunnel: the verbs of /v1/tunnels.
import { parseDuration } from '../core/duration.ts';
import { Fault } from '../core/fault.ts';
import { longestLifetime, type TunnelService, type TunnelView } from '../features/tunnel/index.ts';
import type { TunnelAnswer } from './contract/tunnel.ts';
import type { ApiDeps } from './deps.ts';
import type { Handlers } from './verbs.ts';

type Verbs = 'tunnel.open' | 'tunnel.list' | 'tunnel.show' | 'tunnel.rotate' | 'tunnel.close' | 'tunnel.notify';

/** @throws Fault `missing` */
export function tunnelsOf({ house }: Pick<ApiDeps, 'house'>): TunnelService {
  const tunnels = house.tunnels?.();
  if (!tunnels) throw new Fault('missing', 'this gate has no tunnels');
  return tunnels;
}

export function tunnelHandlers(deps: ApiDeps): Pick<Handlers, Verbs> {
  const tunnels = (): TunnelService => tunnelsOf(deps);
  return {
    'tunnel.open': async ({ body, caller, note }) => {
      const { thing, services, description, tags } = body;
      const lifetime = body.for === undefined ? undefined : parseDuration(body.for);
      if (lifetime !== undefined && (lifetime < 60_000 || lifetime > longestLifetime)) {
        throw new Fault('invalid', 'body.for: a tunnel lives from 1m to 12h');
      }
      const opened = await tunnels().open({ thing, services, description, tags, lifetime }, caller.who);
      note({ tunnel: opened.tunnel.id, services, until: opened.tunnel.expires.toISOString() });
      return { ...opened, tunnel: toTunnel(opened.tunnel) };
    },
    'tunnel.list': async ({ query }) => {
      const found = tunnels().list(query);
      return { tunnels: found.slice(0, query.limit).map(toTunnel), total: found.length };
    },
    'tunnel.show': async ({ params }) => toTunnel(tunnels().get(params.id)),
    'tunnel.rotate': async ({ params, body, note }) => {
      note({ side: body.side });
      const rotated = await tunnels().rotate(params.id, body.side === 'all' ? ['source', 'destination'] : [body.side]);
      return { ...rotated, tunnel: toTunnel(rotated.tunnel) };
    },
    'tunnel.close': async ({ params, body }) => {
      await tunnels().close(params.id, { erase: body.erase });
      return { id: params.id, closed: true };
    },
    'tunnel.notify': async ({ params, body, note }) => {
      const told = await tunnels().notify(params.id, body.topic);
      note({ topic: told.topic });
      return { id: params.id, ...told };
    },
  };
}

export function toTunnel(view: TunnelView): TunnelAnswer {
  const { id, arn, state, thing, services, description, tags, opener, created, expires, closed, connections } = view;
  const side = ({ state: is, changed }: TunnelView['source']): TunnelAnswer['source'] => ({
    state: is,
    ...(changed === undefined ? {} : { changed: changed.toISOString() }),
  });
  return {
    ...{ id, arn, state, services: [...services], tags: [...tags], opener, connections },
    ...(thing === undefined ? {} : { thing }),
    ...(description === undefined ? {} : { description }),
    ...{ created: created.toISOString(), until: expires.toISOString() },
    ...(closed === undefined ? {} : { closed: closed.toISOString() }),
    ...{ source: side(view.source), destination: side(view.destination) },
  };
}
