// Rows that must not be lost: appended in one durable transaction, off the event loop where the disk may be slow.

/** What a row's column may hold, in both databases. */
export type Value = string | number | null;

/** Rows for one table, all columns of a row after one another: `[a1, b1, a2, b2]` for the columns `a, b`. */
export interface Append {
  readonly table: string;
  readonly columns: readonly string[];
  readonly values: readonly Value[];
  /** Rows whose key is there already are passed over. */
  readonly ifMissing?: true;
}

/** Rows that go: those whose `column` holds one of the values. */
export interface Removal {
  readonly table: string;
  readonly column: string;
  readonly remove: readonly string[];
}

/** What one transaction does, in this order. */
export type Change = Append | Removal;

export interface Writer {
  /**
   * Commits all changes or none; resolves when they are on the disk. One call at a time: the caller groups.
   * @throws Fault `unreachable` when nothing could be written: a full disk, a lost database. After it the caller must
   * look at what the table holds, since a lost connection does not say whether the commit took place.
   */
  append(changes: readonly Change[]): Promise<void>;
}

/** The statement that both databases take, with `?` or `$1` as places. */
export function insertStatement(append: Append, place: (index: number) => string, rows = 1): string {
  const quoted = append.columns.map(column => `"${column}"`).join(', ');
  const width = append.columns.length;
  const row = (index: number): string =>
    `(${append.columns.map((_, column) => place(index * width + column + 1)).join(', ')})`;
  return `insert into "${append.table}" (${quoted}) values ${Array.from({ length: rows }, (_, index) => row(index)).join(', ')}${ifMissing(append)}`;
}

/** Both databases know this form. */
export const ifMissing = (append: Append): string => (append.ifMissing ? ' on conflict do nothing' : '');
