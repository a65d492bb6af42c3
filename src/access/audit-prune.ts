// Removes old rows and signs where the chain goes on, so that what is left still verifies.
import { setImmediate as breathe } from 'node:timers/promises';
import type { Kysely, Schema } from '../store/index.ts';
import { type AuditKey, type Checkpoint, sealsOf } from './audit-key.ts';
import { seqRange } from './audit-read.ts';
import type { ChainEnd } from './audit-row.ts';
import { lastCheckpoint } from './audit-verify.ts';
import { genesis } from './canonical.ts';

export interface PruneOptions {
  readonly db: Kysely<Schema>;
  readonly key: AuditKey;
  readonly end: ChainEnd;
  readonly before: Date;
  readonly now: string;
}

/** Rows that one transaction removes; short enough for whoever waits for the write lock. */
const slice = 2000;

/**
 * The checkpoint comes first, in one commit; the rows then go slice by slice. Should the power fail in between, the
 * rest goes at the next start: rows up to a checkpoint count no more.
 */
export async function prune(options: PruneOptions): Promise<Checkpoint & { readonly removed: number }> {
  const { db, key, end, before, now } = options;
  const known = await lastCheckpoint(db);
  const start = known ?? { seq: 0, hash: genesis };
  // Only the unbroken old part: a row in the middle whose clock was wrong stays until all before it may go.
  const { low } = await seqRange(db, end.seq, { since: before });
  const last = Math.min(low - 1, end.seq);
  const row =
    last <= start.seq
      ? undefined
      : await db
          .selectFrom('audit')
          .select(['seq', 'hash'])
          .where('seq', '<=', last)
          .orderBy('seq', 'desc')
          .limit(1)
          .executeTakeFirst();
  const time = before.toISOString();
  if (!row || row.seq <= start.seq) return { ...(known ?? key.signCheckpoint(start, now, time)), removed: 0 };

  const point = key.signCheckpoint(row, now, time);
  await db.insertInto('audit_checkpoint').values(point).execute();
  return { ...point, removed: await removeUpTo(db, row.seq) };
}

/** Ends what a prune before the last stop had left over. */
export async function sweepPruned(db: Kysely<Schema>, key: AuditKey): Promise<void> {
  const point = await lastCheckpoint(db);
  // A forged one must not make us remove what somebody wants gone.
  if (point && sealsOf([key.publicKey]).isCheckpoint(point)) await removeUpTo(db, point.seq);
}

async function removeUpTo(db: Kysely<Schema>, seq: number): Promise<number> {
  let removed = 0;
  await db.deleteFrom('audit_head').where('seq', '<=', seq).execute();
  for (;;) {
    const oldest = await db.selectFrom('audit').select('seq').orderBy('seq').limit(1).executeTakeFirst();
    if (!oldest || oldest.seq > seq) return removed;
    const { numDeletedRows } = await db
      .deleteFrom('audit')
      .where('seq', '<=', Math.min(seq, oldest.seq + slice - 1))
      .executeTakeFirstOrThrow();
    removed += Number(numDeletedRows);
    await breathe();
  }
}
