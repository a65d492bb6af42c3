// Tables of features/tunnel: tunnels, and the two sides of each with the hashes of their tokens.
import type { Build } from './migrate.ts';

export async function tunnel({ db, types }: Build): Promise<void> {
  await db.schema
    .createTable('tunnel')
    .addColumn('id', 'text', column => column.primaryKey())
    .addColumn('thing', 'text')
    .addColumn('services', 'text', column => column.notNull())
    .addColumn('description', 'text')
    .addColumn('tags', 'text', column => column.notNull())
    .addColumn('lifetime', types.whole, column => column.notNull())
    .addColumn('opener_kind', 'text', column => column.notNull())
    .addColumn('opener_id', 'text', column => column.notNull())
    .addColumn('created', 'text', column => column.notNull())
    .addColumn('updated', 'text', column => column.notNull())
    .addColumn('expires', 'text', column => column.notNull())
    .addColumn('closed', 'text')
    .execute();
  await db.schema
    .createTable('tunnel_side')
    .addColumn('tunnel', 'text', column => column.notNull().references('tunnel.id').onDelete('cascade'))
    .addColumn('side', 'text', column => column.notNull())
    .addColumn('hash', 'text', column => column.notNull().unique())
    .addColumn('spent', 'text')
    .addColumn('client', 'text')
    .addColumn('state', 'text', column => column.notNull())
    .addColumn('changed', 'text')
    .addColumn('from', 'text')
    .addPrimaryKeyConstraint('tunnel_side_key', ['tunnel', 'side'])
    .execute();
}
