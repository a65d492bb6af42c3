// One server block → its routes: one for each kind of listener and each way that its maps lead.
import { formatUrl } from '../../core/address.ts';
import { type ImportFinding, placeText } from '../../wire/import-report.ts';
import type { Directive, Place } from '../../wire/nginx-conf.ts';
import { addressKey, type Server } from './import-addresses.ts';
import { type Case, disentangle, expand, type Refusal, type Variables, type When } from './import-cases.ts';
import { convertClientTls, originates, type PassedHost } from './import-client-tls.ts';
import type { Listen } from './import-listen.ts';
import { readName } from './import-names.ts';
import { convertOptions } from './import-options.ts';
import { convertLimits, convertProxyIn, convertRules, type Rule, type Zones } from './import-rules.ts';
import type { Key, Scope } from './import-scope.ts';
import { convertServerTls, type FilePath } from './import-server-tls.ts';
import { type Group, readAddress } from './import-upstream.ts';

export interface ImportedRoute {
  readonly name: string;
  readonly at: Place;
  /** As it stands in the YAML under `proxy:`. */
  readonly value: Readonly<Record<string, unknown>>;
  /** Remarks by key (nested ones with a dot); `''` = the route as a whole. */
  readonly comments: ReadonlyMap<Key, readonly string[]>;
}

/** What the servers of one stream block share. */
export interface StreamContext {
  readonly variables: Omit<Variables, 'sets' | 'close'>;
  readonly groups: ReadonlyMap<string, Group>;
  readonly zones: Zones;
  readonly shared: ReadonlyMap<string, readonly Server[]>;
  readonly file: FilePath;
  readonly names: Set<string>;
}

const byHand = 'write the route by hand';
/** Keys that stand only beside a listener that ends TLS. */
const serverTlsKeys = /^(certificate|clients|protocols|ciphers|curves|prefer-server-ciphers|session|alpn)\b/;
const streamKeys = /^(half-close|keepalive|verify|sni|upstream|proxy-protocol)\b/;

export function convertServer(server: Server, context: StreamContext): ImportedRoute[] {
  const { scope } = server;
  const pass = scope.one('proxy_pass');
  const prereads = readPreread(scope);
  const rejects = readReject(server, context);
  const names = readServerNames(server, context, prereads);
  const { listens } = server;
  if (listens.length === 0 && !(scope.server.block ?? []).some(one => one.name === 'listen')) {
    scope.refuse(scope.server, 'no "listen" is defined for it', byHand);
  }
  const ends = listens.some(({ tls }) => tls);
  const canEnd = ends && !rejects ? convertServerTls(scope, context.file) : true;
  if (!ends) ignoreServerTls(scope);
  convertRules(scope, listens);
  convertLimits(scope, context.zones);
  convertOptions(scope, { listens, prereads: prereads && !ends });
  const from = convertProxyIn(scope, listens);
  const ways = pass && listens.length > 0 ? findWays(server, pass, context) : [];
  const [first] = ways;
  convertClientTls(scope, context.file, first ? passedHost(first.cases, context) : { host: '', isGroup: false });
  convertResolver(scope, ways, context);
  if (!canEnd && !rejects) {
    scope.refuse(
      scope.server,
      'TLS is ended here, and there is no certificate that can be read',
      'write certificate: { cert: file:…, key: file:… }',
    );
    return [];
  }
  if (rejects || names === undefined) return [];
  const routes = ways.flatMap(way => writeWay(server, way, { context, names, from }));
  const said = scope.ledger.refused(scope.server);
  if (!said && routes.length > 0)
    scope.ledger.say('converted', scope.server, `→ ${routes.map(route => `proxy.${route.name}`).join(', ')}`);
  else if (!said) scope.refuse(scope.server, pass ? 'no route comes of it' : 'it passes nothing on', byHand);
  return routes;
}

function readPreread(scope: Scope): boolean {
  const preread = scope.flag('ssl_preread', false);
  if (preread.directive) {
    scope.ledger.say(
      'converted',
      preread.directive,
      preread.on ? 'the ClientHello is read, not answered' : 'nothing is read in advance',
    );
  }
  return preread.on;
}

/** A default server that rejects is a listener without a default route: unknown names are refused anyway. */
function readReject({ scope, listens }: Server, { shared }: StreamContext): boolean {
  const reject = scope.flag('ssl_reject_handshake', false);
  if (!reject.directive) return false;
  const harmless = listens.every(listen => shared.get(addressKey(listen))?.[0]?.scope === scope);
  if (!reject.on) scope.ledger.say('converted', reject.directive, 'it is the default');
  else if (harmless) {
    scope.ledger.say('converted', reject.directive, 'no route is the default, so names that no route has are refused');
    scope.ledger.say('converted', scope.server, 'it only rejects; no route is needed for that');
    for (const one of scope.server.block ?? [])
      if (/^ssl_(?!reject)/.test(one.name)) scope.ignore(one, 'every handshake is rejected');
  } else
    scope.refuse(
      reject.directive,
      'single names cannot be rejected beside a default',
      'remove `default: true` from the default route',
    );
  return reject.on;
}

interface Names {
  readonly list: readonly string[];
}

/** `undefined`: nginx would never choose this server. Names matter only where several servers share an address. */
function readServerNames({ scope, listens }: Server, { shared }: StreamContext, prereads: boolean): Names | undefined {
  const directives = (scope.server.block ?? []).filter(one => one.name === 'server_name');
  const crowded = listens.filter(listen => (shared.get(addressKey(listen))?.length ?? 0) > 1);
  if (crowded.length === 0) {
    for (const one of directives) scope.ignore(one, 'only one server listens there, so it answers every name');
    return { list: [] };
  }
  const isDefault = crowded.every(listen => shared.get(addressKey(listen))?.[0]?.scope === scope);
  const sees = crowded.some(({ tls }) => tls) || prereads;
  if (!sees) {
    for (const one of directives)
      scope.ignore(one, 'plain connections carry no name, so the default server answers them all');
    if (isDefault) return { list: [] };
    scope.refuse(
      scope.server,
      'another server is the default on this address, so nginx never chooses this one',
      'remove it, or give it an address',
    );
    return undefined;
  }
  const list = directives.flatMap(one => one.args.flatMap(arg => readOneName(scope, one, arg)));
  if (list.length > 0 || isDefault) return { list };
  if (!directives.some(one => scope.ledger.refused(one))) {
    scope.refuse(
      scope.server,
      'it has no name and is not the default, so nginx never chooses it',
      'give it a server_name, or remove it',
    );
  }
  return undefined;
}

function readOneName(scope: Scope, directive: Directive, text: string): readonly string[] {
  const reading = readName(text, true);
  if ('names' in reading) {
    scope.ledger.say('converted', directive, '→ names');
    return reading.names;
  }
  if ('never' in reading || text === '')
    scope.ignore(directive, 'never' in reading ? reading.never : 'the default route takes connections without a name');
  else scope.refuse(directive, reading.refused, 'write the names in `names:`');
  return [];
}

function ignoreServerTls(scope: Scope): void {
  const own = (scope.server.block ?? []).filter(one => /^ssl_(?!preread|reject)/.test(one.name));
  for (const one of own) scope.ignore(one, 'no listen … ssl stands in this server');
}

interface Way {
  readonly listens: readonly Listen[];
  readonly cases: readonly Case[];
}

/** Listeners that behave alike share a way. */
function findWays(server: Server, pass: Directive, context: StreamContext): Way[] {
  const { scope } = server;
  const sets = readSets(scope);
  const close = (entry: Directive): void => void scope.closed.push(`${placeText(entry.at)} could not be converted`);
  const ways = new Map<string, { listens: Listen[]; cases: readonly Case[] }>();
  for (const listen of server.listens) {
    const cases = expand(pass.args[0] ?? '', pass, listen, { ...context.variables, sets, close });
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

function passedHost(cases: readonly Case[], { groups }: StreamContext): PassedHost {
  const value = cases.find(one => one.value !== '')?.value ?? '';
  return groups.has(value)
    ? { host: value, isGroup: true }
    : { host: value.replace(/:\d+$/, '').replace(/^\[|\]$/g, ''), isGroup: false };
}

function findGroup(value: string, directive: Directive, { groups }: StreamContext): Group | Refusal {
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

interface WayOptions {
  readonly context: StreamContext;
  readonly names: Names;
  readonly from: readonly string[] | undefined;
}

function writeWay(server: Server, way: Way, options: WayOptions): ImportedRoute[] {
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

/** `to:` as YAML has it. */
function writeTargets(scope: Scope, group: Group, listens: readonly Listen[]): { list: unknown } | Refusal {
  const udp = listens.some(({ address }) => address.kind === 'udp');
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

function convertResolver(scope: Scope, ways: readonly Way[], context: StreamContext): void {
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
