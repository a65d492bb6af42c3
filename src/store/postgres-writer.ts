// Durable appends for PostgreSQL, on the one connection that holds the gate's lock: whoever loses the lock cannot write.
import type { Client } from 'pg';
import { Fault } from '../core/fault.ts';
import type { Log } from '../core/parts.ts';
import { type Append, type Change, ifMissing, type Removal, type Writer } from './writer.ts';

/** pg_advisory_lock's key: 'seki', 'sho ' as numbers. Advisory locks are per database. */
const lockKey = [0x73656b69, 0x73686f20] as const;
/** A server that does not answer for so long counts as lost (milliseconds). */
const patience = 15_000;

export interface PostgresWriterOptions {
  readonly connect: () => Client;
  readonly log: Log;
}

export class PostgresWriter implements Writer, AsyncDisposable {
  readonly #connect: () => Client;
  readonly #log: Log;
  #client: Client | undefined;
  /** One at a time: a transaction's statements must not mix with another's. */
  #turn: Promise<unknown> = Promise.resolve();
  #isClosed = false;

  constructor({ connect, log }: PostgresWriterOptions) {
    this.#connect = connect;
    this.#log = log;
  }

  /** @throws Fault `conflict` when another gate holds the database, `unreachable` */
  async open(): Promise<void> {
    const client = this.#connect();
    client.on('error', error => {
      this.#log.error({ error }, 'the connection to the database is lost; nobody is admitted until it is back');
      this.#drop(client);
    });
    try {
      await client.connect();
      const { rows } = await client.query<{ held: boolean }>('select pg_try_advisory_lock($1, $2) as held', [
        ...lockKey,
      ]);
      if (!rows[0]?.held) {
        throw new Fault(
          'conflict',
          'another gate is running on this database; several gates cannot share one yet. Stop the other, or give this one its own database',
        );
      }
      // Whatever the server's default: an acknowledged row is on its disk. And no lost statement may linger.
      await client.query(
        `set synchronous_commit = on; set statement_timeout = ${patience}; set idle_in_transaction_session_timeout = ${patience}`,
      );
    } catch (error) {
      this.#drop(client);
      throw postgresFault(error);
    }
    this.#client = client;
  }

  append(changes: readonly Change[]): Promise<void> {
    const turn = this.#turn.then(() => this.#append(changes));
    this.#turn = turn.catch(() => {});
    return turn;
  }

  async #append(changes: readonly Change[]): Promise<void> {
    if (this.#isClosed) throw new Fault('unreachable', 'the store is closed');
    if (!this.#client) {
      // The server frees the lock when it has noticed the old connection's end; until then this says `conflict`.
      await this.open();
      this.#log.info({}, 'the connection to the database is back');
    }
    const client = this.#client as Client | undefined;
    if (!client) throw new Fault('unreachable', 'the connection to the database is lost');
    try {
      await inTime(
        (async () => {
          if (changes.length > 1) await client.query('begin');
          for (const change of changes) {
            await client.query('remove' in change ? removeStatement(change) : insertArrays(change));
          }
          if (changes.length > 1) await client.query('commit');
        })(),
      );
    } catch (error) {
      // What was committed is unknown, so this connection is of no use any more; ending it undoes what was not.
      this.#drop(client);
      throw postgresFault(error);
    }
  }

  #drop(client: Client): void {
    if (this.#client === client) this.#client = undefined;
    void client.end().catch(() => {});
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#turn;
    this.#isClosed = true;
    await this.#client?.end().catch(() => {});
    this.#client = undefined;
  }
}

/** One array a column: one statement for any number of rows, which the server parses once. */
function insertArrays(append: Append): { name: string; text: string; values: unknown[] } {
  const { table, columns, values } = append;
  const arrays = columns.map((_, column) => {
    const array: unknown[] = [];
    for (let at = column; at < values.length; at += columns.length) array.push(values[at]);
    return array;
  });
  const casts = columns.map(
    (_, column) => `$${column + 1}::${typeof values[column] === 'number' ? 'bigint' : 'text'}[]`,
  );
  const names = columns.map(column => `"${column}"`).join(', ');
  return {
    name: `append-${table}`,
    text: `insert into "${table}" (${names}) select * from unnest(${casts.join(', ')})${ifMissing(append)}`,
    values: arrays,
  };
}

function removeStatement({ table, column, remove }: Removal): { name: string; text: string; values: unknown[] } {
  return {
    name: `remove-${table}`,
    text: `delete from "${table}" where "${column}" = any($1::text[])`,
    values: [remove],
  };
}

async function inTime<T>(work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Fault('unreachable', 'the database does not answer')), patience);
    timer.unref();
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Classes of SQLSTATE that mean "not now" rather than "wrong"; the rest is a bug of ours. */
export function postgresFault(error: unknown): Fault {
  if (error instanceof Fault) return error;
  const { code = '', message } = error as { code?: string; message: string };
  // 08 connection, 28 authorisation, 3D no such database, 53 resources (disk full, too many), 57 shutdown, 58 I/O
  const isBug = /^[0-9A-Z]{5}$/.test(code) && !/^(08|25|28|3D|40|53|55|57|58)/.test(code);
  if (isBug) return new Fault('bug', 'the database refused a statement; the log has the details', { cause: error });
  return new Fault('unreachable', `the database cannot be used: ${message}`, { cause: error });
}
