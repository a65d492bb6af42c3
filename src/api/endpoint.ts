// endpoint: opened, read, extended, closed and approved. Whoever opened one may look after it; others need the action.
import { formatDuration, parseDuration } from '../core/duration.ts';
import { Fault } from '../core/fault.ts';
import type { AccessRequest, Action } from '../core/parts.ts';
import type { Endpoint } from '../features/endpoint/index.ts';
import { type Caller, isInScope } from './caller.ts';
import type { EndpointAnswer } from './contract/endpoint.ts';
import type { ApiDeps, EndpointHouse } from './deps.ts';
import { act, type Handlers } from './verbs.ts';

type Verbs =
  | 'endpoint.open'
  | 'endpoint.list'
  | 'endpoint.show'
  | 'endpoint.extend'
  | 'endpoint.close'
  | 'endpoint.approve'
  | 'endpoint.link'
  | 'endpoint.evidence';

export function endpointHandlers(deps: ApiDeps): Pick<Handlers, Verbs> {
  const { gate, house, policy, clock, approvals } = deps;
  const room = (): EndpointHouse => {
    const found = house.endpoints?.();
    if (!found) throw new Fault('missing', 'this gate opens no endpoints');
    return found;
  };

  /** @throws Fault `denied`; the refusal goes to the audit */
  const scoped = ({ who, from, scope }: Caller, action: Action, resource: string): AccessRequest => {
    const asked = { who, action, resource, from };
    if (isInScope(action, scope)) return asked;
    gate.refuse(asked, 'outside the scope of the token');
    throw new Fault('denied', 'not allowed', { facts: { action } });
  };
  /** What looks after an endpoint: its opening is the rule for who opened it. */
  const about = (caller: Caller, action: Action, { id, owner }: Endpoint): AccessRequest => {
    const asked = scoped(caller, action, `endpoint/${id}`);
    return isOwner(caller, owner) ? { ...asked, opened: `endpoint/${id}` } : asked;
  };
  const mayRead = (asked: AccessRequest): boolean =>
    asked.opened !== undefined || policy().decide(asked, clock.now()).allow === true;
  const read = (asked: AccessRequest): void => {
    if (mayRead(asked)) return;
    gate.refuse(asked, 'no rule is about this');
    throw new Fault('denied', 'not allowed', { facts: { action: asked.action } });
  };

  return {
    'endpoint.open': async ({ body, caller }) => {
      const { service } = room();
      scoped(caller, 'endpoint.open', 'endpoint/*');
      const { target, for: life, from, tls, port, name, reason, idle, ...limits } = body;
      const opened = await service.open(
        {
          ...{ target, from, tls, port, name, reason },
          for: life === undefined ? undefined : parseDuration(life),
          limits: { ...limits, ...(idle === undefined ? {} : { idle: parseDuration(idle) }) } as object,
        },
        caller,
      );
      const answer = toEndpoint(opened, room());
      if (!opened.limits.signIn || opened.state !== 'open' || caller.who.id === '') return answer;
      return { ...answer, link: (await room().link(opened.id, caller.who.id)).link };
    },
    'endpoint.list': async ({ query, caller }) => {
      const asked = scoped(caller, 'endpoint.list', 'endpoint/*');
      const owner = mayRead(asked) ? {} : { owner: caller.who.id };
      const found = await room().service.list({ ...owner, ended: query.ended });
      return { endpoints: found.map(each => toEndpoint(each, room())) };
    },
    'endpoint.show': async ({ params, caller }) => {
      const found = await room().service.get(params.id);
      read(about(caller, 'endpoint.show', found));
      return toEndpoint(found, room());
    },
    'endpoint.extend': async ({ params, body, caller }) => {
      const found = await room().service.get(params.id);
      return act(gate, about(caller, 'endpoint.extend', found), async note => {
        const more = body.for === undefined ? undefined : parseDuration(body.for);
        const extended = await room().service.extend(found.id, more);
        note({ until: new Date(extended.until).toISOString(), before: new Date(found.until).toISOString() });
        return toEndpoint(extended, room());
      });
    },
    'endpoint.close': async ({ params, query, caller }) => {
      const found = await room().service.get(params.id);
      return act(gate, about(caller, 'endpoint.close', found), async note => {
        note({ target: found.target });
        return toEndpoint(await room().service.close(found.id, query), room());
      });
    },
    'endpoint.approve': async ({ params, body, caller }) => {
      const { service } = room();
      const found = await service.get(params.id);
      if (found.approval === undefined) throw new Fault('conflict', `the endpoint ${found.id} waits for nobody`);
      const vote = { id: found.approval, by: caller.who, reason: body.reason };
      await (body.refuse ? approvals.refuse(vote) : approvals.approve(vote));
      return toEndpoint(await service.settled(found.id), room());
    },
    'endpoint.link': async ({ params, caller }) => {
      const found = await room().service.get(params.id);
      const asked = about(caller, 'endpoint.link', found);
      return act(gate, asked, async () => {
        if (!found.limits.signIn) throw new Fault('invalid', 'this endpoint asks nobody to sign in');
        if (found.state !== 'open') throw new Fault('conflict', `this endpoint is ${found.state}`);
        if (caller.who.id === '') {
          throw new Fault(
            'invalid',
            'a link signs a user in; the local administrator is none. Sign in as a user first',
          );
        }
        const { link, until } = await room().link(found.id, caller.who.id);
        return { link, until: until.toISOString() };
      });
    },
    'endpoint.evidence': async ({ params, caller }) => {
      const found = await room().service.get(params.id);
      const asked = scoped(caller, 'audit.export', `endpoint/${found.id}`);
      return act(gate, isOwner(caller, found.owner) ? { ...asked, opened: `endpoint/${found.id}` } : asked, async () =>
        once(await room().evidence(found.id)),
      );
    },
  };
}

async function* once(text: string): AsyncGenerator<string> {
  yield text;
}

/** The administrator on the unix socket has no name: whoever owns the folder opened what its owner opened. */
const isOwner = ({ who }: Caller, owner: Endpoint['owner']): boolean =>
  who.kind === owner.kind && who.id === owner.id && (who.id !== '' || who.credential === owner.credential);

export function toEndpoint(endpoint: Endpoint, { service, host, namePort, page }: EndpointHouse): EndpointAnswer {
  const { id, state, target, tls, port, name, limits, owner, latched } = endpoint;
  const { sources, idle, users, ...rest } = limits;
  const time = (at: number): string => new Date(at).toISOString();
  return {
    ...{ id, state, target, tls },
    ...(typeof port === 'number' ? { host: host(), port } : {}),
    ...(name === undefined ? {} : { name, namePort: namePort() }),
    created: time(endpoint.created),
    ...(endpoint.opened === undefined ? {} : { opened: time(endpoint.opened) }),
    until: time(endpoint.until),
    ...(endpoint.ended === undefined ? {} : { ended: time(endpoint.ended) }),
    ...(endpoint.cause === undefined ? {} : { cause: endpoint.cause }),
    from: [...sources],
    ...rest,
    users: [...users],
    ...(idle > 0 ? { idle: formatDuration(idle) } : {}),
    owner: owner.id === '' ? 'local administrator' : owner.id,
    ...(endpoint.reason === '' ? {} : { reason: endpoint.reason }),
    ...(latched === undefined ? {} : { latched }),
    ...(limits.signIn ? { unlocked: service.unlocked(id), page: page(id) } : {}),
    live: service.connections(id),
    ...(endpoint.approval === undefined ? {} : { approval: endpoint.approval }),
  };
}
