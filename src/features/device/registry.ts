// The devices that this gate knows: rows in the store, and a copy in memory that every connection asks.
import { randomUUID } from 'node:crypto';
import type { Clock } from '../../core/clock.ts';
import { Fault } from '../../core/fault.ts';
import type { Log } from '../../core/parts.ts';
import type { Store } from '../../store/index.ts';
import { openDeviceRows } from './store.ts';

export interface Alias {
  readonly name: string;
  /** `former`: what it was called when certificates were issued that still count. */
  readonly kind: 'imsi' | 'simId' | 'alias' | 'former';
}

export interface Device {
  /** Stays when the name changes. */
  readonly id: string;
  readonly name: string;
  readonly created: Date;
  /** Absent while its code waits. */
  readonly enrolled?: Date;
  readonly revoked?: Date;
  readonly lastSeen?: Date;
  readonly address?: string;
  readonly agent?: {
    readonly version: string;
    readonly node: string;
    readonly platform: string;
    /** Fingerprints of the roots that it knows, where it says so. */
    readonly roots?: readonly string[];
  };
  /** Name → address on the device. What the device itself said last; its own file decides. */
  readonly services: Readonly<Record<string, string>>;
  readonly tags: Readonly<Record<string, string>>;
  readonly aliases: readonly Alias[];
}

export type DeviceChange = Partial<Pick<Device, 'services' | 'tags' | 'aliases'>>;

export interface DeviceRegistry extends AsyncDisposable {
  all(): readonly Device[];
  /** By name or alias. */
  find(nameOrAlias: string): Device | undefined;
  byId(id: string): Device | undefined;
  /** @throws Fault `missing` */
  get(nameOrAlias: string): Device;
  /** Not by alias: what a rule allows on `device/pump-*` it allows by that name. @throws Fault `missing` */
  named(name: string): Device;
  /** What a certificate's name is called today; undefined when it is nobody's or revoked. */
  standing(name: string): string | undefined;
  /** Makes it, or prepares one that exists for a new code: a revoked one may come back with a new certificate. */
  invite(name: string, change: DeviceChange): Promise<Device>;
  enrolled(name: string): Promise<Device>;
  change(name: string, change: DeviceChange): Promise<Device>;
  /** The old name stays its alias as long as certificates carry it. @throws Fault `conflict` */
  rename(name: string, to: string): Promise<Device>;
  revoke(name: string): Promise<Device>;
  remove(name: string): Promise<void>;
  /** Noted at once, written down a little later and together with others. */
  seen(
    id: string,
    facts: Pick<Device, 'lastSeen' | 'address' | 'agent'> & { readonly services?: Device['services'] },
  ): void;
}

/** How long what was seen may wait to be written: a thousand devices that come back at once are one transaction. */
const writeAfter = 1000;
const mostAliases = 32;

export async function openDeviceRegistry(options: {
  readonly store: Pick<Store, 'db'>;
  readonly clock: Clock;
  readonly log: Log;
}): Promise<DeviceRegistry> {
  const { clock, log } = options;
  const rows = openDeviceRows(options.store);
  const devices = new Map<string, Device>();
  const names = new Map<string, string>();
  const learn = (device: Device): void => {
    devices.set(device.id, device);
    for (const name of [device.name, ...device.aliases.map(alias => alias.name)]) names.set(name, device.id);
  };
  const forget = (device: Device): void => {
    devices.delete(device.id);
    for (const [name, id] of names) if (id === device.id) names.delete(name);
  };
  for (const device of await rows.load()) learn(device);

  // One change at a time: two that take the same name must meet.
  let turn: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(step: () => Promise<T>): Promise<T> => {
    const work = turn.then(step);
    turn = work.catch(() => {});
    return work;
  };
  const find = (name: string): Device | undefined => devices.get(names.get(name.normalize('NFC')) ?? '');
  const get = (name: string): Device => {
    const device = find(name);
    if (!device) throw new Fault('missing', `there is no device "${name}"; device list shows them`);
    return device;
  };
  const free = (name: string, owner: Device | undefined): string => {
    const taken = find(name);
    if (taken && taken.id !== owner?.id) {
      throw new Fault('conflict', `"${name}" is a name of the device ${taken.name} already; choose another`);
    }
    return name.normalize('NFC');
  };
  const checked = (change: DeviceChange, owner: Device | undefined): DeviceChange => {
    if (!change.aliases) return change;
    if (change.aliases.length > mostAliases) throw new Fault('invalid', `a device has up to ${mostAliases} aliases`);
    const kept = owner?.aliases.filter(({ kind }) => kind === 'former') ?? [];
    const wanted = change.aliases.map(({ name, kind }) => ({ kind, name: free(checkedName(name), owner) }));
    return { ...change, aliases: [...kept, ...wanted.filter(({ name }) => !kept.some(one => one.name === name))] };
  };
  const save = async (device: Device): Promise<Device> => {
    await rows.save([device]);
    const before = devices.get(device.id);
    if (before) forget(before);
    learn(device);
    return device;
  };

  const dirty = new Set<string>();
  let cancel: (() => void) | undefined;
  const flush = (): Promise<void> =>
    inTurn(async () => {
      cancel?.();
      cancel = undefined;
      const changed = [...dirty].flatMap(id => devices.get(id) ?? []);
      dirty.clear();
      if (changed.length > 0) await rows.save(changed);
    });
  const later = (): void => {
    cancel ??= clock.after(writeAfter, () => {
      flush().catch((error: unknown) => log.error({ error }, 'when devices were last seen could not be written'));
    });
  };

  return {
    all: () => [...devices.values()].sort((a, b) => a.name.localeCompare(b.name)),
    find,
    get,
    byId: id => devices.get(id),
    named(name) {
      const device = get(name);
      if (device.name === name.normalize('NFC')) return device;
      throw new Fault('missing', `"${name}" is an alias of the device ${device.name}; call it by its name here`);
    },
    standing(name) {
      const device = find(name);
      // Other aliases are no names that a certificate was ever issued in.
      const is = device?.name === name || device?.aliases.some(one => one.name === name && one.kind === 'former');
      return device && is && !device.revoked ? device.name : undefined;
    },
    invite: (name, wanted) =>
      inTurn(async () => {
        const known = find(name);
        const change = checked(wanted, known);
        if (known && known.name !== name.normalize('NFC')) free(name, undefined); // somebody's alias: no name for another
        if (known) {
          const { revoked: _, ...device } = known;
          return save({ ...device, ...change });
        }
        const device: Device = {
          ...{ id: randomUUID(), name: checkedName(name), created: clock.now() },
          ...{ services: {}, tags: {}, aliases: [], ...change },
        };
        await rows.add(device);
        learn(device);
        return device;
      }),
    enrolled: name => inTurn(async () => save({ ...get(name), enrolled: clock.now() })),
    change: (name, wanted) =>
      inTurn(async () => {
        const device = get(name);
        return save({ ...device, ...checked(wanted, device) });
      }),
    rename: (name, to) =>
      inTurn(async () => {
        const device = get(name);
        const next = free(checkedName(to), device);
        if (next === device.name) return device;
        const aliases = device.aliases.filter(alias => alias.name !== next);
        return save({ ...device, name: next, aliases: [...aliases, { name: device.name, kind: 'former' }] });
      }),
    revoke: name => inTurn(async () => save({ ...get(name), revoked: clock.now() })),
    remove: name =>
      inTurn(async () => {
        const device = get(name);
        await rows.remove(device.id);
        forget(device);
      }),
    seen(id, facts) {
      const device = devices.get(id);
      if (!device) return;
      devices.set(id, { ...device, ...facts });
      dirty.add(id);
      later();
    },
    async [Symbol.asyncDispose]() {
      await flush().catch((error: unknown) => log.error({ error }, 'when devices were last seen could not be written'));
    },
  };
}

/** As trust's names: they stand in URLs, certificates, rules and the audit. @throws Fault `invalid` */
function checkedName(text: string): string {
  const name = text.normalize('NFC');
  if (!/^[\p{L}\p{N}][\p{L}\p{N}\p{M}._-]{0,62}$/u.test(name) || name !== name.normalize('NFKC')) {
    throw new Fault(
      'invalid',
      `"${text}" cannot be a device's name: it starts with a letter or digit and holds letters, digits, dot, dash and underscore, 63 at most`,
    );
  }
  return name;
}
