// The gate's folder: made for its owner alone, and held by one gate at a time.
import { chmodSync, closeSync, mkdirSync, openSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { Fault } from '../core/fault.ts';

export interface DataDir extends Disposable {
  readonly path: string;
  /** The unix socket of the API. */
  readonly socket: string;
}

/**
 * Makes the folder (0700) and takes its lock. @throws Fault `conflict` when another gate holds it, `invalid` when it
 * cannot be made or is not ours.
 *
 * The lock is an SQLite transaction that is never ended: the system drops it with the process however that dies, which a
 * PID file does not offer, and Node has no flock.
 */
export function openDataDir(path: string): DataDir {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    const { uid, mode } = statSync(path);
    const me = process.getuid?.();
    if (me !== undefined && me !== 0 && uid !== me) {
      throw new Fault(
        'invalid',
        `${path} belongs to another user; run the gate as its owner, or name another folder with --data`,
      );
    }
    if ((mode & 0o077) !== 0) chmodSync(path, 0o700); // CA keys and the API's socket live here
  } catch (error) {
    if (error instanceof Fault) throw error;
    const { code } = error as NodeJS.ErrnoException;
    throw new Fault(
      'invalid',
      `the folder ${path} cannot be used (${code}); make it writable for this user, or name another with --data`,
      {
        cause: error,
      },
    );
  }
  const pidFile = join(path, 'gate.pid');
  const lock = takeLock(path, pidFile);
  writeFileSync(pidFile, `${process.pid}\n`, { mode: 0o600 });
  return { path, socket: join(path, 'sekisho.sock'), [Symbol.dispose]: () => lock.close() };
}

function takeLock(path: string, pidFile: string): DatabaseSync {
  let database: DatabaseSync | undefined;
  try {
    closeSync(openSync(join(path, 'gate.lock'), 'a', 0o600)); // SQLite would make it with the umask's mode
    database = new DatabaseSync(join(path, 'gate.lock'), { timeout: 0 });
    database.exec('PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE');
    return database;
  } catch (error) {
    database?.close();
    const { errcode } = error as { errcode?: number };
    const busy = 5; // SQLITE_BUSY
    if (errcode !== busy) {
      throw new Fault(
        'invalid',
        `${join(path, 'gate.lock')} cannot be locked; is the disk full, or the folder read-only?`,
        { cause: error },
      );
    }
    throw new Fault(
      'conflict',
      `another gate${holder(pidFile)} runs on ${path}; stop it, or give this one a folder of its own with --data`,
      {
        cause: error,
      },
    );
  }
}

function holder(pidFile: string): string {
  try {
    return ` (process ${Number(readFileSync(pidFile, 'utf8'))})`;
  } catch {
    return '';
  }
}
