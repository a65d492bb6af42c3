// A store in PostgreSQL, held by one gate at a time: an advisory lock on the connection that also writes the audit.
import { join } from 'node:path';
import { Kysely, PostgresDialect, sql } from 'kysely';
import type { Pool, PoolConfig } from 'pg';
import type { Opened, StoreOptions } from './index.ts';
import { migrations } from './migrations/index.ts';
import { PostgresWriter } from './postgres-writer.ts';
import { copyOut } from './transfer.ts';

/** Connections beside the writer's; the API and the directory are all that use them. */
const connections = 8;
const connectPatience = 10_000;

/** @throws Fault `conflict` (another gate), `unreachable` (with the server's own words, which hold no password) */
export async function openPostgres(url: string, options: StoreOptions): Promise<Opened> {
  const { default: pg } = await import('pg'); // loaded only where it is used
  const config: PoolConfig = {
    connectionString: url,
    connectionTimeoutMillis: connectPatience,
    keepAlive: true,
    application_name: 'sekisho',
    types: {
      getTypeParser: (oid: number, format?: 'text' | 'binary') =>
        oid === int8 ? Number : pg.types.getTypeParser(oid, format as 'text'),
    } as never,
  };
  const writer = new PostgresWriter({ connect: () => new pg.Client(config), log: options.log });
  await writer.open();
  const pool: Pool = new pg.Pool({ ...config, max: connections });
  // A connection that the server closed; the pool makes another. Listened to on each client too: while one is lent out
  // the pool does not hear its errors, and an error that nobody hears ends the process.
  const lost = (error: Error): void => options.log.warn({ error }, 'a database connection was lost');
  pool.on('error', () => {});
  pool.on('connect', client => client.on('error', lost));
  const db = new Kysely<never>({ dialect: new PostgresDialect({ pool }) });
  const copy = (to: string): Promise<void> => copyOut(db, options.migrations ?? migrations, to, options.log);
  return {
    db,
    writer,
    copy,
    before: async number => {
      const { rows } = await sql<{ name: string }>`select current_database() as name`.execute(db);
      const file = `${encodeURIComponent(rows[0]?.name ?? '')}.before-${number}`;
      if (options.backups !== undefined) return copy(join(options.backups, file));
      options.log.warn(
        { migration: number },
        'the database is brought forward without a copy: no folder for backups is set',
      );
    },
    async [Symbol.asyncDispose]() {
      await db.destroy();
      await writer[Symbol.asyncDispose]();
    },
  };
}

/** Whole numbers up to 2^53 come as numbers, as in SQLite; pg would give text. */
const int8 = 20;
