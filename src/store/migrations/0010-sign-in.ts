// Passkeys, people of an OpenID provider, and how a sign-in came about.
import type { Build } from './migrate.ts';

export async function signIn({ db, types }: Build): Promise<void> {
  await db.schema
    .createTable('passkey')
    .addColumn('id', 'text', column => column.primaryKey())
    .addColumn('user', 'text', column => column.notNull().references('user.name').onDelete('cascade'))
    .addColumn('handle', 'text', column => column.notNull())
    .addColumn('label', 'text', column => column.notNull())
    .addColumn('public_key', 'text', column => column.notNull())
    .addColumn('counter', types.whole, column => column.notNull())
    .addColumn('transports', 'text', column => column.notNull())
    .addColumn('synced', types.whole, column => column.notNull())
    .addColumn('created', 'text', column => column.notNull())
    .addColumn('used', 'text')
    .execute();
  await db.schema.createIndex('passkey_user').on('passkey').column('user').execute();
  await db.schema
    .createTable('oidc_identity')
    .addColumn('issuer', 'text', column => column.notNull())
    .addColumn('subject', 'text', column => column.notNull())
    .addColumn('user', 'text', column => column.notNull().references('user.name').onDelete('cascade'))
    .addColumn('created', 'text', column => column.notNull())
    .addPrimaryKeyConstraint('oidc_identity_key', ['issuer', 'subject'])
    .execute();
  await db.schema.createIndex('oidc_identity_user').unique().on('oidc_identity').columns(['issuer', 'user']).execute();
  for (const column of ['how', 'address', 'bound'])
    await db.schema
      .alterTable('token')
      .addColumn(column, 'text', made => made.notNull().defaultTo(''))
      .execute();
  await db.schema.alterTable('token').addColumn('proven', 'text').execute();
}
