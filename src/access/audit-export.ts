// The audit as a file, with a signed end: JSON lines that an offline verifier checks, or CSV for a spreadsheet.
import { createHash } from 'node:crypto';
import type { Kysely, Schema } from '../store/index.ts';
import type { AuditKey, Checkpoint, SignedHead } from './audit-key.ts';
import { type AuditFilter, matcher, pages, seqRange } from './audit-read.ts';
import { type AuditRow, type ChainEnd, type FlatRow, toAuditRow } from './audit-row.ts';
import { lastCheckpoint } from './audit-verify.ts';

/** `all`: from the first row kept to the end. `range`: without gaps. `filtered`: rows were left out on purpose. */
export type ExportScope = 'all' | 'range' | 'filtered';

/** The last line of an export. */
export interface ExportEnd {
  /** Signed over the last row of `all` and `range`; over the chain's end for `filtered`. */
  readonly head: SignedHead;
  /** Where the chain goes on after pruning. */
  readonly checkpoint?: Checkpoint | undefined;
  readonly scope: ExportScope;
  readonly rows: number;
  /** SHA-256, hex, over all lines before this one, each with its newline. */
  readonly digest: string;
  readonly signature: string;
}

export const exportText = ({ scope, rows, digest, head }: Omit<ExportEnd, 'signature'>): string =>
  `sekisho audit export\n${scope}\n${rows}\n${digest}\n${head.seq}\n${head.hash}\n`;

export interface ExportDeps {
  readonly db: Kysely<Schema>;
  readonly key: AuditKey;
  readonly end: ChainEnd;
  readonly now: () => Date;
  readonly filter: AuditFilter;
}

/** Lines with their newline, a page of rows at a time. */
export const exportLines = (deps: ExportDeps): AsyncGenerator<string, void, undefined> =>
  signed(deps, {
    head: '',
    rows: page => page.map(row => `${rowLine(row)}\n`).join(''),
    end: end => `${JSON.stringify(end)}\n`,
  });

/**
 * RFC 4180 with a header line, behind a byte order mark: without one spreadsheets take UTF-8 for something else, and
 * Japanese names for noise. The signed end is one more record of the same columns: `audit.export`, `signed`, and what
 * the last line of the other format says, as its facts.
 */
export const exportCsv = (deps: ExportDeps): AsyncGenerator<string, void, undefined> =>
  signed(deps, {
    head: `\ufeff${csvColumns.map(([name]) => name).join(',')}\r\n`,
    rows: page => page.map(row => csvRecord(csvColumns.map(([, of]) => of(row)))).join(''),
    end: end => csvRecord(csvColumns.map(([name]) => csvEnd(end)[name] ?? null)),
  });

interface Format {
  readonly head: string;
  readonly rows: (page: readonly FlatRow[]) => string;
  readonly end: (end: ExportEnd) => string;
}

async function* signed(deps: ExportDeps, format: Format): AsyncGenerator<string, void, undefined> {
  const { db, key, end, now } = deps;
  const scope = scopeOf(deps.filter);
  const checkpoint = await lastCheckpoint(db);
  const digest = createHash('sha256').update(format.head);
  let rows = 0;
  let last: ChainEnd = scope === 'all' && checkpoint ? checkpoint : end;
  if (format.head !== '') yield format.head;
  for await (const page of selected(deps)) {
    const text = format.rows(page);
    digest.update(text);
    rows += page.length;
    last = page.at(-1) ?? last;
    yield text;
  }
  const tail = {
    head: key.signHead(scope === 'filtered' ? end : last, now().toISOString()),
    ...(checkpoint ? { checkpoint } : {}),
    scope,
    rows,
    digest: digest.digest('hex'),
  };
  yield format.end({ ...tail, signature: key.signExport(exportText(tail)) });
}

async function* selected({ db, end, filter }: ExportDeps): AsyncGenerator<FlatRow[], void, undefined> {
  const { low, high } = await seqRange(db, end.seq, filter);
  const start = Math.max(low - 1, (await lastCheckpoint(db))?.seq ?? 0);
  // A range has no gaps: the times set its ends, and a row in between whose clock was wrong belongs to it.
  const fits = scopeOf(filter) === 'filtered' ? matcher(filter) : () => true;
  for await (const page of pages(db, start, high)) {
    const rows = page.filter(fits);
    if (rows.length > 0) yield rows;
  }
}

function scopeOf({ after, before, since, until, limit: _, ...rest }: AuditFilter): ExportScope {
  if (Object.values(rest).some(value => value !== undefined)) return 'filtered';
  return [after, before, since, until].every(value => value === undefined) ? 'all' : 'range';
}

/** The row as one line; its facts are the canonical text itself. */
function rowLine(row: FlatRow): string {
  const { facts, prev, hash, ...rest } = toAuditRow({ ...row, facts: '{}' });
  return `${JSON.stringify(rest).slice(0, -1)},"facts":${isJson(row.facts) ? row.facts : JSON.stringify(row.facts)},${JSON.stringify({ prev, hash }).slice(1)}`;
}

/** A damaged row is exported as it is, so that the verifier can point at it. */
function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return !text.includes('\n');
  } catch {
    return false;
  }
}

const csvColumns: readonly (readonly [name: string, of: (row: FlatRow) => string | number | null])[] = [
  ['seq', row => row.seq],
  ['at', row => row.at],
  ['event', row => row.event],
  ['outcome', row => row.outcome],
  ['session', row => row.session],
  ['who_kind', row => row.whoKind],
  ['who_id', row => row.whoId],
  ['credential', row => row.credential],
  ['from', row => row.from],
  ['resource', row => row.resource],
  ['rule', row => row.rule],
  ['facts', row => row.facts],
  ['hash', row => row.hash],
];

const csvEnd = (end: ExportEnd): Readonly<Record<string, string>> => ({
  ...{ at: end.head.at, event: 'audit.export', outcome: 'signed', facts: JSON.stringify(end) },
});

const csvRecord = (cells: readonly (string | number | null)[]): string => `${cells.map(csvCell).join(',')}\r\n`;

/**
 * A spreadsheet runs what begins like a formula, some in Japan also by the wide forms, and names in certificates are
 * written by strangers: those get a quote.
 */
function csvCell(value: string | number | null): string {
  if (typeof value === 'number') return String(value);
  const text = value === null ? '' : /^[=+\-@＝＋－＠\t\r\n]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export type ExportLine = AuditRow | ExportEnd;
