// What Windows asks when its link stands: DHCP Inform for the routes, which PPP has no option for (RFC 2131 §3.4). It is
// answered from the lease that the member's port holds, so with what the hub's own DHCP server says.
import { Fault } from '../../../core/fault.ts';
import { u16, u32 } from '../../../wire/bytes.ts';
import {
  type DhcpMessage,
  decodeDhcp,
  dhcpOptions,
  dhcpTypes,
  encodeDhcp,
  encodeRoutes,
  octets,
} from '../../../wire/dhcp.ts';
import { decodeIpv4, encodeIpv4, maskOf, protocols } from '../../../wire/ipv4.ts';
import { decodeUdp, encodeUdp } from '../../../wire/udp.ts';
import type { HubLease } from '../join/dhcp-client.ts';

/** UDP to a DHCP server: never the hub's business, since the port asks for the member. */
export const isDhcp = (packet: Uint8Array): boolean => {
  const head = (packet[0]! & 15) * 4;
  const isFirst = (u16(packet, 6) & 0x1fff) === 0;
  return isFirst && packet[9] === protocols.udp && packet.length >= head + 8 && u16(packet, head + 2) === 67;
};

/** The answer's packet; undefined where there is none to give. `server` is who answers: the other end of the link. */
export function answerInform(packet: Uint8Array, lease: HubLease, server: number): Uint8Array | undefined {
  const asked = read(packet);
  if (asked?.op !== 'request' || asked.options.get(dhcpOptions.messageType)?.[0] !== dhcpTypes.inform) return undefined;
  if (asked.clientIp !== lease.address) return undefined;
  const payload = encodeDhcp({
    ...{ op: 'reply', xid: asked.xid, secs: 0, broadcast: asked.broadcast, mac: asked.mac },
    ...{ clientIp: asked.clientIp, yourIp: 0, serverIp: server, relayIp: 0 },
    options: optionsOf(asked, lease, server),
  });
  const target = lease.address;
  return encodeIpv4({
    ...{ source: server, target, protocol: protocols.udp, ttl: 64, id: 0 },
    ...{ dontFragment: false, moreFragments: false, fragmentOffset: 0 },
    payload: encodeUdp({ sourcePort: 67, targetPort: 68, payload }, server, target),
  });
}

function optionsOf({ options: asked }: DhcpMessage, lease: HubLease, server: number): Map<number, Uint8Array> {
  const options = new Map<number, Uint8Array>([
    [dhcpOptions.messageType, Uint8Array.of(dhcpTypes.ack)],
    [dhcpOptions.server, Uint8Array.from(octets(server))],
    [dhcpOptions.mask, Uint8Array.from(octets(maskOf(lease.bits)))],
  ]);
  if (lease.dns.length > 0) options.set(dhcpOptions.dns, Uint8Array.from(lease.dns.flatMap(octets)));
  if (lease.domain !== '') options.set(dhcpOptions.domain, Buffer.from(lease.domain, 'latin1'));
  // A router 0.0.0.0 means "on this wire", which a link has not: it goes by the other end.
  const routes = encodeRoutes(lease.routes.map(route => (route.router === 0 ? { ...route, router: server } : route)));
  const wished = asked.get(dhcpOptions.parameters);
  if (routes.length > 0)
    for (const code of [dhcpOptions.routes, dhcpOptions.routesMicrosoft])
      if (!wished || wished.includes(code)) options.set(code, routes);
  return options;
}

function read(packet: Uint8Array): DhcpMessage | undefined {
  try {
    const { payload, source, target, moreFragments, fragmentOffset } = decodeIpv4(packet);
    if (moreFragments || fragmentOffset > 0 || u32(packet, 12) !== source) return undefined;
    return decodeDhcp(decodeUdp(payload, source, target).payload);
  } catch (error) {
    if (error instanceof Fault) return undefined; // broken messages are dropped
    throw error;
  }
}
