// The hub's DHCP server (RFC 2131): a range, reservations, options, routes without a default gateway (RFC 3442).
import type { Clock } from '../../../core/clock.ts';
import { Fault } from '../../../core/fault.ts';
import { u32 } from '../../../wire/bytes.ts';
import {
  dhcpOptions as codes,
  type DhcpMessage,
  type DhcpRoute,
  encodeRoutes,
  octets,
  dhcpTypes as types,
} from '../../../wire/dhcp.ts';
import { formatMac, parseMac } from '../../../wire/ethernet.ts';
import { bitsOf, formatIpv4, type Ipv4Network, isInside, parseIpv4, parseIpv4Network } from '../../../wire/ipv4.ts';
import type { DhcpOptions, Lease } from '../hub.ts';

export interface DhcpServerOptions {
  readonly dhcp: DhcpOptions;
  /** The router's own address, and the network around it. */
  readonly router: Ipv4Network;
  readonly clock: Clock;
  /** Whether somebody else already uses this address. */
  readonly isTaken: (address: number, mac: string) => boolean;
}

interface Binding {
  readonly id: number;
  readonly address: number;
  readonly mac: string;
  hostname: string;
  leased: number;
  expires: number;
  state: 'offered' | 'leased' | 'declined';
  owner: unknown;
}

/** Milliseconds. */
const offerTime = 10_000;
const declineTime = 600_000;
/** Addresses that one owner's hosts may have, and no more than half of them: who invents MACs must not empty the range. */
const mostOfOwner = 64;

export class DhcpServer {
  readonly #options: DhcpServerOptions;
  readonly #first: number;
  readonly #last: number;
  readonly #leaseSeconds: number;
  readonly #mask: number;
  readonly #reserved = new Map<string, number>();
  readonly #reservedAddresses = new Set<number>();
  readonly #byMac = new Map<string, Binding>();
  readonly #byAddress = new Map<number, Binding>();
  readonly #fixed: readonly (readonly [code: number, value: Uint8Array])[];
  readonly #routes: Uint8Array;
  #ids = 0;

  /** @throws Fault `invalid` for addresses that do not fit each other */
  constructor(options: DhcpServerOptions) {
    this.#options = options;
    const { dhcp, router } = options;
    [this.#first, this.#last] = dhcp.range.map(parseIpv4) as [number, number];
    this.#leaseSeconds = Math.max(15, dhcp.lease ?? 7200);
    this.#mask = dhcp.mask === undefined ? router.mask : parseIpv4(dhcp.mask);
    if (bitsOf(this.#mask) === undefined) throw new Fault('invalid', `"${dhcp.mask}" is not a netmask`);
    if (this.#first > this.#last || !isInside(router, this.#first) || !isInside(router, this.#last)) {
      throw new Fault(
        'invalid',
        `the DHCP range ${dhcp.range.join('-')} does not lie within the network of ${formatIpv4(router.address)}/${router.bits}`,
      );
    }
    for (const { mac, address } of dhcp.reservations ?? []) {
      const ip = parseIpv4(address);
      if (!isInside(router, ip)) throw new Fault('invalid', `the reservation ${address} is not of the hub's network`);
      this.#reserved.set(formatMac(parseMac(mac)), ip);
      this.#reservedAddresses.add(ip);
    }
    const gateway = dhcp.gateway === undefined ? undefined : parseIpv4(dhcp.gateway);
    const dns = (dhcp.dns ?? [formatIpv4(router.address)]).map(parseIpv4);
    this.#routes = encodeRoutes(routesOf(dhcp, router, gateway));
    const fixed: (readonly [number, Uint8Array])[] = [
      [codes.server, bytes([router.address])],
      [codes.mask, bytes([this.#mask])],
    ];
    if (gateway !== undefined) fixed.push([codes.router, bytes([gateway])]);
    if (dns.length > 0) fixed.push([codes.dns, bytes(dns)]);
    if (dhcp.domain) fixed.push([codes.domain, Buffer.from(dhcp.domain, 'ascii')]);
    this.#fixed = fixed;
  }

  /** The answer, if there is one. `owner` is whoever the client is behind. */
  answer(message: DhcpMessage, owner: unknown): DhcpMessage | undefined {
    if (message.op !== 'request') return undefined;
    this.#forgetOld();
    const server = address(message, codes.server);
    const isOurs = server === undefined || server === this.#options.router.address;
    switch (message.options.get(codes.messageType)?.[0]) {
      case types.discover:
        return this.#offer(message, owner);
      case types.request:
        return isOurs ? this.#request(message, owner, server !== undefined) : this.#drop(message);
      case types.decline:
        return isOurs ? this.#decline(message) : undefined;
      case types.release:
        return isOurs ? this.#release(message) : undefined;
      case types.inform:
        return this.#reply(message, types.ack, 0);
      default:
        return undefined;
    }
  }
  leases(): Lease[] {
    this.#forgetOld();
    return [...this.#byAddress.values()]
      .filter(({ state }) => state === 'leased')
      .map(binding => ({
        id: binding.id,
        mac: binding.mac,
        address: formatIpv4(binding.address),
        mask: formatIpv4(this.#mask),
        hostname: binding.hostname,
        leased: new Date(binding.leased),
        expires: new Date(binding.expires),
      }));
  }
  /** Takes over what an earlier server of the same network had handed out. */
  inherit(before: DhcpServer): void {
    for (const binding of before.#byAddress.values()) {
      if (!this.#fits(binding.address, binding.mac)) continue;
      this.#byAddress.set(binding.address, binding);
      this.#byMac.set(binding.mac, binding);
      this.#ids = Math.max(this.#ids, binding.id);
    }
  }

  #offer(message: DhcpMessage, owner: unknown): DhcpMessage | undefined {
    const mac = formatMac(message.mac);
    const found = this.#choose(mac, address(message, codes.requestedIp), owner);
    if (found === undefined) return undefined; // nothing left: another server may have something
    const old = this.#byAddress.get(found);
    if (old?.state !== 'leased') this.#bind(found, mac, message, owner, 'offered', offerTime);
    return this.#reply(message, types.offer, found);
  }
  /** RFC 2131 §4.3.2: after an offer, after a reboot, or to stay. */
  #request(message: DhcpMessage, owner: unknown, isSelecting: boolean): DhcpMessage | undefined {
    const mac = formatMac(message.mac);
    const wanted = message.clientIp !== 0 ? message.clientIp : address(message, codes.requestedIp);
    if (wanted === undefined) return undefined;
    const known = this.#byMac.get(mac);
    const isFine =
      this.#fits(wanted, mac) && this.#isFree(wanted, mac) && (known !== undefined || this.#mayHaveMore(owner));
    if (isFine) {
      this.#bind(wanted, mac, message, owner, 'leased', this.#leaseSeconds * 1000);
      return this.#reply(message, types.ack, wanted);
    }
    // Of somebody whom we do not know and who asks for nothing of ours, another server may know more.
    const isForeign = !isSelecting && known === undefined && !isInside(this.#options.router, wanted);
    return isForeign && message.clientIp !== 0 ? undefined : this.#reply(message, types.nak, 0);
  }
  /** The client chose another server. */
  #drop(message: DhcpMessage): undefined {
    const binding = this.#byMac.get(formatMac(message.mac));
    if (binding?.state === 'offered') this.#forget(binding);
  }
  /** Somebody else answers at that address: nobody gets it for a while. */
  #decline(message: DhcpMessage): undefined {
    const binding = this.#byMac.get(formatMac(message.mac));
    if (!binding || binding.address !== address(message, codes.requestedIp)) return;
    this.#byMac.delete(binding.mac);
    binding.state = 'declined';
    binding.expires = this.#now() + declineTime;
  }
  #release(message: DhcpMessage): undefined {
    const binding = this.#byMac.get(formatMac(message.mac));
    if (binding && binding.address === message.clientIp) this.#forget(binding);
  }

  /** Its reservation, what it has, what it asks for, the lowest that is free. */
  #choose(mac: string, wanted: number | undefined, owner: unknown): number | undefined {
    const reserved = this.#reserved.get(mac);
    if (reserved !== undefined) return reserved;
    const known = this.#byMac.get(mac);
    if (known && this.#fits(known.address, mac)) return known.address;
    if (!this.#mayHaveMore(owner)) return undefined;
    if (wanted !== undefined && this.#fits(wanted, mac) && this.#isFree(wanted, mac)) return wanted;
    for (let ip = this.#first; ip <= this.#last; ip++) if (this.#fits(ip, mac) && this.#isFree(ip, mac)) return ip;
    return undefined;
  }
  #fits(ip: number, mac: string): boolean {
    const reserved = this.#reserved.get(mac);
    if (reserved !== undefined) return ip === reserved;
    const { router } = this.#options;
    const host = (ip & ~router.mask) >>> 0;
    const isEdge = router.bits < 31 && (host === 0 || host === ~router.mask >>> 0);
    return (
      ip >= this.#first && ip <= this.#last && !isEdge && ip !== router.address && !this.#reservedAddresses.has(ip)
    );
  }
  #isFree(ip: number, mac: string): boolean {
    const binding = this.#byAddress.get(ip);
    if (binding !== undefined) return binding.mac === mac && binding.state !== 'declined';
    return !this.#options.isTaken(ip, mac);
  }
  #mayHaveMore(owner: unknown): boolean {
    let count = 0;
    for (const other of this.#byAddress.values()) if (other.owner === owner) count++;
    return count < Math.min(mostOfOwner, Math.ceil((this.#last - this.#first + 1) / 2));
  }
  #bind(
    ip: number,
    mac: string,
    message: DhcpMessage,
    owner: unknown,
    state: 'offered' | 'leased',
    milliseconds: number,
  ): void {
    const now = this.#now();
    const old = this.#byMac.get(mac);
    if (old && old.address !== ip) this.#forget(old);
    const binding = this.#byAddress.get(ip) ?? {
      id: ++this.#ids,
      address: ip,
      mac,
      hostname: '',
      leased: now,
      expires: 0,
      state,
      owner,
    };
    binding.hostname = hostnameOf(message) || binding.hostname;
    binding.state = state;
    binding.owner = owner;
    if (state === 'leased') binding.leased = now;
    binding.expires = now + milliseconds;
    this.#byAddress.set(ip, binding);
    this.#byMac.set(mac, binding);
  }
  #forget(binding: Binding): void {
    if (this.#byAddress.get(binding.address) === binding) this.#byAddress.delete(binding.address);
    if (this.#byMac.get(binding.mac) === binding) this.#byMac.delete(binding.mac);
  }
  #forgetOld(): void {
    const now = this.#now();
    for (const binding of [...this.#byAddress.values()]) if (binding.expires <= now) this.#forget(binding);
  }
  #now(): number {
    return this.#options.clock.now().getTime();
  }

  #reply(message: DhcpMessage, type: number, yourIp: number): DhcpMessage {
    const options = new Map<number, Uint8Array>([[codes.messageType, Uint8Array.of(type)]]);
    const asked = message.options.get(codes.parameters);
    if (type === types.nak) options.set(codes.server, bytes([this.#options.router.address]));
    else {
      for (const [code, value] of this.#fixed) options.set(code, value);
      if (yourIp !== 0) options.set(codes.leaseTime, bytes([this.#leaseSeconds]));
      if (this.#routes.length > 0) {
        // Windows before Vista knows only 249. Who does not say what he wants gets both, as from SoftEther.
        if (!asked || asked.includes(codes.routes) || !asked.includes(codes.routesMicrosoft))
          options.set(codes.routes, this.#routes);
        if (!asked || asked.includes(codes.routesMicrosoft)) options.set(codes.routesMicrosoft, this.#routes);
      }
    }
    if (asked) sortAs(options, asked);
    const clientId = message.options.get(codes.clientId);
    if (clientId) options.set(codes.clientId, clientId); // RFC 6842
    return {
      op: 'reply',
      xid: message.xid,
      secs: 0,
      broadcast: message.broadcast || type === types.nak,
      clientIp: type === types.nak ? 0 : message.clientIp,
      yourIp,
      serverIp: type === types.nak ? 0 : this.#options.router.address,
      relayIp: message.relayIp,
      mac: message.mac,
      options,
    };
  }
}

/** RFC 2132 §9.8: in the order in which the client names them, but its type first and the mask before the router (§3.3). */
function sortAs(options: Map<number, Uint8Array>, asked: Uint8Array): void {
  const place = (code: number): number => {
    if (code === codes.messageType || code === codes.server || code === codes.leaseTime) return -2;
    if (code === codes.mask) return -1;
    const index = asked.indexOf(code);
    return index < 0 ? asked.length : index;
  };
  const sorted = [...options].sort(([a], [b]) => place(a) - place(b));
  options.clear();
  for (const [code, value] of sorted) options.set(code, value);
}

/** RFC 3442: who understands routes ignores option 3, so a default gateway stands among them too. */
function routesOf(dhcp: DhcpOptions, router: Ipv4Network, gateway: number | undefined): DhcpRoute[] {
  const routes = (dhcp.routes ?? []).map(route => ({
    network: parseIpv4Network(route.network),
    router: route.gateway === undefined ? router.address : parseIpv4(route.gateway),
  }));
  const hasDefault = routes.some(({ network }) => network.bits === 0);
  if (routes.length > 0 && gateway !== undefined && !hasDefault) {
    routes.push({ network: { address: 0, mask: 0, bits: 0 }, router: gateway });
  }
  return routes;
}

const bytes = (numbers: readonly number[]): Uint8Array => Uint8Array.from(numbers.flatMap(octets));
function address({ options }: DhcpMessage, code: number): number | undefined {
  const value = options.get(code);
  return value?.length === 4 ? u32(value, 0) : undefined;
}
/** Shown to people, so nothing but what host names are made of. */
const hostnameOf = ({ options }: DhcpMessage): string =>
  Buffer.from(options.get(codes.hostname) ?? [])
    .toString('latin1')
    .replace(/[^A-Za-z0-9._-]/g, '')
    .slice(0, 63);
