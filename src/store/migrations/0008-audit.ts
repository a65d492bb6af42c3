// The audit's own memory of which sessions are open, so that a start need not read the whole chain to find out.
import { sql } from 'kysely';
import type { Build } from './migrate.ts';

export async function auditOpen({ db, types }: Build): Promise<void> {
  await db.schema
    .createTable('audit_open')
    .addColumn('session', 'text', column => column.primaryKey())
    .addColumn('seq', types.whole, column => column.notNull())
    .addColumn('at', 'text', column => column.notNull())
    .addColumn('event', 'text', column => column.notNull())
    .addColumn('who_kind', 'text', column => column.notNull())
    .addColumn('who_id', 'text', column => column.notNull())
    .addColumn('credential', 'text', column => column.notNull())
    .addColumn('from', 'text')
    .addColumn('resource', 'text', column => column.notNull())
    .addColumn('rule', 'text')
    .addColumn('action', 'text')
    .addColumn('worker', 'text')
    .execute();
  // Once, over everything there is: a session of one row has an opening and no end.
  await sql`insert into audit_open
    select session, seq, at, event, who_kind, who_id, credential, "from", resource, rule, null, null from audit where seq in (
      select min(seq) from audit where session is not null group by session having count(*) = 1
    ) and outcome = 'allowed'`.execute(db);
}
