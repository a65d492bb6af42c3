// What a browser could be made to do to us, refused before anything is read: foreign Origin, rebound Host.
import { isIP } from 'node:net';
import { Fault } from '../core/fault.ts';
import type { Conn } from '../core/parts.ts';

export interface GuardHeaders {
  readonly host?: string | undefined;
  readonly origin?: string | undefined;
  readonly 'sec-fetch-site'?: string | string[] | undefined;
}

/**
 * DNS rebinding: a page of evil.example whose name suddenly resolves to this gate would send `Host: evil.example`.
 * So Host must be one of our names, localhost, or the address that the conn reached. @throws Fault `denied`
 */
export function checkHost(headers: GuardHeaders, conn: Conn, names: readonly string[]): void {
  const host = hostName(headers.host ?? '');
  if (host === 'localhost' || names.some(name => name.toLowerCase() === host)) return;
  const local = conn.local && 'host' in conn.local ? conn.local.host.replace(/^::ffff:(?=\d+\.)/, '') : undefined;
  if (isIP(host) !== 0 && host === local) return;
  throw new Fault('denied', 'this gate does not go by that name', { facts: { host: headers.host } });
}

/** `gate.example.com:8443` → `gate.example.com`; `[::1]:80` → `::1`. */
function hostName(host: string): string {
  const parts = /^(?:\[([^\]]+)\]|([^:]*))(?::\d{1,5})?$/.exec(host);
  return (parts?.[1] ?? parts?.[2] ?? '').toLowerCase();
}

/**
 * A page elsewhere may not speak to the API, with whatever credentials: where a browser names the page's origin it must
 * be this very address. Programs send neither header. @throws Fault `denied`
 */
export function checkOrigin(headers: GuardHeaders, conn: Conn): void {
  const { origin, host, 'sec-fetch-site': site } = headers;
  const own = `${conn.tls ? 'https' : 'http'}://${host ?? ''}`.toLowerCase();
  if (origin !== undefined && origin.toLowerCase() !== own) {
    throw new Fault('denied', 'pages of other sites may not call this gate', { facts: { origin } });
  }
  if (site !== undefined && site !== 'same-origin' && site !== 'none') {
    throw new Fault('denied', 'pages of other sites may not call this gate', { facts: { site } });
  }
}
