// Where the chain goes on after a start, and whether its youngest part is what was left behind.
import type { Kysely, Schema } from '../store/index.ts';
import type { ChainStart } from './audit-chain.ts';
import { type AuditKey, sealsOf } from './audit-key.ts';
import { OpenSessions } from './audit-open.ts';
import { pages } from './audit-read.ts';
import type { ChainEnd } from './audit-row.ts';
import { lastCheckpoint } from './audit-verify.ts';
import { genesis } from './canonical.ts';
import { ChainCheck, headName, type Problem } from './chain-check.ts';

/** How many rows before the end are looked at, at most; `verify` looks at all. */
const farthest = 5000;

/**
 * Reads from the newest signed head to the end. Where rows are gone that a head was signed over, the numbers are not
 * used again: the gap stays, and every later verification finds it.
 */
export async function findEnd(
  db: Kysely<Schema>,
  key: AuditKey,
): Promise<ChainStart & { problems: readonly Problem[] }> {
  const newest = (table: 'audit' | 'audit_head') =>
    db.selectFrom(table).select(['seq', 'hash']).orderBy('seq', 'desc').limit(1).executeTakeFirst();
  const checkpoint = await lastCheckpoint(db);
  const start: ChainEnd = checkpoint ?? { seq: 0, hash: genesis };
  const last = (await newest('audit')) ?? start;
  const head = await db.selectFrom('audit_head').selectAll().orderBy('seq', 'desc').limit(1).executeTakeFirst();

  const from = Math.max(start.seq, Math.min(head?.seq ?? 0, last.seq) - 1, last.seq - farthest);
  const check = new ChainCheck(from === start.seq ? start : undefined);
  if (head && head.key !== key.id) {
    check.problem(
      head.seq,
      'signature',
      'the newest head was signed with another key; put the old key back, or keep its public half for verify',
    );
  } else if (head && sealsOf([key.publicKey]).isHead(head)) check.anchor(head, headName(head));
  else if (head) check.problem(head.seq, 'signature', `the head at row ${head.seq} is forged`);
  const open = new OpenSessions();
  for await (const page of pages(db, from, last.seq)) {
    for (const row of page) {
      check.row(row);
      if (row.seq > (head?.seq ?? 0)) open.note(row);
    }
  }
  const { problems } = check.finish();
  const end = { seq: Math.max(last.seq, head?.seq ?? 0), hash: last.hash };
  return { end, head: head?.seq ?? start.seq, open, problems };
}
