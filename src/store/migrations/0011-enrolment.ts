// Links with which people fetch a certificate of their own, and which certificate a renewed one came from.
import type { Build } from './migrate.ts';

export async function enrolment({ db }: Build): Promise<void> {
  await db.schema
    .createTable('enrolment')
    .addColumn('id', 'text', column => column.primaryKey())
    .addColumn('hash', 'text', column => column.notNull().unique())
    .addColumn('user', 'text', column => column.notNull())
    .addColumn('wish', 'text', column => column.notNull())
    .addColumn('created', 'text', column => column.notNull())
    .addColumn('expires', 'text', column => column.notNull())
    .addColumn('ended', 'text')
    .addColumn('serial', 'text')
    .execute();
  await db.schema.alterTable('certificate').addColumn('replaces', 'text').execute();
}
