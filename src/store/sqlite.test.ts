// The SQLite store keeps its promises about files, holders, migrations and durability.
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { sql } from 'kysely';
import type { Log } from '../core/parts.ts';
import { openStore, type StoreOptions } from './index.ts';
import { migrations } from './migrations/index.ts';

const quiet: Log = { child: () => quiet, debug() {}, info() {}, warn() {}, error() {} };
let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'sekisho-store-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));
const open = (options: Partial<StoreOptions> = {}) =>
  openStore({ url: `sqlite:${dir}/deep/sekisho.db`, log: quiet, ...options });
const mode = (path: string): number => statSync(path).mode & 0o777;

const row = (seq: number): (string | number | null)[] => [seq, '2026-01-01T00:00:00.000Z', 'x', 'h'];
const heads = { table: 'audit_head', columns: ['seq', 'at', 'hash', 'key', 'signature'] };

describe('a SQLite store', () => {
  test('is readable by its owner only, with every file that SQLite puts beside it', async () => {
    await using store = await open();
    await store.writer.append([{ ...heads, values: [...row(1), 's'] }]);
    assert.equal(mode(join(dir, 'deep')), 0o700);
    for (const file of ['', '-wal', '-shm', '.lock']) assert.equal(mode(`${dir}/deep/sekisho.db${file}`), 0o600, file);
  });

  test('refuses a second gate with a sentence, and opens again when the first has ended', async () => {
    {
      await using _first = await open();
      await assert.rejects(open(), { code: 'conflict', message: /another gate is running/ });
    }
    await using again = await open();
    assert.equal(again.kind, 'sqlite');
  });

  test('lets the append thread and a transaction of the main connection take turns', async () => {
    await using store = await open();
    await Promise.all([
      store.db.transaction().execute(async transaction => {
        await transaction.selectFrom('audit_head').selectAll().execute();
        await new Promise(resolve => setImmediate(resolve));
        await transaction
          .insertInto('audit_head')
          .values({ seq: 2, at: 'x', hash: 'x', key: 'k', signature: 's' })
          .execute();
      }),
      store.writer.append([{ ...heads, values: [...row(1), 's'] }]),
    ]);
    const seqs = await store.db.selectFrom('audit_head').select('seq').orderBy('seq').execute();
    assert.deepEqual(seqs, [{ seq: 1 }, { seq: 2 }]);
  });

  test('commits all appended rows or none', async () => {
    for (const url of [undefined, 'sqlite::memory:']) {
      await using store = await open(url === undefined ? {} : { url });
      await store.writer.append([{ ...heads, values: [...row(1), 's'] }]);
      await assert.rejects(store.writer.append([{ ...heads, values: [...row(2), 's', ...row(1), 's'] }]));
      assert.equal((await store.db.selectFrom('audit_head').selectAll().execute()).length, 1);
    }
  });

  test('refuses appends beyond its size with a sentence, and takes them again when there is room', async () => {
    await using store = await open({ maxBytes: 600 * 1024 });
    const fill = async () => {
      for (let seq = 1; seq < 1000; seq++) {
        await store.writer.append([{ ...heads, values: [...row(seq), 'x'.repeat(4000)] }]);
      }
    };
    await assert.rejects(fill(), { code: 'unreachable', message: /the disk is full; make room/ });
    await store.db.deleteFrom('audit_head').execute();
    await store.writer.append([{ ...heads, values: [...row(5000), 'x'.repeat(4000)] }]);
  });

  test('says to every writer that the disk is full, and leaves other errors to the caller', async () => {
    await using store = await open({ maxBytes: 600 * 1024 });
    const insert = (seq: number) =>
      store.db
        .insertInto('audit_head')
        .values({ seq, at: '', hash: '', key: '', signature: 'x'.repeat(4000) })
        .execute();
    await insert(1);
    await assert.rejects(insert(1), /UNIQUE/);
    await assert.rejects(
      (async () => {
        for (let seq = 2; ; seq++) await insert(seq);
      })(),
      { code: 'unreachable', message: /the disk is full/ },
    );
  });

  test('starts its thread anew when it could not start', async () => {
    const { SqliteThread } = await import('./sqlite-writer.ts');
    const { mkdirSync, rmdirSync } = await import('node:fs');
    mkdirSync(`${dir}/in-the-way`);
    await using thread = new SqliteThread({ path: `${dir}/in-the-way` });
    await assert.rejects(thread.append([]), { code: 'unreachable', message: /cannot be (opened|used)/ });
    rmdirSync(`${dir}/in-the-way`);
    await thread.append([]);
  });

  test('says what is wrong with a file that is no database, and with a URL that is no store', async () => {
    const { writeFileSync } = await import('node:fs');
    writeFileSync(
      join(dir, 'text.db'),
      'this is not a database, only text that is long enough to be looked at. '.repeat(20),
    );
    await assert.rejects(open({ url: `sqlite:${dir}/text.db` }), {
      code: 'unreachable',
      message: /not a SQLite database/,
    });
    await assert.rejects(open({ url: 'mysql://root:hunter2@db/x' }), error => {
      assert.match((error as Error).message, /sqlite:path/);
      assert.doesNotMatch((error as Error).message, /hunter2/);
      return true;
    });
  });
});

describe('migrations', () => {
  const third = {
    name: '9001-test',
    up: async ({ db }: Parameters<(typeof migrations)[0]['up']>[0]) => {
      await db.schema.createTable('extra').addColumn('id', 'text').execute();
    },
  };

  test('make a copy of what was there first', async () => {
    {
      await using store = await open();
      await store.writer.append([{ ...heads, values: [...row(7), 's'] }]);
    }
    assert.equal(existsSync(`${dir}/deep/sekisho.db.before-9001`), false);
    await using _forward = await open({ migrations: [...migrations, third] });
    assert.equal(mode(`${dir}/deep/sekisho.db.before-9001`), 0o600);
    await using old = await open({ url: `sqlite:${dir}/deep/sekisho.db.before-9001` });
    assert.deepEqual(await old.db.selectFrom('audit_head').select('seq').execute(), [{ seq: 7 }]);
  });

  test('leave the old database usable when one fails in the middle', async () => {
    {
      await using store = await open();
      await store.writer.append([{ ...heads, values: [...row(7), 's'] }]);
    }
    const broken = {
      name: '9001-test',
      up: async (build: Parameters<typeof third.up>[0]) => {
        await third.up(build);
        await sql`delete from audit_head`.execute(build.db);
        throw new Error('power cut');
      },
    };
    await assert.rejects(open({ migrations: [...migrations, broken] }), {
      code: 'conflict',
      message: /as it was before/,
    });
    await using store = await open();
    assert.deepEqual(await store.db.selectFrom('audit_head').select('seq').execute(), [{ seq: 7 }]);
    await using _forward = await open({ url: `sqlite:${dir}/other.db`, migrations: [...migrations, third] });
  });

  test('refuse a database that a newer program has written', async () => {
    {
      await using _newer = await open({ migrations: [...migrations, third] });
    }
    await assert.rejects(open(), { code: 'conflict', message: /newer version \(it has 9001-test/ });
  });
});
