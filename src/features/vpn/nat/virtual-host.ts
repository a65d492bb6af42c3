// The router on the hub: one MAC, its own address and those of the port forwards. Answers ARP and echo, hands out
// addresses, asks DNS, and leads TCP and UDP out of the hub. IPv4 only; IPv6 passes through the hub without it.
import type { Clock } from '../../../core/clock.ts';
import { arpFrame } from '../../../wire/arp.ts';
import { u16, u32 } from '../../../wire/bytes.ts';
import { type DhcpMessage, decodeDhcp, dhcpOptions, dhcpTypes, encodeDhcp } from '../../../wire/dhcp.ts';
import { broadcastMac, etherTypes, formatMac, writeEthernet } from '../../../wire/ethernet.ts';
import type { FrameView } from '../../../wire/frame-view.ts';
import { decodeIcmp, encodeIcmp, encodeUnreachable, icmpTypes, unreachable } from '../../../wire/icmp.ts';
import { decodeIpv4, formatIpv4, type Ipv4Packet, protocols, writeIpv4 } from '../../../wire/ipv4.ts';
import { decodeUdp, udpFrames } from '../../../wire/udp.ts';
import { Bucket } from '../switch/limits.ts';
import type { Plug, ServicePort } from '../switch/plug.ts';
import { type TcpRequest, TcpStack } from '../tcp/stack.ts';
import type { DhcpServer } from './dhcp-server.ts';
import type { DnsProxy } from './dns-proxy.ts';
import { Fragments } from './fragments.ts';
import { personOf } from './person.ts';

/** Where a connection or a datagram to this address leads; a text says why it leads nowhere. */
export type Way = (
  protocol: 'tcp' | 'udp',
  address: number,
  port: number,
) => { readonly host: string; readonly port: number } | string;

export interface VirtualHostOptions {
  readonly mac: Uint8Array;
  /** Its own address; 0 = only those of port forwards. */
  readonly address: number;
  readonly mtu: number;
  readonly clock: Clock;
  readonly askTurn: () => void;
  readonly dhcp?: DhcpServer;
  readonly dns?: DnsProxy;
  /** Further addresses that it answers for. */
  readonly addresses: ReadonlySet<number>;
  readonly onTcp: (request: TcpRequest, owner: Plug) => void;
  readonly onUdp: (packet: Ipv4Packet, view: { readonly mac: Uint8Array }, owner: Plug) => void;
  readonly onEcho: (packet: Ipv4Packet, mac: Uint8Array, owner: Plug) => void;
  readonly adopts: (before: unknown, now: unknown) => boolean;
  /** A lease was given. */
  readonly onLease: (mac: Uint8Array, address: number, seconds: number) => void;
}

export class VirtualHost implements ServicePort {
  readonly name = 'router';
  readonly tcp: TcpStack;
  readonly #options: VirtualHostOptions;
  readonly #fragments: Fragments;
  #out: Uint8Array[] = [];
  #deliver: ((frame: Uint8Array) => void) | undefined;
  /** Complaints (ICMP unreachable) are few, or they would be an amplifier (RFC 1812 §4.3.2.8). */
  readonly #complaints: Bucket;
  #id = 0;

  constructor(options: VirtualHostOptions) {
    this.#options = options;
    this.#fragments = new Fragments(options.clock);
    this.#complaints = new Bucket(100, 50, options.clock.now().getTime());
    this.tcp = new TcpStack({
      mac: options.mac,
      mtu: options.mtu,
      clock: options.clock,
      emit: frame => this.#out.push(frame),
      askTurn: options.askTurn,
      onRequest: (request, owner) => options.onTcp(request, owner as Plug),
      adopts: options.adopts,
      payer: owner => personOf(owner as Plug),
      recycles: true, // the switch gives frames to ports in the same turn, and ports do not keep them
    });
  }

  receive(deliver: (frame: Uint8Array) => void): void {
    this.#deliver = deliver;
  }
  send(): boolean {
    return false; // the hub uses `take`
  }
  take(view: FrameView, from: Plug): void {
    if (view.vlan !== 0) return;
    if (view.carried === 'arp') this.#arp(view);
    else if (view.carried === 'ipv4') this.#ipv4(view, from);
  }
  turn(): void {
    this.tcp.turn();
    const frames = this.#out;
    if (frames.length === 0) return;
    this.#out = [];
    for (const frame of frames) this.#deliver?.(frame);
    this.tcp.handedOver();
  }
  async [Symbol.asyncDispose](): Promise<void> {
    this.tcp.reset();
    this.turn();
    this.#deliver = undefined;
  }

  isOwn(address: number): boolean {
    return address === this.#options.address || this.#options.addresses.has(address);
  }
  /** Tells the hub where its router is, as a host does that has just come up (RFC 5227 §3). */
  announce(): void {
    const { mac, address, addresses } = this.#options;
    for (const ip of new Set([address, ...addresses])) {
      if (ip === 0) continue;
      this.emit([
        arpFrame(
          { operation: 'reply', senderMac: mac, senderIp: ip, targetMac: broadcastMac, targetIp: ip },
          broadcastMac,
        ),
      ]);
    }
  }
  emit(frames: readonly Uint8Array[]): void {
    for (const frame of frames) this.#out.push(frame);
    this.#options.askTurn();
  }

  #arp({ frame, network, source4, target4, isGroup }: FrameView): void {
    const { mac } = this.#options;
    if (u16(frame, network + 6) !== 1 || !this.isOwn(target4)) return;
    if (!isGroup && !this.#isForUs(frame)) return;
    const asker = frame.slice(network + 8, network + 14);
    this.#out.push(
      arpFrame({ operation: 'reply', senderMac: mac, senderIp: target4, targetMac: asker, targetIp: source4 }, asker),
    );
  }
  #isForUs(frame: Uint8Array): boolean {
    const { mac } = this.#options;
    return u32(frame, 2) === u32(mac, 2) && u16(frame, 0) === u16(mac, 0);
  }

  #ipv4(view: FrameView, from: Plug): void {
    if (!view.isGroup && !this.#isForUs(view.frame)) return;
    // The way of most frames, before anything is looked at twice.
    if (view.protocol === protocols.tcp && !view.isGroup && !view.isFragment) {
      this.tcp.input(view, from);
      return;
    }
    let packet: Ipv4Packet;
    try {
      packet = decodeIpv4(view.frame.subarray(view.network, view.end));
    } catch {
      return;
    }
    if (packet.moreFragments || packet.fragmentOffset > 0) {
      const whole = this.#fragments.add(packet, from);
      if (!whole) return;
      packet = whole;
    }
    const mac = view.frame.slice(6, 12);
    if (packet.protocol === protocols.udp) this.#udp(packet, mac, from, view.isGroup);
    else if (packet.protocol === protocols.icmp && !view.isGroup) this.#icmp(packet, mac, from);
    else if (!view.isGroup && this.isOwn(packet.target)) this.complain(packet, mac, unreachable.protocol);
  }

  #icmp(packet: Ipv4Packet, mac: Uint8Array, from: Plug): void {
    if (packet.payload[0] !== icmpTypes.echo) return;
    if (!this.isOwn(packet.target)) {
      this.#options.onEcho(packet, mac, from);
      return;
    }
    try {
      this.echo(packet, mac, decodeIcmp(packet.payload));
    } catch {
      // a broken one is not answered
    }
  }
  /** Answers an echo, in the name of whom it was for. */
  echo(packet: Ipv4Packet, mac: Uint8Array, message: ReturnType<typeof decodeIcmp>): void {
    const body = encodeIcmp({ ...message, type: icmpTypes.echoReply });
    this.emit(this.#packets(packet.target, packet.source, protocols.icmp, mac, body));
  }
  /** ICMP "unreachable", with the beginning of the packet. */
  complain(packet: Ipv4Packet, mac: Uint8Array, code: number): void {
    if (!this.#complaints.take(1, this.#options.clock.now().getTime())) return;
    const { address, target, source } = { address: this.#options.address, ...packet };
    const original = new Uint8Array(20 + Math.min(8, packet.payload.length));
    const fixed = { protocol: packet.protocol, ttl: packet.ttl, id: packet.id, flags: 0x4000 };
    writeIpv4(original, 0, { ...fixed, source, target, length: 20 + packet.payload.length });
    original.set(packet.payload.subarray(0, 8), 20);
    this.emit(this.#packets(address || target, source, protocols.icmp, mac, encodeUnreachable(code, original)));
  }
  #packets(source: number, target: number, protocol: number, mac: Uint8Array, body: Uint8Array): Uint8Array[] {
    const frames: Uint8Array[] = [];
    const step = (this.#options.mtu - 20) & ~7;
    const isWhole = body.length + 20 <= this.#options.mtu;
    const id = isWhole ? 0 : this.nextId();
    for (let at = 0; at < body.length; at += step) {
      const part = isWhole ? body : body.subarray(at, at + step);
      const isLast = at + part.length >= body.length;
      const frame = new Uint8Array(34 + part.length);
      writeEthernet(frame, mac, this.#options.mac, etherTypes.ipv4);
      const flags = isWhole ? 0x4000 : (isLast ? 0 : 0x2000) | (at >> 3);
      writeIpv4(frame, 14, { source, target, protocol, ttl: 64, id, flags, length: 20 + part.length });
      frame.set(part, 34);
      frames.push(frame);
      if (isWhole) break;
    }
    return frames;
  }
  nextId(): number {
    this.#id = (this.#id + 1) & 0xffff;
    return this.#id;
  }

  #udp(packet: Ipv4Packet, mac: Uint8Array, from: Plug, isGroup: boolean): void {
    const port = packet.payload.length >= 8 ? u16(packet.payload, 2) : 0;
    if (port === 67 && (isGroup || this.isOwn(packet.target))) this.#dhcp(packet, mac, from);
    else if (isGroup) return;
    else if (port === 53 && packet.target === this.#options.address) void this.#dns(packet, mac, from);
    else this.#options.onUdp(packet, { mac }, from);
  }
  #dhcp(packet: Ipv4Packet, mac: Uint8Array, from: Plug): void {
    const { dhcp } = this.#options;
    if (!dhcp) return;
    let message: DhcpMessage;
    try {
      message = decodeDhcp(decodeUdp(packet.payload, packet.source, packet.target).payload);
    } catch {
      return;
    }
    // Who asks in another's name would fill the range, or take away what the other has.
    if (message.relayIp !== 0 || formatMac(message.mac) !== formatMac(mac)) return;
    const answer = dhcp.answer(message, personOf(from));
    if (!answer) return;
    const isNak = answer.options.get(dhcpOptions.messageType)?.[0] === dhcpTypes.nak;
    const isAck = answer.options.get(dhcpOptions.messageType)?.[0] === dhcpTypes.ack;
    // RFC 2131 §4.1: to ciaddr if it has one; otherwise by broadcast where the client wants that, else to its MAC.
    const isKnown = answer.clientIp !== 0 && !isNak;
    const byBroadcast = !isKnown && (answer.broadcast || isNak);
    const target = isKnown ? answer.clientIp : byBroadcast ? 0xffffffff : answer.yourIp;
    if (isAck && answer.yourIp !== 0) {
      const lease = answer.options.get(dhcpOptions.leaseTime);
      this.#options.onLease(mac, answer.yourIp, lease ? u32(lease, 0) : 0);
    }
    this.sendUdp(
      { host: this.#options.address, port: 67 },
      { host: target, port: 68, mac: byBroadcast ? broadcastMac : mac },
      encodeDhcp(answer),
    );
  }
  async #dns(packet: Ipv4Packet, mac: Uint8Array, from: Plug): Promise<void> {
    try {
      const { sourcePort, payload } = decodeUdp(packet.payload, packet.source, packet.target);
      const answer = await this.#options.dns?.ask(payload, personOf(from));
      if (!answer) return;
      const to = { host: packet.source, port: sourcePort, mac };
      this.sendUdp({ host: packet.target, port: 53 }, to, answer);
    } catch {
      // broken datagrams are dropped
    }
  }
  sendUdp(
    from: { readonly host: number; readonly port: number },
    to: { readonly host: number; readonly port: number; readonly mac: Uint8Array },
    payload: Uint8Array,
  ): void {
    const { mac, mtu } = this.#options;
    if (payload.length > 65_507) return;
    this.emit(
      udpFrames(
        {
          toMac: to.mac,
          fromMac: mac,
          source: from.host,
          target: to.host,
          sourcePort: from.port,
          targetPort: to.port,
          payload,
          id: payload.length + 28 > mtu ? this.nextId() : 0,
        },
        mtu,
      ),
    );
  }
}

export const nameOf = formatIpv4;
