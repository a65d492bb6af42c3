// Checks the chain in the database against itself, against its signed heads and against a head kept elsewhere.
import type { Kysely, Schema } from '../store/index.ts';
import { type Checkpoint, type SignedHead, sealsOf } from './audit-key.ts';
import { pages } from './audit-read.ts';
import type { ChainEnd } from './audit-row.ts';
import { genesis } from './canonical.ts';
import { ChainCheck, headName, keptName, type VerifyReport } from './chain-check.ts';

export interface VerifyOptions {
  /** A head that was kept outside: from the log, from `audit head`. */
  readonly head?: SignedHead | undefined;
  /** Public keys of earlier times, PEM. */
  readonly keys?: readonly string[] | undefined;
}

export interface VerifyDeps extends VerifyOptions {
  readonly db: Kysely<Schema>;
  readonly publicKey: string;
  /** The end as this process knows it. */
  readonly end: ChainEnd;
  /** How many rows may stand unsigned at the end. */
  readonly unsigned: number;
  /** Heads that the gate itself has kept outside the database. */
  readonly kept: readonly SignedHead[];
}

/** Reads everything once, page by page; the gate goes on meanwhile. */
export async function verifyStore(deps: VerifyDeps): Promise<VerifyReport> {
  const { db, end, head } = deps;
  const seals = sealsOf([deps.publicKey, ...(deps.keys ?? [])]);
  const checkpoint = await lastCheckpoint(db);
  const isSealed = checkpoint !== undefined && seals.isCheckpoint(checkpoint);
  const check = new ChainCheck(isSealed ? checkpoint : { seq: 0, hash: genesis });
  if (checkpoint && !isSealed) {
    check.problem(checkpoint.seq, 'signature', `the checkpoint at row ${checkpoint.seq} was not signed with this key`);
  }
  const start = check.end?.seq ?? 0;
  check.anchor(end, 'the running gate');
  if (head) expect(check, head, seals.isHead(head), start);
  for (const own of deps.kept) if (own.seq > start && seals.isHead(own)) check.anchor(own, keptName(own));

  let signed = start;
  for await (const page of pages(db, start, end.seq)) {
    const heads = await db
      .selectFrom('audit_head')
      .selectAll()
      .where('seq', '>=', page[0]?.seq ?? 0)
      .where('seq', '<=', page.at(-1)?.seq ?? 0)
      .execute();
    for (const stored of heads) {
      if (seals.isHead(stored)) check.anchor(stored, headName(stored));
      else check.problem(stored.seq, 'signature', `the head at row ${stored.seq} was not signed with this key`);
      signed = Math.max(signed, stored.seq);
    }
    for (const row of page) check.row(row);
  }
  const beyond = await db.selectFrom('audit_head').selectAll().where('seq', '>', end.seq).execute();
  for (const stored of beyond) if (seals.isHead(stored)) check.anchor(stored, headName(stored));
  if (end.seq - signed > deps.unsigned) {
    check.problem(
      signed + 1,
      'unsigned',
      `${end.seq - signed} rows after row ${signed} have no signed head; heads were removed`,
    );
  }
  return check.finish();
}

/** A head from outside: what it says must be found, unless pruning has removed it on purpose. */
export function expect(check: ChainCheck, head: SignedHead, isSealed: boolean, start: number): void {
  if (!isSealed) check.problem(head.seq, 'signature', `the given head (row ${head.seq}) was not signed with this key`);
  else if (head.seq <= start) check.note(`the given head is of row ${head.seq}; rows up to ${start} were pruned`);
  else check.anchor(head, 'the given head');
}

export async function lastCheckpoint(db: Kysely<Schema>): Promise<Checkpoint | undefined> {
  return db.selectFrom('audit_checkpoint').selectAll().orderBy('seq', 'desc').limit(1).executeTakeFirst();
}
