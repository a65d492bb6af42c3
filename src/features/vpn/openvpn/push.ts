// What the server tells an OpenVPN client of the hub: PUSH_REPLY, cut into as many lines as it needs.
import { formatIpv4, maskOf } from '../../../wire/ipv4.ts';
import type { HubLease } from '../join/dhcp-client.ts';
import type { DataCipher } from './data-key.ts';

/** Bits of IV_PROTO. */
export const abilities = {
  dataV2: 1 << 1,
  wantsPush: 1 << 2,
  keyExport: 1 << 3,
  exitNotice: 1 << 7,
  failTemporarily: 1 << 8,
} as const;

export interface PushFacts {
  readonly proto: number;
  readonly cipher: DataCipher;
  readonly peerId: number | undefined;
  readonly keyExport: boolean;
  /** Over UDP, where nobody sees that a client has gone unless it says so. */
  readonly datagrams: boolean;
  /** Seconds. */
  readonly ping: number;
  readonly restart: number;
  /** The client's largest MTU, when it can be told one. */
  readonly mtu: number;
  /** Absent in tap mode: the client's own DHCP asks the hub. */
  readonly lease?: HubLease;
}

export function pushOptions(facts: PushFacts): string[] {
  const { proto, cipher, peerId, keyExport, datagrams, ping, restart, mtu, lease } = facts;
  const can = (ability: number): boolean => (proto & ability) !== 0;
  const flags = [
    ...(can(abilities.exitNotice) ? ['cc-exit'] : []),
    ...(can(abilities.exitNotice) && keyExport ? ['tls-ekm'] : []),
  ];
  return [
    ...(lease ? leaseOptions(lease, mtu) : []),
    `ping ${ping}`,
    `ping-restart ${restart}`,
    ...(datagrams ? ['explicit-exit-notify 1'] : []),
    ...(peerId === undefined ? [] : [`peer-id ${peerId}`]),
    `cipher ${cipher}`,
    ...(flags.length > 0 ? [`protocol-flags ${flags.join(' ')}`] : []),
    ...(keyExport && !can(abilities.exitNotice) ? ['key-derivation tls-ekm'] : []),
  ];
}

function leaseOptions(lease: HubLease, mtu: number): string[] {
  const { address, bits, routes, dns, domain, server } = lease;
  // Behind a tun every gateway is us: any address of the network does, the router's is the one that people expect.
  const gateway = routes.find(({ router }) => router !== 0)?.router ?? (server || gatewayOf(address, bits));
  return [
    'topology subnet',
    `ifconfig ${formatIpv4(address)} ${formatIpv4(maskOf(bits))}`,
    `route-gateway ${formatIpv4(gateway)}`,
    ...routes.map(({ network }) =>
      network.bits === 0 ? 'redirect-gateway def1' : `route ${formatIpv4(network.address)} ${formatIpv4(network.mask)}`,
    ),
    ...dns.map(server => `dhcp-option DNS ${formatIpv4(server)}`),
    ...(domain === '' ? [] : [`dhcp-option DOMAIN ${domain}`]),
    ...(lease.mtu < 1500 && mtu > 0 ? [`tun-mtu ${Math.min(mtu, lease.mtu)}`] : []),
  ];
}

const gatewayOf = (address: number, bits: number): number => {
  const first = ((address & maskOf(bits)) >>> 0) + 1;
  return first === address ? first + 1 : first;
};

/** A client reads lines of about 1 kB: more of them say that others follow (2), or that this is the last one (1). */
const longest = 900;

export function pushLines(options: readonly string[]): string[] {
  const groups: string[][] = [[]];
  for (const option of options) {
    const last = groups.at(-1)!;
    if ([...last, option].join(',').length > longest && last.length > 0) groups.push([option]);
    else last.push(option);
  }
  return groups.map((group, index) => {
    const rest = groups.length === 1 ? [] : [`push-continuation ${index === groups.length - 1 ? 1 : 2}`];
    return ['PUSH_REPLY', ...group, ...rest].join(',');
  });
}
