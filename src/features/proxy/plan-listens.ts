// Where routes listen: what each listener does with its bytes, and which routes can stand on one address together.
import { isIP } from 'node:net';
import { formatUrl, type ListenAddress } from '../../core/address.ts';
import type { RouteConfig } from './config.ts';
import type { Findings } from './findings.ts';
import type { ListenPlan, RoutePlan } from './route-plan.ts';

/** What the route's listeners do, in the order of `listen:`. */
export function planListens(config: RouteConfig, findings: Findings): ListenPlan[] {
  const sorted = Boolean(config.names ?? config.alpn ?? config.default ?? config.plain);
  const listens = config.listen.map((address, index) => {
    const here = config.listen.length > 1 ? findings.at('listen', index) : findings.at('listen');
    const url = formatUrl(address);
    if (config.listen.slice(0, index).some(other => formatUrl(other) === url)) here.mistake(`${url} is written twice`);
    if ('host' in address && address.host !== '' && isIP(address.host) === 0 && address.host !== 'localhost') {
      here.mistake(
        `"${address.host}" is not an address of this machine; write an IP address, or nothing for all of them`,
      );
    }
    return { address, mode: modeOf(address, config.certificate !== undefined, sorted) };
  });

  const has = (mode: ListenPlan['mode']): boolean => listens.some(listen => listen.mode === mode);
  if (has('datagrams') && listens.some(listen => listen.mode !== 'datagrams')) {
    findings.at('listen').mistake('udp:// cannot stand beside other listeners in one route; make a second route');
  }
  if (has('tls') && has('pass')) {
    findings
      .at('listen')
      .mistake(
        'with names:, tls:// ends TLS and tcp:// passes it through unread; one route cannot do both, make two routes',
      );
  }
  if (has('tls') && listens.some(listen => listen.mode !== 'tls') && (config.clients ?? 'off') !== 'off') {
    findings
      .at('clients')
      .mistake('the route also listens without TLS, where no certificate can be asked for; make two routes');
  }
  if (!has('tls')) tlsKeysWithoutTls(config, has('pass'), findings);
  if (config.plain && has('tls')) findings.at('plain').mistake('means nothing where TLS is ended; listen on tcp://');
  if (config.plain && (config.names ?? config.alpn)) {
    findings.at('plain').mistake('what is not TLS carries no name and no ALPN; make a route of its own for it');
  }
  if (has('datagrams') && sorted)
    findings.at('names').mistake('datagrams carry no server name; give each udp:// route its own port');
  return listens;
}

function modeOf(address: ListenAddress, certificate: boolean, sorted: boolean): ListenPlan['mode'] {
  switch (address.kind) {
    case 'udp':
      return 'datagrams';
    case 'tls':
      return 'tls';
    case 'gate':
      return certificate ? 'tls' : 'pass';
    case 'unix':
      return certificate ? 'tls' : sorted ? 'pass' : 'plain';
    case 'tcp':
      return sorted ? 'pass' : 'plain';
  }
}

function tlsKeysWithoutTls(config: RouteConfig, pass: boolean, findings: Findings): void {
  const hint = pass
    ? 'names: on tcp:// passes TLS through unread; listen on tls:// to end it here'
    : 'listen on tls:// to use it';
  const keys = [
    'certificate',
    'clients',
    'protocols',
    'ciphers',
    'curves',
    'prefer-server-ciphers',
    'session',
  ] as const;
  for (const key of keys) {
    if (config[key] !== undefined && config[key] !== 'off')
      findings.at(key).mistake(`means nothing without TLS; ${hint}`);
  }
}

/** Names an address that can be bound once. Port 0 is a new port each time. */
export function listenKey(address: ListenAddress, route: string, index: number): string {
  if (address.kind === 'gate') return 'gate';
  if (address.kind === 'unix') return `unix:${address.path}`;
  const kind = address.kind === 'udp' ? 'udp' : 'tcp';
  return `${kind}://${bindHost(address.host)}:${address.port || `0 (${route} ${index})`}`;
}

/** An empty host is every address, IPv6 and IPv4. */
export const bindHost = (host: string): string => (host === '' ? '::' : host);

/** Checks routes against each other; `findingsOf` gives the findings of a route by its name. */
export function checkShared(plans: readonly RoutePlan[], findingsOf: (route: string) => Findings): void {
  const shared = new Map<string, { plan: RoutePlan; listen: ListenPlan }[]>();
  for (const plan of plans) {
    plan.listens.forEach((listen, index) => {
      const key = listenKey(listen.address, plan.name, index);
      shared.set(key, [...(shared.get(key) ?? []), { plan, listen }]);
    });
  }
  for (const [key, routes] of shared) {
    if (key === 'gate') needNames(routes, findingsOf);
    if (routes.length > 1) checkTogether(key, routes, findingsOf);
    checkWildcard(key, [...shared.keys()], routes, findingsOf);
  }
}

type Sharing = readonly { plan: RoutePlan; listen: ListenPlan }[];

function needNames(routes: Sharing, findingsOf: (route: string) => Findings): void {
  for (const { plan } of routes) {
    if (plan.names.length === 0 && plan.alpn.length === 0) {
      findingsOf(plan.name).at('names').mistake('listen: gate needs the server names that come here');
    }
    if (plan.default) findingsOf(plan.name).at('default').mistake('on listen: gate, the gate itself is the default');
    if (plan.proxyFrom) {
      findingsOf(plan.name)
        .at('proxy-protocol', 'from')
        .mistake('on listen: gate, the gate reads the PROXY header; set it there');
    }
  }
}

function checkTogether(key: string, routes: Sharing, findingsOf: (route: string) => Findings): void {
  const first = routes[0]?.plan;
  for (const { plan, listen } of routes) {
    const findings = findingsOf(plan.name);
    const others = routes.flatMap(other => (other.plan === plan ? [] : [other.plan.name])).join(', ');
    const sorted = plan.names.length > 0 || plan.alpn.length > 0 || plan.default || plan.plain;
    if (listen.mode === 'datagrams') {
      findings.at('listen').mistake(`${key} is also the address of ${others}; datagrams need a port of their own`);
    } else if (listen.mode === 'plain' || !sorted) {
      findings
        .at('listen')
        .mistake(
          `${key} is also the address of ${others}; tell them apart by names: or alpn:, or mark one default: true`,
        );
    }
    if (JSON.stringify(plan.proxyFrom) !== JSON.stringify(first?.proxyFrom)) {
      findings
        .at('proxy-protocol', 'from')
        .mistake(`must be the same for every route on ${key}; ${first?.name} has another`);
    }
  }
  checkClaims(key, routes, findingsOf);
}

/** Nobody may claim what another route on the address claims already. */
function checkClaims(key: string, routes: Sharing, findingsOf: (route: string) => Findings): void {
  const taken = new Map<string, string>();
  for (const { plan } of routes) {
    for (const [at, claim] of claimsOf(plan)) {
      const owner = taken.get(claim);
      if (owner !== undefined) findingsOf(plan.name).at(at).mistake(`${claim} on ${key} belongs to ${owner} already`);
      else taken.set(claim, plan.name);
    }
  }
}

function claimsOf({ names, alpn, default: isDefault, plain }: RoutePlan): [key: string, claim: string][] {
  const hosts = names.map(name => name.toLowerCase());
  const claims: [string, string][] = isDefault ? [['default', 'being the default']] : [];
  if (plain) claims.push(['plain', 'what is not TLS']);
  if (alpn.length === 0) return [...claims, ...hosts.map((host): [string, string] => ['names', host])];
  if (hosts.length === 0) return [...claims, ...alpn.map((protocol): [string, string] => ['alpn', protocol])];
  return [
    ...claims,
    ...hosts.flatMap(host => alpn.map((protocol): [string, string] => ['names', `${host} with ${protocol}`])),
  ];
}

/** 0.0.0.0:443 and 127.0.0.1:443 cannot be bound side by side. */
function checkWildcard(key: string, keys: string[], routes: Sharing, findingsOf: (route: string) => Findings): void {
  const address = /^(tcp|udp):\/\/(.*):(\d+)$/.exec(key);
  if (!address) return;
  const [, kind, host = '', port] = address;
  const covering = keys.filter(
    other =>
      other !== key &&
      (other === `${kind}://:::${port}` || (other === `${kind}://0.0.0.0:${port}` && isIP(host) !== 6)),
  );
  for (const other of covering) {
    for (const { plan } of routes)
      findingsOf(plan.name)
        .at('listen')
        .mistake(`${key} is covered by ${other}, where another route listens; use one of them for both`);
  }
}

/** Whether only this machine reaches the listener. */
export function isLocal(address: ListenAddress): boolean {
  if (address.kind === 'unix') return true;
  if (address.kind === 'gate') return false;
  return /^(127\.|::1$|localhost$|::ffff:127\.)/.test(address.host);
}
