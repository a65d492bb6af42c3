// The tunnels that this gate knows: in memory, rows behind them, each until its time is over and still listed for a while.
import type { Clock } from '../../core/clock.ts';
import { Fault } from '../../core/fault.ts';
import { Broker } from './broker.ts';
import type { TunnelConfig } from './config.ts';
import type { TunnelDeps } from './deps.ts';
import { arnOf, type SideRecord, type TunnelRecord, type TunnelView } from './record.ts';
import { openRows, type TunnelRows } from './store.ts';
import { hashOf, newToken, type SideName, sideNames } from './token.ts';

/** How long closed tunnels are still listed. */
const remembered = 3 * 3_600_000;
/** How long sides without a client token may come back after the gate has restarted. */
const comeback = 10 * 60_000;
const minute = 60_000;

/** A tunnel, and who is in it. */
export interface Live {
  record: TunnelRecord;
  readonly broker: Broker;
  /** The destination's token while it is unused, to tell the device again. Never written down. */
  unused: string | undefined;
  cancelEnd: () => void;
}

/** @returns all that the database has, their times running */
export async function knowTunnels(config: TunnelConfig, deps: TunnelDeps): Promise<KnownTunnels> {
  const rows = openRows(deps.store);
  const records = await rows.load(new Date(deps.clock.now().getTime() + comeback));
  const known = new KnownTunnels(config, deps, rows, records);
  await known.start();
  return known;
}

export class KnownTunnels {
  readonly #config: TunnelConfig;
  readonly #deps: TunnelDeps;
  readonly #rows: TunnelRows;
  readonly #live = new Map<string, Live>();
  readonly #byHash = new Map<string, { readonly id: string; readonly side: SideName }>();
  #cancelSweep: () => void = () => {};
  /** Rows are written one after the other. */
  #writes: Promise<unknown> = Promise.resolve();

  constructor(config: TunnelConfig, deps: TunnelDeps, rows: TunnelRows, records: readonly TunnelRecord[]) {
    this.#config = config;
    this.#deps = deps;
    this.#rows = rows;
    for (const record of records) this.#hold(record);
  }

  async start(): Promise<void> {
    for (const live of this.all()) {
      if (live.record.closed === undefined) this.#arm(live);
      // A gate that ended badly left them connected.
      for (const side of sideNames) await this.writeSide(live, side);
    }
    this.#sweep();
  }

  // --- Finding ---

  /** Oldest first. */
  all(): Live[] {
    return [...this.#live.values()];
  }
  opened(): Live[] {
    return this.all().filter(({ record }) => record.closed === undefined);
  }
  peek(id: string): Live | undefined {
    return this.#live.get(id);
  }
  /** @throws Fault `missing` */
  find(id: string): Live {
    const live = this.#live.get(id);
    if (!live) throw new Fault('missing', `there is no tunnel ${id}`);
    return live;
  }
  /** @throws Fault `missing`, `gone` */
  findOpen(id: string): Live {
    const live = this.find(id);
    if (live.record.closed !== undefined) throw new Fault('gone', `the tunnel ${id} is closed; open another one`);
    return live;
  }
  /** Whose token that is, by its hash. */
  byHash(hash: string): { readonly live: Live; readonly side: SideName } | undefined {
    const known = this.#byHash.get(hash);
    const live = known && this.#live.get(known.id);
    return live && { live, side: known.side };
  }

  view({ record, broker }: Live): TunnelView {
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

  // --- Changing ---

  async add(record: TunnelRecord): Promise<Live> {
    await this.#write(() => this.#rows.insert(record));
    const live = this.#hold(record);
    this.#arm(live);
    return live;
  }
  /** What may change of a tunnel itself. */
  async change(live: Live, to: Partial<Pick<TunnelRecord, 'tags' | 'services' | 'thing'>> = {}): Promise<void> {
    live.record = { ...live.record, ...to, updated: wholeNow(this.#deps.clock) };
    await this.#write(() => this.#rows.update(live.record));
  }
  /** A new token of a side; the old one is worth nothing from now on. Who is in stays in until the new one is used. */
  async renew(live: Live, side: SideName): Promise<string> {
    const token = newToken(side);
    const before = live.record.sides[side];
    this.#byHash.delete(before.hash);
    this.setSide(live, side, { ...freshSide(token), state: before.state, changed: before.changed });
    this.#byHash.set(hashOf(token), { id: live.record.id, side });
    await this.writeSide(live, side);
    return token;
  }
  setSide(live: Live, side: SideName, to: SideRecord): void {
    live.record = { ...live.record, sides: { ...live.record.sides, [side]: to } };
  }
  writeSide(live: Live, side: SideName): Promise<void> {
    return this.#write(() => this.#rows.updateSide(live.record, side));
  }

  async end(live: Live, reason: string): Promise<void> {
    if (live.record.closed !== undefined) return;
    const now = wholeNow(this.#deps.clock);
    live.cancelEnd();
    live.unused = undefined;
    live.record = { ...live.record, closed: now, updated: now };
    live.broker.close(reason);
    await this.#write(() => this.#rows.update(live.record));
  }
  async forget(live: Live): Promise<void> {
    this.#live.delete(live.record.id);
    for (const side of sideNames) this.#byHash.delete(live.record.sides[side].hash);
    await this.#write(() => this.#rows.remove(live.record.id));
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
          this.setSide(live, side, { ...live.record.sides[side], state, changed: wholeNow(clock) });
          void this.writeSide(live, side);
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
      void this.end(live, 'the time of this tunnel is over');
    });
  }

  /** Closed ones are shown for three hours. */
  #sweep(): void {
    const oldest = this.#deps.clock.now().getTime() - remembered;
    for (const live of this.all()) {
      if (live.record.closed !== undefined && live.record.closed.getTime() <= oldest) void this.forget(live);
    }
    this.#cancelSweep = this.#deps.clock.after(minute, () => this.#sweep());
  }

  #write<T>(step: () => Promise<T>): Promise<T> {
    const work = this.#writes.then(step);
    this.#writes = work.catch(error => this.#deps.log.error({ error }, 'a tunnel could not be written down'));
    return work;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#cancelSweep();
    for (const { broker, cancelEnd } of this.#live.values()) {
      cancelEnd();
      await broker.drain(AbortSignal.abort());
    }
    await this.#writes;
  }
}

/** A side that nobody has come to yet. */
export const freshSide = (token: string): SideRecord => ({
  ...{ hash: hashOf(token), spent: undefined, client: undefined, comeback: undefined },
  ...{ state: 'disconnected', changed: undefined, from: undefined },
});

/** As the database keeps it: whole milliseconds. */
export const wholeNow = (clock: Clock): Date => new Date(clock.now().getTime());
