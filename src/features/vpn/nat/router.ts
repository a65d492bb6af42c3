// SecureNAT and port forwards put together: the virtual host, its DHCP, DNS, and the flows that leave the hub.
import type { Clock } from '../../../core/clock.ts';
import { Fault } from '../../../core/fault.ts';
import type { Gate, Log } from '../../../core/parts.ts';
import { parseMac, randomMac } from '../../../wire/ethernet.ts';
import { decodeIcmp, unreachable } from '../../../wire/icmp.ts';
import { formatIpv4, type Ipv4Packet, parseIpv4Network } from '../../../wire/ipv4.ts';
import { decodeUdp, type UdpDatagram } from '../../../wire/udp.ts';
import { type Forwards, parseForwards } from '../forward.ts';
import type { ForwardRule, Lease, NatEntry, NatOptions } from '../hub.ts';
import type { Plug } from '../switch/plug.ts';
import type { TcpRequest } from '../tcp/stack.ts';
import { DhcpServer } from './dhcp-server.ts';
import { DnsProxy } from './dns-proxy.ts';
import { Echo } from './echo.ts';
import { EchoNat } from './echo-nat.ts';
import { type Ends, Flows } from './flows.ts';
import { createReach, type Reach } from './reach.ts';
import { type Destination, relayTcp } from './tcp-nat.ts';
import { UdpNat } from './udp-nat.ts';
import { VirtualHost } from './virtual-host.ts';

export interface RouterOptions {
  readonly hub: string;
  readonly nat: NatOptions | undefined;
  readonly forward: readonly ForwardRule[];
  /** Of the one before, so that hosts on the hub need not learn another. */
  readonly mac?: Uint8Array;
  /** Name servers; default: this machine's. */
  readonly resolvers?: readonly string[];
  readonly gate: Gate;
  readonly clock: Clock;
  readonly log: Log;
  readonly isOwn: (host: string, port: number) => boolean;
  readonly askTurn: () => void;
  readonly isTaken: (address: number, mac: string) => boolean;
  readonly onLease: (mac: Uint8Array, address: number, seconds: number) => void;
}

export class Router implements AsyncDisposable {
  readonly host: VirtualHost;
  readonly mac: Uint8Array;
  /** Every address that it answers for. */
  readonly addresses: readonly number[];
  readonly dhcp: DhcpServer | undefined;
  readonly flows: Flows;
  readonly #options: RouterOptions;
  readonly #address: number;
  readonly #forwards: Forwards;
  readonly #reach: Reach;
  readonly #udp: UdpNat;
  readonly #dns: DnsProxy;
  readonly #asker = new Echo();
  readonly #echo: EchoNat;
  readonly #tcpIdle: number;
  readonly #running = new Set<Promise<void>>();

  /** @throws Fault `invalid` */
  constructor(options: RouterOptions) {
    const { hub, nat, gate, clock, log } = options;
    this.#options = options;
    const network = nat && parseIpv4Network(nat.address);
    if (network && network.bits > 30) throw new Fault('invalid', `"${nat?.address}" leaves no room for members`);
    const mtu = nat?.mtu ?? 1500;
    if (mtu < 576 || mtu > 1500) throw new Fault('invalid', `the MTU of a hub is 576 to 1500, not ${mtu}`);
    this.#address = network?.address ?? 0;
    this.mac = nat?.mac === undefined ? (options.mac ?? randomMac()) : parseMac(nat.mac);
    this.#forwards = parseForwards(options.forward, network);
    this.addresses = [...new Set([this.#address, ...this.#forwards.addresses])].filter(address => address !== 0);
    this.#reach = nat ? createReach(nat, options.isOwn) : () => 'is not reached: NAT is off on this hub';
    this.flows = new Flows({ hub, gate, clock, log });
    this.#tcpIdle = Math.max(60, nat?.tcpTimeout ?? 1800) * 1000;
    const udpIdle = Math.max(10, nat?.udpTimeout ?? 60) * 1000;
    this.#udp = new UdpNat({
      ...{ flows: this.flows, idle: udpIdle, adopts, isOwn: options.isOwn },
      after: (ms, call) => clock.after(ms, call),
    });
    this.#echo = new EchoNat({
      ...{ flows: this.flows, idle: udpIdle },
      ask: (host, size, asker) => this.#asker.ask(host, size, asker),
      after: (ms, call) => clock.after(ms, call),
    });
    this.#dns = new DnsProxy(options.resolvers);
    this.dhcp =
      nat?.dhcp && network && new DhcpServer({ dhcp: nat.dhcp, router: network, clock, isTaken: options.isTaken });
    this.host = new VirtualHost({
      mac: this.mac,
      address: this.#address,
      addresses: this.#forwards.addresses,
      mtu,
      clock,
      askTurn: options.askTurn,
      ...(this.dhcp ? { dhcp: this.dhcp } : {}),
      dns: this.#dns,
      onTcp: (request, owner) => this.#tcp(request, owner),
      onUdp: (packet, { mac }, owner) => this.#datagram(packet, mac, owner),
      onEcho: (packet, mac, owner) => void this.#ping(packet, mac, owner),
      adopts: (before, now) => adopts(before as Plug, now as Plug),
      onLease: options.onLease,
    });
  }

  table(): NatEntry[] {
    return this.flows.table();
  }
  leases(): Lease[] {
    return this.dhcp?.leases() ?? [];
  }
  /** Ends what a member had under way. */
  forget(owner: Plug): void {
    this.host.tcp.reset(owner);
    this.#udp.reset(owner);
    this.#echo.reset(owner);
  }
  async [Symbol.asyncDispose](): Promise<void> {
    this.#udp.reset();
    this.#echo.reset();
    this.#asker[Symbol.dispose]();
    await this.host[Symbol.asyncDispose]();
    await Promise.all([...this.#running, this.#udp.settled(), this.#echo.settled()]); // until the audit has the end of each
  }

  /** Where it leads, or why nowhere. */
  #way(protocol: 'tcp' | 'udp', address: number, port: number): Destination | string {
    const forwarded = this.#forwards.find(protocol, address, port);
    if (forwarded) {
      const isOurs = this.#options.isOwn(forwarded.host, forwarded.port);
      return isOurs ? 'is forwarded to a listener of this gate' : forwarded;
    }
    if (protocol === 'tcp' && port === 53 && address === this.#address && this.#dns.server) return this.#dns.server;
    if (this.host.isOwn(address)) return 'is a port of the router that nothing listens on';
    return this.#reach(address, port) ?? { host: formatIpv4(address), port };
  }

  #tcp(request: TcpRequest, owner: Plug): void {
    const { localIp, localPort, remoteIp, remotePort } = request.path;
    const to = this.#way('tcp', localIp, localPort);
    if (typeof to !== 'string') {
      const relay = relayTcp(request, owner, to, {
        flows: this.flows,
        idle: this.#tcpIdle,
        isOwn: this.#options.isOwn,
      }).finally(() => this.#running.delete(relay));
      this.#running.add(relay);
      return;
    }
    this.#refuse('tcp', [remoteIp, remotePort], [localIp, localPort], owner, to);
    request.refuse();
  }

  #datagram(packet: Ipv4Packet, mac: Uint8Array, owner: Plug): void {
    let datagram: UdpDatagram;
    try {
      datagram = decodeUdp(packet.payload, packet.source, packet.target);
    } catch {
      return;
    }
    const { source, target } = packet;
    const { sourcePort, targetPort, payload } = datagram;
    const to = this.#way('udp', target, targetPort);
    if (typeof to === 'string') {
      this.#refuse('udp', [source, sourcePort], [target, targetPort], owner, to);
      this.host.complain(packet, mac, this.host.isOwn(target) ? unreachable.port : unreachable.prohibited);
      return;
    }
    this.#udp.arrive({
      key: `${source} ${sourcePort} ${target} ${targetPort}`,
      from: { host: formatIpv4(source), port: sourcePort },
      to,
      payload,
      owner,
      answer: answer =>
        this.host.sendUdp({ host: target, port: targetPort }, { host: source, port: sourcePort, mac }, answer),
      unreachable: () => this.host.complain(packet, mac, unreachable.port),
    });
  }

  async #ping(packet: Ipv4Packet, mac: Uint8Array, owner: Plug): Promise<void> {
    const to = formatIpv4(packet.target);
    const against = this.#reach(packet.target, 0);
    if (against !== undefined) {
      if (against !== 'is on the hub itself') this.host.complain(packet, mac, unreachable.prohibited);
      return;
    }
    try {
      const message = decodeIcmp(packet.payload);
      const copy = { ...packet, payload: packet.payload.slice() };
      const kept = { ...message, data: message.data.slice() };
      const from = { host: formatIpv4(packet.source), port: message.id };
      if (await this.#echo.ask({ from, host: to, size: kept.data.length, owner })) this.host.echo(copy, mac, kept);
    } catch {
      // a broken one is not carried, and what was refused is written down
    }
  }

  #refuse(
    protocol: Ends['protocol'],
    [fromIp, fromPort]: readonly [number, number],
    [toIp, toPort]: readonly [number, number],
    owner: Plug,
    reason: string,
  ): void {
    const from = { host: formatIpv4(fromIp), port: fromPort };
    this.flows.refuse({ protocol, from, to: { host: formatIpv4(toIp), port: toPort } }, owner, reason);
  }
}

/** Flows outlive a member's port for a while: the same person with the same credential may take them up on his next one. */
function adopts(before: Plug, now: Plug): boolean {
  const [a, b] = [before.policy.who, now.policy.who];
  if (before.state !== 'out' || !a || !b) return false;
  return a.kind === b.kind && a.id === b.id && a.id !== '' && a.credential === b.credential;
}
