// One way of a server → the routes that stand in the file: their keys, their names, their remarks.
import { formatUrl } from '../../../core/address.ts';
import { type ImportFinding, placeText } from '../../../wire/import-report.ts';
import type { Place } from '../../../wire/nginx-conf.ts';
import { addressKey, type Server } from './addresses.ts';
import type { Refusal, When } from './cases.ts';
import { byHand, type StreamContext } from './context.ts';
import type { Listen } from './listen.ts';
import type { Rule } from './rules.ts';
import type { Key, Scope } from './scope.ts';
import type { Group } from './upstream.ts';
import { findGroup, type Way, writeTargets } from './ways.ts';

export interface ImportedRoute {
  readonly name: string;
  readonly at: Place;
  /** As it stands in the YAML under `proxy:`. */
  readonly value: Readonly<Record<string, unknown>>;
  /** Remarks by key (nested ones with a dot); `''` = the route as a whole. */
  readonly comments: ReadonlyMap<Key, readonly string[]>;
}

export interface Names {
  readonly list: readonly string[];
}

/** Keys that stand only beside a listener that ends TLS. */
const serverTlsKeys = /^(certificate|clients|protocols|ciphers|curves|prefer-server-ciphers|session|alpn)\b/;
const streamKeys = /^(half-close|keepalive|verify|sni|upstream|proxy-protocol)\b/;

interface WayOptions {
  readonly context: StreamContext;
  readonly names: Names;
  readonly from: readonly string[] | undefined;
}

export function writeWay(server: Server, way: Way, options: WayOptions): ImportedRoute[] {
  const { scope } = server;
  const otherwise = way.cases.find(one => one.when.default && one.value !== '');
  return way.cases.flatMap(one => {
    const target = one.value === '' ? otherwise : one;
    const pass = scope.one('proxy_pass') ?? one.directive;
    if (!target) {
      scope.ledger.say('converted', one.directive, 'it leads nowhere: such connections are refused');
      return [];
    }
    const group = findGroup(target.value, target.directive, options.context);
    const to = 'reason' in group ? group : writeTargets(scope, group, way.listens);
    if ('reason' in group || 'reason' in to) {
      const { reason, todo } = 'reason' in group ? group : (to as Refusal);
      scope.refuse(one.directive, reason, todo);
      return [];
    }
    if (one.directive !== pass || !scope.ledger.has(pass)) scope.ledger.say('converted', pass, '→ to');
    const route = writeRoute(server, way, { ...options, group, to: to.list, when: one.when, shut: one.value === '' });
    return route ? [route] : [];
  });
}

interface RouteOptions extends WayOptions {
  readonly group: Group;
  readonly to: unknown;
  readonly when: When;
  /** nginx closes these connections: the case leads nowhere while others have a default. */
  readonly shut: boolean;
}

function writeRoute(
  server: Server,
  way: Way,
  { context, names, from, group, to, when, shut }: RouteOptions,
): ImportedRoute | undefined {
  const { scope } = server;
  const [first] = way.listens;
  if (!first) return undefined;
  const keys = routeKeys(scope, first, { group, from });
  const comments = new Map(scope.comments);
  const remark = (key: Key, text: string): void => void comments.set(key, [...(comments.get(key) ?? []), text]);
  keys.set('listen', oneOr(way.listens.map(({ address }) => formatUrl(address))));
  keys.set('to', to);
  const { names: sni, alpn, plain, default: otherwise } = when;
  const crowd = context.shared.get(addressKey(first)) ?? [];
  if (names.list.length > 0 && sni) {
    scope.refuse(scope.server, 'it is chosen by its own name and by a map over names', byHand);
    return undefined;
  }
  const isDefault = crowd.length > 1 && crowd[0] === server && Object.keys(when).length === 0;
  const own = isDefault && !crowd.some(other => other !== server && hasWildcard(other)) ? [] : names.list;
  const list = sni ?? own;
  if (list.length > 0) keys.set('names', [...list]);
  if (alpn) keys.set('alpn', [...alpn]);
  if (plain) keys.set('plain', true);
  if (isDefault || (otherwise && way.cases.length > 1)) keys.set('default', true);
  // nginx's default also takes what is not TLS, unless a map over $ssl_preread_protocol says otherwise.
  const unread = otherwise && way.cases.length > 1 && !first.tls && !way.cases.some(one => one.when.plain);
  if (unread || (isDefault && !first.tls && list.length === 0)) keys.set('plain', true);
  const reasons = shut ? ['nginx sends these connections nowhere'] : scope.closed;
  if (reasons.length > 0) {
    keys.set('rules', [{ deny: 'all' }]);
    for (const reason of reasons) remark('rules', `closed: ${reason}`);
  }
  if (first.ipv6only) {
    const text = '[::] also hears IPv4 here, so a first rule turns IPv4 away';
    scope.ledger.say('noted', first.directive, text);
    remark('rules', `${placeText(first.directive.at)}: ${text}`);
    keys.set('rules', [{ deny: '0.0.0.0/0' }, ...((keys.get('rules') as Rule[] | undefined) ?? [{ allow: 'all' }])]);
  }
  findOpenDoor(scope, way.listens, keys);
  return { name: nameRoute(context.names, group, first, scope), at: scope.server.at, value: nest(keys), comments };
}

const hasWildcard = ({ scope }: Server): boolean =>
  (scope.server.block ?? []).some(one => one.name === 'server_name' && one.args.some(arg => /^[.~]|\*/.test(arg)));

/** The server's keys as far as they belong to this kind of listener. */
function routeKeys(
  scope: Scope,
  first: Listen,
  { group, from }: { group: Group; from: readonly string[] | undefined },
): Map<Key, unknown> {
  const { kind } = first.address;
  const keys = new Map<Key, unknown>();
  for (const [key, value] of scope.keys) {
    if (value === undefined || (!first.tls && serverTlsKeys.test(key)) || (kind === 'udp' && streamKeys.test(key)))
      continue;
    keys.set(key, value);
  }
  if (group.balance !== undefined) keys.set('balance', group.balance);
  if (group.servers.some(({ named }) => named)) {
    if (!group.resolves) keys.set('resolve', 'off');
  } else keys.delete('resolve');
  if (from && first.proxyProtocol) keys.set('proxy-protocol.from', from);
  // Without proxy_ssl_name, each way is verified and named after its own host.
  if (scope.all('proxy_ssl_name').length === 0) {
    if (keys.has('verify.name')) keys.set('verify.name', group.name);
    if (keys.has('sni') && keys.get('sni') !== 'off') keys.set('sni', group.name);
  }
  return keys;
}

const order =
  'listen names alpn plain default certificate clients protocols ciphers curves prefer-server-ciphers session to balance next-upstream resolve verify sni upstream proxy-protocol bind keepalive rules limits half-close datagrams'.split(
    ' ',
  );

/** Dotted keys → nested objects, in the order people read them. */
function nest(keys: ReadonlyMap<Key, unknown>): Record<string, unknown> {
  const value: Record<string, unknown> = {};
  const rank = (key: Key): number => order.indexOf(key.split('.')[0] ?? '');
  for (const [key, one] of [...keys].sort(([a], [b]) => rank(a) - rank(b))) {
    const path = key.split('.');
    const last = path.pop() ?? key;
    let place = value;
    for (const step of path) {
      place[step] ??= {};
      place = place[step] as Record<string, unknown>;
    }
    place[last] = one;
  }
  return value;
}

const oneOr = <T>(list: readonly T[]): T | readonly T[] =>
  list.length === 1 && list[0] !== undefined ? list[0] : list;

function nameRoute(taken: Set<string>, group: Group, { address }: Listen, scope: Scope): string {
  const names = (scope.server.block ?? []).flatMap(one => (one.name === 'server_name' ? one.args : []));
  const serverName = names.find(one => /^[*.]*[a-z0-9]/i.test(one)) ?? '';
  const port = address.kind === 'unix' ? (address.path.split('/').at(-1) ?? '') : String(address.port);
  const base = `${group.directive ? group.name : serverName || group.name}-${port}`
    .replace(/[^A-Za-z0-9._-]+/g, '-')
    .replace(/^[^A-Za-z0-9]+/, '')
    .slice(0, 56);
  let name = base || `stream-${port}`;
  for (let count = 2; taken.has(name); count++) name = `${base}-${count}`;
  taken.add(name);
  return name;
}

const loopback = /^(127\.|localhost$|::1$)/;

function findOpenDoor(scope: Scope, listens: readonly Listen[], keys: ReadonlyMap<Key, unknown>): void {
  const rules = (keys.get('rules') as readonly Rule[] | undefined) ?? [];
  if (keys.get('clients.mode') === 'required' || rules.some(rule => 'deny' in rule && rule.deny !== '0.0.0.0/0'))
    return;
  for (const { address, directive } of listens) {
    if (address.kind === 'unix' || loopback.test(address.host)) continue;
    const finding: Omit<ImportFinding, 'at'> = {
      severity: 'medium',
      code: 'open-to-everybody',
      text: `everybody who reaches ${directive.args[0]} is let in: no rule and no client certificate stands before it`,
      todo: 'listen on 127.0.0.1, or write rules: [{ allow: NETWORK }], or clients: required',
    };
    scope.find(directive, finding);
  }
}
