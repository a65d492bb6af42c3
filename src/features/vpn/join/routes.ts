// Which neighbour on the hub a packet goes to: the hub's own network, then the pushed routes, the longest first.
import { type Ipv4Network, isInside, maskOf, parseIpv4Network } from '../../../wire/ipv4.ts';
import { specialNetworks } from '../../../wire/special-networks.ts';
import type { HubLease } from './dhcp-client.ts';

/** The neighbour's address; undefined when the hub leads nowhere there. */
export function nextHop({ address, bits, routes }: HubLease, target: number): number | undefined {
  const own = { address, mask: maskOf(bits), bits };
  const best = [...routes, { network: own, router: 0 }]
    .filter(({ network }) => isInside(network, target))
    .sort((a, b) => b.network.bits - a.network.bits)[0];
  // A router 0.0.0.0 means: on this wire (RFC 3442).
  return best && (best.router === 0 ? target : best.router);
}

const special = specialNetworks
  .filter(([network]) => !network.includes(':'))
  .map(([network]) => parseIpv4Network(network));
/** Loopback, link-local, metadata and the like: of this machine's own place, whatever a hub says. */
export const isSpecial = (address: number): boolean => special.some(network => isInside(network, address));

/** A route as large as this is a default route, or one of several that make up one (CVE-2024-3661). */
const largest = 8;
/** Which pushed networks may be routed by a machine that has others as well. */
export const mayLead = ({ address, bits }: Ipv4Network, { defaultRoute }: { defaultRoute: boolean }): boolean =>
  bits < largest ? defaultRoute : !isSpecial(address);
