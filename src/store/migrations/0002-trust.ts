// Tables of trust/: users and their groups, what they prove themselves with, and the certificates we issued.
import type { Build } from './migrate.ts';

export async function trust({ db, types }: Build): Promise<void> {
  await db.schema
    .createTable('user')
    .addColumn('name', 'text', column => column.primaryKey())
    .addColumn('display', 'text', column => column.notNull())
    .addColumn('state', 'text', column => column.notNull())
    .addColumn('roles', 'text', column => column.notNull())
    .addColumn('created', 'text', column => column.notNull())
    .execute();
  await db.schema
    .createTable('group_member')
    .addColumn('group', 'text', column => column.notNull())
    .addColumn('user', 'text', column => column.notNull().references('user.name').onDelete('cascade'))
    .addPrimaryKeyConstraint('group_member_key', ['group', 'user'])
    .execute();
  await db.schema
    .createTable('password')
    .addColumn('user', 'text', column => column.primaryKey().references('user.name').onDelete('cascade'))
    .addColumn('id', 'text', column => column.notNull())
    .addColumn('hash', 'text', column => column.notNull())
    .addColumn('changed', 'text', column => column.notNull())
    .execute();
  await db.schema
    .createTable('token')
    .addColumn('id', 'text', column => column.primaryKey())
    .addColumn('hash', 'text', column => column.notNull().unique())
    .addColumn('user', 'text', column => column.notNull().references('user.name').onDelete('cascade'))
    .addColumn('kind', 'text', column => column.notNull())
    .addColumn('note', 'text', column => column.notNull())
    .addColumn('scope', 'text', column => column.notNull())
    .addColumn('created', 'text', column => column.notNull())
    .addColumn('expires', 'text')
    .addColumn('revoked', 'text')
    .execute();
  await db.schema
    .createTable('access_key')
    .addColumn('id', 'text', column => column.primaryKey())
    .addColumn('user', 'text', column => column.notNull().references('user.name').onDelete('cascade'))
    .addColumn('secret', 'text', column => column.notNull())
    .addColumn('created', 'text', column => column.notNull())
    .addColumn('expires', 'text')
    .addColumn('revoked', 'text')
    .execute();
  await db.schema
    .createTable('one_time_code')
    .addColumn('id', 'text', column => column.primaryKey())
    .addColumn('hash', 'text', column => column.notNull().unique())
    .addColumn('purpose', 'text', column => column.notNull())
    .addColumn('kind', 'text', column => column.notNull())
    .addColumn('name', 'text', column => column.notNull())
    .addColumn('created', 'text', column => column.notNull())
    .addColumn('expires', 'text', column => column.notNull())
    .addColumn('spent', 'text')
    .execute();
  await db.schema
    .createTable('certificate')
    .addColumn('serial', 'text', column => column.primaryKey())
    .addColumn('fingerprint', 'text', column => column.notNull().unique())
    .addColumn('issuer', 'text', column => column.notNull())
    .addColumn('kind', 'text', column => column.notNull())
    .addColumn('name', 'text', column => column.notNull())
    .addColumn('names', 'text', column => column.notNull())
    .addColumn('subject', 'text', column => column.notNull())
    .addColumn('not_before', 'text', column => column.notNull())
    .addColumn('not_after', 'text', column => column.notNull())
    .addColumn('pem', 'text', column => column.notNull())
    .addColumn('revoked', 'text')
    .addColumn('reason', 'text')
    .execute();
  await db.schema.createIndex('certificate_name').on('certificate').columns(['kind', 'name']).execute();
  await db.schema
    .createTable('crl')
    .addColumn('issuer', 'text', column => column.primaryKey())
    .addColumn('number', types.whole, column => column.notNull())
    .execute();
}
