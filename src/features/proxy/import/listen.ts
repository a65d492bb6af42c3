// nginx's `listen` → where a route listens.
import { isIP } from 'node:net';
import { formatUrl, type ListenAddress } from '../../../core/address.ts';
import type { Directive } from '../../../wire/nginx-conf.ts';
import { parseNginxTime } from '../../../wire/nginx-conf.ts';
import type { Scope } from './scope.ts';

export interface Listen {
  readonly directive: Directive;
  readonly address: Exclude<ListenAddress, { kind: 'gate' }>;
  /** TLS is ended here; `tls://` says so in the address, a unix socket by the route's certificate. */
  readonly tls: boolean;
  readonly proxyProtocol: boolean;
  /** nginx's `[::]:port` answers IPv6 only; ours answers both, so IPv4 is shut out by a rule. */
  readonly ipv6only: boolean;
  readonly isDefault: boolean;
  /** `false` = the system's default, which is off. */
  readonly keepalive: boolean | number;
}

const mostPorts = 1024;
/** Parameters that change nothing here, and what stands in their place. */
const silent: Record<string, string> = {
  reuseport: 'the workers share the port anyway',
  bind: 'every address is bound on its own',
};
const lost = ['backlog', 'rcvbuf', 'sndbuf', 'fastopen', 'setfib', 'accept_filter', 'deferred', 'multipath'];

export function readListens(scope: Scope): Listen[] {
  const directives = (scope.server.block ?? []).filter(one => one.name === 'listen');
  return directives.flatMap(directive => readListen(scope, directive));
}

function readListen(scope: Scope, directive: Directive): Listen[] {
  const [where = '', ...parameters] = directive.args;
  const words = new Map(parameters.map(word => [word.split('=', 1)[0] ?? '', word.slice(word.indexOf('=') + 1)]));
  const has = (word: string): boolean => words.has(word);
  const refuse = (reason: string, todo: string): Listen[] => {
    scope.refuse(directive, reason, todo);
    return [];
  };
  const known = [
    ...Object.keys(silent),
    ...lost,
    'ssl',
    'udp',
    'proxy_protocol',
    'default_server',
    'default',
    'ipv6only',
    'so_keepalive',
  ];
  const stranger = parameters.find(word => !known.includes(word.split('=', 1)[0] ?? ''));
  if (stranger !== undefined)
    return refuse(`invalid parameter "${stranger}"`, 'remove it, or write the listener by hand');
  if (has('ssl') && has('udp'))
    return refuse('TLS over UDP (DTLS) is not spoken', 'use TCP, or forward the datagrams as they are');
  if (has('udp') && has('proxy_protocol'))
    return refuse('"proxy_protocol" cannot be used with "udp"', 'remove one of them');
  const keepalive = readKeepalive(words.get('so_keepalive'));
  if (keepalive === undefined) return refuse('so_keepalive is on, off or idle:interval:count', 'correct it');

  const kind = has('udp') ? 'udp' : has('ssl') ? 'tls' : 'tcp';
  const addresses = readAddresses(where, kind);
  if (typeof addresses === 'string') return refuse(addresses, 'write address:port');
  if (addresses.length > mostPorts) return refuse(`more than ${mostPorts} ports`, 'name the ports that are used');
  if (kind === 'udp' && addresses.some(one => one.kind === 'unix')) {
    return refuse('datagrams on a unix socket cannot be configured', 'listen on udp://127.0.0.1:port instead');
  }
  const first = addresses[0];
  const ipv6only =
    first !== undefined && first.kind !== 'unix' && first.host === '::' && words.get('ipv6only') !== 'off';
  const notes = lost.filter(has).map(word => `${word} is not carried over, the system's value stands`);
  if (addresses.length > 1) notes.push(`${addresses.length} ports`);
  if (notes.length > 0) scope.note(directive, notes.join('; '), 'listen');
  else scope.ledger.say('converted', directive, `→ listen ${addresses.map(formatUrl).join(' ')}`);
  return addresses.map(address => ({
    directive,
    address,
    tls: has('ssl'),
    proxyProtocol: has('proxy_protocol'),
    ipv6only,
    isDefault: has('default_server') || has('default'),
    keepalive,
  }));
}

/** A string says what is wrong. */
function readAddresses(where: string, kind: 'tcp' | 'tls' | 'udp'): Listen['address'][] | string {
  if (where.startsWith('unix:'))
    return where.length > 5 ? [{ kind: 'unix', path: where.slice(5) }] : 'no path in the unix socket';
  const parts = /^(?:(\[[0-9a-fA-F:.]+\]|\*|[^:[\]]+):)?(\d{1,5})(?:-(\d{1,5}))?$/.exec(where);
  if (!parts) return where.includes('$') ? 'an address with variables cannot be listened on' : `no port in "${where}"`;
  const [, host = '*', from = '', to = from] = parts;
  const [low, high] = [Number(from), Number(to)];
  if (low < 1 || high > 65535 || high < low) return `invalid port in "${where}"`;
  const name = host === '*' ? '0.0.0.0' : host.replace(/^\[|\]$/g, '');
  if (isIP(name) === 0 && name !== 'localhost')
    return `"${name}" is a name; a listener needs an address of this machine`;
  return Array.from({ length: high - low + 1 }, (_, index) => ({ kind, host: name, port: low + index }));
}

function readKeepalive(text: string | undefined): boolean | number | undefined {
  if (text === undefined || text === 'off') return false;
  if (text === 'on') return true;
  const [idle = '', ...rest] = text.split(':');
  if (rest.length === 0 || rest.length > 2) return undefined;
  return idle === '' ? true : parseNginxTime(idle);
}
