// The hub's access list: lines in order of priority, the first match decides, none = pass. Compiled once, and once more
// per port for what its user decides beforehand.
import { parseCidr } from '../../../wire/cidr.ts';
import { parseMac } from '../../../wire/ethernet.ts';
import type { FrameView } from '../../../wire/frame-view.ts';
import { ipBytes } from '../../../wire/ip.ts';
import { maskOf, protocols } from '../../../wire/ipv4.ts';
import { tcpFlags } from '../../../wire/tcp.ts';
import type { FilterRule, PortPolicy } from '../hub.ts';

type Test = (view: FrameView) => boolean;

/** One line as the switch asks it. */
export interface FilterLine {
  readonly discards: boolean;
  readonly matches: Test;
  readonly fromUser: string | undefined;
  readonly toUser: string | undefined;
  /** Milliseconds, per cent of them, per cent of frames; what a bad line does. */
  readonly delay: number;
  readonly jitter: number;
  readonly loss: number;
}

/** The lines that can concern frames of one port: those before the first that asks who receives, and the rest. */
export interface SourceFilter {
  readonly head: readonly FilterLine[];
  readonly tail: readonly FilterLine[];
  /** Whether a frame that hides its ports must be stopped, since a line asks for them. */
  readonly needsUpper: boolean;
  /** The same of addresses and protocols. */
  readonly needsIp: boolean;
}

/** @throws Fault `invalid` for an address, a MAC or a protocol that is none */
export function compileFilter(rules: readonly FilterRule[]): readonly FilterLine[] {
  return [...rules]
    .filter(({ active }) => active !== false)
    .sort((a, b) => a.priority - b.priority)
    .map(rule => ({
      discards: rule.action === 'discard',
      matches: all(tests(rule)),
      fromUser: rule.fromUser || undefined,
      toUser: rule.toUser || undefined,
      delay: rule.delay ?? 0,
      jitter: rule.jitter ?? 0,
      loss: rule.loss ?? 0,
    }));
}

export function bindFilter(lines: readonly FilterLine[], policy: PortPolicy): SourceFilter | undefined {
  const mine = lines.filter(({ fromUser }) => fromUser === undefined || isOf(policy, fromUser));
  if (mine.length === 0) return undefined;
  const cut = mine.findIndex(({ toUser }) => toUser !== undefined);
  return {
    head: cut < 0 ? mine : mine.slice(0, cut),
    tail: cut < 0 ? [] : mine.slice(cut),
    needsUpper: mine.some(({ matches }) => asksUpper.has(matches)),
    needsIp: mine.some(({ matches }) => asksIp.has(matches)),
  };
}

/** The first of `lines` that fits this frame, to this receiver. */
export function firstMatch(
  lines: readonly FilterLine[],
  view: FrameView,
  receiver: PortPolicy | undefined,
): FilterLine | undefined {
  for (const line of lines) {
    if (line.toUser !== undefined && (receiver === undefined || !isOf(receiver, line.toUser))) continue;
    if (line.matches(view)) return line;
  }
  return undefined;
}

const isOf = ({ user, groups }: PortPolicy, name: string): boolean =>
  user.toLowerCase() === name.toLowerCase() || groups.includes(name);

/** Tests that look at ports or flags; at anything of IP. */
const asksUpper = new WeakSet<Test>();
const asksIp = new WeakSet<Test>();

function tests(rule: FilterRule): Test[] {
  const list: Test[] = [];
  const protocol = typeof rule.protocol === 'string' ? protocols[rule.protocol] : rule.protocol;
  if (protocol) list.push(ofIp(view => view.protocol === protocol));
  if (rule.from !== undefined) list.push(addressTest(rule.from, 'source'));
  if (rule.to !== undefined) list.push(addressTest(rule.to, 'target'));
  if (rule.fromPort) list.push(portTest(rule.fromPort, 'sourcePort'));
  if (rule.toPort) list.push(portTest(rule.toPort, 'targetPort'));
  if (rule.fromMac) list.push(macTest(rule.fromMac, 6));
  if (rule.toMac) list.push(macTest(rule.toMac, 0));
  if (rule.established !== undefined) {
    const { established } = rule;
    const opens = (view: FrameView): boolean => (view.tcpFlags & (tcpFlags.syn | tcpFlags.ack)) === tcpFlags.syn;
    list.push(upper(view => view.protocol === protocols.tcp && view.upper !== 0 && opens(view) !== established));
  }
  return list;
}

function addressTest(text: string, side: 'source' | 'target'): Test {
  const cidr = parseCidr(text);
  if (cidr.family === 4) {
    const mask = maskOf(cidr.bits);
    const network = cidr.bits === 0 ? 0 : Number(cidr.network << BigInt(32 - cidr.bits));
    const field = side === 'source' ? 'source4' : 'target4';
    return ofIp(view => (view.carried === 'ipv4' || view.carried === 'arp') && ((view[field] ^ network) & mask) === 0);
  }
  const bytes = ipBytes({ family: 6, value: cidr.network << BigInt(128 - cidr.bits) }, 16);
  const mask = Uint8Array.from(
    { length: 16 },
    (_, index) => (0xff00 >> Math.min(8, Math.max(0, cidr.bits - index * 8))) & 0xff,
  );
  const offset = side === 'source' ? 8 : 24;
  return ofIp(({ carried, frame, network }) => carried === 'ipv6' && masked(frame, network + offset, bytes, mask));
}

function portTest([first, last]: readonly [number, number], field: 'sourcePort' | 'targetPort'): Test {
  return upper(
    view =>
      view.upper !== 0 &&
      (view.protocol === protocols.tcp || view.protocol === protocols.udp) &&
      view[field] >= first &&
      view[field] <= last,
  );
}

function macTest({ mac, mask }: { readonly mac: string; readonly mask: string }, offset: number): Test {
  const [bytes, bits] = [parseMac(mac), parseMac(mask)];
  return ({ frame }) => masked(frame, offset, bytes, bits);
}

function masked(frame: Uint8Array, at: number, bytes: Uint8Array, mask: Uint8Array): boolean {
  for (let index = 0; index < bytes.length; index++)
    if (((frame[at + index]! ^ bytes[index]!) & mask[index]!) !== 0) return false;
  return true;
}

function upper(test: Test): Test {
  asksUpper.add(test);
  return ofIp(test);
}
function ofIp(test: Test): Test {
  asksIp.add(test);
  return test;
}
function all(list: readonly Test[]): Test {
  const [only] = list;
  if (list.length === 1 && only) return only;
  const both: Test = view => {
    for (const test of list) if (!test(view)) return false;
    return true;
  };
  if (list.some(test => asksUpper.has(test))) return upper(both);
  return list.some(test => asksIp.has(test)) ? ofIp(both) : both;
}
