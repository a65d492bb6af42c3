// Where the hub's NAT leads: into the networks of the routes that its DHCP hands out, and nowhere else.
import { formatIpv4, isInside, parseIpv4, parseIpv4Network } from '../../../wire/ipv4.ts';
import { specialNetworks } from '../../../wire/special-networks.ts';
import type { NatOptions } from '../hub.ts';

/** Never, whatever a route says. */
const forbidden = specialNetworks
  .filter(([network]) => !network.includes(':'))
  .map(([network, what]) => [parseIpv4Network(network), what] as const);

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
