// Listeners of all servers together: which overlap, which are shared, and who answers by default.
import { formatUrl } from '../../../core/address.ts';
import type { Listen } from './listen.ts';
import type { Scope } from './scope.ts';

export interface Server {
  readonly scope: Scope;
  listens: readonly Listen[];
}

/** `tcp/0.0.0.0:443`: what two listeners must not both be. TLS and plain TCP are one. */
export function addressKey({ address }: Listen): string {
  if (address.kind === 'unix') return `unix:${address.path}`;
  return `${address.kind === 'udp' ? 'udp' : 'tcp'}/${address.host}:${address.port}`;
}

/**
 * nginx opens one wildcard socket and sorts connections by the address they came to; here every listener is a socket of
 * its own. What one server says twice becomes one listener, what two servers say is refused for the later one.
 */
export function settleOverlaps(servers: readonly Server[]): void {
  const byPort = new Map<string, { server: Server; listen: Listen }[]>();
  for (const server of servers) {
    for (const listen of server.listens) {
      if (listen.address.kind === 'unix') continue;
      const key = `${listen.address.kind === 'udp' ? 'udp' : 'tcp'}:${listen.address.port}`;
      byPort.set(key, [...(byPort.get(key) ?? []), { server, listen }]);
    }
  }
  for (const group of byPort.values()) if (group.length > 1) settle(group);
}

function settle(group: readonly { server: Server; listen: Listen }[]): void {
  const hosts = (server: Server): string[] => group.filter(one => one.server === server).map(one => host(one.listen));
  for (const { server, listen } of group) {
    if (!server.listens.includes(listen)) continue;
    const own = hosts(server);
    const others = group
      .filter(one => one.server !== server && one.server.listens.includes(one.listen))
      .map(one => host(one.listen));
    if (own.includes('0.0.0.0') && own.includes('::')) settleDual(server, listen);
    else if (own.includes(wildcard(listen)) && host(listen) !== wildcard(listen)) {
      drop(server, listen);
      if (!server.listens.some(one => one.directive === listen.directive)) {
        server.scope.ledger.say('ignored', listen.directive, `the listener on ${wildcard(listen)} hears it too`);
      }
    } else if (others.some(other => overlaps(other, host(listen)))) {
      const before = group.findIndex(one => one.server !== server && overlaps(host(one.listen), host(listen)));
      if (before >= group.findIndex(one => one.listen === listen)) continue;
      drop(server, listen);
      server.scope.refuse(
        listen.directive,
        `${formatUrl(listen.address)} overlaps another server's listener on the same port`,
        'give each listener an address of its own, or both servers the same address and different names',
      );
    }
  }
}

/** `listen 443; listen [::]:443;` in one server is one dual-stack listener. */
function settleDual(server: Server, listen: Listen): void {
  if (host(listen) === '::') {
    server.listens = server.listens.map(one => (one === listen ? { ...listen, ipv6only: false } : one));
    server.scope.note(listen.directive, '[::] hears IPv4 and IPv6, so the two listeners are one', 'listen');
    return;
  }
  drop(server, listen);
  server.scope.ledger.say('converted', listen.directive, 'the listener on [::] hears it');
}

const host = (listen: Listen): string => (listen.address.kind === 'unix' ? '' : listen.address.host);
const wildcard = (listen: Listen): string => (host(listen).includes(':') ? '::' : '0.0.0.0');

/** Different addresses that one socket would hear. */
function overlaps(one: string, other: string): boolean {
  if (one === other) return false; // shared: told apart by name
  return (
    one === '::' ||
    other === '::' ||
    (one === '0.0.0.0' && !other.includes(':')) ||
    (other === '0.0.0.0' && !one.includes(':'))
  );
}

function drop(server: Server, listen: Listen): void {
  server.listens = server.listens.filter(one => one !== listen);
}

/** For every address the servers that stand on it, the default one first. A server with TLS makes the address TLS. */
export function shareAddresses(servers: readonly Server[]): ReadonlyMap<string, readonly Server[]> {
  const shared = new Map<string, Server[]>();
  const withTls = new Set<string>();
  for (const server of servers) {
    for (const listen of server.listens) {
      const key = addressKey(listen);
      if (listen.tls) withTls.add(key);
      const there = shared.get(key) ?? [];
      if (there.includes(server)) continue;
      shared.set(key, listen.isDefault ? [server, ...there] : [...there, server]);
    }
  }
  for (const server of servers) {
    server.listens = server.listens.map(listen => (withTls.has(addressKey(listen)) ? endTls(listen) : listen));
  }
  return shared;
}

function endTls(listen: Listen): Listen {
  const { address } = listen;
  return { ...listen, tls: true, address: address.kind === 'tcp' ? { ...address, kind: 'tls' } : address };
}
