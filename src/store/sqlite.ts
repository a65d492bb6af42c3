// A store in one SQLite file: owner-only, held by one gate at a time, copied before it is brought forward.
import { chmodSync, closeSync, existsSync, mkdirSync, openSync, renameSync, rmSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { Kysely } from 'kysely';
import { Fault } from '../core/fault.ts';
import type { Opened, StoreOptions } from './index.ts';
import { openConnection, sqliteFault } from './sqlite-connection.ts';
import { sqliteDialect } from './sqlite-dialect.ts';
import { inlineWriter, SqliteThread } from './sqlite-writer.ts';

/** @throws Fault `invalid`, `conflict` (another gate holds it) or `unreachable`, each with what to do. */
export function openSqlite(path: string, options: StoreOptions): Opened {
  return path === ':memory:' ? openMemory(options) : openFile(resolve(path), options);
}

function openMemory({ maxBytes }: StoreOptions): Opened {
  const database = openConnection({ path: ':memory:', maxBytes });
  const db = new Kysely<never>({ dialect: sqliteDialect(database) });
  return {
    db,
    writer: inlineWriter(db, database),
    copy: async to => {
      await db
        .connection()
        .execute(async () => copyTo(to, async fresh => void database.prepare('vacuum into ?').run(fresh)));
    },
    before: async () => {},
    [Symbol.asyncDispose]: () => db.destroy(),
  };
}

function openFile(path: string, { maxBytes, backups }: StoreOptions): Opened {
  makePrivate(path);
  const lock = holdAlone(path);
  let database: DatabaseSync;
  try {
    database = openConnection({ path, maxBytes });
  } catch (error) {
    lock.close();
    throw sqliteFault(error, path);
  }
  const db = new Kysely<never>({ dialect: sqliteDialect(database) });
  const writer = new SqliteThread({ path, maxBytes });
  const copy = async (to: string): Promise<void> =>
    copyTo(to, async fresh => {
      // A thread of its own: a copy of a large database must not stand in the way of appends.
      await using thread = new SqliteThread({ path });
      await thread.copy(fresh);
    });
  return {
    db,
    writer,
    start: () => writer.start(),
    copy,
    before: number =>
      copy(`${backups === undefined ? path : resolve(backups, path.split('/').pop() ?? 'db')}.before-${number}`),
    async [Symbol.asyncDispose]() {
      await writer[Symbol.asyncDispose]();
      await db.destroy();
      lock.close();
    },
  };
}

/** Makes the file (0600) and the folders that are missing (0700). SQLite gives -wal and -shm the file's own mode. */
function makePrivate(path: string): void {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    closeSync(openSync(path, 'a', 0o600));
    chmodSync(path, 0o600);
  } catch (cause) {
    throw new Fault('invalid', `the database ${path} cannot be opened: ${(cause as Error).message}`, { cause });
  }
}

/**
 * One gate a file: the audit chain has one writer. The lock is SQLite's own on a second, empty file, so that it ends
 * with the process however that ends, and the database itself stays open to sqlite3 and to backups.
 */
export function holdAlone(path: string): DatabaseSync {
  const file = `${path}.lock`;
  makePrivate(file);
  const lock = new DatabaseSync(file, { timeout: 0 });
  try {
    lock.exec('begin exclusive');
  } catch (cause) {
    lock.close();
    if (((cause as { errcode?: number }).errcode ?? 0) !== 5) throw sqliteFault(cause, file);
    throw new Fault(
      'conflict',
      `another gate is running on ${path}; stop it, or give this one its own folder with --data`,
      { cause },
    );
  }
  return lock;
}

/** Makes `to` appear whole or not at all, readable by the owner only. */
export async function copyTo(to: string, write: (fresh: string) => Promise<void>): Promise<void> {
  const target = resolve(to);
  const fresh = `${target}.part`;
  try {
    mkdirSync(dirname(target), { recursive: true, mode: 0o700 });
    rmSync(fresh, { force: true });
    closeSync(openSync(fresh, 'wx', 0o600)); // VACUUM INTO takes an empty file and keeps its mode
    await write(fresh);
    await settle(fresh); // on the disk before it gets its name, or a power cut leaves an empty file under it
    renameSync(fresh, target);
    await settle(dirname(target));
  } catch (cause) {
    if (existsSync(fresh)) rmSync(fresh, { force: true });
    if (cause instanceof Fault) throw cause;
    throw new Fault('unreachable', `the copy ${target} cannot be written: ${(cause as Error).message}`, { cause });
  }
}

async function settle(path: string): Promise<void> {
  const file = await open(path, 'r');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}
