// nginx's proxy_* and the rest of a server block: timeouts, rates, keepalive, PROXY header out, datagrams.
import { isIP } from 'node:net';
import { formatDuration } from '../../../core/duration.ts';
import type { Listen } from './listen.ts';
import type { Scope } from './scope.ts';

export interface OptionsContext {
  readonly listens: readonly Listen[];
  /** The ClientHello is read but not answered here. */
  readonly prereads: boolean;
}

export function convertOptions(scope: Scope, { listens, prereads }: OptionsContext): void {
  const connect = scope.time('proxy_connect_timeout');
  scope.put('limits.connect', formatDuration(connect?.value ?? 60_000), connect?.directive);
  const idle = scope.time('proxy_timeout');
  scope.put('limits.idle', formatDuration(idle?.value ?? 600_000), idle?.directive);
  convertPreread(scope, prereads);
  const half = scope.flag('proxy_half_close', false);
  scope.put('half-close', half.on, half.directive);
  convertKeepalive(scope, listens);
  convertNext(scope);
  convertHeader(scope, listens);
  convertBind(scope);
  for (const [name, key] of [
    ['proxy_upload_rate', 'limits.upload'],
    ['proxy_download_rate', 'limits.download'],
  ] as const) {
    const rate = scope.size(name);
    if (!rate) continue;
    if (rate.value > 0) scope.put(key, rate.value, rate.directive);
    else scope.ledger.say('converted', rate.directive, 'no limit');
  }
  for (const [name, key] of [
    ['proxy_requests', 'requests'],
    ['proxy_responses', 'responses'],
  ] as const) {
    const count = scope.count(name);
    if (!count) continue;
    if (!listens.some(({ address }) => address.kind === 'udp'))
      scope.ignore(count.directive, 'nothing listens for datagrams here');
    else if (name === 'proxy_requests' && count.value === 0) scope.ledger.say('converted', count.directive, 'no limit');
    else scope.put(`datagrams.${key}`, count.value, count.directive);
  }
}

/** nginx waits 30 s for the bytes that choose the way, and for a PROXY header. */
function convertPreread(scope: Scope, prereads: boolean): void {
  const preread = scope.time('preread_timeout');
  if (prereads) {
    scope.put('limits.handshake', formatDuration(preread?.value ?? 30_000), preread?.directive);
  } else if (preread) scope.ignore(preread.directive, 'nothing is read before the target is chosen');
}

function convertKeepalive(scope: Scope, listens: readonly Listen[]): void {
  const upstream = scope.flag('proxy_socket_keepalive', false);
  const listen = listens.find(one => one.keepalive !== false)?.keepalive ?? false;
  const value = listen === false ? upstream.on : listen;
  const uneven = upstream.directive && upstream.on !== (listen !== false);
  scope.put(
    'keepalive',
    typeof value === 'number' ? formatDuration(value) : value,
    upstream.directive,
    uneven ? 'one key stands for clients and targets' : undefined,
  );
}

function convertNext(scope: Scope): void {
  const next = scope.flag('proxy_next_upstream', true);
  const tries = scope.count('proxy_next_upstream_tries');
  const timeout = scope.time('proxy_next_upstream_timeout');
  if (!next.on) {
    scope.put('next-upstream', 'off', next.directive);
    for (const one of [tries, timeout]) if (one) scope.ignore(one.directive, 'proxy_next_upstream is off');
    return;
  }
  if (next.directive) scope.ledger.say('converted', next.directive, 'it is the default');
  if (tries) scope.put('next-upstream.tries', tries.value, tries.directive);
  if (timeout) scope.put('next-upstream.timeout', formatDuration(timeout.value), timeout.directive);
}

function convertHeader(scope: Scope, listens: readonly Listen[]): void {
  const directive = scope.one('proxy_protocol');
  if (!directive) return;
  const versions: Record<string, string | undefined> = { on: 'v1', v1: 'v1', v2: 'v2', off: undefined };
  const word = directive.args[0]?.toLowerCase() ?? '';
  if (!(word in versions)) scope.refuse(directive, `invalid value "${word}"`, 'write proxy-protocol: { send: v1 }');
  else if (versions[word] === undefined) scope.ledger.say('converted', directive, 'no header is sent');
  else if (listens.some(({ address }) => address.kind === 'udp')) {
    scope.refuse(directive, 'datagrams are forwarded as they are, without a header', 'let the target listen for TCP');
  } else scope.put('proxy-protocol.send', versions[word], directive);
}

function convertBind(scope: Scope): void {
  const directive = scope.one('proxy_bind');
  if (!directive) return;
  const [address = '', transparent] = directive.args;
  if (address === 'off') {
    scope.ledger.say('converted', directive, 'the system chooses the address');
    return;
  }
  const host = address
    .replace(/:\d+$/, address.includes(']') || isIP(address) === 0 ? '' : '$&')
    .replace(/^\[|\]$/g, '');
  if (transparent !== undefined || address.includes('$')) {
    scope.refuse(
      directive,
      "targets cannot be dialled from the client's own address",
      'use proxy-protocol: { send: v1 } to tell them who comes',
    );
  } else if (isIP(host) === 0) scope.refuse(directive, `"${address}" is not an address`, 'write bind: address');
  else scope.put('bind', host, directive, host === address ? undefined : 'its port is left to the system');
}
