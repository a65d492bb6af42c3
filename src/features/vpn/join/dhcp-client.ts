// A DHCP client (RFC 2131 §4.4) without sockets: messages in, frames out. It knows nothing of who uses the address.
import { randomInt } from 'node:crypto';
import { hostname } from 'node:os';
import type { Clock } from '../../../core/clock.ts';
import { Fault } from '../../../core/fault.ts';
import { putU32, u16, u32 } from '../../../wire/bytes.ts';
import {
  type DhcpMessage,
  type DhcpRoute,
  decodeDhcp,
  decodeRoutes,
  dhcpOptions,
  dhcpTypes,
  encodeDhcp,
} from '../../../wire/dhcp.ts';
import { broadcastMac } from '../../../wire/ethernet.ts';
import { bitsOf } from '../../../wire/ipv4.ts';
import { decodeUdp, udpFrames } from '../../../wire/udp.ts';
import { isSpecial } from './routes.ts';

/** What the hub's DHCP server gave. Addresses are numbers. */
export interface HubLease {
  readonly address: number;
  /** Of the hub's network. */
  readonly bits: number;
  /** Classless static routes when there are any, else the default gateway as 0.0.0.0/0. A router 0 = on the hub itself. */
  readonly routes: readonly DhcpRoute[];
  readonly dns: readonly number[];
  readonly domain: string;
  readonly mtu: number;
  readonly server: number;
}
export interface DhcpClientOptions {
  readonly mac: Uint8Array;
  readonly clock: Clock;
  /** What the server is told (option 12); default: this machine's own name. */
  readonly hostname?: string;
  readonly send: (frames: Uint8Array[]) => void;
  /** A new lease, a changed one, or none any more. Not called for a renewal that changes nothing. */
  readonly onLease: (lease: HubLease | undefined) => void;
}
type State = 'stopped' | 'selecting' | 'requesting' | 'rebooting' | 'bound' | 'renewing' | 'rebinding';

/**
 * Milliseconds between repetitions. RFC 2131 §4.1 begins at four seconds, for modems and shared wires; a hub behind a
 * TLS connection answers in one round trip, and the connection repeats what is lost.
 */
const pace = { first: 1000, most: 16_000 } as const;
/** Tries to get an old address back before a new one is asked for. */
const rebootTries = 3;
const zone = { least: 15, forever: 0xffffffff, most: 30 * 86_400 } as const;
const { messageType, requestedIp, parameters, clientId, server: serverOption, routes: routesOption } = dhcpOptions;

export class DhcpClient {
  readonly #options: DhcpClientOptions;
  #state: State = 'stopped';
  #lease: HubLease | undefined;
  #xid = 0;
  #tries = 0;
  /** Milliseconds of the clock. */
  #times = { began: 0, renew: 0, rebind: 0, expire: 0 };
  /** The offer that was taken. */
  #offer: { readonly address: number; readonly server: number } | undefined;
  #stopTimer: () => void = () => {};

  constructor(options: DhcpClientOptions) {
    this.#options = options;
  }
  get lease(): HubLease | undefined {
    return this.#lease;
  }
  /** Asks for the address that it had (INIT-REBOOT), or for any. To be called when a session begins. */
  start(): void {
    this.#begin(this.#lease ? 'rebooting' : 'selecting');
  }
  /** Gives the address back. */
  stop(): void {
    this.#stopTimer();
    const lease = this.#lease;
    if (lease && this.#state !== 'stopped') {
      this.#xid = randomInt(2 ** 32);
      const ends = { from: lease.address, to: lease.server };
      this.#say('release', [[serverOption, ipOf(lease.server)]], { ...ends, clientIp: lease.address });
    }
    this.#state = 'stopped';
    this.#lease = undefined;
  }

  /** @returns whether the frame is DHCP towards a client, and so nobody else's business */
  input(frame: Uint8Array): boolean {
    if (!isForClients(frame)) return false;
    try {
      const head = (frame[14]! & 15) * 4;
      const end = Math.min(frame.length, 14 + u16(frame, 16));
      const { payload } = decodeUdp(frame.subarray(14 + head, end), u32(frame, 26), u32(frame, 30));
      this.#message(decodeDhcp(payload));
    } catch (error) {
      if (!(error instanceof Fault)) throw error; // broken messages are dropped
    }
    return true;
  }

  #message(message: DhcpMessage): void {
    const { mac } = this.#options;
    if (message.op !== 'reply' || message.xid !== this.#xid || !Buffer.from(message.mac).equals(mac)) return;
    const type = message.options.get(messageType)?.[0];
    const server = ipIn(message, serverOption) ?? message.serverIp;
    if (this.#state === 'selecting' && type === dhcpTypes.offer && isUsable(message.yourIp)) {
      this.#offer = { address: message.yourIp, server };
      this.#state = 'requesting';
      this.#tries = 0;
      this.#ask();
    } else if (this.#isAsking() && type === dhcpTypes.ack && isUsable(message.yourIp)) this.#bind(message, server);
    else if (this.#isAsking() && type === dhcpTypes.nak) this.#lose();
  }
  #isAsking(): boolean {
    return ['requesting', 'rebooting', 'renewing', 'rebinding'].includes(this.#state);
  }

  #begin(state: State): void {
    this.#state = state;
    this.#tries = 0;
    this.#offer = undefined;
    this.#xid = randomInt(2 ** 32);
    this.#times.began = this.#now();
    this.#ask();
  }
  #lose(): void {
    const had = this.#lease;
    this.#lease = undefined;
    this.#begin('selecting');
    if (had) this.#options.onLease(undefined);
  }

  #bind(message: DhcpMessage, server: number): void {
    const granted = message.options.get(dhcpOptions.leaseTime);
    const seconds = granted?.length === 4 ? Math.max(zone.least, u32(granted, 0)) : 3600;
    const isForever = seconds === zone.forever;
    const length = Math.min(seconds, zone.most) * 1000;
    const part = (code: number, share: number): number => {
      const told = (ipIn(message, code) ?? 0) * 1000;
      return told > 0 && told < length ? told : length * share;
    };
    // Counted from when we asked, so that it never ends later than the server thinks (§4.4.1).
    const { began } = this.#times;
    const renew = part(dhcpOptions.renewal, 0.5);
    const rebind = Math.max(renew, part(dhcpOptions.rebinding, 0.875));
    const expire = isForever ? Number.POSITIVE_INFINITY : began + length;
    this.#times = { began, renew: began + renew, rebind: began + rebind, expire };
    const lease = leaseOf(message, server);
    const isNew = JSON.stringify(lease) !== JSON.stringify(this.#lease);
    this.#lease = lease;
    this.#state = 'bound';
    this.#wait(Math.max(1000, began + renew - this.#now()));
    if (isNew) this.#options.onLease(lease);
  }

  /** Sends what the state asks for, and looks again later. */
  #ask(): void {
    const lease = this.#lease;
    const common: [number, Uint8Array][] = [
      [parameters, Uint8Array.of(1, 121, 3, 6, 15, 26, 28, 51, 58, 59, 249)],
      [dhcpOptions.maxSize, Uint8Array.of(1500 >> 8, 1500 & 255)],
    ];
    if (this.#state === 'selecting') this.#say('discover', common);
    else if (this.#state === 'requesting' && this.#offer) {
      const { address, server } = this.#offer;
      this.#say('request', [[requestedIp, ipOf(address)], [serverOption, ipOf(server)], ...common]);
    } else if (this.#state === 'rebooting' && lease)
      this.#say('request', [[requestedIp, ipOf(lease.address)], ...common]);
    else if (lease) {
      // Renewing goes by broadcast as well: on one hub it is the same wire, and needs no ARP.
      this.#say('request', common, { from: lease.address, to: 0xffffffff, clientIp: lease.address });
    }
    const pause = Math.min(pace.most, pace.first * 2 ** Math.min(this.#tries++, 8));
    this.#wait(pause * (0.9 + randomInt(200) / 1000));
  }

  #wait(ms: number): void {
    this.#stopTimer();
    this.#stopTimer = this.#options.clock.after(ms, () => this.#tick());
  }
  #tick(): void {
    const now = this.#now();
    const tired = this.#tries >= rebootTries;
    if (this.#state === 'stopped') return;
    if (this.#state === 'renewing' && now >= this.#times.rebind) this.#state = 'rebinding';
    if (this.#lease && now >= this.#times.expire) this.#lose();
    else if (this.#state === 'bound') this.#begin('renewing');
    else if (this.#state === 'rebooting' && tired) this.#lose();
    else if (this.#state === 'requesting' && tired) this.#begin('selecting');
    else this.#ask();
  }

  #say(
    type: keyof typeof dhcpTypes,
    options: readonly (readonly [number, Uint8Array])[],
    { from = 0, to = 0xffffffff, clientIp = 0 } = {},
  ): void {
    const { mac, send } = this.#options;
    const payload = encodeDhcp({
      ...{ op: 'request', xid: this.#xid, broadcast: false, clientIp, yourIp: 0, serverIp: 0, relayIp: 0, mac },
      secs: Math.min(0xffff, Math.floor((this.#now() - this.#times.began) / 1000)),
      options: new Map([
        [messageType, Uint8Array.of(dhcpTypes[type])],
        [clientId, Uint8Array.of(1, ...mac)],
        [
          dhcpOptions.hostname,
          Buffer.from((this.#options.hostname ?? hostname()).replace(/[^\w-]/g, '-').slice(0, 63) || 'member'),
        ],
        ...options,
      ]),
    });
    const ends = { sourcePort: 68, targetPort: 67, source: from, target: to };
    send(udpFrames({ ...ends, toMac: broadcastMac, fromMac: mac, payload }, 1500));
  }
  #now(): number {
    return this.#options.clock.now().getTime();
  }
}

/** Whole IPv4 and UDP for port 68. */
function isForClients(frame: Uint8Array): boolean {
  if (frame.length < 42 || u16(frame, 12) !== 0x0800 || frame[14]! >> 4 !== 4 || frame[23] !== 17) return false;
  const upper = 14 + (frame[14]! & 15) * 4;
  return (u16(frame, 20) & 0x3fff) === 0 && frame.length >= upper + 8 && u16(frame, upper + 2) === 68;
}

function leaseOf(message: DhcpMessage, server: number): HubLease {
  const { options, yourIp } = message;
  // A network larger than any hub's would be a default route by another name.
  const bits = Math.max(8, bitsOf(ipIn(message, dhcpOptions.mask) ?? 0xffffff00) ?? 24);
  const router = ipIn(message, dhcpOptions.router);
  const written = options.get(routesOption) ?? options.get(dhcpOptions.routesMicrosoft);
  // RFC 3442: with option 121 the router option does not count.
  const routes = written
    ? decodeRoutes(written)
    : router === undefined
      ? []
      : [{ network: { address: 0, mask: 0, bits: 0 }, router }];
  const mtu = options.get(dhcpOptions.mtu);
  const dns = options.get(dhcpOptions.dns) ?? new Uint8Array(0);
  return {
    address: yourIp,
    bits,
    routes,
    dns: Array.from({ length: Math.min(4, Math.floor(dns.length / 4)) }, (_, index) => u32(dns, index * 4)),
    domain: Buffer.from(options.get(dhcpOptions.domain) ?? [])
      .toString('latin1')
      .replace(/\0.*$/s, '')
      .replace(/[^\w.-]/g, ''),
    mtu: mtu?.length === 2 ? Math.min(1500, Math.max(576, u16(mtu, 0))) : 1500,
    server,
  };
}

const ipIn = ({ options }: DhcpMessage, code: number): number | undefined => {
  const value = options.get(code);
  return value && value.length >= 4 ? u32(value, 0) : undefined;
};
const ipOf = (address: number): Uint8Array => {
  const bytes = new Uint8Array(4);
  putU32(bytes, 0, address);
  return bytes;
};
/** Neither nobody, nor this machine, nor a group, nor where clouds keep their secrets. */
const isUsable = (address: number): boolean => address >>> 24 > 0 && address >>> 24 < 224 && !isSpecial(address);
