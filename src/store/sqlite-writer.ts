// Durable appends for SQLite: through a thread for a file, in place for a database in memory.
//
// Why a thread: a commit waits for the disk (fsync). That is 0.1 ms on the virtual disk this was measured on, 1–10 ms
// on ordinary ones, and the event loop that would wait is the one that answers every admission. The thread costs about
// 20 µs a commit in messages, shared by all rows of the group, and the rows' insertion moves off the loop with it.

import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { Worker } from 'node:worker_threads';
import type { Kysely } from 'kysely';
import { Fault } from '../core/fault.ts';
import { appendRows, sqliteFault } from './sqlite-connection.ts';
import type { ThreadAnswer, ThreadOptions, ThreadRequest } from './sqlite-thread.ts';
import type { Writer } from './writer.ts';

type Ask = { readonly [K in 'write' | 'copy' | 'close']?: unknown };

/** The running program's own kind of file: sources run as .ts, the published package as .js. */
const file = new URL(`./sqlite-thread${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url);

/** A thread with its own connection. Starts at the first use or when told to, and anew if it died. */
export class SqliteThread implements Writer, AsyncDisposable {
  readonly #options: ThreadOptions;
  readonly #waiting = new Map<number, { resolve: () => void; reject: (error: Fault) => void }>();
  #worker: Worker | undefined;
  #next = 1;
  #isClosing = false;

  constructor(options: ThreadOptions) {
    this.#options = options;
  }

  /** Ahead of the first use, which would wait some 50 ms for it. */
  start(): void {
    this.#worker ??= this.#launch();
  }

  append(rows: Parameters<Writer['append']>[0]): Promise<void> {
    return this.#ask({ write: rows });
  }

  /** A consistent copy of the whole database at `path`, which must not exist. */
  copy(path: string): Promise<void> {
    return this.#ask({ copy: path });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#worker) return;
    const worker = this.#worker;
    this.#isClosing = true; // holds the process until the thread has ended
    const gone = new Promise<void>(resolve => worker.once('exit', () => resolve()));
    await this.#ask({ close: true }).catch(() => worker.terminate());
    await gone;
  }

  #ask(ask: Ask): Promise<void> {
    this.#worker ??= this.#launch();
    const worker = this.#worker;
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      if (this.#waiting.size === 0) worker.ref();
      this.#waiting.set(id, { resolve, reject });
      worker.postMessage({ id, ...ask } as ThreadRequest);
    });
  }

  #launch(): Worker {
    const worker = new Worker(file, { workerData: this.#options, name: 'sekisho-store' });
    worker.unref(); // held only while something waits for it
    worker.on('message', ({ id, error }: ThreadAnswer) => {
      const wait = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (this.#waiting.size === 0 && !this.#isClosing) worker.unref();
      if (error) wait?.reject(sqliteFault(Object.assign(new Error(error.message), error), this.#options.path));
      else wait?.resolve();
    });
    worker.on('error', error => this.#lose(worker, error));
    worker.on('exit', () => this.#lose(worker, new Error('the thread ended')));
    return worker;
  }

  #lose(worker: Worker, cause: unknown): void {
    if (this.#worker !== worker) return;
    this.#worker = undefined;
    const known = sqliteFault(cause, this.#options.path);
    const fault =
      known.code === 'bug'
        ? new Fault('unreachable', `the database ${this.#options.path} cannot be written`, { cause })
        : known;
    for (const { reject } of this.#waiting.values()) reject(fault);
    this.#waiting.clear();
  }
}

/** For `:memory:`, which has one connection: waits for its turn among Kysely's transactions, then writes at once. */
export function inlineWriter(db: Kysely<never>, database: DatabaseSync): Writer {
  const prepared = new Map<string, StatementSync>();
  return {
    async append(rows) {
      await db.connection().execute(async () => {
        try {
          appendRows(database, rows, prepared);
        } catch (error) {
          throw sqliteFault(error, ':memory:');
        }
      });
    },
  };
}
