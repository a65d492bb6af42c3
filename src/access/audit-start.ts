// Where the chain goes on after a start, and whether its youngest part is what was left behind.
import type { Kysely, Schema } from '../store/index.ts';
import type { ChainStart } from './audit-chain.ts';
import { type AuditKey, type Seals, type SignedHead, sealsOf } from './audit-key.ts';
import { OpenSessions } from './audit-open.ts';
import { pages } from './audit-read.ts';
import type { ChainEnd } from './audit-row.ts';
import { lastCheckpoint } from './audit-verify.ts';
import { genesis } from './canonical.ts';
import { ChainCheck, headName, keptName, type Problem } from './chain-check.ts';

/** How many rows before the end are looked at, at most; `verify` looks at all. */
const farthest = 5000;

/**
 * Reads from the newest signed head to the end. Where rows are gone that a head was signed over, the numbers are not
 * used again: the gap stays, and every later verification finds it. `kept` is the head from outside the database.
 */
export async function findEnd(
  db: Kysely<Schema>,
  key: AuditKey,
  kept: SignedHead | undefined,
): Promise<ChainStart & { problems: readonly Problem[]; isMissed: boolean }> {
  const newest = (table: 'audit' | 'audit_head') =>
    db.selectFrom(table).select(['seq', 'hash']).orderBy('seq', 'desc').limit(1).executeTakeFirst();
  const seals = sealsOf([key.publicKey]);
  const checkpoint = await lastCheckpoint(db);
  // One that is not ours excuses nothing.
  const isSealed = checkpoint !== undefined && seals.isCheckpoint(checkpoint);
  const start: ChainEnd = isSealed ? checkpoint : { seq: 0, hash: genesis };
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
  } else if (head && seals.isHead(head)) check.anchor(head, headName(head));
  else if (head) check.problem(head.seq, 'signature', `the head at row ${head.seq} is forged`);
  if (checkpoint && !isSealed) {
    check.problem(checkpoint.seq, 'signature', `the checkpoint at row ${checkpoint.seq} was not signed with this key`);
  }
  const open = new OpenSessions();
  for await (const page of pages(db, from, last.seq)) {
    for (const row of page) {
      check.row(row);
      if (row.seq > (head?.seq ?? 0)) open.note(row);
    }
  }
  const isMissed = kept !== undefined && !(await isHeld(db, check, { kept, last, seals, pruned: start.seq }));
  const { problems } = check.finish();
  const end = { seq: Math.max(last.seq, head?.seq ?? 0, kept?.seq ?? 0), hash: last.hash };
  // A number that no row has must not be signed.
  const signed = end.seq > last.seq ? end.seq : (head?.seq ?? start.seq);
  return { end, head: signed, open, problems, isMissed };
}

/** The head from the file against what the database holds of its row. */
async function isHeld(
  db: Kysely<Schema>,
  check: ChainCheck,
  { kept, last, seals, pruned }: { kept: SignedHead; last: ChainEnd; seals: Seals; pruned: number },
): Promise<boolean> {
  if (!seals.isHead(kept)) {
    check.problem(kept.seq, 'signature', `${keptName(kept)} was not signed with this key`);
    return false;
  }
  if (kept.seq <= pruned) return true;
  const row = await db.selectFrom('audit').select('hash').where('seq', '=', kept.seq).executeTakeFirst();
  if (row?.hash === kept.hash) return true;
  if (row) {
    const text = `the rows up to ${kept.seq} were rewritten: they are not what ${keptName(kept)} holds`;
    check.problem(kept.seq, 'rewritten', text);
  } else {
    const text = `the rows from ${last.seq + 1} to ${kept.seq} are gone: ${keptName(kept)} holds row ${kept.seq}`;
    check.problem(last.seq + 1, 'truncated', text);
  }
  return false;
}
