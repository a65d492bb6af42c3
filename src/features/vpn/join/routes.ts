// Which neighbour on the hub a packet goes to: the hub's own network, then the pushed routes, the longest first.
import { isInside, maskOf } from '../../../wire/ipv4.ts';
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
