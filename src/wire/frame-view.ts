// One Ethernet frame, looked at once: the fields that switches, filters and tables ask for, by offset. A view is filled
// again for each frame, so nothing is allocated on the way of a frame through a hub.
import { isArp } from './arp.ts';
import { u16, u32 } from './bytes.ts';
import { etherTypes } from './ethernet.ts';
import { upperLayer6 } from './ipv6.ts';

/**
 * What a frame carries. `broken`: it says IPv4, IPv6 or ARP, but is none that a stack would take; or it hides what it
 * carries behind further tags or an LLC header, which some stacks take off (CVE-2021-27853, -27854, -27861, -27862).
 */
export type Carried = 'ipv4' | 'ipv6' | 'arp' | 'other' | 'broken';

export class FrameView {
  frame: Uint8Array = new Uint8Array(0);
  carried: Carried = 'other';
  /** After an 802.1Q tag, if there is one. */
  type = 0;
  /** VLAN id, 0 = untagged. */
  vlan = 0;
  /** Group bit of the target: multicast or broadcast. */
  isGroup = false;
  isBroadcast = false;
  /** Where the network layer begins and (without padding) ends. */
  network = 0;
  end = 0;
  /** IPv4 addresses; of ARP the sender's and the target's. */
  source4 = 0;
  target4 = 0;
  /** Of IPv4 and IPv6; -1 = none, or hidden behind broken headers. */
  protocol = -1;
  isFragment = false;
  /** Where TCP, UDP or ICMP begins; 0 = not in this frame (a later fragment, or too short). */
  upper = 0;
  sourcePort = 0;
  targetPort = 0;
  tcpFlags = 0;
  icmpType = -1;

  /** @returns false for a frame no network card would take: its length, or a sender that is a group. */
  read(frame: Uint8Array): boolean {
    this.frame = frame;
    if (frame.length < 14 || frame.length > 1600 || (frame[6]! & 1) !== 0) return false;
    this.isGroup = (frame[0]! & 1) !== 0;
    this.isBroadcast = this.isGroup && u16(frame, 0) === 0xffff && u32(frame, 2) === 0xffffffff;
    this.vlan = 0;
    this.network = 14;
    this.type = u16(frame, 12);
    if (this.type === etherTypes.vlan) {
      if (frame.length < 18) return false;
      this.vlan = u16(frame, 14) & 0xfff;
      this.type = u16(frame, 16);
      this.network = 18;
    }
    this.end = frame.length;
    this.protocol = -1;
    this.isFragment = false;
    this.upper = this.sourcePort = this.targetPort = this.tcpFlags = 0;
    this.icmpType = -1;
    if (this.type === etherTypes.ipv4) this.#readIpv4();
    else if (this.type === etherTypes.ipv6) this.#readIpv6();
    else if (this.type === etherTypes.arp) this.#readArp();
    else if (isWrapped(frame, this.type, this.network)) this.#break();
    else {
      this.carried = 'other';
      this.source4 = this.target4 = 0;
    }
    return true;
  }

  #readIpv4(): void {
    const { frame, network } = this;
    const head = (frame[network]! & 15) * 4;
    const total = frame.length < network + 20 ? 0 : u16(frame, network + 2);
    if (frame[network]! >> 4 !== 4 || head < 20 || total < head || network + total > frame.length) {
      this.#break();
      return;
    }
    this.carried = 'ipv4';
    this.end = network + total;
    this.protocol = frame[network + 9]!;
    this.source4 = u32(frame, network + 12);
    this.target4 = u32(frame, network + 16);
    const fragment = u16(frame, network + 6);
    this.isFragment = (fragment & 0x3fff) !== 0;
    if ((fragment & 0x1fff) === 0) this.#readUpper(network + head);
  }
  #readIpv6(): void {
    const { frame, network } = this;
    if (frame.length < network + 40 || frame[network]! >> 4 !== 6) {
      this.#break();
      return;
    }
    const end = network + 40 + u16(frame, network + 4);
    if (end > frame.length) {
      this.#break();
      return;
    }
    this.carried = 'ipv6';
    this.end = end;
    this.source4 = this.target4 = 0;
    const found = upperLayer6(frame, network, end);
    if (found === -2) {
      this.#break();
      return;
    }
    if (found === -1) {
      this.isFragment = true;
      return;
    }
    this.protocol = found >>> 16;
    this.#readUpper(found & 0xffff);
  }
  #readArp(): void {
    const { frame, network } = this;
    if (!isArp(frame, network)) {
      this.#break();
      return;
    }
    this.carried = 'arp';
    this.source4 = u32(frame, network + 14);
    this.target4 = u32(frame, network + 24);
  }
  #readUpper(at: number): void {
    const { frame, end, protocol } = this;
    if (protocol === 6) {
      if (at + 20 > end) return;
      this.tcpFlags = frame[at + 13]!;
    } else if (protocol === 17) {
      if (at + 8 > end) return;
    } else {
      if (protocol === 1 || protocol === 58) this.icmpType = at + 4 <= end ? frame[at]! : -1;
      if (at <= end) this.upper = at;
      return;
    }
    this.upper = at;
    this.sourcePort = u16(frame, at);
    this.targetPort = u16(frame, at + 2);
  }
  #break(): void {
    this.carried = 'broken';
    this.source4 = this.target4 = 0;
  }
}

/** 802.1Q, 802.1ad and what came before it. */
const tags: ReadonlySet<number> = new Set([0x8100, 0x88a8, 0x9100, 0x9200]);
const carriers: ReadonlySet<number> = new Set([...tags, etherTypes.ipv4, etherTypes.ipv6, etherTypes.arp]);
const mostLength = 1500;

/** A tag within a tag or of a provider, or IP behind an LLC header with SNAP (IEEE 802-2014 §9.2.4). */
const isWrapped = (frame: Uint8Array, type: number, at: number): boolean =>
  tags.has(type) ||
  (type <= mostLength &&
    frame.length >= at + 8 &&
    frame[at] === 0xaa &&
    frame[at + 1] === 0xaa &&
    carriers.has(u16(frame, at + 6)));
