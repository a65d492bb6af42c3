// One connection to a SQLite file with the settings that every connection of ours must have, and its errors as Faults.
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite';
import { Fault } from '../core/fault.ts';
import { type Append, type Change, insertStatement } from './writer.ts';

export interface SqliteOptions {
  /** A file, or `:memory:`. */
  readonly path: string;
  /** The most that the database may take on the disk; default: what the disk has. */
  readonly maxBytes?: number | undefined;
}

const pageSize = 4096;

/**
 * synchronous=FULL: in WAL mode NORMAL leaves the last commits to the operating system, and an acknowledged audit row
 * must survive a power cut. busy_timeout: the append thread and the main connection take turns at the one write lock.
 */
export function openConnection({ path, maxBytes }: SqliteOptions): DatabaseSync {
  const database = new DatabaseSync(path, { timeout: 5000, enableForeignKeyConstraints: true });
  database.exec(`pragma page_size = ${pageSize}; pragma journal_mode = wal; pragma synchronous = full;`);
  database.exec('pragma temp_store = memory; pragma trusted_schema = off;');
  if (maxBytes !== undefined) database.exec(`pragma max_page_count = ${Math.max(1, Math.floor(maxBytes / pageSize))}`);
  return database;
}

/** Makes all changes in one transaction. Statements are kept in `prepared` between calls. */
export function appendRows(
  database: DatabaseSync,
  changes: readonly Change[],
  prepared: Map<string, StatementSync>,
): void {
  const statementFor = (name: string, text: () => string): StatementSync => {
    const statement = prepared.get(name) ?? database.prepare(text());
    prepared.set(name, statement);
    return statement;
  };
  database.exec('begin immediate');
  try {
    for (const change of changes) {
      if ('remove' in change) {
        const { table, column } = change;
        const statement = statementFor(`- ${table}`, () => `delete from "${table}" where "${column}" = ?`);
        for (const value of change.remove) statement.run(value);
      } else
        insertAll(
          statementFor(change.table, () => insertStatement(change, () => '?')),
          change,
        );
    }
    database.exec('commit');
  } catch (error) {
    // SQLITE_FULL and SQLITE_IOERR may have rolled back by themselves; then there is nothing left to undo.
    if (database.isTransaction) database.exec('rollback');
    throw error;
  }
}

function insertAll(statement: StatementSync, { columns, values }: Append): void {
  const width = columns.length;
  for (let at = 0; at < values.length; at += width) {
    statement.run(...(values.slice(at, at + width) as SQLInputValue[]));
  }
}

// https://www.sqlite.org/rescode.html, the primary codes that have something to say to the operator
const reasons: Readonly<Record<number, string>> = {
  5: 'it is locked by another program',
  8: 'it is read-only; check the owner and mode of the file and its folder',
  10: 'the disk reports an error',
  11: 'the file is damaged; restore a backup',
  13: 'the disk is full; make room, or remove old audit records',
  14: 'the file cannot be opened; check the folder, its owner and its mode',
  26: 'the file is not a SQLite database',
};

/** Whether the error is about the file or the disk, and not about the statement. */
export const isAboutFile = (error: unknown): boolean =>
  reasons[((error as { errcode?: number } | undefined)?.errcode ?? 0) & 0xff] !== undefined;

/** What a SQLite error means for whoever runs the gate. */
export function sqliteFault(error: unknown, path: string): Fault {
  if (error instanceof Fault) return error;
  const code = (error as { errcode?: number }).errcode;
  const reason = code === undefined ? undefined : reasons[code & 0xff];
  if (reason === undefined)
    return new Fault('bug', 'the database refused a statement; the log has the details', { cause: error });
  return new Fault('unreachable', `the database ${path} cannot be used: ${reason}`, {
    cause: error,
    facts: { errcode: code },
  });
}
