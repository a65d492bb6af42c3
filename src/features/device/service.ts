// Devices as one part: who is linked, how a link is admitted and ends, and the Dialer that everybody else is given.
import type { Clock } from '../../core/clock.ts';
import { Fault, isWeather, toFault } from '../../core/fault.ts';
import type {
  Conn,
  Dialer,
  EndReason,
  Gate,
  Identify,
  Log,
  Metrics,
  Principal,
  Service,
  Session,
} from '../../core/parts.ts';
import type { DeviceConfig } from './config.ts';
import { createDeviceDialer } from './dial.ts';
import { parseHello } from './hello.ts';
import { DeviceLink, speakLink } from './link.ts';
import type { Farewell } from './protocol.ts';
import type { Device, DeviceRegistry } from './registry.ts';

export interface DeviceDeps {
  readonly gate: Gate;
  readonly registry: DeviceRegistry;
  /** A device's certificate → the device as it is called today. @throws Fault `unknown-caller` */
  readonly identify: Identify;
  /** Signs a device's request. */
  readonly certify: (
    device: string,
    csr: string,
  ) => Promise<{ readonly cert: string; readonly chain: readonly string[] }>;
  /** The life of the certificate that a device showed. */
  /** `isFormer`: its CA is about to be retired, so that it must be renewed whatever its age. */
  readonly lifeOf: (
    credential: string,
  ) => { readonly from: Date; readonly until: Date; readonly isFormer?: boolean } | undefined;
  /** PEM; every root that devices should trust now. */
  readonly roots: () => readonly string[];
  /** The gate's name. */
  readonly name: () => string;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

export interface DeviceView extends Device {
  readonly state: 'online' | 'offline';
  /** Streams now. */
  readonly streams: number;
}

export interface DeviceService extends Service {
  /** Reaches `device://NAME/SERVICE`. */
  readonly dialer: Dialer;
  isOnline(nameOrAlias: string): boolean;
  /** Serves a conn of the ALPN `sekisho-device` until it ends. Never throws. */
  handleLink(conn: Conn): Promise<void>;
  find(nameOrAlias: string): DeviceView | undefined;
  /** @throws Fault `missing` */
  get(nameOrAlias: string): DeviceView;
  list(): readonly DeviceView[];
  /** Has the linked device change to a certificate in its present name. Nothing happens where it is offline. */
  renew(nameOrAlias: string): Promise<boolean>;
  /** Brings what linked devices know up to date now: their services here, the gate's roots there. */
  greet(): void;
  /** Told when a device comes or goes; the returned function ends it. */
  onState(call: (device: string, state: 'online' | 'offline') => void): () => void;
  replace(config: DeviceConfig): void;
  /** Every device is told that the gate leaves; streams may end until `deadline`. */
  drain(deadline: AbortSignal): Promise<void>;
}

interface Linked {
  readonly device: string;
  readonly link: DeviceLink;
  readonly who: Principal;
}

/** How often silent links are looked at; a fraction of `device.ping`. */
const beatsPerPing = 6;
/** Replaced links of one device whose streams still run. */
const mostRetired = 4;
/** How often what linked devices know is brought up to date: their services here, the gate's roots there. */
const refresh = 3_600_000;

export function openDevices(first: DeviceConfig, deps: DeviceDeps): DeviceService {
  return new Devices(first, deps);
}

class Devices implements DeviceService {
  readonly name = 'device';
  readonly dialer: Dialer;
  readonly #deps: DeviceDeps;
  #config: DeviceConfig;
  /** By the device's id: the link that carries what is new. */
  readonly #links = new Map<string, Linked>();
  /** Every link, those on their way out too. */
  readonly #all = new Set<Linked>();
  readonly #watchers = new Set<(device: string, state: 'online' | 'offline') => void>();
  #state: 'open' | 'draining' | 'closed' = 'open';
  #disarm: (() => void)[] = [];

  constructor(config: DeviceConfig, deps: DeviceDeps) {
    this.#config = config;
    this.#deps = deps;
    this.dialer = createDeviceDialer({
      ...deps,
      linkOf: id => this.#links.get(id)?.link,
      streams: () => this.#config.limits.streams,
    });
    this.#arm();
  }

  health(): 'ok' | 'down' {
    return this.#state === 'open' ? 'ok' : 'down';
  }
  find(name: string): DeviceView | undefined {
    const device = this.#deps.registry.find(name);
    return device && this.#view(device);
  }
  get(name: string): DeviceView {
    return this.#view(this.#deps.registry.get(name));
  }
  list(): readonly DeviceView[] {
    return this.#deps.registry.all().map(device => this.#view(device));
  }
  isOnline(name: string): boolean {
    const device = this.#deps.registry.find(name);
    return device !== undefined && this.#links.get(device.id)?.link.isOpen === true;
  }
  onState(call: (device: string, state: 'online' | 'offline') => void): () => void {
    const own = (device: string, state: 'online' | 'offline'): void => call(device, state);
    this.#watchers.add(own);
    return () => void this.#watchers.delete(own);
  }
  replace(config: DeviceConfig): void {
    this.#config = config;
    this.#arm();
  }

  #view(device: Device): DeviceView {
    const linked = this.#links.get(device.id);
    const isOnline = linked?.link.isOpen === true;
    return {
      ...device,
      ...(isOnline ? { lastSeen: this.#deps.clock.now() } : {}),
      state: isOnline ? 'online' : 'offline',
      streams: linked?.link.live ?? 0,
    };
  }

  async handleLink(conn: Conn): Promise<void> {
    const { gate, log, metrics } = this.#deps;
    try {
      const who = await this.#whoIs(conn);
      const resource = `device/${who.id}`;
      if (this.#links.size >= this.#config.limits.links) {
        throw new Fault('limit', `${this.#config.limits.links} devices are linked (device.limits.links)`);
      }
      await using session = await gate.admit({
        ...{ who, action: 'device.link', resource, from: conn.peer, opened: resource },
      });
      await this.#serve(conn, who, session);
    } catch (error) {
      if (isWeather(error)) return;
      const fault = toFault(error);
      metrics.count('faults_total', { code: fault.code, resource: 'device' });
      const level = fault.code === 'bug' ? 'error' : 'info';
      log[level](
        { from: conn.peer, code: fault.code, ...fault.facts, ...(level === 'error' ? { error } : {}) },
        fault.message,
      );
      await sendAway(conn, fault.code === 'unknown-caller' || fault.code === 'denied' ? 'refused' : 'drain');
    }
  }

  async #whoIs(conn: Conn): Promise<Principal> {
    const { identify, gate } = this.#deps;
    this.#checkOpen();
    try {
      const who = await identify(conn, AbortSignal.timeout(5000));
      if (who.kind !== 'device') throw new Fault('unknown-caller', 'this certificate is not a device’s');
      return who;
    } catch (error) {
      const stranger = { kind: 'anonymous', id: '', groups: [], attributes: new Map(), credential: '' } as const;
      gate.refuse(
        { who: stranger, action: 'device.link', resource: 'device/*', from: conn.peer },
        toFault(error).message,
      );
      throw error;
    }
  }

  #checkOpen(): void {
    if (this.#state !== 'open') throw new Fault('unreachable', 'the gate is shutting down');
  }

  async #serve(conn: Conn, who: Principal, session: Session): Promise<void> {
    const { registry, clock, metrics } = this.#deps;
    const device = registry.get(who.id);
    const log = this.#deps.log.child({ device: device.name });
    // Again: a drain that began meanwhile knows nothing of this link, and would wait for it to its deadline.
    this.#checkOpen();
    if (session.signal.aborted) throw new Fault('unreachable', 'the link was cut before it stood');
    const link = new DeviceLink({ conn, log, now: () => clock.now().getTime() });
    const linked: Linked = { device: device.id, link, who };
    const end = (): void => {
      if (session.signal.reason === 'drain') void link.retire('drain', AbortSignal.timeout(1000));
      else link.end(session.signal.reason as EndReason);
    };
    session.signal.addEventListener('abort', end);
    this.#all.add(linked);
    metrics.gauge('device_links', {}, 1);
    try {
      this.#adopt(linked);
      const address = 'host' in conn.peer ? conn.peer.host : '';
      registry.seen(device.id, { lastSeen: clock.now(), address });
      log.info({ from: conn.peer }, 'device online');
      void this.#greet(linked, log);
      await link.closed;
    } finally {
      session.signal.removeEventListener('abort', end);
      this.#all.delete(linked);
      metrics.gauge('device_links', {}, -1);
      const { up, down } = link.bytes;
      session.count('up', down);
      session.count('down', up);
      session.note('streams', link.carried);
      registry.seen(device.id, { lastSeen: clock.now() });
      if (this.#links.get(device.id) === linked) {
        this.#links.delete(device.id);
        log.info({ streams: link.carried }, 'device offline');
        this.#tell(device.id, 'offline');
      }
    }
  }

  /** The newest link is the device: an old one may be a connection that only this side still believes in. */
  #adopt(linked: Linked): void {
    const before = this.#links.get(linked.device);
    this.#links.set(linked.device, linked);
    if (!before) this.#tell(linked.device, 'online');
    else void before.link.retire('replaced');
    const retired = [...this.#all].filter(one => one.device === linked.device && one !== linked);
    for (const one of retired.slice(0, -mostRetired)) one.link.end('closed');
  }

  #tell(id: string, state: 'online' | 'offline'): void {
    const name = this.#deps.registry.byId(id)?.name;
    if (name === undefined) return;
    for (const call of this.#watchers) call(name, state);
  }

  async #greet(linked: Linked, log: Log): Promise<void> {
    const { registry, clock, roots, name } = this.#deps;
    try {
      const hello = { gate: name(), time: clock.now().toISOString(), roots: roots() };
      const { services, ...agent } = parseHello(await linked.link.hello(hello));
      registry.seen(linked.device, { services, agent });
      await this.#renewWhenDue(linked, log);
    } catch (error) {
      if (!linked.link.isOpen) return;
      log.warn({ error: toFault(error).message }, 'the device did not answer what the gate asked');
    }
  }

  /** From half of its life on; the device has until the end to fail and try again. */
  async #renewWhenDue({ device, link, who }: Linked, log: Log, now = false): Promise<void> {
    const { lifeOf, certify, clock, registry } = this.#deps;
    const life = lifeOf(who.credential);
    const name = registry.byId(device)?.name;
    if (!life || name === undefined) return;
    const half = life.from.getTime() + (life.until.getTime() - life.from.getTime()) / 2;
    if (!now && !life.isFormer && clock.now().getTime() < half) return;
    await link.give(await certify(name, await link.renew()));
    log.info({ before: life.until.toISOString() }, 'the device has a new certificate');
  }

  async renew(name: string): Promise<boolean> {
    const device = this.#deps.registry.get(name);
    const linked = this.#links.get(device.id);
    if (!linked?.link.isOpen) return false;
    await this.#renewWhenDue(linked, this.#deps.log.child({ device: device.name }), true);
    return true;
  }

  greet(): void {
    for (const linked of this.#links.values()) void this.#greet(linked, this.#deps.log);
  }

  #arm(): void {
    for (const cancel of this.#disarm.splice(0)) cancel();
    const { clock } = this.#deps;
    const again = (every: number, work: () => void): void => {
      let cancel = (): void => {};
      const turn = (): void => {
        cancel = clock.after(every, () => {
          work();
          turn();
        });
      };
      turn();
      this.#disarm.push(() => cancel());
    };
    const { ping } = this.#config;
    again(ping / beatsPerPing, () => {
      for (const { link } of this.#all) link.beat(ping);
    });
    again(refresh, () => this.greet());
  }

  async drain(deadline: AbortSignal): Promise<void> {
    if (this.#state !== 'open') return;
    this.#state = 'draining';
    await Promise.all([...this.#all].map(({ link }) => link.retire('drain', deadline)));
    await this[Symbol.asyncDispose]();
  }
  async [Symbol.asyncDispose](): Promise<void> {
    this.#state = 'closed';
    for (const cancel of this.#disarm.splice(0)) cancel();
    const ended = [...this.#all].map(({ link }) => link.closed);
    for (const { link } of this.#all) link.end('drain');
    await Promise.all(ended);
  }
}

/** A link that is not admitted is told so in the protocol's own words: the agent cannot tell a cut from bad weather. */
async function sendAway(conn: Conn, why: Farewell): Promise<void> {
  if (conn.stream.destroyed) return;
  const session = speakLink(conn);
  // Trap: node:http2 takes what the socket had read already on the next tick, and a session ended before that is a crash.
  await new Promise(setImmediate);
  const gone = new Promise<void>(resolve => session.once('close', resolve));
  session.goaway(0, 0, Buffer.from(why));
  session.close();
  const timer = setTimeout(() => session.destroy(), 2000);
  await gone;
  clearTimeout(timer);
}
