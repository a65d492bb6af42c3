// What every room stands on: the store, the record, the gate's own CA, the devices and the people it knows.
import { join } from 'node:path';
import { type Audit, openAudit } from '../access/index.ts';
import type { Clock } from '../core/clock.ts';
import type { Log, Metrics } from '../core/parts.ts';
import { type DeviceRegistry, openDeviceRegistry } from '../features/device/index.ts';
import { openStore, type Store } from '../store/index.ts';
import { type Authority, createDirectory, type Directory, openAuthority } from '../trust/index.ts';
import type { Config } from './config.ts';
import type { ConfigFile } from './config-file.ts';
import { lifeEvent } from './gateway-parts.ts';
import { storeName, storeUrl } from './places.ts';

export interface FloorOptions {
  readonly file: ConfigFile;
  /** The data folder, absolute. */
  readonly data: string;
  readonly clock: Clock;
  readonly metrics: Metrics;
  /** The log of a room. */
  readonly room: (name: string) => Log;
}

export interface Floor extends AsyncDisposable {
  readonly store: Store;
  readonly audit: Audit;
  readonly authority: Authority;
  readonly registry: DeviceRegistry;
  readonly directory: Directory;
}

/** @throws Fault saying what cannot be opened; then nothing is left open */
export async function openFloor({ file, data, clock, metrics, room }: FloorOptions): Promise<Floor> {
  const { config } = file;
  await using stack = new AsyncDisposableStack();
  const url = await storeUrl(file, data);
  const store = stack.use(await openStore({ url, log: room('store'), clock, backups: data }));
  const audit = stack.use(
    await openAudit({
      ...{ store, clock, metrics, log: room('audit'), keyFile: join(data, 'audit.key'), storeName: storeName(url) },
      headEvery: config.audit.checkpoint,
    }),
  );
  const { certificates: lifetimes, name, key } = config.trust;
  const crlUrl = config.trust['crl-url'];
  const authority = stack.use(
    await openAuthority({
      ...{ store, clock, lifetimes, name, key, dir: data, log: room('trust') },
      ...(crlUrl === undefined ? {} : { crlUrl }),
      ...httpUrl(config),
    }),
  );
  const registry = stack.use(await openDeviceRegistry({ store, clock, log: room('device') }));
  const directory = await createDirectory({
    ...{ store, dir: data, authority, clock, log: room('trust') },
    device: device => registry.standing(device),
    idle: () => config.trust['sign-in'].idle,
  });
  const parts = stack.move();
  return {
    ...{ store, audit, authority, registry, directory },
    [Symbol.asyncDispose]: () => parts[Symbol.asyncDispose](),
  };
}

/** Where certificates say that they can be asked about: `gate.http`, by the gate's own name. */
function httpUrl({ gate }: Config): { httpUrl?: string } {
  const { name, http } = gate ?? {};
  if (name === undefined || !http || !('port' in http) || http.port === 0) return {};
  return { httpUrl: `http://${name}${http.port === 80 ? '' : `:${http.port}`}` };
}

/** A link into the console for the first administrator, while none has a password or a passkey to come in with. */
export async function firstLink({
  directory,
  audit,
  origin,
  hasWayIn,
}: Pick<Floor, 'directory' | 'audit'> & {
  readonly origin: () => string;
  readonly hasWayIn: (user: string) => boolean;
}): Promise<string | undefined> {
  const admins = directory.all().filter(({ roles, state }) => state === 'active' && roles.includes('admin'));
  if (admins.some(({ name }) => hasWayIn(name))) return undefined;
  const { name } = admins[0] ?? (await directory.ensure({ name: 'admin', roles: ['admin'] }));
  const { id, code } = await directory.addCode({ purpose: 'sign-in', name });
  await audit.append(lifeEvent('user.link-created', { user: name, code: id }));
  return `${origin()}/#code=${code}`;
}
