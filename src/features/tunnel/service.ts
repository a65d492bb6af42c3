// Tunnels of one gate: opening, listing, rotating, closing and expiring them, and letting their two sides in.
import { randomUUID } from 'node:crypto';
import type { Duplex } from 'node:stream';
import type { Clock } from '../../core/clock.ts';
import { Fault } from '../../core/fault.ts';
import type { Principal, Session } from '../../core/parts.ts';
import type { MessagePipe } from '../../net/websocket.ts';
import { Broker } from './broker.ts';
import type { TunnelConfig } from './config.ts';
import type {
  NewTunnel,
  Notice,
  OpenedTunnel,
  RotatedTokens,
  TunnelDeps,
  TunnelFilter,
  TunnelService,
} from './deps.ts';
import { type Door, type Knock, openDoor, Refusal } from './door.ts';
import { TunnelMux } from './mux.ts';
import { arnOf, idOfArn, type SideRecord, type Tag, type TunnelRecord, type TunnelView } from './record.ts';
import { openRows, type TunnelRows } from './store.ts';
import { hashOf, newToken, type SideName, sideNames, tokenRefusal } from './token.ts';

/** How long closed tunnels are still listed. */
const remembered = 3 * 3_600_000;
/** How long sides without a client token may come back after the gate has restarted. */
const comeback = 10 * 60_000;
/** How long a side that the gate itself has sent away may come back: localproxy may notice with its next ping. */
const recall = 2 * 60_000;
const minute = 60_000;

export async function openTunnels(config: TunnelConfig, deps: TunnelDeps): Promise<TunnelService> {
  const { store, clock } = deps;
  const rows = openRows(store);
  const records = await rows.load(new Date(clock.now().getTime() + comeback));
  const tunnels = new Tunnels(config, deps, rows, records);
  await tunnels.start();
  return tunnels;
}

interface Live {
  record: TunnelRecord;
  readonly broker: Broker;
  /** The destination's token while it is unused, to tell the device again. Never written down. */
  unused: string | undefined;
  cancelEnd: () => void;
}

class Tunnels implements TunnelService {
  readonly name = 'tunnel';
  readonly door: Door;
  readonly #config: TunnelConfig;
  readonly #deps: TunnelDeps;
  readonly #rows: TunnelRows;
  readonly #live = new Map<string, Live>();
  readonly #byHash = new Map<string, { readonly id: string; readonly side: SideName }>();
  #cancelSweep: () => void = () => {};
  #state: 'open' | 'draining' = 'open';
  /** Rows are written one after the other. */
  #writes: Promise<unknown> = Promise.resolve();

  constructor(config: TunnelConfig, deps: TunnelDeps, rows: TunnelRows, records: readonly TunnelRecord[]) {
    this.#config = config;
    this.#deps = deps;
    this.#rows = rows;
    for (const record of records) this.#hold(record);
    this.door = openDoor({ admit: (knock, open) => this.#admit(knock, open), log: deps.log });
  }

  async start(): Promise<void> {
    for (const live of [...this.#live.values()]) {
      if (live.record.closed === undefined) this.#arm(live);
      // A gate that ended badly left them connected.
      for (const side of sideNames) await this.#write(() => this.#rows.updateSide(live.record, side));
    }
    this.#sweep();
  }
  health(): 'ok' {
    return 'ok';
  }

  // --- The verbs ---

  async open(wanted: NewTunnel, by: Principal): Promise<OpenedTunnel> {
    const { limits } = this.#config;
    this.#checkServices(wanted.services);
    if (this.#opened().length >= limits.tunnels) {
      throw new Fault('limit', `${limits.tunnels} tunnels are open already (tunnel.limits.tunnels); close some`);
    }
    const now = clock0(this.#deps.clock);
    const lifetime = wanted.lifetime ?? this.#config.lifetime;
    const [sourceToken, destinationToken] = [newToken('source'), newToken('destination')];
    const record: TunnelRecord = {
      ...{ id: randomUUID(), thing: wanted.thing, services: [...wanted.services], description: wanted.description },
      ...{ tags: [...(wanted.tags ?? [])], lifetime, opener: { kind: by.kind, id: by.id || by.credential } },
      ...{ created: now, updated: now, expires: new Date(now.getTime() + lifetime), closed: undefined },
      sides: { source: freshSide(sourceToken), destination: freshSide(destinationToken) },
    };
    await this.#write(() => this.#rows.insert(record));
    const live = this.#hold(record);
    live.unused = destinationToken;
    this.#arm(live);
    this.#deps.metrics.count('tunnel_opened_total');
    await this.#tell(live, destinationToken);
    return { tunnel: this.#view(live), sourceToken, destinationToken };
  }

  list({ thing, state }: TunnelFilter = {}): TunnelView[] {
    const views: TunnelView[] = [];
    for (const live of this.#live.values()) {
      const { record } = live;
      if (thing !== undefined && record.thing !== thing) continue;
      if (state !== undefined && (record.closed === undefined ? 'open' : 'closed') !== state) continue;
      views.push(this.#view(live));
    }
    return views.reverse();
  }
  get(id: string): TunnelView {
    return this.#view(this.#find(id));
  }
  byArn(arn: string): TunnelView {
    const id = idOfArn(arn);
    if (id === undefined) throw new Fault('missing', `${arn} is no tunnel of this gate`);
    return this.get(id);
  }

  async rotate(
    id: string,
    sides: readonly SideName[],
    destination?: { readonly thing?: string | undefined; readonly services: readonly string[] },
  ): Promise<RotatedTokens> {
    const live = this.#find(id);
    this.#checkOpen(live);
    if (destination) {
      this.#checkServices(destination.services);
      const { thing, services } = destination;
      live.record = { ...live.record, services: [...services], ...(thing === undefined ? {} : { thing }) };
    }
    const tokens: { source?: string; destination?: string } = {};
    for (const side of sides) {
      const token = newToken(side);
      tokens[side] = token;
      const before = live.record.sides[side];
      this.#byHash.delete(before.hash);
      // Who is in stays in until the new token is used.
      this.#set(live, side, { ...before, ...freshSide(token), state: before.state, changed: before.changed });
      this.#byHash.set(hashOf(token), { id, side });
      await this.#write(() => this.#rows.updateSide(live.record, side));
    }
    live.record = { ...live.record, updated: clock0(this.#deps.clock) };
    await this.#write(() => this.#rows.update(live.record));
    if (tokens.destination !== undefined) {
      live.unused = tokens.destination;
      await this.#tell(live, tokens.destination);
    }
    return {
      tunnel: this.#view(live),
      ...(tokens.source === undefined ? {} : { sourceToken: tokens.source }),
      ...(tokens.destination === undefined ? {} : { destinationToken: tokens.destination }),
    };
  }

  async close(id: string, { erase = false }: { readonly erase?: boolean } = {}): Promise<void> {
    const live = this.#find(id);
    await this.#end(live, 'the tunnel was closed');
    if (erase) await this.#forget(live);
  }

  async tag(id: string, tags: readonly Tag[]): Promise<void> {
    const live = this.#find(id);
    const all = new Map([...live.record.tags, ...tags].map(({ key, value }) => [key, value]));
    if (all.size > 200) throw new Fault('limit', 'a tunnel has at most 200 tags');
    await this.#retag(
      live,
      [...all].map(([key, value]) => ({ key, value })),
    );
  }
  async untag(id: string, keys: readonly string[]): Promise<void> {
    const live = this.#find(id);
    await this.#retag(
      live,
      live.record.tags.filter(({ key }) => !keys.includes(key)),
    );
  }

  async notify(id: string, topic?: string): Promise<{ readonly topic: string; readonly rotated: boolean }> {
    const live = this.#find(id);
    this.#checkOpen(live);
    const { thing } = live.record;
    if (thing === undefined) throw new Fault('invalid', 'this tunnel was opened without a device; nobody can be told');
    const own = `$aws/things/${thing}/`;
    const to = topic ?? `${own}tunnels/notify`;
    if (!to.startsWith(own) || /[+#\0]/.test(to) || Buffer.byteLength(to) > 512) {
      throw new Fault('invalid', `notices go to topics of the device: ${own}…, without + and #`);
    }
    // A token that was used is worth nothing, and one from before a restart is not known here: then a new one is made.
    let rotated = false;
    if (live.unused === undefined) {
      const token = newToken('destination');
      const before = live.record.sides.destination;
      this.#byHash.delete(before.hash);
      this.#set(live, 'destination', { ...before, ...freshSide(token), state: before.state, changed: before.changed });
      this.#byHash.set(hashOf(token), { id, side: 'destination' });
      await this.#write(() => this.#rows.updateSide(live.record, 'destination'));
      live.unused = token;
      rotated = true;
    }
    await this.#publish(live, live.unused, to);
    return { topic: to, rotated };
  }

  async connect(id: string, service: string | undefined, session: Session): Promise<Duplex> {
    const live = this.#find(id);
    this.#checkOpen(live);
    const { services } = live.record;
    const wanted = service ?? (services.length <= 1 ? (services[0] ?? '') : undefined);
    if (wanted === undefined || (services.length > 0 ? !services.includes(wanted) : wanted !== '')) {
      const has = services.length === 0 ? 'none, so say none' : services.join(', ');
      throw new Fault('invalid', `say which service of the tunnel is meant; it has: ${has}`);
    }
    return live.broker.reach(wanted, session);
  }

  standing(who: Principal): Principal {
    const [, id = '', side = '', hash = ''] =
      /^tunnel:([^/]+)\/(source|destination)\/(\w+)$/.exec(who.credential) ?? [];
    const live = this.#live.get(id);
    const current = live?.record.sides[side as SideName];
    if (!live || live.record.closed !== undefined || !current || !current.hash.startsWith(hash)) {
      throw new Fault('unknown-caller', 'this token does not count any more', {
        facts: { credential: who.credential },
      });
    }
    return who;
  }

  // --- The sides ---

  async #admit(knock: Knock, open: () => Promise<MessagePipe>): Promise<void> {
    const { gate, guesses, log } = this.#deps;
    const { side, from, token } = knock;
    if (this.#state !== 'open') throw new Refusal(503, 'The gate is shutting down; try again in a moment.');
    const hash = hashOf(token);
    const known = this.#byHash.get(hash);
    const live = known && this.#live.get(known.id);
    if (!known || !live) {
      // Only what is wrong counts: a flood of wrong tokens must not lock out whoever shares the address.
      await guesses?.check(from);
      await guesses?.failed(from);
      this.#refuse(knock, 'tunnel/*', 'an unknown token');
      throw new Refusal(403, 'Invalid access token: It opens no tunnel of this gate.');
    }
    const { id } = known;
    const resource = `tunnel/${id}`;
    if (known.side !== side) {
      this.#refuse(knock, resource, 'a token of the other side');
      throw new Refusal(
        403,
        `Invalid access token: It is for the ${known.side} side, and local-proxy-mode says ${side}.`,
      );
    }
    if (live.record.closed !== undefined) {
      this.#refuse(knock, resource, 'the tunnel is closed');
      throw new Refusal(410, 'Invalid access token: The tunnel is closed.');
    }
    const before = live.record.sides[side];
    const host = 'host' in from ? from.host : '';
    const now = clock0(this.#deps.clock);
    const client = knock.clientToken === undefined ? undefined : hashOf(knock.clientToken);
    const refusal = tokenRefusal(before, { client, from: host, now, isTaken: this.#isTaken(client, id, side) });
    if (refusal !== undefined) {
      this.#refuse(knock, resource, refusal);
      throw new Refusal(400, refusal);
    }
    // Taken before anything is waited for: of two that come at once with a token for one use, one gets in.
    const taken: SideRecord = {
      ...before,
      ...{ spent: before.spent ?? now, client: before.client ?? client, comeback: undefined, from: host },
    };
    this.#set(live, side, taken);
    let session: Session | undefined;
    try {
      session = await gate.admit({
        who: tokenPrincipal(id, side, hash),
        ...{ action: 'tunnel.join', resource, from, opened: resource },
      });
      await this.#write(() => this.#rows.updateSide(live.record, side));
      const pipe = await open();
      if (side === 'destination') live.unused = undefined;
      session.note('side', side);
      session.note('channel', knock.channel);
      session.note('protocol', knock.protocol.name);
      log.info({ tunnel: id, side, from, protocol: knock.protocol.name }, 'a side of a tunnel is connected');
      await this.#stay(live, knock, pipe, session);
    } catch (error) {
      // It was not let in: its token is as good as before, unless somebody has made another one meanwhile.
      if (live.record.sides[side] === taken) {
        this.#set(live, side, before);
        void this.#write(() => this.#rows.updateSide(live.record, side));
      }
      throw error;
    } finally {
      await session?.[Symbol.asyncDispose]();
    }
  }

  async #stay(live: Live, knock: Knock, pipe: MessagePipe, session: Session): Promise<void> {
    const { side, protocol, isLocalproxy } = knock;
    const { pace, limits } = this.#config;
    const { clock, metrics } = this.#deps;
    const mux = new TunnelMux({
      ...{ pipe, place: 'service', services: live.record.services, log: session.log },
      role: side === 'source' ? 'acceptor' : 'opener',
      ...{ dialect: protocol.dialect, extended: protocol.extended },
      // localproxy's buffer is 128 KiB a connection and ends the process when it overflows.
      ...(isLocalproxy && pace > 0 ? { pace: { rate: pace, burst: 64 * 1024 } } : {}),
      limits: { stream: limits.queue, all: limits.queue * 4, streams: limits.connections },
      onStream: stream => void live.broker.carry(stream, session),
      ...(isLocalproxy && side === 'destination' ? { onDeaf: () => this.#recall(live, side, mux) } : {}),
    });
    let heard = clock.now().getTime();
    pipe.heard(() => {
      heard = clock.now().getTime();
    });
    let cancel: () => void = () => {};
    const look = (): void => {
      const now = clock.now().getTime();
      // Who is not read cannot be heard.
      if (mux.isBlocked) heard = now;
      if (now - heard >= limits.silence) mux.destroy();
      else cancel = clock.after(limits.silence / 4, look);
    };
    cancel = clock.after(limits.silence / 4, look);
    metrics.gauge('tunnel_sides', { side }, 1);
    try {
      await live.broker.attach(side, { mux, pipe, session });
    } finally {
      cancel();
      metrics.gauge('tunnel_sides', { side }, -1);
    }
  }

  /** Without a word, so that it comes back at once and begins anew; its token counts once more, from where it is. */
  #recall(live: Live, side: SideName, mux: TunnelMux): void {
    const before = live.record.sides[side];
    const until = new Date(this.#deps.clock.now().getTime() + recall);
    if (before.client === undefined && before.from !== undefined) {
      this.#set(live, side, { ...before, comeback: { until, from: before.from } });
    }
    mux.destroy();
  }

  #isTaken(client: string | undefined, id: string, side: SideName): boolean {
    if (client === undefined) return false;
    return this.#opened().some(({ record }) =>
      sideNames.some(name => record.sides[name].client === client && !(record.id === id && name === side)),
    );
  }

  #refuse({ from }: Knock, resource: string, reason: string): void {
    this.#deps.metrics.count('tunnel_refused_total', { code: 'token' });
    this.#deps.gate.refuse({ who: nobody, action: 'tunnel.join', resource, from }, reason);
  }

  // --- Their life ---

  #hold(record: TunnelRecord): Live {
    const { devices = () => undefined, clock, log, metrics } = this.#deps;
    const live: Live = {
      ...{ record, unused: undefined, cancelEnd: () => {} },
      broker: new Broker({
        ...{
          id: record.id,
          devices,
          clock,
          metrics,
          wait: this.#config.limits.wait,
          log: log.child({ tunnel: record.id }),
        },
        thing: () => live.record.thing,
        onState: (side, state) => {
          this.#set(live, side, { ...live.record.sides[side], state, changed: clock0(clock) });
          void this.#write(() => this.#rows.updateSide(live.record, side));
        },
      }),
    };
    this.#live.set(record.id, live);
    for (const side of sideNames) this.#byHash.set(record.sides[side].hash, { id: record.id, side });
    return live;
  }

  #arm(live: Live): void {
    const { clock, record } = this.#deps;
    const left = live.record.expires.getTime() - clock.now().getTime();
    live.cancelEnd = clock.after(left, () => {
      this.#deps.log.info({ tunnel: live.record.id }, 'the time of a tunnel is over');
      record?.('tunnel.expired', `tunnel/${live.record.id}`, { thing: live.record.thing ?? '' });
      void this.#end(live, 'the time of this tunnel is over');
    });
  }

  async #end(live: Live, reason: string): Promise<void> {
    if (live.record.closed !== undefined) return;
    const now = clock0(this.#deps.clock);
    live.cancelEnd();
    live.unused = undefined;
    live.record = { ...live.record, closed: now, updated: now };
    live.broker.close(reason);
    await this.#write(() => this.#rows.update(live.record));
  }

  async #forget(live: Live): Promise<void> {
    this.#live.delete(live.record.id);
    for (const side of sideNames) this.#byHash.delete(live.record.sides[side].hash);
    await this.#write(() => this.#rows.remove(live.record.id));
  }

  /** Closed ones are shown for three hours. */
  #sweep(): void {
    const oldest = this.#deps.clock.now().getTime() - remembered;
    for (const live of [...this.#live.values()]) {
      if (live.record.closed !== undefined && live.record.closed.getTime() <= oldest) void this.#forget(live);
    }
    this.#cancelSweep = this.#deps.clock.after(minute, () => this.#sweep());
  }

  async #retag(live: Live, tags: readonly Tag[]): Promise<void> {
    live.record = { ...live.record, tags, updated: clock0(this.#deps.clock) };
    await this.#write(() => this.#rows.update(live.record));
  }

  /** Best effort: a tunnel whose device cannot be told is open all the same, and `notify` tells it again. */
  async #tell(live: Live, token: string): Promise<void> {
    const { thing, id } = live.record;
    if (thing === undefined) return;
    try {
      await this.#publish(live, token, `$aws/things/${thing}/tunnels/notify`);
    } catch (error) {
      this.#deps.log.warn({ tunnel: id, cause: error }, 'the device could not be told of its tunnel');
    }
  }

  async #publish({ record }: Live, token: string, topic: string): Promise<void> {
    const notifier = this.#deps.notifier?.();
    if (!notifier) throw new Fault('unreachable', 'this gate tells devices nothing (tunnel.mqtt: off)');
    const notice: Notice = {
      ...{ clientAccessToken: token, clientMode: 'destination' },
      ...{ region: this.#config.region, services: record.services },
    };
    await notifier.publish(topic, JSON.stringify(notice));
    this.#deps.metrics.count('tunnel_notices_total');
  }

  #set(live: Live, side: SideName, to: SideRecord): void {
    live.record = { ...live.record, sides: { ...live.record.sides, [side]: to } };
  }

  #view({ record, broker }: Live): TunnelView {
    const { sides, opener, ...facts } = record;
    const linked = record.thing !== undefined && (this.#deps.devices?.()?.isOnline(record.thing) ?? false);
    const isOpen = record.closed === undefined;
    const view = (side: SideName): TunnelView['source'] => ({
      state: isOpen && (broker.isConnected(side) || (side === 'destination' && linked)) ? 'connected' : 'disconnected',
      changed: sides[side].changed,
    });
    return {
      ...facts,
      ...{ arn: arnOf(this.#config.region, record.id), state: isOpen ? 'open' : 'closed', opener: opener.id },
      ...{ source: view('source'), destination: view('destination'), connections: broker.connections },
    };
  }

  #find(id: string): Live {
    const live = this.#live.get(id);
    if (!live) throw new Fault('missing', `there is no tunnel ${id}`);
    return live;
  }
  #opened(): Live[] {
    return [...this.#live.values()].filter(({ record }) => record.closed === undefined);
  }
  #checkOpen({ record }: Live): void {
    if (record.closed !== undefined) throw new Fault('gone', `the tunnel ${record.id} is closed; open another one`);
  }
  #checkServices(services: readonly string[]): void {
    const { limits } = this.#config;
    if (services.length > limits.services) {
      throw new Fault('limit', `a tunnel has at most ${limits.services} services (tunnel.limits.services)`);
    }
    if (new Set(services).size !== services.length) throw new Fault('invalid', 'a service is named twice');
  }
  #write<T>(step: () => Promise<T>): Promise<T> {
    const work = this.#writes.then(step);
    this.#writes = work.catch(error => this.#deps.log.error({ error }, 'a tunnel could not be written down'));
    return work;
  }

  async drain(deadline: AbortSignal): Promise<void> {
    this.#state = 'draining';
    await Promise.all([...this.#live.values()].map(({ broker }) => broker.drain(deadline)));
  }
  async [Symbol.asyncDispose](): Promise<void> {
    this.#state = 'draining';
    this.#cancelSweep();
    for (const { broker, cancelEnd } of this.#live.values()) {
      cancelEnd();
      await broker.drain(AbortSignal.abort());
    }
    await this.#writes;
  }
}

const nobody: Principal = { kind: 'anonymous', id: '', groups: [], attributes: new Map(), credential: '' };

/** Who shows a token: nobody is known but by it. The end of the hash tells one token of a side from the next. */
function tokenPrincipal(id: string, side: SideName, hash: string): Principal {
  const credential = `tunnel:${id}/${side}/${hash.slice(0, 16)}`;
  return { kind: 'token', id: `${id}/${side}`, groups: [], attributes: new Map(), credential };
}

const freshSide = (token: string): SideRecord => ({
  ...{ hash: hashOf(token), spent: undefined, client: undefined, comeback: undefined },
  ...{ state: 'disconnected', changed: undefined, from: undefined },
});

/** As the database keeps it: whole milliseconds. */
const clock0 = (clock: Clock): Date => new Date(clock.now().getTime());
