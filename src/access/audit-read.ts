// Reads the audit's rows: pages, search, and following the end. Never long at a time: SQLite answers on the event loop.
import { setImmediate as breathe } from 'node:timers/promises';
import type { Kysely, Schema } from '../store/index.ts';
import { type AuditRow, type FlatRow, fromTable, type Outcome, toAuditRow } from './audit-row.ts';
import { glob } from './glob.ts';

export interface AuditFilter {
  /** Rows after this number. */
  readonly after?: number | undefined;
  /** Rows before this number: pass `next` of the page before. */
  readonly before?: number | undefined;
  /** From this time on. */
  readonly since?: Date | string | undefined;
  /** Before this time. */
  readonly until?: Date | string | undefined;
  /** `proxy.denied`; `*` matches any run, as in all of these texts. */
  readonly event?: string | undefined;
  /** The user's or device's name. */
  readonly who?: string | undefined;
  readonly credential?: string | undefined;
  readonly session?: string | undefined;
  readonly resource?: string | undefined;
  /** `host:port`: write `203.0.113.7:*` for any port. */
  readonly from?: string | undefined;
  readonly outcome?: Outcome | undefined;
  /** 1–1,000, default 100. Search only. */
  readonly limit?: number | undefined;
}

/** Rows that are looked through in one go, about 10 ms. */
const slice = 4000;

/** Rows with `after < seq <= to`, oldest first, a page at a time. */
export async function* pages(
  db: Kysely<Schema>,
  after: number,
  to: number,
  size = 1000,
): AsyncGenerator<FlatRow[], void, undefined> {
  for (let at = after; at < to; ) {
    const rows = await db
      .selectFrom('audit')
      .selectAll()
      .where('seq', '>', at)
      .where('seq', '<=', to)
      .orderBy('seq')
      .limit(size)
      .execute();
    if (rows.length === 0) return;
    yield rows.map(fromTable);
    at = rows.at(-1)?.seq ?? to;
    await breathe();
  }
}

/** The newest rows that fit, newest first; `next` where there may be more. */
export async function search(
  db: Kysely<Schema>,
  end: number,
  filter: AuditFilter,
): Promise<{ rows: AuditRow[]; next?: number }> {
  const limit = Math.min(1000, Math.max(1, filter.limit ?? 100));
  const range = await seqRange(db, end, filter);
  const fits = matcher(filter);
  const rows: AuditRow[] = [];
  let high = range.high;
  while (high >= range.low) {
    // A name has an index of its own; the rest is looked through slice by slice.
    const low =
      filter.who !== undefined && !filter.who.includes('*') ? range.low : Math.max(range.low, high - slice + 1);
    const found = await query(db, filter, low, high, slice);
    for (const row of found) {
      if (!fits(row)) continue;
      rows.push(toAuditRow(row));
      if (rows.length === limit) return row.seq > range.low ? { rows, next: row.seq } : { rows };
    }
    high = found.length === slice ? (found.at(-1)?.seq ?? low) - 1 : low - 1;
    await breathe();
  }
  return { rows };
}

async function query(
  db: Kysely<Schema>,
  filter: AuditFilter,
  low: number,
  high: number,
  most: number,
): Promise<FlatRow[]> {
  let select = db.selectFrom('audit').selectAll().where('seq', '>=', low).where('seq', '<=', high);
  for (const [column, value] of [
    ['who_id', filter.who],
    ['event', filter.event],
    ['credential', filter.credential],
    ['session', filter.session],
    ['resource', filter.resource],
    ['outcome', filter.outcome],
  ] as const) {
    if (value !== undefined && !value.includes('*')) select = select.where(column, '=', value);
  }
  return (await select.orderBy('seq', 'desc').limit(most).execute()).map(fromTable);
}

/** Which numbers the times and numbers of a filter allow. Exact although a clock may have been set back in between. */
export async function seqRange(
  db: Kysely<Schema>,
  end: number,
  { after, before, since, until }: AuditFilter,
): Promise<{ low: number; high: number }> {
  const edge = async (where: '>=' | '<', time: Date | string): Promise<{ low: number | null; high: number | null }> =>
    db
      .selectFrom('audit')
      .select(({ fn }) => [fn.min<number | null>('seq').as('low'), fn.max<number | null>('seq').as('high')])
      .where('at', where, new Date(time).toISOString())
      .executeTakeFirstOrThrow();
  const first = since === undefined ? 1 : ((await edge('>=', since)).low ?? end + 1);
  const last = until === undefined ? end : ((await edge('<', until)).high ?? 0);
  return { low: Math.max(first, (after ?? 0) + 1), high: Math.min(last, end, before === undefined ? end : before - 1) };
}

/** Whether a row fits everything that a filter says. */
export function matcher(filter: AuditFilter): (row: FlatRow) => boolean {
  const tests: ((row: FlatRow) => boolean)[] = [];
  const text = (wanted: string | undefined, of: (row: FlatRow) => string | null): void => {
    if (wanted === undefined) return;
    const matches = glob(wanted);
    tests.push(row => matches(of(row) ?? ''));
  };
  text(filter.event, row => row.event);
  text(filter.who, row => row.whoId);
  text(filter.credential, row => row.credential);
  text(filter.session, row => row.session);
  text(filter.resource, row => row.resource);
  text(filter.from, row => row.from);
  text(filter.outcome, row => row.outcome);
  if (filter.since !== undefined) {
    const since = new Date(filter.since).toISOString();
    tests.push(row => row.at >= since);
  }
  if (filter.until !== undefined) {
    const until = new Date(filter.until).toISOString();
    tests.push(row => row.at < until);
  }
  return row => tests.every(fits => fits(row));
}
