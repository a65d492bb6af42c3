// TLS of renamed sites on the gate's port: each site its certificate, its own session context, a client certificate asked for.
import type { Upgrade } from '../core/parts.ts';
import type { Identity } from '../features/proxy/index.ts';
import { upgradeTls } from '../net/tls.ts';
import type { ClientTrust, Staple } from '../trust/index.ts';

export interface SitesTls {
  /** The site of a server name; its key stands for everything that its handshake depends on. */
  find(name: string): SiteTls | undefined;
  readonly trust: ClientTrust;
  /** As `gate.ciphers` has them. */
  readonly ciphers?: string | undefined;
}
export interface SiteTls {
  readonly key: string;
  readonly identities: readonly Identity[];
  /** Whether a client certificate is asked for; who shows none gets a page, not an alert. */
  readonly asks: boolean;
}

/** TLS for a server name, made once a site and configuration; undefined when the name is no site. */
export function siteUpgrades(
  handshake: number,
  staple?: Staple,
): (tls: SitesTls | undefined, name: string | undefined) => Upgrade | undefined {
  let of: SitesTls | undefined;
  const made = new Map<string, Upgrade>();
  return (tls, name) => {
    if (tls !== of) {
      of = tls;
      made.clear();
    }
    const site = name === undefined ? undefined : tls?.find(name);
    if (!tls || !site) return undefined;
    const known = made.get(site.key);
    if (known) return known;
    const { ciphers } = tls;
    const { cas, depth } = tls.trust;
    const upgrade = upgradeTls({
      identities: site.identities,
      ciphers,
      alpn: ['h2', 'http/1.1'],
      ...(site.asks && cas.length > 0 ? { clients: { mode: 'requested', ca: cas, depth } } : {}),
      session: { tickets: true, cache: 0, timeout: 300_000 },
      context: JSON.stringify(['site', site.key, site.asks ? cas : []]),
      ...(staple ? { staple } : {}),
      handshake,
    });
    made.set(site.key, upgrade);
    return upgrade;
  };
}
