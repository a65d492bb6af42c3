// Takes a backup back, into a store of either kind. No gate may be running on it.
import { existsSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { Kysely } from 'kysely';
import { Fault } from '../core/fault.ts';
import type { Log } from '../core/parts.ts';
import { openStore } from './index.ts';
import { migrations } from './migrations/index.ts';
import { applied } from './migrations/migrate.ts';
import { copyTo, holdAlone } from './sqlite.ts';
import { sqliteFault } from './sqlite-connection.ts';
import { sqliteDialect } from './sqlite-dialect.ts';
import { copyIn } from './transfer.ts';

export interface RestoreOptions {
  /** A file that `Store.backup` wrote. */
  readonly from: string;
  /** The store's URL. What it holds is replaced; of a SQLite file a copy stays, `<file>.before-restore`. */
  readonly url: string;
  readonly log: Log;
}

/**
 * All or nothing. Since an older audit comes back, a head that was kept from a later time will show that its end is missing.
 * @throws Fault `invalid` (no backup of ours, or damaged), `conflict` (newer than this program, or a gate is running), `unreachable`
 */
export async function restoreStore({ from, url, log }: RestoreOptions): Promise<void> {
  await checkBackup(from);
  if (url.startsWith('sqlite:') && url !== 'sqlite::memory:') {
    const path = resolve(url.slice(7).replace(/^\/\/(?=\/)/, ''));
    const held = holdAlone(path);
    using _lock = { [Symbol.dispose]: () => held.close() };
    if (existsSync(path)) await copyTo(`${path}.before-restore`, fresh => copyFile(path, fresh));
    const fresh = `${path}.restored`;
    await copyTo(fresh, part => copyFile(from, part));
    for (const rest of ['-wal', '-shm']) rmSync(`${path}${rest}`, { force: true }); // of the old file: it must not be read into the new
    renameSync(fresh, path);
    log.info({ from, to: path }, 'the database is restored');
    return;
  }
  if (!/^postgres(ql)?:\/\//.test(url))
    throw new Fault('invalid', 'a backup is restored into sqlite:path or postgres://…');
  // An older backup is brought forward first, as a file of its own.
  const folder = mkdtempSync(join(dirname(resolve(from)), '.restore-'));
  try {
    const path = join(folder, 'forward.db');
    await copyTo(path, part => copyFile(from, part));
    await (await openStore({ url: `sqlite:${path}`, log }))[Symbol.asyncDispose]();
    const file = new DatabaseSync(path, { readOnly: true });
    try {
      await using store = await openStore({ url, log });
      await copyIn(file, store.db as unknown as Kysely<never>);
    } finally {
      file.close();
    }
    log.info({ from }, 'the database is restored');
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** With SQLite's own means, so that what lies in a write-ahead log comes along. */
async function copyFile(from: string, to: string): Promise<void> {
  const file = new DatabaseSync(from, { timeout: 5000 });
  try {
    file.prepare('vacuum into ?').run(to);
  } catch (error) {
    throw sqliteFault(error, from);
  } finally {
    file.close();
  }
}

async function checkBackup(from: string): Promise<void> {
  if (!existsSync(from)) throw new Fault('invalid', `there is no backup ${from}`);
  const file = new DatabaseSync(from, { readOnly: true, timeout: 5000 });
  const db = new Kysely<never>({ dialect: sqliteDialect(file) });
  try {
    const [answer] = file.prepare('pragma quick_check').all();
    if (answer?.['quick_check'] !== 'ok')
      throw new Fault('invalid', `the backup ${from} is damaged: ${answer?.['quick_check']}`);
    const done = await applied(db);
    if (done.length === 0) throw new Fault('invalid', `${from} is not a backup of a gate: it has none of its tables`);
    const strange = done.filter(name => !migrations.some(migration => migration.name === name));
    if (strange.length > 0) {
      throw new Fault(
        'conflict',
        `the backup ${from} was written by a newer version (it has ${strange.join(', ')}); restore it with that version`,
      );
    }
  } catch (error) {
    throw error instanceof Fault ? error : new Fault('invalid', `${from} is not a backup of a gate`, { cause: error });
  } finally {
    await db.destroy();
    if (file.isOpen) file.close();
  }
}
