// A hub put together: the switch, and the ports of its own (router, local bridge) that come and go by configuration.
import { Fault } from '../../core/fault.ts';
import { formatMac, parseMac } from '../../wire/ethernet.ts';
import { formatIp } from '../../wire/ip.ts';
import { formatIpv4 } from '../../wire/ipv4.ts';
import type {
  Attached,
  CreateHub,
  FilterRule,
  ForwardRule,
  Hub,
  HubDeps,
  HubOptions,
  HubPort,
  IpEntry,
  Lease,
  MacEntry,
  NatEntry,
  NatOptions,
  OwnPort,
  PortCounts,
  PortPolicy,
} from './hub.ts';
import { Router } from './nat/router.ts';
import { defaultSecurity } from './softether/policy.ts';
import { type AddressEntry, flags } from './switch/address-table.ts';
import type { Plug } from './switch/plug.ts';
import { Switch } from './switch/switch.ts';
import { isIpv4 } from './switch/tables.ts';
import { checkDevice, openTap, type TapPort } from './tap.ts';

/** Milliseconds. */
const sweepEvery = 5000;
/** How long the flows of a member who has gone wait for him. */
const absence = 30_000;
const retryBridge = 30_000;

export const createHub: CreateHub = async (name, options, deps) => {
  const hub = new LocalHub(name, deps);
  try {
    await hub.start(options);
  } catch (error) {
    await hub[Symbol.asyncDispose]();
    throw error;
  }
  return hub;
};

interface Bridge {
  readonly device: string;
  readonly created: Date;
  tap: TapPort | undefined;
  plug: Plug | undefined;
}

class LocalHub implements Hub {
  readonly name: string;
  readonly #deps: HubDeps;
  readonly #switch: Switch;
  #nat: NatOptions | undefined;
  #forward: readonly ForwardRule[] = [];
  #router: { readonly router: Router; readonly plug: Plug } | undefined;
  #bridge: Bridge | undefined;
  #stopSweep: () => void = () => {};
  #stopRetry: () => void = () => {};
  #state: 'open' | 'closed' = 'open';
  #sessions = 0;
  readonly #told = new Map<string, number>();

  constructor(name: string, deps: HubDeps) {
    this.name = name;
    this.#deps = deps;
    this.#switch = new Switch(name, deps);
  }
  async start(options: HubOptions): Promise<void> {
    this.#switch.setFilter(options.filter ?? []);
    this.#forward = options.forward ?? [];
    await this.setNat(options.nat);
    if (options.bridge !== undefined) {
      await this.setBridge(options.bridge).catch((error: Error) => {
        this.#deps.log.warn({ hub: this.name, error }, error.message);
      });
    }
    this.#sweep();
  }

  attach(port: HubPort, policy: PortPolicy): Attached {
    if (this.#state === 'closed') throw new Fault('gone', `the hub ${this.name} is closed`);
    const plug = this.#switch.plug(port, policy);
    return {
      macs: () => [...this.#switch.tables.macs.entries(plug.id)].map(({ words }) => formatMac(macOf(words))),
      ips: () => [...this.#switch.tables.ips.entries(plug.id)].map(({ words }) => addressOf(words)),
      counts: () => plug.counts(),
      setPolicy: next => this.#switch.setPolicy(plug, next),
      [Symbol.asyncDispose]: async () => this.#detach(plug),
    };
  }
  #detach(plug: Plug): void {
    if (plug.state === 'out') return;
    this.#switch.unplug(plug);
    const router = this.#router?.router;
    if (router) this.#deps.clock.after(absence, () => router.forget(plug));
  }

  counts(): PortCounts {
    return this.#switch.counts();
  }
  macTable(): readonly MacEntry[] {
    return this.#entries(this.#switch.tables.macs, ({ words }) => ({
      mac: formatMac(macOf(words)),
      vlan: words[2],
    }));
  }
  ipTable(): readonly IpEntry[] {
    return this.#entries(this.#switch.tables.ips, entry => ({
      address: addressOf(entry.words),
      dhcp: (entry.flags & flags.dhcp) !== 0,
    }));
  }
  #entries<T>(
    table: { entries(): Iterable<AddressEntry> },
    more: (entry: AddressEntry) => T,
  ): (T & { key: number; session: string; created: Date; updated: Date })[] {
    const plugs = new Map(this.#switch.plugs().map(plug => [plug.id, plug]));
    return [...table.entries()].map(entry => ({
      key: entry.key,
      session: plugs.get(entry.owner)?.policy.session ?? '',
      created: new Date(entry.created),
      updated: new Date(entry.used),
      ...more(entry),
    }));
  }
  forgetMac(key: number): boolean {
    return this.#switch.tables.forget(this.#switch.tables.macs, key);
  }
  forgetIp(key: number): boolean {
    return this.#switch.tables.forget(this.#switch.tables.ips, key);
  }
  leases(): readonly Lease[] {
    return this.#router?.router.leases() ?? [];
  }
  natTable(): readonly NatEntry[] {
    return this.#router?.router.table() ?? [];
  }
  ownPorts(): readonly OwnPort[] {
    const none: PortCounts = { up: zero, down: zero, dropped: 0 };
    const ports: OwnPort[] = [];
    if (this.#router) {
      const { plug } = this.#router;
      ports.push({
        kind: 'nat',
        session: plug.policy.session,
        active: true,
        created: new Date(plug.created),
        counts: plug.counts(),
      });
    }
    if (this.#bridge) {
      const { device, plug, created } = this.#bridge;
      ports.push({
        kind: 'bridge',
        session: plug?.policy.session ?? 'SID-LOCALBRIDGE-0',
        device,
        active: plug !== undefined,
        created,
        counts: plug?.counts() ?? none,
      });
    }
    return ports;
  }

  setFilter(rules: readonly FilterRule[]): void {
    this.#switch.setFilter(rules);
  }
  async setNat(options: NatOptions | undefined): Promise<void> {
    await this.#route(options, this.#forward);
  }
  async setForward(rules: readonly ForwardRule[]): Promise<void> {
    await this.#route(this.#nat, rules);
  }
  /** The new router is built before the old one goes: a mistake in the options changes nothing. */
  async #route(nat: NatOptions | undefined, forward: readonly ForwardRule[]): Promise<void> {
    const before = this.#router;
    const { gate, clock, log, isOwn } = this.#deps;
    const { tables } = this.#switch;
    const now = (): number => clock.now().getTime();
    const next =
      nat === undefined && forward.length === 0
        ? undefined
        : new Router({
            hub: this.name,
            nat,
            forward,
            ...(before ? { mac: before.router.mac } : {}),
            gate,
            clock,
            log,
            isOwn,
            askTurn: () => this.#switch.askTurn(),
            isTaken: (address, mac) => this.#isTaken(address, mac),
            onLease: (mac, address, seconds) => tables.leased(mac, address, seconds, now()),
          });
    this.#nat = nat;
    this.#forward = forward;
    if (before) {
      await before.router[Symbol.asyncDispose]();
      this.#switch.unplug(before.plug);
    }
    this.#router = undefined;
    if (!next) return;
    if (before?.router.dhcp) next.dhcp?.inherit(before.router.dhcp);
    const plug = this.#switch.plug(next.host, this.#own('nat', 'SECURENAT', 'SecureNAT'));
    for (const address of next.addresses) tables.pin(plug, next.mac, address, now());
    this.#router = { router: next, plug };
    next.host.announce();
  }
  /** Whether an address is in use by somebody with another MAC. */
  #isTaken(address: number, mac: string): boolean {
    const { tables } = this.#switch;
    const plug = tables.plugOfIp(address);
    return plug !== undefined && tables.plugOfMac(parseMac(mac)) !== plug;
  }

  async setBridge(device: string | undefined): Promise<void> {
    if (device !== undefined) checkDevice(device);
    this.#stopRetry();
    const before = this.#bridge;
    if (before?.device === device && before?.plug) return;
    this.#bridge = undefined;
    if (before?.plug) this.#switch.unplug(before.plug);
    await before?.tap?.[Symbol.asyncDispose]();
    if (device === undefined) return;
    const bridge: Bridge = { device, created: this.#deps.clock.now(), tap: undefined, plug: undefined };
    this.#bridge = bridge;
    await this.#openBridge(bridge);
  }
  async #openBridge(bridge: Bridge): Promise<void> {
    const { log, clock } = this.#deps;
    const again = (): void => {
      this.#stopRetry = clock.after(retryBridge, () => {
        if (this.#bridge === bridge && this.#state === 'open') this.#openBridge(bridge).catch(() => {});
      });
    };
    let tap: TapPort;
    try {
      tap = await openTap({ device: bridge.device, log });
    } catch (error) {
      again();
      throw error;
    }
    if (this.#bridge !== bridge || this.#state === 'closed') {
      await tap[Symbol.asyncDispose]();
      return;
    }
    bridge.tap = tap;
    bridge.plug = this.#switch.plug(tap, this.#own('bridge', 'LOCALBRIDGE', 'localbridge'));
    log.info({ hub: this.name, device: tap.device }, 'the local bridge is open');
    void tap.ended.then(reason => {
      if (this.#bridge !== bridge || this.#state === 'closed') return;
      log.warn({ hub: this.name, device: bridge.device, reason }, 'the local bridge has gone; it is tried again');
      if (bridge.plug) this.#switch.unplug(bridge.plug);
      bridge.plug = bridge.tap = undefined;
      again();
    });
  }
  #own(kind: 'nat' | 'bridge', word: string, user: string): PortPolicy {
    return { kind, session: `SID-${word}-${++this.#sessions}`, user, groups: [], security: defaultSecurity };
  }

  #sweep(): void {
    this.#stopSweep = this.#deps.clock.after(sweepEvery, () => {
      this.#switch.sweep();
      this.#measure();
      this.#sweep();
    });
  }
  /** Counted where it happens, told every few seconds: a metric per frame would cost more than the frame. */
  #measure(): void {
    const { metrics } = this.#deps;
    const { up, down, dropped } = this.#switch.counts();
    const totals = {
      in: up.unicastFrames + up.broadcastFrames,
      out: down.unicastFrames + down.broadcastFrames,
      dropped,
    };
    for (const [way, total] of Object.entries(totals)) {
      const more = total - (this.#told.get(way) ?? 0);
      if (more > 0) metrics.count('vpn_frames_total', { hub: this.name, way }, more);
      this.#told.set(way, total);
    }
  }
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#stopSweep();
    this.#stopRetry();
    await this.#router?.router[Symbol.asyncDispose]();
    for (const plug of this.#switch.plugs()) this.#switch.unplug(plug);
    await this.#bridge?.tap?.[Symbol.asyncDispose]();
  }
}

const zero = { unicastBytes: 0, unicastFrames: 0, broadcastBytes: 0, broadcastFrames: 0 };

const macOf = ([high, low]: AddressEntry['words']): Uint8Array =>
  Uint8Array.of(high >>> 8, high & 255, low >>> 24, (low >>> 16) & 255, (low >>> 8) & 255, low & 255);

function addressOf(words: AddressEntry['words']): string {
  if (isIpv4(words)) return formatIpv4(words[3]);
  const bytes = Buffer.alloc(16);
  words.forEach((word, index) => {
    bytes.writeUInt32BE(word, index * 4);
  });
  return formatIp(bytes);
}
