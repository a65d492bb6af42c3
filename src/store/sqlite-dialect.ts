// Kysely over node:sqlite: the few things in which the two differ.
import type { DatabaseSync, SQLInputValue, StatementSync } from 'node:sqlite';
import { SqliteDialect } from 'kysely';
import { isAboutFile, sqliteFault } from './sqlite-connection.ts';

const cacheSize = 200;

/** A dialect over an open connection; `Kysely.destroy` closes it. */
export function sqliteDialect(database: DatabaseSync): SqliteDialect {
  const cache = new Map<string, StatementSync>();
  const prepare = (text: string): StatementSync => {
    // A deferred transaction that reads first and then writes fails at once (SQLITE_BUSY_SNAPSHOT) when the append
    // thread has written in between, and no timeout helps: so every transaction of ours takes the write lock first.
    const sql = text === 'begin' ? 'begin immediate' : text;
    const known = cache.get(sql);
    if (known) return known;
    const statement = database.prepare(sql);
    if (cache.size >= cacheSize) cache.delete(cache.keys().next().value ?? '');
    cache.set(sql, statement);
    return statement;
  };
  return new SqliteDialect({
    database: {
      close: () => {
        cache.clear();
        database.close();
      },
      prepare: text => {
        const statement = prepare(text);
        return {
          reader: statement.columns().length > 0,
          all: values => told(() => statement.all(...values.map(bindable)).map(plain)),
          run: values => told(() => statement.run(...values.map(bindable))),
          iterate: values => rows(database.prepare(text), values), // its own: a kept one may be asked again meanwhile
        };
      },
    },
  });
}

/** A full disk is for the operator to read, in a sentence; a refused statement is the caller's own. */
function told<T>(run: () => T): T {
  try {
    return run();
  } catch (error) {
    throw isAboutFile(error) ? sqliteFault(error, 'of this gate') : error;
  }
}

function* rows(statement: StatementSync, values: readonly unknown[]): IterableIterator<unknown> {
  for (const row of statement.iterate(...values.map(bindable))) yield plain(row);
}

/** Rows come without a prototype, which deepEqual and spread-minded code do not expect. */
const plain = (row: Record<string, unknown>): Record<string, unknown> => ({ ...row });

function bindable(value: unknown): SQLInputValue {
  if (value === undefined) return null;
  if (typeof value === 'boolean') return value ? 1 : 0;
  return value as SQLInputValue; // node:sqlite itself refuses objects and dates
}
