// The hubs of a gate: those of the configuration file and those made at run time, each open as a switch while it is online.
import type { Clock } from '../../core/clock.ts';
import { Fault } from '../../core/fault.ts';
import type { VpnDeps } from './deps.ts';
import type { Hub, HubOptions } from './hub.ts';
import { checkHub } from './plan.ts';
import { checkedHubName, defaultSettings, type HubSettings } from './settings.ts';
import type { VpnStore } from './store.ts';

export interface HubEntry {
  readonly name: string;
  readonly origin: 'file' | 'store';
  readonly settings: HubSettings;
  readonly created: Date;
  /** While it is online. */
  readonly hub: Hub | undefined;
}

export interface Hubs extends AsyncDisposable {
  list(): readonly HubEntry[];
  /** Case does not matter, as with SoftEther. */
  find(name: string): HubEntry | undefined;
  /** @throws Fault `missing` */
  get(name: string): HubEntry;
  /** @throws Fault `conflict`, `invalid` */
  create(name: string, settings: Partial<HubSettings>): Promise<HubEntry>;
  /** From the next frame on. @throws Fault `conflict` for a hub of the file */
  change(name: string, change: Partial<HubSettings>): Promise<HubEntry>;
  /** @throws Fault `conflict` for a hub of the file */
  remove(name: string): Promise<void>;
  /** The hubs of the file as they are now; what did not change keeps its members. */
  adopt(file: Readonly<Record<string, HubSettings>>): Promise<void>;
  /** Called when a hub's settings changed, and after it went away. */
  onChange(call: (name: string) => void): () => void;
}

interface Live {
  name: string;
  origin: 'file' | 'store';
  settings: HubSettings;
  created: Date;
  hub: Hub | undefined;
}

export async function openHubs(
  store: VpnStore,
  file: Readonly<Record<string, HubSettings>>,
  deps: Pick<VpnDeps, 'createHub' | 'gate' | 'isOwn' | 'log' | 'metrics'> & { readonly clock: Clock },
): Promise<Hubs> {
  const { clock, log, metrics, gate, isOwn } = deps;
  const since = clock.now();
  const live = new Map<string, Live>();
  const listeners = new Set<(name: string) => void>();
  const tell = (name: string): void => {
    for (const call of listeners) call(name);
  };
  // One change at a time: a reload and an administrator may meet.
  let turn: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(step: () => Promise<T>): Promise<T> => {
    const work = turn.then(step);
    turn = work.catch(() => {});
    return work;
  };

  const optionsOf = ({ secureNat, forward, filter, bridge }: HubSettings): HubOptions => ({
    ...(secureNat.enabled ? { nat: secureNat.options } : {}),
    ...{ forward, filter },
    ...(bridge === undefined ? {} : { bridge }),
  });
  const turnOn = async (entry: Live): Promise<void> => {
    entry.hub = await deps.createHub(entry.name, optionsOf(entry.settings), {
      ...{ gate, clock, metrics, isOwn, log: log.child({ hub: entry.name }) },
    });
  };
  const turnOff = async (entry: Live): Promise<void> => {
    const { hub } = entry;
    entry.hub = undefined;
    tell(entry.name);
    await hub?.[Symbol.asyncDispose]();
  };
  const open = async (entry: Live): Promise<void> => {
    if (entry.settings.online) await turnOn(entry);
    live.set(entry.name.toLowerCase(), entry);
  };
  /** Brings a live hub to other settings, by difference; all of them, or it stays as it was. */
  const bring = async (entry: Live, next: HubSettings): Promise<void> => {
    const before = entry.settings;
    const { hub } = entry;
    if (hub && before.online && next.online) {
      const [was, will] = [optionsOf(before), optionsOf(next)];
      try {
        await adjust(hub, was, will);
      } catch (error) {
        await adjust(hub, will, was).catch(cause => log.warn({ hub: entry.name, error: cause }, 'could not go back'));
        throw error;
      }
    }
    entry.settings = next;
    if (next.online && !entry.hub) await turnOn(entry);
    else if (!next.online && entry.hub) await turnOff(entry);
    tell(entry.name);
  };
  const find = (name: string): Live | undefined => live.get(name.toLowerCase());
  const get = (name: string): Live => {
    const entry = find(name);
    if (!entry) throw new Fault('missing', `there is no hub "${name}"; vpn hub list shows them`);
    return entry;
  };
  const changeable = (name: string): Live => {
    const entry = get(name);
    if (entry.origin === 'file')
      throw new Fault(
        'conflict',
        `the hub ${entry.name} stands in the configuration file; change it there, then: sekisho reload`,
      );
    return entry;
  };
  const save = (entry: Live, settings: HubSettings): Promise<void> =>
    store.saveHub({ name: entry.name, settings: JSON.stringify(settings), created: entry.created.toISOString() });

  for (const [name, settings] of Object.entries(file))
    await open({ name: checkedHubName(name), origin: 'file', settings, created: since, hub: undefined });
  for (const { name, settings, created } of store.hubs()) {
    if (find(name)) {
      log.warn(
        { hub: name },
        'this hub was made at run time, but one of the same name stands in the file: that one counts',
      );
      continue;
    }
    const kept = { ...defaultSettings, ...(JSON.parse(settings) as Partial<HubSettings>) };
    const entry: Live = { name, origin: 'store', settings: kept, created: new Date(created), hub: undefined };
    await open(entry).catch((error: Error) => {
      // One hub that does not open must not keep the gate from starting.
      log.error({ hub: name, error }, `the hub ${name} could not be opened: ${error.message}`);
      live.set(name.toLowerCase(), entry);
    });
  }

  return {
    list: () => [...live.values()].sort((a, b) => (a.name < b.name ? -1 : 1)),
    find,
    get,
    create: (name, settings) =>
      inTurn(async () => {
        if (find(checkedHubName(name))) throw new Fault('conflict', `there is a hub "${name}" already`);
        const entry: Live = {
          ...{ name, origin: 'store', created: clock.now(), hub: undefined },
          settings: checked({ ...defaultSettings, ...settings }),
        };
        await open(entry);
        try {
          await save(entry, entry.settings);
        } catch (error) {
          live.delete(name.toLowerCase());
          await turnOff(entry);
          throw error;
        }
        return entry;
      }),
    change: (name, change) =>
      inTurn(async () => {
        const entry = changeable(name);
        const { bridge, ...next } = { ...entry.settings, ...change };
        const settings = checked(bridge ? { ...next, bridge } : next); // '' takes it away
        await bring(entry, settings);
        await save(entry, settings);
        return entry;
      }),
    remove: name =>
      inTurn(async () => {
        const entry = changeable(name);
        await store.deleteHub(entry.name);
        live.delete(entry.name.toLowerCase());
        await turnOff(entry);
      }),
    adopt: next =>
      inTurn(async () => {
        for (const entry of [...live.values()]) {
          if (
            entry.origin !== 'file' ||
            Object.keys(next).some(name => name.toLowerCase() === entry.name.toLowerCase())
          )
            continue;
          live.delete(entry.name.toLowerCase());
          await turnOff(entry);
        }
        for (const [name, settings] of Object.entries(next)) {
          const entry = find(name);
          if (!entry) await open({ name, origin: 'file', settings, created: clock.now(), hub: undefined });
          else {
            entry.origin = 'file';
            if (!same(entry.settings, settings))
              await bring(entry, settings).catch((error: Error) => {
                log.error({ hub: name, error }, `the hub ${name} could not be changed: ${error.message}`);
              });
          }
        }
      }),
    onChange(call) {
      listeners.add(call);
      return () => listeners.delete(call);
    },
    async [Symbol.asyncDispose]() {
      await turn;
      for (const entry of live.values()) await turnOff(entry);
    },
  };
}

/** By difference: leases, flows and members of what did not change stay. */
async function adjust(hub: Hub, was: HubOptions, will: HubOptions): Promise<void> {
  if (!same(was.nat, will.nat)) await hub.setNat(will.nat);
  if (!same(was.forward, will.forward)) await hub.setForward(will.forward ?? []);
  if (!same(was.filter, will.filter)) hub.setFilter(will.filter ?? []);
  if (was.bridge !== will.bridge) await hub.setBridge(will.bridge);
}

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

/** @throws Fault `invalid` */
function checked(settings: HubSettings): HubSettings {
  const [first] = checkHub(settings);
  if (first) throw new Fault('invalid', `${first.path.join('.')}: ${first.text}`);
  return settings;
}
