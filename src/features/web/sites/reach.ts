// From a site to a conn: its address resolved and checked, then dialled; TLS where the service speaks it.
import { isIP } from 'node:net';
import type { Address, Conn, Session } from '../../../core/parts.ts';
import type { NameResolver } from '../../../net/resolve.ts';
import { type OriginateOptions, originateTls } from '../../../net/tls.ts';
import { type Cidr, matchCidr, normalizeHost } from '../../../wire/cidr.ts';
import { addressFault, isOwnListener } from '../addresses.ts';
import { type Candidate, dialFirst } from '../reach.ts';
import type { Site } from './map.ts';

export interface SiteReach {
  readonly resolver: NameResolver;
  readonly own: () => readonly Address[];
  /** Networks that names may lead to although they are loopback, link-local or a metadata service. */
  readonly addresses: readonly Cidr[];
}

/** What stands against each address of the service. @throws Fault `unreachable` when its name has none */
export async function siteCandidates(site: Site, deps: SiteReach, signal: AbortSignal): Promise<Candidate[]> {
  const { host, port } = site.plan.at ?? site;
  // An address that is written is meant; a name is whatever DNS says today. `localhost` says one thing only.
  const isWritten = isIP(host) !== 0 || (host === 'localhost' && !site.plan.host.text.includes('*'));
  const addresses = isIP(host) !== 0 ? [host] : (await deps.resolver.addresses(host, signal)).addresses;
  const listeners = deps.own();
  return addresses.map(address => {
    const at = { host: normalizeHost(address), port };
    const isMeant = isWritten || deps.addresses.some(network => matchCidr(network, at.host));
    const fault = isOwnListener(address, port, listeners)
      ? 'is a listener of this gate'
      : isMeant
        ? undefined
        : addressFault(address);
    return fault === undefined ? at : { ...at, fault };
  });
}

/** @throws Fault `denied` when no address may be reached, `unreachable`, `timeout`; the signal's reason */
export async function reachSite(
  site: Site,
  session: Session,
  deps: SiteReach,
  signal: AbortSignal,
  /** See `reach`; not where TLS reads. */
  shared: boolean,
): Promise<Conn> {
  const all = await siteCandidates(site, deps, signal);
  const { timeouts, tls } = site.plan;
  return await dialFirst(
    all,
    {
      ...{ name: 'this site', session, timeout: timeouts.connect, shared: shared && !tls },
      ...(tls ? { upgrade: (conn: Conn) => originateTls(conn, tlsFor(site), signal) } : {}),
    },
    signal,
  );
}

/** One options object a site, since what TLS prepares for it is remembered by the object. */
const prepared = new WeakMap<Site, OriginateOptions>();

function tlsFor(site: Site): OriginateOptions {
  const known = prepared.get(site);
  if (known) return known;
  const { tls, protocol, timeouts } = site.plan;
  const { verify = true, ca, name = site.host, sni = 'name', identity } = tls ?? {};
  const sent = sni === 'off' ? undefined : sni === 'name' ? name : sni.name;
  let session: Buffer | undefined;
  const options: OriginateOptions = {
    handshake: Math.max(timeouts.connect, 5000),
    verify: verify ? { name, ...(ca ? { ca } : {}) } : false,
    ...(sent === undefined || isIP(sent) !== 0 ? {} : { servername: sent }),
    ...(identity ? { identity } : {}),
    alpn: [protocol === 'h2' ? 'h2' : 'http/1.1'],
    session: {
      get: () => session,
      set: next => {
        session = next;
      },
    },
  };
  prepared.set(site, options);
  return options;
}
