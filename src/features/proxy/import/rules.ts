// Who may come in: allow, deny, limit_conn, PROXY protocol in.
import { isIP } from 'node:net';
import type { Directive } from '../../../wire/nginx-conf.ts';
import type { Listen } from './listen.ts';
import type { Scope } from './scope.ts';

export type Rule = { readonly allow: string } | { readonly deny: string };

/** nginx's own spelling of networks, checked; undefined = not one. */
export function readCidr(text: string): string | undefined {
  const [address = '', bits, ...rest] = text.split('/');
  const family = isIP(address);
  if (family === 0 || rest.length > 0) return undefined;
  if (bits === undefined) return address;
  const most = family === 4 ? 32 : 128;
  return /^\d{1,3}$/.test(bits) && Number(bits) <= most ? `${address}/${Number(bits)}` : undefined;
}

/** In order, first match wins. nginx lets in who matches nothing, so `allow: all` ends the list. */
export function convertRules(scope: Scope, listens: readonly Listen[]): void {
  const directives = scope.all('allow', 'deny');
  const rules: Rule[] = [];
  for (const directive of directives) {
    const rule = readRule(scope, directive, listens);
    if (rule) rules.push(rule);
  }
  if (rules.length === 0) return;
  const last = rules.at(-1);
  const open = last && !('allow' in last && last.allow === 'all') && !('deny' in last && last.deny === 'all');
  scope.put('rules', open ? [...rules, { allow: 'all' }] : rules);
  if (open && directives.at(-1))
    scope.note(
      directives.at(-1) as Directive,
      'whoever matches no rule is let in, as nginx does: `allow: all` ends the list',
      'rules',
    );
}

function readRule(scope: Scope, directive: Directive, listens: readonly Listen[]): Rule | undefined {
  const [text = ''] = directive.args;
  const kind = directive.name as 'allow' | 'deny';
  const make = (value: string): Rule => (kind === 'allow' ? { allow: value } : { deny: value });
  if (text === 'unix:') {
    if (!listens.some(({ address }) => address.kind === 'unix'))
      scope.ignore(directive, 'nothing listens on a unix socket here');
    else
      scope.refuseAndClose(
        directive,
        'a unix socket is guarded by its folder, not by a rule',
        "set the folder's mode, and write allow: all or deny: all",
      );
    return undefined;
  }
  const value = text === 'all' ? text : readCidr(text);
  if (value === undefined) {
    scope.refuseAndClose(directive, `invalid parameter "${text}"`, 'write an address, a network or all');
    return undefined;
  }
  scope.ledger.say('converted', directive, '→ rules');
  return make(value);
}

/** Zones of the stream block by name, and the servers that use each. */
export type Zones = ReadonlyMap<
  string,
  { readonly directive: Directive; readonly key: string; readonly users: number }
>;

export function readZones(stream: readonly Directive[], servers: readonly Scope[]): Zones {
  const zones = new Map<string, { directive: Directive; key: string; users: number }>();
  for (const directive of stream.filter(one => one.name === 'limit_conn_zone')) {
    const [key = '', zone = ''] = directive.args;
    const name = /^zone=([^:]+)(:.*)?$/.exec(zone)?.[1];
    if (name === undefined) continue;
    const users = servers.filter(scope => scope.all('limit_conn').some(one => one.args[0] === name)).length;
    zones.set(name, { directive, key: key.replace(/^\$\{(\w+)\}$/, '$$$1'), users });
  }
  return zones;
}

export function convertLimits(scope: Scope, zones: Zones, listens: readonly Listen[]): void {
  const kinds = new Set(listens.map(({ address, tls }) => `${address.kind} ${tls}`)).size;
  const dry = scope.flag('limit_conn_dry_run', false);
  if (dry.directive)
    scope.ledger.say('converted', dry.directive, dry.on ? 'no limit is written' : 'limits are enforced');
  for (const directive of scope.all('limit_conn')) {
    const [name = '', count = ''] = directive.args;
    const zone = zones.get(name);
    const limit = Number(count);
    if (!zone || !/^[1-9]\d{0,8}$/.test(count)) {
      scope.refuse(
        directive,
        zone ? `invalid number of connections "${count}"` : `there is no zone "${name}"`,
        'write limits: { connections: … }',
      );
      continue;
    }
    if (dry.on) {
      scope.ignore(directive, 'limit_conn_dry_run is on, so nginx does not enforce it');
      scope.ignore(zone.directive, 'its limit is not enforced');
      continue;
    }
    const key = limitKeys[zone.key] ?? (zone.key.includes('$') ? undefined : 'limits.connections');
    if (key === undefined) {
      scope.refuse(
        directive,
        `connections cannot be counted by ${zone.key}`,
        'use limits.connections or limits.per-address',
      );
      scope.ledger.say(
        'refused',
        zone.directive,
        `connections cannot be counted by ${zone.key}`,
        'use limits.connections or limits.per-address',
      );
      continue;
    }
    const notes = [
      zone.users > 1 || kinds > 1 ? 'nginx counts over all servers of the zone, Sekisho for each route' : '',
      key === 'limits.per-address' ? 'an IPv6 client counts by its /64' : '',
    ].filter(Boolean);
    const before = scope.keys.get(key);
    scope.put(
      key,
      typeof before === 'number' ? Math.min(before, limit) : limit,
      directive,
      notes.join('; ') || undefined,
    );
    scope.ledger.say('converted', zone.directive, `→ ${key}`);
  }
}

const limitKeys: Record<string, string> = {
  $binary_remote_addr: 'limits.per-address',
  $remote_addr: 'limits.per-address',
  $server_port: 'limits.connections',
  $server_addr: 'limits.connections',
  $protocol: 'limits.connections',
};

const everybody = ['0.0.0.0/0', '::/0'];

/** `listen … proxy_protocol` with set_real_ip_from. Undefined: this listener takes no header. */
export function convertProxyIn(scope: Scope, listens: readonly Listen[]): readonly string[] | undefined {
  const trusted = scope.all('set_real_ip_from');
  const speakers = listens.filter(one => one.proxyProtocol);
  const [first] = speakers;
  if (!first) {
    for (const one of trusted) scope.ignore(one, 'no listen … proxy_protocol stands here');
    return undefined;
  }
  if (speakers.some(({ address }) => address.kind === 'unix')) {
    scope.refuseAndClose(
      first.directive,
      'a PROXY header on a unix socket cannot be configured',
      'listen on tcp://127.0.0.1:port instead',
    );
    return undefined;
  }
  if (trusted.length === 0) return everybodySpeaks(scope, first);
  const from: string[] = [];
  for (const one of trusted) {
    const cidr = readCidr(one.args[0] ?? '');
    if (one.args[0] === 'unix:') scope.ignore(one, 'nothing listens on a unix socket with proxy_protocol here');
    else if (cidr === undefined)
      scope.refuse(one, 'host names are not believed', 'write the addresses of the balancer');
    else {
      from.push(cidr);
      scope.note(one, 'only these peers may send the header; nginx lets others send one and disbelieves it');
    }
  }
  if (from.length > 0) return from;
  scope.refuseAndClose(
    first.directive,
    'nobody is left who may send the PROXY header',
    'write proxy-protocol: { from: [network of the balancer] }',
  );
  return undefined;
}

/** Without set_real_ip_from nginx demands a header from everybody and believes none of them for its rules. */
function everybodySpeaks(scope: Scope, first: Listen): readonly string[] | undefined {
  const guarded = [...scope.all('allow', 'deny'), ...scope.all('limit_conn')];
  if (guarded.length > 0) {
    scope.refuseAndClose(
      first.directive,
      'nginx judges by the real peer here, Sekisho by the announced address, which anybody could forge',
      "write proxy-protocol: { from: [network of the balancer] }, and rules for the clients' own addresses",
    );
    return undefined;
  }
  scope.note(
    first.directive,
    'everybody must send the header, and what it says is believed in the log and the audit',
    'proxy-protocol',
  );
  scope.find(first.directive, {
    severity: 'medium',
    code: 'proxy-header-from-everybody',
    text: 'listen … proxy_protocol without set_real_ip_from: whoever reaches this port says which address it comes from',
    todo: 'write proxy-protocol: { from: [network of the balancer] }',
  });
  return everybody;
}
