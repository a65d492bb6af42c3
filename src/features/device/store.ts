// The registry's rows. Everything is read once; what changes is written as it changes.
import type { DeviceAliasTable, DeviceTable, Store } from '../../store/index.ts';
import type { Alias, Device } from './registry.ts';

export interface DeviceRows {
  load(): Promise<Device[]>;
  add(device: Device): Promise<void>;
  /** Everything but the id. */
  save(devices: readonly Device[]): Promise<void>;
  remove(id: string): Promise<void>;
}

export function openDeviceRows({ db }: Pick<Store, 'db'>): DeviceRows {
  return {
    async load() {
      const aliases = await db.selectFrom('device_alias').selectAll().execute();
      const rows = await db.selectFrom('device').selectAll().orderBy('name').execute();
      return rows.map(row =>
        fromRow(
          row,
          aliases.filter(alias => alias.device === row.id),
        ),
      );
    },
    async add(device) {
      await db.transaction().execute(async transaction => {
        await transaction.insertInto('device').values(toRow(device)).execute();
        const aliases = aliasRows(device);
        if (aliases.length > 0) await transaction.insertInto('device_alias').values(aliases).execute();
      });
    },
    async save(devices) {
      await db.transaction().execute(async transaction => {
        for (const device of devices) {
          const { id, ...row } = toRow(device);
          await transaction.updateTable('device').set(row).where('id', '=', id).execute();
          await transaction.deleteFrom('device_alias').where('device', '=', id).execute();
          const aliases = aliasRows(device);
          if (aliases.length > 0) await transaction.insertInto('device_alias').values(aliases).execute();
        }
      });
    },
    async remove(id) {
      await db.transaction().execute(async transaction => {
        await transaction.deleteFrom('device_alias').where('device', '=', id).execute();
        await transaction.deleteFrom('device_host_key').where('device', '=', id).execute();
        await transaction.deleteFrom('device').where('id', '=', id).execute();
      });
    },
  };
}

const aliasRows = ({ id, aliases }: Device): DeviceAliasTable[] =>
  aliases.map(({ name, kind }) => ({ alias: name, device: id, kind }));

const toRow = (device: Device): DeviceTable => ({
  id: device.id,
  name: device.name,
  created: device.created.toISOString(),
  enrolled: device.enrolled?.toISOString() ?? null,
  revoked: device.revoked?.toISOString() ?? null,
  last_seen: device.lastSeen?.toISOString() ?? null,
  address: device.address ?? null,
  agent: device.agent ? JSON.stringify(device.agent) : null,
  services: JSON.stringify(device.services),
  tags: JSON.stringify(device.tags),
});

function fromRow(row: DeviceTable, aliases: readonly DeviceAliasTable[]): Device {
  const { id, name, enrolled, revoked, last_seen: lastSeen, address, agent } = row;
  return {
    ...{ id, name, created: new Date(row.created) },
    ...(enrolled === null ? {} : { enrolled: new Date(enrolled) }),
    ...(revoked === null ? {} : { revoked: new Date(revoked) }),
    ...(lastSeen === null ? {} : { lastSeen: new Date(lastSeen) }),
    ...(address === null ? {} : { address }),
    ...(agent === null ? {} : { agent: JSON.parse(agent) as NonNullable<Device['agent']> }),
    services: JSON.parse(row.services) as Device['services'],
    tags: JSON.parse(row.tags) as Device['tags'],
    aliases: aliases.map(({ alias, kind }): Alias => ({ name: alias, kind })),
  };
}
