// Port forwards: an address on the hub that leads to a target outside of it, in user space (what `DNAT` does with root).
import { parseTarget } from '../../core/address.ts';
import { Fault } from '../../core/fault.ts';
import { formatIpv4, type Ipv4Network, isInside, parseIpv4 } from '../../wire/ipv4.ts';
import type { ForwardRule } from './hub.ts';

export interface Forwards {
  /** Every address that they listen on. */
  readonly addresses: ReadonlySet<number>;
  find(
    protocol: 'tcp' | 'udp',
    address: number,
    port: number,
  ): { readonly host: string; readonly port: number } | undefined;
}

/**
 * `network` is the router's, if there is one: an address outside of it would never be asked for.
 * @throws Fault `invalid`
 */
export function parseForwards(rules: readonly ForwardRule[], network: Ipv4Network | undefined): Forwards {
  const table = new Map<string, { readonly host: string; readonly port: number }>();
  const addresses = new Set<number>();
  for (const { listen, to } of rules) {
    const [, host = '', port = ''] = /^(?:(?:tcp|udp):\/\/)?([\d.]+):(\d{1,5})$/.exec(listen) ?? [];
    const target = parseTarget(to);
    if (host === '' || Number(port) < 1 || Number(port) > 65_535) {
      throw new Fault('invalid', `"${listen}" is not an address on the hub; write for example 192.168.30.1:80`);
    }
    if (target.kind !== 'tcp' && target.kind !== 'udp') {
      throw new Fault('invalid', `"${to}": a port forward of a hub leads to tcp://host:port or udp://host:port`);
    }
    const address = parseIpv4(host);
    if (network && !isInside(network, address)) {
      throw new Fault(
        'invalid',
        `${host} does not lie within the hub's network ${formatIpv4(network.address)}/${network.bits}`,
      );
    }
    const key = `${target.kind} ${address} ${Number(port)}`;
    if (table.has(key)) throw new Fault('invalid', `${listen} is forwarded twice`);
    table.set(key, { host: target.host, port: target.port });
    addresses.add(address);
  }
  return { addresses, find: (protocol, address, port) => table.get(`${protocol} ${address} ${port}`) };
}
