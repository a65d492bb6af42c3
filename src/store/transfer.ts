// All rows of one database into another, table by table: PostgreSQL out into a SQLite file, and a SQLite file back in.

import type { DatabaseSync, SQLInputValue } from 'node:sqlite';
import { setImmediate as breathe } from 'node:timers/promises';
import { Kysely, sql } from 'kysely';
import { systemClock } from '../core/clock.ts';
import type { Log } from '../core/parts.ts';
import { type Migration, migrate } from './migrations/migrate.ts';
import { copyTo } from './sqlite.ts';
import { openConnection } from './sqlite-connection.ts';
import { sqliteDialect } from './sqlite-dialect.ts';
import { insertStatement } from './writer.ts';

/** Rows that are moved in one go. */
const slice = 500;

/** A snapshot of a PostgreSQL store as a SQLite file of the same tables. */
export async function copyOut(db: Kysely<never>, list: readonly Migration[], to: string, log: Log): Promise<void> {
  // The copy has the tables that the database has: it may be made before a migration runs.
  const { rows: done } = await sql<{ name: string }>`select name from migration`.execute(db);
  const had = list.filter(({ name }) => done.some(row => row.name === name));
  await copyTo(to, async fresh => {
    const file = openConnection({ path: fresh });
    file.exec('pragma journal_mode = delete; pragma foreign_keys = off;');
    const copy = new Kysely<never>({ dialect: sqliteDialect(file) });
    try {
      await migrate({ db: copy, kind: 'sqlite', migrations: had, clock: systemClock, log, before: async () => {} });
      await db
        .transaction()
        .setIsolationLevel('repeatable read')
        .execute(async snapshot => {
          for (const table of tablesOf(file)) {
            await sql`declare copy no scroll cursor for select * from ${sql.table(table)}`.execute(snapshot);
            for (;;) {
              const { rows } = await sql<Record<string, SQLInputValue>>`fetch ${sql.lit(slice)} from copy`.execute(
                snapshot,
              );
              if (rows.length === 0) break;
              insertRows(file, table, rows);
            }
            await sql`close copy`.execute(snapshot);
          }
        });
    } finally {
      await copy.destroy();
    }
  });
}

/** Replaces everything in a PostgreSQL store by what a SQLite file of the same version holds; all or nothing. */
export async function copyIn(file: DatabaseSync, db: Kysely<never>): Promise<void> {
  const tables = tablesOf(file);
  await db.transaction().execute(async transaction => {
    for (const table of tables.toReversed()) await sql`delete from ${sql.table(table)}`.execute(transaction);
    for (const table of tables) {
      let rows: Record<string, unknown>[] = [];
      const flush = async (): Promise<void> => {
        if (rows.length > 0)
          await (transaction as unknown as Kysely<Record<string, Record<string, unknown>>>)
            .insertInto(table)
            .values(rows)
            .execute();
        rows = [];
        await breathe();
      };
      for (const row of file.prepare(`select * from "${table}"`).iterate()) {
        rows.push({ ...row });
        if (rows.length === slice) await flush();
      }
      await flush();
    }
  });
}

function insertRows(file: DatabaseSync, table: string, rows: readonly Record<string, SQLInputValue>[]): void {
  const columns = Object.keys(rows[0] ?? {});
  const statement = file.prepare(insertStatement({ table, columns, values: [] }, () => '?'));
  file.exec('begin');
  for (const row of rows) statement.run(...columns.map(column => row[column] ?? null));
  file.exec('commit');
}

/** Tables with those that others point at first. */
export function tablesOf(file: DatabaseSync): string[] {
  const names = file
    .prepare(
      `select name from sqlite_master where type = 'table' and name not like 'sqlite_%' and name <> 'migration' order by name`,
    )
    .all()
    .map(({ name }) => String(name));
  const sorted: string[] = [];
  const place = (name: string, path: readonly string[]): void => {
    if (sorted.includes(name) || path.includes(name)) return;
    for (const { table } of file.prepare(`pragma foreign_key_list("${name}")`).all())
      place(String(table), [...path, name]);
    sorted.push(name);
  };
  for (const name of names) place(name, []);
  return sorted;
}
