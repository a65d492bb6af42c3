// Where the hub's NAT leads: into the networks of the routes that its DHCP hands out, and nowhere else.
import { formatIpv4, type Ipv4Network, isInside, parseIpv4, parseIpv4Network } from '../../../wire/ipv4.ts';
import type { NatOptions } from '../hub.ts';

/** Never, whatever a route says. */
const forbidden: readonly (readonly [network: Ipv4Network, what: string])[] = (
  [
    ['0.0.0.0/8', 'means this machine'],
    ['127.0.0.0/8', 'is loopback'],
    ['169.254.169.254/32', 'is a metadata service'],
    ['169.254.0.0/16', 'is link-local'],
    ['168.63.129.16/32', 'is a metadata service'], // Azure
    ['100.100.100.200/32', 'is a metadata service'], // Alibaba Cloud
    ['192.0.0.192/32', 'is a metadata service'], // Oracle Cloud, classic
    ['224.0.0.0/4', 'is multicast'],
    ['240.0.0.0/4', 'is reserved'], // broadcast too
  ] as const
).map(([network, what]) => [parseIpv4Network(network), what]);

/** Why an address is not reached, as the end of a sentence; undefined when it may be. */
export type Reach = (address: number, port: number) => string | undefined;

export function createReach(options: NatOptions, isOwn: (host: string, port: number) => boolean): Reach {
  const router = parseIpv4Network(options.address);
  const networks = (options.dhcp?.routes ?? [])
    .filter(({ gateway }) => gateway === undefined || parseIpv4(gateway) === router.address)
    .map(({ network }) => parseIpv4Network(network));
  return (address, port) => {
    if (options.nat === false) return 'is not reached: NAT is off on this hub';
    if (isInside(router, address)) return 'is on the hub itself';
    for (const [network, what] of forbidden) if (isInside(network, address)) return what;
    if (!networks.some(network => isInside(network, address))) return 'is in none of the routes of this hub';
    return isOwn(formatIpv4(address), port) ? 'is a listener of this gate' : undefined;
  };
}
