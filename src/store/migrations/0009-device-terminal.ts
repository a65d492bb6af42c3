// Tables of features/device: the SSH host keys that terminals in the browser have pinned.
import type { Build } from './migrate.ts';

export async function deviceTerminal({ db }: Build): Promise<void> {
  await db.schema
    .createTable('device_host_key')
    .addColumn('device', 'text', column => column.notNull().references('device.id').onDelete('cascade'))
    .addColumn('service', 'text', column => column.notNull())
    .addColumn('algorithm', 'text', column => column.notNull())
    .addColumn('fingerprint', 'text', column => column.notNull())
    .addColumn('pinned', 'text', column => column.notNull())
    .addColumn('by', 'text', column => column.notNull())
    .addPrimaryKeyConstraint('device_host_key_pk', ['device', 'service'])
    .execute();
}
