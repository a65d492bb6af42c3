// The keys that devices' SSH servers are known by: pinned when somebody first accepted one, compared ever after.
import { createHash } from 'node:crypto';
import type { Clock } from '../../../core/clock.ts';
import { Fault } from '../../../core/fault.ts';
import type { Store } from '../../../store/index.ts';
import type { HostKey } from '../../../wire/terminal-message.ts';

export interface PinnedKey extends HostKey {
  readonly service: string;
  readonly pinned: Date;
  /** Who accepted it. */
  readonly by: string;
}

export interface HostKeys {
  find(device: string, service: string): Promise<PinnedKey | undefined>;
  list(device: string): Promise<readonly PinnedKey[]>;
  /** @throws Fault `conflict` where another was pinned meanwhile */
  pin(device: string, service: string, key: HostKey, by: string): Promise<void>;
  /** @throws Fault `missing` */
  remove(device: string, service: string): Promise<PinnedKey>;
}

/** @param device the registry's id, which stays when the name changes */
export function openHostKeys({ db }: Pick<Store, 'db'>, clock: Clock): HostKeys {
  const find: HostKeys['find'] = async (device, service) => {
    const row = await db
      .selectFrom('device_host_key')
      .selectAll()
      .where('device', '=', device)
      .where('service', '=', service)
      .executeTakeFirst();
    return row && { ...row, pinned: new Date(row.pinned) };
  };
  return {
    find,
    async list(device) {
      const rows = await db
        .selectFrom('device_host_key')
        .selectAll()
        .where('device', '=', device)
        .orderBy('service')
        .execute();
      return rows.map(row => ({ ...row, pinned: new Date(row.pinned) }));
    },
    async pin(device, service, { algorithm, fingerprint }, by) {
      await db
        .insertInto('device_host_key')
        .values({ device, service, algorithm, fingerprint, by, pinned: clock.now().toISOString() })
        .onConflict(conflict => conflict.doNothing())
        .execute();
      const now = await find(device, service);
      if (now?.fingerprint !== fingerprint)
        throw new Fault('conflict', 'somebody else has accepted another key of this device meanwhile; connect again');
    },
    async remove(device, service) {
      const known = await find(device, service);
      if (!known) throw new Fault('missing', `no host key is pinned for the service ${service}`);
      await db.deleteFrom('device_host_key').where('device', '=', device).where('service', '=', service).execute();
      return known;
    },
  };
}

/** RFC 4253 §6.6: a public key blob begins with its algorithm's name, as a string. @throws Fault `protocol` */
export function hostKeyOf(blob: Buffer): HostKey {
  const length = blob.length >= 4 ? blob.readUInt32BE(0) : 0;
  const algorithm = blob.toString('latin1', 4, 4 + Math.min(length, 64));
  if (length === 0 || length > 64 || !/^[\x21-\x7e]+$/.test(algorithm))
    throw new Fault('protocol', 'the device shows no SSH host key that can be read');
  return { algorithm, fingerprint: `SHA256:${createHash('sha256').update(blob).digest('base64').replace(/=+$/, '')}` };
}
