// Tables of features/device: the registry.
import type { Build } from './migrate.ts';

export async function device({ db }: Build): Promise<void> {
  await db.schema
    .createTable('device')
    .addColumn('id', 'text', column => column.primaryKey())
    .addColumn('name', 'text', column => column.notNull().unique())
    .addColumn('created', 'text', column => column.notNull())
    .addColumn('enrolled', 'text')
    .addColumn('revoked', 'text')
    .addColumn('last_seen', 'text')
    .addColumn('address', 'text')
    .addColumn('agent', 'text')
    .addColumn('services', 'text', column => column.notNull())
    .addColumn('tags', 'text', column => column.notNull())
    .execute();
  await db.schema
    .createTable('device_alias')
    .addColumn('alias', 'text', column => column.primaryKey())
    .addColumn('device', 'text', column => column.notNull().references('device.id').onDelete('cascade'))
    .addColumn('kind', 'text', column => column.notNull())
    .execute();
}
