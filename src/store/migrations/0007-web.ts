// Tables of web/ and of the second factor: codes of an authenticator, and who has signed in with which certificate.
import type { Build } from './migrate.ts';

export async function web({ db, types }: Build): Promise<void> {
  await db.schema
    .createTable('totp')
    .addColumn('user', 'text', column => column.primaryKey().references('user.name').onDelete('cascade'))
    .addColumn('secret', 'text', column => column.notNull())
    .addColumn('created', 'text', column => column.notNull())
    .addColumn('last', types.whole, column => column.notNull())
    .execute();
  await db.schema
    .createTable('web_sign_in')
    .addColumn('credential', 'text', column => column.primaryKey())
    .addColumn('user', 'text', column => column.notNull().references('user.name').onDelete('cascade'))
    .addColumn('at', 'text', column => column.notNull())
    .execute();
}
