// Tables of endpoint/: endpoints with their end, and the addresses that a sign-in unlocked.
import type { Build } from './migrate.ts';

export async function endpoint({ db, types }: Build): Promise<void> {
  await db.schema
    .createTable('endpoint')
    .addColumn('id', 'text', column => column.primaryKey())
    .addColumn('state', 'text', column => column.notNull())
    .addColumn('created', 'text', column => column.notNull())
    .addColumn('opened', 'text')
    .addColumn('until', 'text', column => column.notNull())
    .addColumn('ended', 'text')
    .addColumn('cause', 'text')
    .addColumn('owner_kind', 'text', column => column.notNull())
    .addColumn('owner_id', 'text', column => column.notNull())
    .addColumn('credential', 'text', column => column.notNull())
    .addColumn('owner_groups', 'text', column => column.notNull())
    .addColumn('from', 'text', column => column.notNull())
    .addColumn('target', 'text', column => column.notNull())
    .addColumn('resource', 'text', column => column.notNull())
    .addColumn('wanted', types.whole, column => column.notNull())
    .addColumn('reason', 'text', column => column.notNull())
    .addColumn('tls', 'text', column => column.notNull())
    .addColumn('port', types.whole)
    .addColumn('name', 'text')
    .addColumn('limits', 'text', column => column.notNull())
    .addColumn('latched', 'text')
    .addColumn('used', types.whole, column => column.notNull())
    .addColumn('approval', 'text')
    .addColumn('session', 'text')
    .addColumn('napter', 'text')
    .execute();
  await db.schema.createIndex('endpoint_state').on('endpoint').columns(['state', 'ended']).execute();
  await db.schema
    .createTable('endpoint_unlock')
    .addColumn('endpoint', 'text', column => column.notNull().references('endpoint.id').onDelete('cascade'))
    .addColumn('address', 'text', column => column.notNull())
    .addColumn('who', 'text', column => column.notNull())
    .addColumn('at', 'text', column => column.notNull())
    .addPrimaryKeyConstraint('endpoint_unlock_key', ['endpoint', 'address'])
    .execute();
}
