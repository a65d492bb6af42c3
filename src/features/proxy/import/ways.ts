// Where a server leads: proxy_pass followed through maps for each listener, and the targets at the end.
import { placeText } from '../../../wire/import-report.ts';
import type { Directive } from '../../../wire/nginx-conf.ts';
import { addressKey, type Server } from './addresses.ts';
import { type Case, disentangle, expand, type Refusal } from './cases.ts';
import { originates, type PassedHost } from './client-tls.ts';
import { byHand, type StreamContext } from './context.ts';
import type { Listen } from './listen.ts';
import type { Scope } from './scope.ts';
import { type Group, readAddress } from './upstream.ts';

export interface Way {
  readonly listens: readonly Listen[];
  readonly cases: readonly Case[];
}

/** Listeners that behave alike share a way. */
export function findWays(server: Server, pass: Directive, prereads: boolean, context: StreamContext): Way[] {
  const { scope } = server;
  const sets = readSets(scope);
  const close = (entry: Directive): void => void scope.closed.push(`${placeText(entry.at)} could not be converted`);
  const ways = new Map<string, { listens: Listen[]; cases: readonly Case[] }>();
  for (const listen of server.listens) {
    const cases = expand(pass.args[0] ?? '', pass, listen, { ...context.variables, sets, close, prereads });
    if ('reason' in cases) {
      scope.refuse(pass, cases.reason, cases.todo);
      continue;
    }
    const { kind } = listen.address;
    const crowd = (context.shared.get(addressKey(listen)) ?? []).map(one => placeText(one.scope.server.at));
    const key = JSON.stringify([
      kind,
      listen.tls,
      listen.proxyProtocol,
      listen.ipv6only,
      crowd.length > 1 && crowd,
      cases.map(one => [one.when, one.value]),
    ]);
    const way = ways.get(key);
    if (way) way.listens.push(listen);
    else ways.set(key, { listens: [listen], cases: disentangle(cases) });
  }
  return [...ways.values()];
}

function readSets(scope: Scope): Map<string, string> {
  const sets = new Map<string, string>();
  for (const one of (scope.server.block ?? []).filter(({ name }) => name === 'set')) {
    const [variable = '', value = ''] = one.args;
    if (value.includes('$')) scope.refuse(one, 'it is computed at run time', byHand);
    else {
      sets.set(variable.replace(/^\$/, ''), value);
      scope.ledger.say('converted', one, 'it is written where it is used');
    }
  }
  return sets;
}

export function passedHost(cases: readonly Case[], { groups }: StreamContext): PassedHost {
  const value = cases.find(one => one.value !== '')?.value ?? '';
  return groups.has(value)
    ? { host: value, isGroup: true }
    : { host: value.replace(/:\d+$/, '').replace(/^\[|\]$/g, ''), isGroup: false };
}

export function findGroup(value: string, directive: Directive, { groups }: StreamContext): Group | Refusal {
  const group = groups.get(value);
  if (group)
    return group.servers.length > 0
      ? group
      : { reason: `upstream "${value}" has no target that could be converted`, todo: byHand };
  const address = readAddress(value);
  if (typeof address === 'string') return { reason: address, todo: 'write an address with its port' };
  const resolves = directive.name !== 'proxy_pass'; // through a variable, nginx asks its resolver at run time
  return { name: address.address.replace(/:\d+$/, ''), servers: [{ ...address, options: {} }], resolves };
}

/** `to:` as YAML has it. */
export function writeTargets(scope: Scope, group: Group, listens: readonly Listen[]): { list: unknown } | Refusal {
  const udp = listens.some(({ address }) => address.kind === 'udp');
  if (udp && originates(scope)) {
    return { reason: 'TLS towards a target of datagrams (DTLS) is not spoken', todo: 'remove proxy_ssl' };
  }
  const scheme = udp ? 'udp' : originates(scope) ? 'tls' : 'tcp';
  const unix = group.servers.some(({ address }) => address.startsWith('unix:'));
  if (unix && scheme !== 'tcp') {
    return {
      reason: `${udp ? 'datagrams' : 'TLS'} to a unix socket cannot be configured`,
      todo: 'let the target listen on 127.0.0.1',
    };
  }
  const list = group.servers.map(({ address, options }) => {
    const url = address.startsWith('unix:') ? address : `${scheme}://${address}`;
    return Object.keys(options).length === 0 ? url : { url, ...options };
  });
  return { list: list.length === 1 && typeof list[0] === 'string' ? list[0] : list };
}

export function convertResolver(scope: Scope, ways: readonly Way[], context: StreamContext): void {
  const directive = scope.one('resolver');
  if (!directive) return;
  const used = ways
    .flatMap(way => way.cases)
    .some(one => {
      const group = findGroup(one.value, one.directive, context);
      return !('reason' in group) && group.resolves && group.servers.some(({ named }) => named);
    });
  if (!used) {
    scope.ignore(directive, 'names of targets are resolved once, at start, without it');
    return;
  }
  const valid = directive.args.find(arg => /^valid=\d+(ms|[smhdw])?$/.test(arg))?.slice(6);
  const note = "the system's name servers are asked";
  if (valid !== undefined) scope.put('resolve', /\d$/.test(valid) ? `${valid}s` : valid, directive, note);
  else scope.note(directive, note);
}
