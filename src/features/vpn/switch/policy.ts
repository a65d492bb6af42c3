// A security policy (hub.ts) compiled for one port: which frames it may send, which it is given, and how many addresses.
import { putU16, u16 } from '../../../wire/bytes.ts';
import { foldSum } from '../../../wire/checksum.ts';
import type { FrameView } from '../../../wire/frame-view.ts';
import { tcpFlags } from '../../../wire/tcp.ts';
import type { PortPolicy } from '../hub.ts';

/** ICMPv6 (RFC 4861 §4). */
const routerSolicitation = 133;
const routerAdvertisement = 134;

type Test = (view: FrameView) => boolean;

/** What a port's policy says about each frame. A test that is true stops the frame; absent tests cost nothing. */
export interface CompiledPolicy {
  readonly stopsUp: Test | undefined;
  readonly stopsDown: Test | undefined;
  /** MACs, IPv4 and IPv6 addresses that may be seen behind the port. */
  readonly macs: number;
  readonly ips: number;
  readonly ips6: number;
  /** Whether IP addresses of every kind must be known here (a limit or a check needs them). */
  readonly watchesIp: boolean;
  readonly clearsRouterLifetime: boolean;
}

const isDhcp: Test = view => view.protocol === 17 && isPair(view, 67, 68);
// Clients look at the port that an answer is for; where it says it comes from, they do not.
const isDhcpServer: Test = view =>
  view.protocol === 17 && view.carried === 'ipv4' && (view.sourcePort === 67 || view.targetPort === 68);
const isDhcp6: Test = view => view.protocol === 17 && view.carried === 'ipv6' && isPair(view, 546, 547);
const isDhcp6Server: Test = view =>
  view.protocol === 17 && view.carried === 'ipv6' && (view.sourcePort === 547 || view.targetPort === 546);
const isAccepting = (view: FrameView): boolean =>
  view.protocol === 6 && (view.tcpFlags & (tcpFlags.syn | tcpFlags.ack)) === (tcpFlags.syn | tcpFlags.ack);
const isIcmp6 = (view: FrameView): boolean => view.carried === 'ipv6' && view.protocol === 58;
const isRa: Test = view => isIcmp6(view) && view.icmpType === routerAdvertisement;
const isRsOrRa: Test = view => isRa(view) || (isIcmp6(view) && view.icmpType === routerSolicitation);

/** One row a policy: the frames that it stops from the port, or on the way to it too. */
const rows: readonly (readonly [name: keyof PortPolicy['security'], way: 'up' | 'both', test: Test])[] = [
  ['dhcpFilter', 'both', view => view.carried === 'ipv4' && isDhcp(view)],
  ['dhcpNoServer', 'up', isDhcpServer],
  [
    'arpDhcpOnly',
    'up',
    view => view.isGroup && view.carried !== 'arp' && !isDhcp(view) && !isDhcp6(view) && !isIcmp6(view),
  ],
  ['noServer', 'up', view => view.carried === 'ipv4' && isAccepting(view)],
  ['noServerV6', 'up', view => view.carried === 'ipv6' && isAccepting(view)],
  ['rsAndRaFilter', 'both', isRsOrRa],
  ['raFilter', 'up', isRa],
  ['dhcpv6Filter', 'both', isDhcp6],
  ['dhcpv6NoServer', 'up', isDhcp6Server],
  // What claims to be IP and is broken, or hides what it is, is nobody's business either.
  ['filterIpv4', 'both', view => view.carried === 'ipv4' || view.carried === 'arp' || view.carried === 'broken'],
  ['filterIpv6', 'both', view => view.carried === 'ipv6' || view.carried === 'broken'],
  ['filterNonIp', 'both', view => view.carried === 'other' || view.carried === 'broken'],
];

export function compilePolicy(policy: PortPolicy): CompiledPolicy {
  const { security, from } = policy;
  const active = rows.filter(([name]) => security[name] === true);
  // A first fragment too short for its header shows nothing to a filter and everything to a stack that reassembles.
  const needsUpper = active.some(([name]) => name !== 'filterIpv4' && name !== 'filterIpv6' && name !== 'filterNonIp');
  const hides: Test = view =>
    view.carried === 'broken' ||
    (view.upper === 0 && (view.protocol === 6 || view.protocol === 17) && !isLater(view)) ||
    (view.protocol === 58 && view.icmpType < 0);
  const up = active.map(([, , test]) => test).concat(needsUpper ? [hides] : []);
  const down = active.filter(([, way]) => way === 'both').map(([, , test]) => test);
  const ips = least(security.noRouting ? 4 : 0, security.maxIp && Math.max(4, security.maxIp));
  const ips6 = least(security.noRoutingV6 ? 15 : 0, security.maxIpv6 && Math.max(5, security.maxIpv6));
  const overIpv6 = from !== undefined && 'host' in from && from.host.includes(':');
  return {
    stopsUp: any(up),
    stopsDown: any(down),
    macs: least(security.noBridge ? 3 : 0, security.maxMac && Math.max(3, security.maxMac)),
    ips,
    ips6,
    watchesIp:
      security.checkIp || security.checkIpv6 || security.dhcpForce || Number.isFinite(ips) || Number.isFinite(ips6),
    clearsRouterLifetime: security.noIpv6DefaultRouterInRa || (security.noIpv6DefaultRouterInRaWhenIpv6 && overIpv6),
  };
}

/**
 * The frame as it is delivered where no default router may be learned: a router advertisement with a lifetime of 0
 * (RFC 4861 §4.2), in a copy; every other frame as it is.
 */
export function withoutDefaultRouter(view: FrameView): Uint8Array {
  const { frame, upper, end } = view;
  if (!isRa(view) || upper === 0 || upper + 16 > end) return frame;
  const copy = Uint8Array.from(frame);
  const lifetime = u16(copy, upper + 6);
  putU16(copy, upper + 6, 0);
  // RFC 1624: the new checksum is that of the old one's complement less what was taken out.
  const sum = (~u16(copy, upper + 2) & 0xffff) + (~lifetime & 0xffff);
  putU16(copy, upper + 2, foldSum(sum));
  return copy;
}

const isPair = ({ sourcePort, targetPort }: FrameView, a: number, b: number): boolean =>
  sourcePort === a || sourcePort === b || targetPort === a || targetPort === b;
/** Later fragments say nothing of ports, and without the first one they are nothing. */
const isLater = ({ carried, frame, network }: FrameView): boolean =>
  carried === 'ipv4' && (u16(frame, network + 6) & 0x1fff) > 1; // RFC 3128: offset 1 would overwrite the flags
const any = (tests: readonly Test[]): Test | undefined => {
  const [one, two] = tests;
  if (one === undefined) return undefined;
  if (two === undefined) return one;
  return view => {
    for (const test of tests) if (test(view)) return true;
    return false;
  };
};
/** The smaller of two limits, of which 0 is none. */
const least = (a: number, b: number): number =>
  Math.min(a === 0 ? Number.POSITIVE_INFINITY : a, b === 0 ? Number.POSITIVE_INFINITY : b);
