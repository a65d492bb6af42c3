// Tables of access/: the audit chain, its signed heads and checkpoints, and approvals.
import type { Build } from './migrate.ts';

export async function access({ db, types }: Build): Promise<void> {
  await db.schema
    .createTable('audit')
    .addColumn('seq', types.key, column => column.primaryKey())
    .addColumn('at', 'text', column => column.notNull())
    .addColumn('event', 'text', column => column.notNull())
    .addColumn('session', 'text')
    .addColumn('who_kind', 'text', column => column.notNull())
    .addColumn('who_id', 'text', column => column.notNull())
    .addColumn('credential', 'text', column => column.notNull())
    .addColumn('from', 'text')
    .addColumn('resource', 'text', column => column.notNull())
    .addColumn('rule', 'text')
    .addColumn('outcome', 'text', column => column.notNull())
    .addColumn('facts', 'text', column => column.notNull())
    .addColumn('prev', 'text', column => column.notNull())
    .addColumn('hash', 'text', column => column.notNull())
    .execute();
  // Only these two: each index costs every connection a little. Times grow with seq, so the first is cheap to keep.
  await db.schema.createIndex('audit_at').on('audit').column('at').execute();
  await db.schema.createIndex('audit_who').on('audit').columns(['who_id', 'seq']).execute();

  await db.schema
    .createTable('audit_head')
    .addColumn('seq', types.key, column => column.primaryKey())
    .addColumn('at', 'text', column => column.notNull())
    .addColumn('hash', 'text', column => column.notNull())
    .addColumn('key', 'text', column => column.notNull())
    .addColumn('signature', 'text', column => column.notNull())
    .execute();
  await db.schema
    .createTable('audit_checkpoint')
    .addColumn('seq', types.key, column => column.primaryKey())
    .addColumn('at', 'text', column => column.notNull())
    .addColumn('hash', 'text', column => column.notNull())
    .addColumn('before', 'text', column => column.notNull())
    .addColumn('key', 'text', column => column.notNull())
    .addColumn('signature', 'text', column => column.notNull())
    .execute();

  await db.schema
    .createTable('approval')
    .addColumn('id', 'text', column => column.primaryKey())
    .addColumn('state', 'text', column => column.notNull())
    .addColumn('created', 'text', column => column.notNull())
    .addColumn('expires', 'text', column => column.notNull())
    .addColumn('who_kind', 'text', column => column.notNull())
    .addColumn('who_id', 'text', column => column.notNull())
    .addColumn('credential', 'text', column => column.notNull())
    .addColumn('from', 'text')
    .addColumn('action', 'text', column => column.notNull())
    .addColumn('resource', 'text', column => column.notNull())
    .addColumn('asks', 'text', column => column.notNull())
    .addColumn('rule', 'text', column => column.notNull())
    .addColumn('by', 'text', column => column.notNull())
    .addColumn('count', 'integer', column => column.notNull())
    .addColumn('once', 'integer', column => column.notNull())
    .addColumn('lasts', types.whole, column => column.notNull())
    .execute();
  await db.schema.createIndex('approval_who').on('approval').columns(['who_id', 'action', 'resource']).execute();
  await db.schema
    .createTable('approval_vote')
    .addColumn('approval', 'text', column => column.notNull().references('approval.id').onDelete('cascade'))
    .addColumn('voter', 'text', column => column.notNull())
    .addColumn('credential', 'text', column => column.notNull())
    .addColumn('vote', 'text', column => column.notNull())
    .addColumn('reason', 'text', column => column.notNull())
    .addColumn('at', 'text', column => column.notNull())
    .addPrimaryKeyConstraint('approval_vote_key', ['approval', 'voter'])
    .execute();
}
