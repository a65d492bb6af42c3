// What a switch has learned: which MAC and which IP is at which plug, with limits, with loops and impostors held off, and
// with DHCP listened to.
import { u16, u32 } from '../../../wire/bytes.ts';
import { decodeDhcp, dhcpOptions, dhcpTypes } from '../../../wire/dhcp.ts';
import type { FrameView } from '../../../wire/frame-view.ts';
import { type AddressEntry, AddressTable, flags } from './address-table.ts';
import type { Plug } from './plug.ts';

/** Milliseconds. SoftEther's numbers. */
const life = { mac: 600_000, ip: 60_000, dhcp: 300_000 } as const;
/** How long an address that was in use stays with its port when another one claims it. */
const exclusive = 13_000;
const most = { macs: 65_536, ips: 65_536, macsOfPort: 16_384, ipsOfPort: 8192 } as const;
/** Of a table that is half full, a member's port gets no more than this: who floods it leaves room for the others. */
const fewMacs = 64;
/** ICMPv6 (RFC 4861 §4.4). */
const neighborAdvertisement = 136;
/** A MAC that moved this often without ten seconds of rest is in a loop: it stays where it is. */
const flapping = { moves: 8, rest: 10_000 } as const;

export class Tables {
  readonly macs: AddressTable = new AddressTable(most.macs);
  readonly ips: AddressTable = new AddressTable(most.ips);
  readonly #plug: (id: number) => Plug | undefined;

  constructor(plug: (id: number) => Plug | undefined) {
    this.#plug = plug;
  }

  /** Whose the frame's target is; undefined = not known. */
  ownerOfMac({ frame, vlan }: FrameView, now: number): Plug | undefined {
    const slot = this.macs.find(u16(frame, 0), u32(frame, 2), vlan, 0);
    if (slot < 0 || (now - this.macs.used(slot) > life.mac && !this.macs.has(slot, flags.pinned))) return undefined;
    return this.#plug(this.macs.owner(slot));
  }

  /** Remembers the sender. @returns false when the port may not send from this address: then the frame is dropped */
  learn(plug: Plug, view: FrameView, now: number): boolean {
    return this.#learnMac(plug, view, now) && this.#learnIp(plug, view, now);
  }

  /** Binds the addresses of a port of the hub's own: nobody else may ever send from them. */
  pin(plug: Plug, mac: Uint8Array, ip: number, now: number): void {
    this.#claim(this.macs, [u16(mac, 0), u32(mac, 2), 0, 0], plug, now);
    this.#claim(this.ips, [0, 0, 0xffff, ip], plug, now);
    plug.macs++;
    plug.ips++;
  }
  #claim(table: AddressTable, [a, b, c, d]: AddressEntry['words'], plug: Plug, now: number): void {
    const old = table.find(a, b, c, d);
    if (old >= 0) {
      this.#uncount(table, old);
      table.remove(old);
    }
    const slot = table.add(a, b, c, d, plug.id, now);
    if (slot >= 0) table.mark(slot, flags.pinned, Number.POSITIVE_INFINITY);
  }

  #learnMac(plug: Plug, { frame, vlan }: FrameView, now: number): boolean {
    const high = u16(frame, 6);
    const low = u32(frame, 8);
    const { macs } = this;
    if (
      low === plug.macLow &&
      high === plug.macHigh &&
      vlan === plug.macVlan &&
      plug.macGeneration === macs.generation
    ) {
      macs.touch(plug.macSlot, now);
      return true;
    }
    let slot = macs.find(high, low, vlan, 0);
    if (slot < 0) {
      if (plug.macs >= this.#mostMacs(plug)) return false;
      slot = macs.add(high, low, vlan, 0, plug.id, now);
      if (slot < 0) return true; // the table is full: it is flooded, as with every switch
      plug.macs++;
    } else if (macs.owner(slot) !== plug.id) {
      if (!this.#mayMove(plug, slot, now) || plug.macs >= plug.rules.macs) return false;
      this.#uncount(macs, slot);
      macs.move(slot, plug.id, now, flapping.rest);
      plug.macs++;
    } else macs.touch(slot, now);
    plug.macHigh = high;
    plug.macLow = low;
    plug.macVlan = vlan;
    plug.macSlot = slot;
    plug.macGeneration = macs.generation;
    return true;
  }
  #mostMacs({ rules, policy }: Plug): number {
    if (policy.kind === 'bridge') return Math.min(rules.macs, most.macs);
    return Math.min(rules.macs, this.macs.count < most.macs / 2 ? most.macsOfPort : fewMacs);
  }
  #mayMove(plug: Plug, slot: number, now: number): boolean {
    const { macs } = this;
    if (macs.has(slot, flags.pinned)) return false;
    const isFresh = now - macs.used(slot) <= exclusive;
    if (isFresh && (plug.policy.security.checkMac || plug.policy.kind === 'bridge')) return false;
    return !(isFresh && macs.moves(slot) >= flapping.moves);
  }

  #learnIp(plug: Plug, view: FrameView, now: number): boolean {
    const { carried } = view;
    if (carried === 'ipv4' || carried === 'arp') return this.#learnIp4(plug, view, now);
    if (carried === 'ipv6') return this.#learnIp6(plug, view, now);
    // Whose addresses are looked at cannot hide them.
    return carried !== 'broken' || !plug.rules.watchesIp;
  }
  #learnIp4(plug: Plug, view: FrameView, now: number): boolean {
    const ip = view.source4;
    const { ips } = this;
    if (ip === 0) return true; // whoever has no address yet: DHCP, and the probes of RFC 5227
    if (ip === plug.ip && plug.ipGeneration === ips.generation) {
      ips.touch(plug.ipSlot, now);
      return true;
    }
    const { security, kind } = plug.policy;
    const isWatched = plug.rules.watchesIp;
    let slot = ips.find(0, 0, 0xffff, ip);
    if (slot >= 0 && ips.owner(slot) !== plug.id) {
      if (ips.has(slot, flags.pinned)) return false;
      if (this.#isHeld(slot, now) && security.checkIp) return false;
    }
    if (security.dhcpForce && !(slot >= 0 && ips.owner(slot) === plug.id && ips.has(slot, flags.dhcp))) return false;
    // Behind a bridge is the world; only those who do ARP are on this network.
    const isLocal = kind === 'bridge' || kind === 'router' ? view.carried === 'arp' : isPrivate(ip);
    if (!isWatched && !isLocal) return true;
    slot = this.#settle(plug, slot, [0, 0, 0xffff, ip], now, plug.ips, plug.rules.ips);
    if (slot === -2) return false;
    if (slot >= 0) {
      plug.ip = ip;
      plug.ipSlot = slot;
      plug.ipGeneration = ips.generation;
      if (view.protocol === 17 && view.sourcePort === 67) this.#listenToDhcp(plug, view, now);
    }
    return true;
  }
  #learnIp6(plug: Plug, view: FrameView, now: number): boolean {
    const { frame, network, upper, end } = view;
    const at = network + 8;
    const [a, b, c, d] = [u32(frame, at), u32(frame, at + 4), u32(frame, at + 8), u32(frame, at + 12)];
    const isAdvertisement = view.icmpType === neighborAdvertisement && view.protocol === 58;
    // Who says where a neighbour is speaks for that address, whatever he sends from: as with ARP.
    if (plug.policy.security.checkIpv6 && isAdvertisement && (upper + 24 > end || this.#isOthers(plug, view, now)))
      return false;
    if ((a | b | c | d) === 0) return true; // "::", duplicate address detection
    const slot = this.ips.find(a, b, c, d);
    if (slot >= 0 && this.ips.owner(slot) !== plug.id && this.#isHeld(slot, now) && plug.policy.security.checkIpv6)
      return false;
    const isLocal = a >>> 22 === 0x3fa || a >>> 25 === 0x7e; // fe80::/10, fc00::/7
    if (!plug.rules.watchesIp && !isLocal) return true;
    return this.#settle(plug, slot, [a, b, c, d], now, plug.ips6, plug.rules.ips6) !== -2;
  }
  #isOthers(plug: Plug, { frame, upper }: FrameView, now: number): boolean {
    const at = upper + 8;
    const slot = this.ips.find(u32(frame, at), u32(frame, at + 4), u32(frame, at + 8), u32(frame, at + 12));
    return slot >= 0 && this.ips.owner(slot) !== plug.id && this.#isHeld(slot, now);
  }
  /** The entry is this plug's from now on. @returns its slot, -1 when the table is full, -2 when the plug's limit is reached */
  #settle(
    plug: Plug,
    found: number,
    [a, b, c, d]: AddressEntry['words'],
    now: number,
    has: number,
    limit: number,
  ): number {
    const { ips } = this;
    if (found >= 0 && ips.owner(found) === plug.id) {
      ips.touch(found, now);
      return found;
    }
    if (has >= limit) return -2;
    if (has >= most.ipsOfPort) return plug.rules.watchesIp ? -2 : -1;
    let slot = found;
    if (found < 0) {
      slot = ips.add(a, b, c, d, plug.id, now);
      if (slot < 0) return plug.rules.watchesIp ? -2 : -1;
    } else {
      this.#uncount(ips, found);
      ips.move(found, plug.id, now, 0);
    }
    if (isIpv4([a, b, c, d])) plug.ips++;
    else plug.ips6++;
    return slot;
  }
  #isHeld(slot: number, now: number): boolean {
    const { ips } = this;
    return now - ips.used(slot) <= exclusive || ips.until(slot) > now;
  }

  /** A DHCP server's ACK on its way: the address is the client's from now on, for as long as it says. */
  #listenToDhcp(server: Plug, view: FrameView, now: number): void {
    if (server.policy.security.dhcpNoServer || server.policy.security.dhcpFilter || view.upper === 0) return;
    let message: ReturnType<typeof decodeDhcp>;
    try {
      message = decodeDhcp(view.frame.subarray(view.upper + 8, view.end));
    } catch {
      return; // no DHCP: nothing to hear
    }
    const type = message.options.get(dhcpOptions.messageType)?.[0];
    if (message.op !== 'reply' || type !== dhcpTypes.ack || message.yourIp === 0) return;
    const lease = message.options.get(dhcpOptions.leaseTime);
    this.leased(message.mac, message.yourIp, lease?.length === 4 ? u32(lease, 0) : 0, now);
  }
  /** A DHCP server gave this address to whoever has this MAC. */
  leased(mac: Uint8Array, ip: number, seconds: number, now: number): void {
    const plug = this.plugOfMac(mac);
    if (!plug) return;
    const found = this.ips.find(0, 0, 0xffff, ip);
    if (found >= 0 && this.ips.has(found, flags.pinned)) return;
    const slot = this.#settle(plug, found, [0, 0, 0xffff, ip], now, plug.ips, plug.rules.ips);
    if (slot >= 0) this.ips.mark(slot, flags.dhcp, now + Math.max(life.dhcp, Math.min(seconds, 86_400 * 7) * 1000));
  }

  plugOfMac(mac: Uint8Array): Plug | undefined {
    const slot = this.macs.find(u16(mac, 0), u32(mac, 2), 0, 0);
    return slot < 0 ? undefined : this.#plug(this.macs.owner(slot));
  }
  plugOfIp(ip: number): Plug | undefined {
    const slot = this.ips.find(0, 0, 0xffff, ip);
    return slot < 0 ? undefined : this.#plug(this.ips.owner(slot));
  }
  /** @returns false when there is none of that key, or when it is the hub's own */
  forget(table: AddressTable, key: number): boolean {
    const slot = table.byKey(key);
    if (slot < 0 || table.has(slot, flags.pinned)) return false;
    this.#uncount(table, slot);
    table.remove(slot);
    return true;
  }
  forgetPlug(plug: Plug): void {
    for (const table of [this.macs, this.ips]) {
      table.sweep(
        slot => table.owner(slot) === plug.id,
        () => {},
      );
    }
    plug.macs = plug.ips = plug.ips6 = 0;
  }
  sweep(now: number): void {
    const { macs, ips } = this;
    macs.sweep(
      slot => now - macs.used(slot) > life.mac && !macs.has(slot, flags.pinned),
      slot => this.#uncount(macs, slot),
    );
    ips.sweep(
      slot => {
        const span = ips.has(slot, flags.dhcp) ? life.dhcp : life.ip;
        return !ips.has(slot, flags.pinned) && now - ips.used(slot) > span && ips.until(slot) < now;
      },
      slot => this.#uncount(ips, slot),
    );
  }

  #uncount(table: AddressTable, slot: number): void {
    const plug = this.#plug(table.owner(slot));
    if (!plug) return;
    if (table === this.macs) plug.macs--;
    else if (table.isIpv4(slot)) plug.ips--;
    else plug.ips6--;
  }
}

export const isIpv4 = ([a, b, c]: AddressEntry['words']): boolean => a === 0 && b === 0 && c === 0xffff;
/** What a hub's own network is made of: RFC 1918, RFC 6598, RFC 3927. */
const isPrivate = (ip: number): boolean =>
  ip >>> 24 === 10 || ip >>> 20 === 0xac1 || ip >>> 16 === 0xc0a8 || ip >>> 22 === 0x191 || ip >>> 16 === 0xa9fe;
