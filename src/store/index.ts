// The front door of the store: one database, SQLite by default or PostgreSQL, with its tables brought forward.
import type { Kysely } from 'kysely';
import { type Clock, systemClock } from '../core/clock.ts';
import { Fault } from '../core/fault.ts';
import type { Log } from '../core/parts.ts';
import { migrations } from './migrations/index.ts';
import { type Migration, migrate } from './migrations/migrate.ts';
import { openPostgres } from './postgres.ts';
import type { Schema } from './schema.ts';
import { openSqlite } from './sqlite.ts';
import type { Writer } from './writer.ts';

export type { Kysely } from 'kysely';
export { restoreStore } from './restore.ts';
export type * from './schema.ts';
export type * from './schema-access.ts';
export type * from './schema-device.ts';
export type * from './schema-endpoint.ts';
export type * from './schema-trust.ts';
export type * from './schema-tunnel.ts';
export type * from './schema-vpn.ts';
export type { Append, Change, Removal, Value, Writer } from './writer.ts';

export interface StoreOptions {
  /** `sqlite:path`, `sqlite::memory:` or `postgres://…`. */
  readonly url: string;
  readonly log: Log;
  readonly clock?: Clock | undefined;
  /** The folder for the copy that is made before a migration; default: beside the database. */
  readonly backups?: string | undefined;
  /** SQLite: the most bytes that the database may take; appends are refused beyond. Default: what the disk has. */
  readonly maxBytes?: number | undefined;
  /** Default: this program's own. */
  readonly migrations?: readonly Migration[] | undefined;
}

export interface Store extends AsyncDisposable {
  readonly kind: 'sqlite' | 'postgres';
  readonly db: Kysely<Schema>;
  /** Durable appends, off the event loop. One caller at a time; it belongs to the audit. */
  readonly writer: Writer;
  /**
   * A consistent copy while everything runs, as one SQLite file (0600), whatever the store's own kind: `restoreStore`
   * takes it back into either. An existing file is replaced once the copy is complete.
   * @throws Fault `unreachable`
   */
  backup(to: string): Promise<void>;
}

/** What the two kinds give; `openStore` makes a Store of it. */
export interface Opened extends AsyncDisposable {
  readonly db: Kysely<never>;
  readonly writer: Writer;
  readonly copy: (to: string) => Promise<void>;
  /** What may begin once the tables stand. */
  readonly start?: () => void;
  /** Copies before the migration of that number. */
  readonly before: (number: string) => Promise<void>;
}

/**
 * Opens the database, makes it if it is missing, and brings it forward.
 * @throws Fault `invalid` (the URL), `conflict` (held by another gate, or newer than this program), `unreachable`
 */
export async function openStore(options: StoreOptions): Promise<Store> {
  const { kind, open } = parseStoreUrl(options.url);
  const opened = await open(options);
  try {
    await migrate({
      db: opened.db,
      kind,
      migrations: options.migrations ?? migrations,
      clock: options.clock ?? systemClock,
      log: options.log,
      before: opened.before,
    });
  } catch (error) {
    await opened[Symbol.asyncDispose]();
    throw error;
  }
  opened.start?.();
  return {
    kind,
    db: opened.db as unknown as Kysely<Schema>,
    writer: opened.writer,
    backup: opened.copy,
    [Symbol.asyncDispose]: () => opened[Symbol.asyncDispose](),
  };
}

/** @throws Fault `invalid` */
function parseStoreUrl(url: string): { kind: Store['kind']; open: (options: StoreOptions) => Promise<Opened> } {
  if (url.startsWith('sqlite:') && url.length > 7) {
    return { kind: 'sqlite', open: async options => openSqlite(url.slice(7).replace(/^\/\/(?=\/)/, ''), options) };
  }
  if (/^postgres(ql)?:\/\//.test(url)) return { kind: 'postgres', open: options => openPostgres(url, options) };
  // Not the URL itself: it may hold a password.
  throw new Fault('invalid', 'a store is sqlite:path/to/file.db or postgres://user@host/database; this is neither');
}
