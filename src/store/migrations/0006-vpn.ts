// Tables of features/vpn: hubs made at run time, members, groups, and the password of administrators.
import type { Build } from './migrate.ts';

export async function vpn({ db }: Build): Promise<void> {
  await db.schema
    .createTable('vpn_hub')
    .addColumn('name', 'text', column => column.primaryKey())
    .addColumn('settings', 'text', column => column.notNull())
    .addColumn('created', 'text', column => column.notNull())
    .execute();
  await db.schema
    .createTable('vpn_member')
    .addColumn('hub', 'text', column => column.notNull())
    .addColumn('user', 'text', column => column.notNull().references('user.name').onDelete('cascade'))
    .addColumn('id', 'text', column => column.notNull().unique())
    .addColumn('proof', 'text', column => column.notNull())
    .addColumn('secret', 'text')
    .addColumn('hash', 'text')
    .addColumn('certificate', 'text')
    .addColumn('common_name', 'text', column => column.notNull())
    .addColumn('serial', 'text', column => column.notNull())
    .addColumn('realname', 'text', column => column.notNull())
    .addColumn('note', 'text', column => column.notNull())
    .addColumn('group', 'text', column => column.notNull())
    .addColumn('policy', 'text')
    .addColumn('expires', 'text')
    .addColumn('created', 'text', column => column.notNull())
    .addColumn('updated', 'text', column => column.notNull())
    .addColumn('logins', 'integer', column => column.notNull())
    .addColumn('last_login', 'text')
    .addPrimaryKeyConstraint('vpn_member_key', ['hub', 'user'])
    .execute();
  await db.schema
    .createTable('vpn_group')
    .addColumn('hub', 'text', column => column.notNull())
    .addColumn('name', 'text', column => column.notNull())
    .addColumn('realname', 'text', column => column.notNull())
    .addColumn('note', 'text', column => column.notNull())
    .addColumn('policy', 'text')
    .addPrimaryKeyConstraint('vpn_group_key', ['hub', 'name'])
    .execute();
  await db.schema
    .createTable('vpn_admin')
    .addColumn('name', 'text', column => column.primaryKey())
    .addColumn('id', 'text', column => column.notNull())
    .addColumn('secret', 'text', column => column.notNull())
    .addColumn('created', 'text', column => column.notNull())
    .execute();
}
