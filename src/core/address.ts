// Addresses are URLs: tcp://host:port, tls://host:port, udp://host:port, unix:/path, device://name/service.
import { Fault } from './fault.ts';
import type { Address, Target } from './parts.ts';

/** Where a listener stands. `gate` is the gate's own port. */
export type ListenAddress =
  | { readonly kind: 'tcp' | 'tls' | 'udp'; readonly host: string; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'gate' };

/** Parses what a `to:` may hold. @throws Fault `invalid` */
export function parseTarget(text: string): Target {
  const device = /^device:\/\/([^/]+)\/(.+)$/.exec(text);
  if (device?.[1] && device[2]) return { kind: 'device', device: decodeURIComponent(device[1]), service: device[2] };
  const address = parseListen(text);
  if (address.kind === 'gate') throw new Fault('invalid', `"${text}" is not an address that can be reached`);
  if (address.kind !== 'unix' && (address.host === '' || address.port === 0)) {
    throw new Fault('invalid', `"${text}" needs a host and a port, like tcp://127.0.0.1:5432`);
  }
  return address;
}

/** Parses what a `listen:` may hold. An empty host (`tls://:443`) means every address. @throws Fault `invalid` */
export function parseListen(text: string): ListenAddress {
  if (text === 'gate') return { kind: 'gate' };
  if (text.startsWith('unix:')) {
    const path = text.slice(5).replace(/^\/\/(?=\/)/, '');
    if (path === '') throw new Fault('invalid', `"${text}" needs a path, like unix:/run/app.sock`);
    return { kind: 'unix', path };
  }
  const parts = /^(tcp|tls|udp):\/\/(\[[^\]]*\]|[^:/?#]*):(\d{1,5})$/.exec(text);
  const port = Number(parts?.[3]);
  if (!parts || port > 65535) {
    throw new Fault(
      'invalid',
      `"${text}" is not an address; write tcp://host:port, tls://host:port, udp://host:port or unix:/path`,
    );
  }
  return { kind: parts[1] as 'tcp' | 'tls' | 'udp', host: (parts[2] ?? '').replace(/^\[|\]$/g, ''), port };
}

/** `127.0.0.1:80`, `[::1]:80` or the path. */
export function formatAddress(address: Address): string {
  if ('path' in address) return address.path || '(unix)';
  return `${address.host.includes(':') ? `[${address.host}]` : address.host}:${address.port}`;
}

/** The URL that parses back to this target or listener. */
export function formatUrl(target: Target | ListenAddress): string {
  switch (target.kind) {
    case 'gate':
      return 'gate';
    case 'unix':
      return `unix:${target.path}`;
    case 'device':
      return `device://${target.device}/${target.service}`;
    default:
      return `${target.kind}://${formatAddress(target)}`;
  }
}
