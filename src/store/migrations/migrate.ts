// Brings a database forward, one transaction a migration; refuses one that is newer than this program.
import { type ColumnDataType, type Kysely, sql } from 'kysely';
import type { Clock } from '../../core/clock.ts';
import { Fault } from '../../core/fault.ts';
import type { Log } from '../../core/parts.ts';

/** What a migration is given. `db` knows no tables: a migration must not follow today's types. */
export interface Build {
  // biome-ignore lint/suspicious/noExplicitAny: no tables on purpose
  readonly db: Kysely<any>;
  readonly kind: 'sqlite' | 'postgres';
  /** Where the two databases name a type differently. */
  readonly types: {
    /** A whole number up to 2^53 that is the table's key (SQLite: the rowid itself). */
    readonly key: ColumnDataType;
    /** A whole number up to 2^53. */
    readonly whole: ColumnDataType;
    readonly bytes: ColumnDataType;
  };
}

export interface Migration {
  /** `NNNN-room`; what the database remembers. */
  readonly name: string;
  readonly up: (build: Build) => Promise<void>;
}

export interface MigrateOptions {
  // biome-ignore lint/suspicious/noExplicitAny: the runner works below the schema
  readonly db: Kysely<any>;
  readonly kind: 'sqlite' | 'postgres';
  readonly migrations: readonly Migration[];
  readonly clock: Clock;
  readonly log: Log;
  /** Called once before the first change to a database that already holds something, with the number it stands at next. */
  readonly before: (number: string) => Promise<void>;
}

const types = {
  sqlite: { key: 'integer', whole: 'integer', bytes: 'blob' },
  postgres: { key: 'bigint', whole: 'bigint', bytes: 'bytea' },
} as const;

/** @throws Fault `conflict` when the database is newer or a migration fails; the old state then still stands. */
export async function migrate(options: MigrateOptions): Promise<void> {
  const { db, kind, migrations, clock, log } = options;
  const done = await applied(db);
  const known = new Set(migrations.map(({ name }) => name));
  const strange = done.filter(name => !known.has(name));
  if (strange.length > 0) {
    throw new Fault(
      'conflict',
      `the database was written by a newer version (it has ${strange.join(', ')}, which this program does not know); ` +
        'start that version or a newer one, or restore the copy that was made before it was upgraded',
    );
  }
  const pending = migrations.filter(({ name }) => !done.includes(name));
  if (pending.length === 0) return;
  if (done.length > 0) await options.before(pending[0]?.name.slice(0, 4) ?? '0000');
  for (const { name, up } of pending) {
    try {
      await db.transaction().execute(async transaction => {
        await transaction.schema
          .createTable('migration')
          .ifNotExists()
          .addColumn('name', 'text', column => column.primaryKey())
          .addColumn('at', 'text', column => column.notNull())
          .execute();
        await up({ db: transaction, kind, types: types[kind] });
        await transaction.insertInto('migration').values({ name, at: clock.now().toISOString() }).execute();
      });
    } catch (cause) {
      throw new Fault('conflict', `the database could not be brought forward to ${name}; it is as it was before`, {
        cause,
      });
    }
    log.info({ migration: name }, 'database brought forward');
  }
}

/** Names of the migrations that a database has had; none for an empty one. */
// biome-ignore lint/suspicious/noExplicitAny: see above
export async function applied(db: Kysely<any>): Promise<string[]> {
  const tables = await db.introspection.getTables();
  if (!tables.some(({ name }) => name === 'migration')) return [];
  const { rows } = await sql<{ name: string }>`select name from migration order by name`.execute(db);
  return rows.map(({ name }) => name);
}
