// A member who speaks IP on a hub that speaks Ethernet: this port owns a MAC address, answers ARP, and asks the hub's DHCP
// server for the member's address. Packets go in on one side, frames come out on the other. IPv4 only.
import type { Clock } from '../../../core/clock.ts';
import { Fault } from '../../../core/fault.ts';
import { arpFrame } from '../../../wire/arp.ts';
import { u16, u32 } from '../../../wire/bytes.ts';
import { broadcastMac, etherTypes, writeEthernet } from '../../../wire/ethernet.ts';
import { FrameView } from '../../../wire/frame-view.ts';
import { maskOf } from '../../../wire/ipv4.ts';
import type { HubPort } from '../hub.ts';
import { ArpTable } from '../join/arp-table.ts';
import { DhcpClient, type HubLease } from '../join/dhcp-client.ts';
import { nextHop } from '../join/routes.ts';

export interface RoutedPortOptions {
  readonly name: string;
  /** See RoutedMacs: the same one for the same member, so that DHCP gives the same address. */
  readonly mac: Uint8Array;
  /** The name that the DHCP server lists. */
  readonly hostname: string;
  readonly clock: Clock;
  /** IPv4 packets for the member. The array is not kept beyond the call; nobody writes into a packet. */
  readonly deliver: (packets: readonly Uint8Array[]) => void;
  /** A first lease, a changed one, or none any more; not for a renewal that changes nothing. */
  readonly onLease?: (lease: HubLease | undefined) => void;
}

/** Packets that wait for one neighbour's MAC, and neighbours that are waited for. */
const most = { waiting: 32, neighbours: 64, hops: 4096, packet: 1500 } as const;

export class RoutedPort implements HubPort {
  readonly name: string;
  readonly mac: Uint8Array;
  readonly #options: RoutedPortOptions;
  readonly #arp: ArpTable;
  readonly #dhcp: DhcpClient;
  readonly #view = new FrameView();
  /** Target → the neighbour it goes to; 0 = nowhere. */
  readonly #hops = new Map<number, number>();
  readonly #waiting = new Map<number, Uint8Array[]>();
  #leased = Promise.withResolvers<HubLease>();
  #toHub: (frames: readonly Uint8Array[]) => void = () => {};
  #state: 'open' | 'closed' = 'open';

  constructor(options: RoutedPortOptions) {
    const { name, mac, clock, hostname } = options;
    this.#options = options;
    this.name = name;
    this.mac = mac;
    this.#leased.promise.catch(() => {});
    const send = (frames: readonly Uint8Array[]): void => this.#toHub(frames);
    this.#arp = new ArpTable({ mac, clock, own: () => this.lease?.address ?? 0, send: frame => send([frame]) });
    this.#dhcp = new DhcpClient({ mac, clock, hostname, send, onLease: lease => this.#changed(lease) });
  }

  get lease(): HubLease | undefined {
    return this.#dhcp.lease;
  }
  /** Asks for an address; to be called once the port is attached to its hub. */
  begin(): void {
    this.#dhcp.start();
  }
  /** The address, once there is one. @throws the signal's reason; Fault `gone` */
  async leased(signal: AbortSignal): Promise<HubLease> {
    signal.throwIfAborted();
    const { promise, reject } = Promise.withResolvers<never>();
    const stop = (): void => reject(signal.reason);
    signal.addEventListener('abort', stop, { once: true });
    try {
      return this.lease ?? (await Promise.race([this.#leased.promise, promise]));
    } finally {
      signal.removeEventListener('abort', stop);
    }
  }

  /** From the member into the hub; answers how many were packets of the member's own address, the rest is dropped. */
  fromMember(packets: readonly Uint8Array[]): number {
    const { lease } = this;
    if (!lease || this.#state === 'closed') return 0;
    const frames: Uint8Array[] = [];
    let taken = 0;
    for (const packet of packets) {
      if (!isFrom(packet, lease.address)) continue;
      taken++;
      const target = u32(packet, 16);
      const mac = groupMac(target, lease) ?? this.#neighbour(target, lease, packet);
      if (mac) frames.push(framed(packet, mac, this.mac));
    }
    if (frames.length > 0) this.#toHub(frames);
    return taken;
  }

  // --- The port ---

  send(frame: Uint8Array): boolean {
    return this.sendBatch([frame]) === 1;
  }
  sendBatch(frames: readonly Uint8Array[]): number {
    if (this.#state === 'closed') return 0;
    const packets: Uint8Array[] = [];
    for (const frame of frames) {
      const packet = this.#read(frame);
      if (packet) packets.push(packet);
    }
    if (packets.length > 0) this.#options.deliver(packets);
    return frames.length;
  }
  receive(deliver: (frame: Uint8Array) => void): void {
    this.#toHub = frames => {
      for (const frame of frames) deliver(frame);
    };
  }
  receiveBatch(deliver: (frames: readonly Uint8Array[]) => void): void {
    this.#toHub = deliver;
  }
  /** Gives the address back; before the port leaves its hub. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#state === 'closed') return;
    this.#dhcp.stop();
    this.#state = 'closed';
    this.#arp.forget();
    this.#waiting.clear();
    this.#leased.reject(new Fault('gone', 'the member has left the hub'));
  }

  /** The packet for the member in it, if there is one; DHCP and ARP are answered here. */
  #read(frame: Uint8Array): Uint8Array | undefined {
    const view = this.#view;
    if (!view.read(frame) || view.vlan !== 0) return undefined;
    if (!view.isGroup && Buffer.compare(frame.subarray(0, 6), this.mac) !== 0) return undefined;
    if (this.#dhcp.input(frame)) return undefined;
    const own = this.lease?.address;
    if (own === undefined) return undefined;
    if (view.carried === 'arp') this.#heardArp(view, own);
    if (view.carried !== 'ipv4' || view.end - view.network > most.packet) return undefined;
    return view.isGroup || view.target4 === own ? frame.subarray(view.network, view.end) : undefined;
  }
  #heardArp({ frame, network, source4, target4 }: FrameView, own: number): void {
    const sender = frame.slice(network + 8, network + 14);
    if (source4 !== 0 && source4 !== own) this.#arp.heard(source4, sender);
    if (target4 !== own || u16(frame, network + 6) !== 1 || source4 === own) return;
    const answer = { senderMac: this.mac, senderIp: own, targetMac: sender, targetIp: source4 };
    this.#toHub([arpFrame({ operation: 'reply', ...answer }, sender)]);
  }

  /** The MAC that a packet goes to; undefined when it has to wait for it, or leads nowhere. */
  #neighbour(target: number, lease: HubLease, packet: Uint8Array): Uint8Array | undefined {
    let hop = this.#hops.get(target);
    if (hop === undefined) {
      hop = nextHop(lease, target) ?? 0;
      if (this.#hops.size >= most.hops) this.#hops.clear();
      this.#hops.set(target, hop);
    }
    return hop === 0 ? undefined : (this.#arp.peek(hop) ?? this.#wait(hop, packet));
  }
  #wait(hop: number, packet: Uint8Array): undefined {
    const before = this.#waiting.get(hop);
    if (before) {
      if (before.length < most.waiting) before.push(packet);
      return;
    }
    if (this.#waiting.size >= most.neighbours) return;
    const packets = [packet];
    this.#waiting.set(hop, packets);
    this.#arp
      .find(hop)
      .then(
        mac => this.#toHub(packets.map(one => framed(one, mac, this.mac))),
        () => {}, // nobody is there: the packets are lost, as on any wire
      )
      .finally(() => this.#waiting.delete(hop));
  }

  #changed(lease: HubLease | undefined): void {
    this.#hops.clear();
    this.#arp.forget();
    if (lease) this.#leased.resolve(lease);
    else {
      this.#leased = Promise.withResolvers();
      this.#leased.promise.catch(() => {});
    }
    this.#options.onLease?.(lease);
  }
}

/** A whole IPv4 packet from this address: nobody speaks for others. */
const isFrom = (packet: Uint8Array, address: number): boolean =>
  packet.length >= 20 &&
  packet.length <= most.packet &&
  packet[0]! >> 4 === 4 &&
  u16(packet, 2) >= 20 &&
  u16(packet, 2) <= packet.length &&
  u32(packet, 12) === address;

/** Broadcasts of the hub's network, and groups (RFC 1112 §6.4). */
function groupMac(target: number, { address, bits }: HubLease): Uint8Array | undefined {
  const host = ~maskOf(bits) >>> 0;
  if (target === 0xffffffff || (bits < 31 && target === (address | host) >>> 0)) return broadcastMac;
  if (target >>> 28 !== 14) return undefined;
  return Uint8Array.of(0x01, 0x00, 0x5e, (target >>> 16) & 0x7f, (target >>> 8) & 255, target & 255);
}

function framed(packet: Uint8Array, target: Uint8Array, source: Uint8Array): Uint8Array {
  const length = u16(packet, 2);
  const frame = Buffer.allocUnsafe(14 + length);
  writeEthernet(frame, target, source, etherTypes.ipv4);
  frame.set(length === packet.length ? packet : packet.subarray(0, length), 14);
  return frame;
}
