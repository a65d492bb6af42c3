// From a site to a conn: the map's line, its addresses, what is wrong with them, and only then a dial.
import { isIP } from 'node:net';
import { Fault } from '../../core/fault.ts';
import type { Address, Conn, Session } from '../../core/parts.ts';
import type { NameResolver } from '../../net/resolve.ts';
import { markShared, readShared } from '../../net/shared-read.ts';
import { dialTcp } from '../../net/tcp.ts';
import { normalizeHost } from '../../wire/cidr.ts';
import { addressFault, isOwnListener } from './addresses.ts';
import type { HostEntry } from './hosts.ts';
import { type Site, siteName } from './site.ts';

export interface ReachDeps {
  readonly resolver: NameResolver;
  /** Where this gate itself listens. */
  readonly own: () => readonly Address[];
  /** Milliseconds for one address. */
  readonly connect: number;
}

/** One address with what stands against it, if anything. */
export interface Candidate {
  readonly host: string;
  readonly port: number;
  readonly fault?: string;
}

/** Addresses that are tried, at most: a name with a hundred does not hold a request for a hundred timeouts. */
const mostTries = 4;

/** @throws Fault `unreachable` when the name has no address */
export async function candidates(
  site: Site,
  { to }: HostEntry,
  { resolver, own }: Omit<ReachDeps, 'connect'>,
  signal: AbortSignal,
): Promise<Candidate[]> {
  const { host, port } = to === 'resolve' ? site : to;
  const addresses = isIP(host) === 0 ? (await resolver.addresses(host, signal)).addresses : [host];
  const listeners = own();
  return addresses.map(address => {
    const at = { host: normalizeHost(address), port };
    const against = to === 'resolve' ? addressFault(address) : undefined;
    const fault = isOwnListener(address, port, listeners) ? 'is a listener of this gate' : against;
    return fault === undefined ? at : { ...at, fault };
  });
}

/**
 * Dials the site for an admitted session, one address after the other. Addresses, never names, are dialled: what was
 * checked is what is reached.
 * @throws Fault `denied` when no address may be reached, `unreachable`, `timeout`; the signal's reason
 */
export async function reach(
  site: Site,
  entry: HostEntry,
  session: Session,
  deps: ReachDeps,
  signal: AbortSignal,
  /** Read into the memory that all connections share, by whoever has called `take`. */
  shared = false,
): Promise<Conn> {
  const all = await candidates(site, entry, deps, signal);
  return await dialFirst(all, { name: siteName(site), session, timeout: deps.connect, shared }, signal);
}

export interface DialOptions {
  /** As people call the site. */
  readonly name: string;
  readonly session: Session;
  /** Milliseconds for one address. */
  readonly timeout: number;
  readonly shared: boolean;
  /** What the conn must become to count as reached. */
  readonly upgrade?: (conn: Conn) => Promise<Conn>;
}

/** Dials what may be reached, one address after the other, and notes which one it was. @throws Fault like `reach` */
export async function dialFirst(
  all: readonly Candidate[],
  { name, session, timeout, shared, upgrade }: DialOptions,
  signal: AbortSignal,
): Promise<Conn> {
  const good = all.filter(({ fault }) => fault === undefined);
  const [bad] = all.filter(({ fault }) => fault !== undefined);
  if (good.length === 0 && bad) {
    throw new Fault('denied', `${name} leads to an address that is not reached through the gate`, {
      facts: { address: bad.host, reason: `the address ${bad.fault}` },
    });
  }
  let last: unknown = new Fault('unreachable', `${name} has no address`);
  for (const { host, port } of good.slice(0, mostTries)) {
    try {
      const conn = await dialTcp({ host, port, timeout, ...(shared ? { onread: readShared } : {}) }, signal);
      if (shared) markShared(conn.stream);
      session.note('target', siteName({ host, port }));
      return upgrade ? await upgrade(conn) : conn;
    } catch (error) {
      if (signal.aborted) throw error;
      last = error;
    }
  }
  throw last;
}
