// web: what the forward proxy and renamed sites serve, its forms for browsers, and decisions taken apart.
import { Fault } from '../core/fault.ts';
import type { Address, Principal } from '../core/parts.ts';
import type { WebService } from '../features/web/index.ts';
import type { ApiDeps } from './deps.ts';
import type { Handlers } from './verbs.ts';

export function webHandlers(deps: ApiDeps): Pick<Handlers, 'web.list' | 'web.pac' | 'web.check'> {
  const web = (): WebService => {
    const service = deps.house.web?.();
    if (!service)
      throw new Fault(
        'missing',
        'this is no renamed site, and this gate has no forward proxy; write web.forward in its configuration',
      );
    return service;
  };
  return {
    'web.list': async () => {
      const state = deps.house.web?.()?.state();
      const sites = deps.house.sites?.()?.state();
      const renamed = sites
        ? { sites: { ...sites, sites: sites.sites.map(site => ({ ...site })), warnings: [...sites.warnings] } }
        : {};
      if (!state) return renamed;
      const { proxy, pac, hosts, connections, warnings } = state;
      return {
        ...renamed,
        forward: { proxy, pac, connections, hosts: hosts.map(host => ({ ...host })), warnings: [...warnings] },
      };
    },
    'web.pac': async ({ query }) => web().form(query.for),
    'web.check': async ({ query, caller, signal }) => {
      const who = query.as === undefined ? caller.who : userAs(query.as, deps);
      const from: Address =
        query.from !== undefined
          ? { host: query.from, port: 0 }
          : 'host' in caller.from
            ? caller.from
            : { host: '127.0.0.1', port: 0 };
      const asked = { url: query.url, who, from };
      const { site, verdict, text, line, decision, addresses } =
        (await deps.house.sites?.()?.explain(asked, signal)) ?? (await web().explain(asked, signal));
      return {
        ...{ site, verdict, text },
        as: who.id || who.kind,
        from: 'host' in from ? from.host : '',
        addresses: addresses.map(({ host, fault }) => ({ address: host, ...(fault === undefined ? {} : { fault }) })),
        ...(line ? { line } : {}),
        ...(decision ? { rule: decision.rule } : {}),
      };
    },
  };
}

/** A user as their newest certificate shows them. @throws Fault `missing` */
function userAs(name: string, { authority, directory, standing }: ApiDeps): Principal {
  directory.get(name);
  const [newest] = authority
    .list({ user: name, revoked: false })
    .toSorted((a, b) => b.notBefore.getTime() - a.notBefore.getTime());
  if (!newest) {
    throw new Fault('missing', `${name} has no certificate that counts; make one with: sekisho cert issue ${name}`);
  }
  const { cn, ou = [], o } = newest.subject;
  return standing({
    ...{ kind: 'user', id: name, groups: [], credential: `cert:${newest.fingerprint}` },
    attributes: new Map([
      ['cn', cn === undefined ? [] : [cn]],
      ['ou', ou],
      ['o', o === undefined ? [] : [o]],
      ['san', newest.names],
      ['issuer', [newest.issuer]],
    ]),
  });
}
