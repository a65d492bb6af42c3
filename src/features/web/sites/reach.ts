// From a site to a conn: its address resolved and checked, then dialled; TLS where the service speaks it.
import { isIP } from 'node:net';
import { Fault } from '../../../core/fault.ts';
import type { Address, Conn, Session } from '../../../core/parts.ts';
import type { NameResolver } from '../../../net/resolve.ts';
import { dialTcp } from '../../../net/tcp.ts';
import { type OriginateOptions, originateTls } from '../../../net/tls.ts';
import { type Cidr, matchCidr, normalizeHost } from '../../../wire/cidr.ts';
import { addressFault, isOwnListener } from '../addresses.ts';
import type { Candidate } from '../reach.ts';
import { hostText } from '../site.ts';
import type { Site } from './map.ts';

export interface SiteReach {
  readonly resolver: NameResolver;
  readonly own: () => readonly Address[];
  /** Networks that names may lead to although they are loopback, link-local or a metadata service. */
  readonly addresses: readonly Cidr[];
}

/** Addresses that are tried, at most. */
const mostTries = 4;

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
export async function reachSite(site: Site, session: Session, deps: SiteReach, signal: AbortSignal): Promise<Conn> {
  const all = await siteCandidates(site, deps, signal);
  const good = all.filter(({ fault }) => fault === undefined);
  const [bad] = all.filter(({ fault }) => fault !== undefined);
  if (good.length === 0 && bad) {
    throw new Fault('denied', 'this site leads to an address that is not reached through the gate', {
      facts: { address: bad.host, reason: `the address ${bad.fault}` },
    });
  }
  const { connect } = site.plan.timeouts;
  let last: unknown = new Fault('unreachable', 'the service of this site has no address');
  for (const { host, port } of good.slice(0, mostTries)) {
    try {
      const conn = await dialTcp({ host, port, timeout: connect }, signal);
      session.note('target', `${hostText(host)}:${port}`);
      return site.plan.tls ? await originateTls(conn, tlsFor(site), signal) : conn;
    } catch (error) {
      if (signal.aborted) throw error;
      last = error;
    }
  }
  throw last;
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
