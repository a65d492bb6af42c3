// The store against real databases and real ends: PostgreSQL, kill -9, a disk that is full, a verifier in Python.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { type Audit, type AuditEvent, openAudit } from '../../src/access/index.ts';
import type { Log } from '../../src/core/parts.ts';
import { openStore, restoreStore, type Store } from '../../src/store/index.ts';
import { type Postgres, postgresBin, startPostgres } from './postgres.ts';

const quiet: Log = { child: () => quiet, debug() {}, info() {}, warn() {}, error() {} };
let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'sekisho-interop-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));
const open = (url: string): Promise<Store> => openStore({ url, log: quiet, backups: dir });
const audit = (store: Store, folder = dir): Promise<Audit> =>
  openAudit({ store, keyFile: `${folder}/audit.key`, log: quiet, headRows: 100 });
const event = (facts: Record<string, unknown> = {}): AuditEvent => ({
  event: 'proxy.opened',
  who: { kind: 'user', id: '太郎', credential: 'cert:aa' },
  from: { host: '203.0.113.7', port: 5000 },
  resource: 'proxy/db',
  outcome: 'allowed',
  facts,
});
const fill = (to: Audit, count: number): Promise<unknown> =>
  Promise.all(Array.from({ length: count }, (_, index) => to.append(event({ index, text: 'a "b" \u2028 é 😀\n\0' }))));

describe('PostgreSQL', { skip: postgresBin() ? false : 'PostgreSQL is not installed' }, () => {
  let server: Postgres;
  before(() => {
    server = startPostgres();
  });
  after(() => server[Symbol.dispose]());

  test('holds an audit that verifies, also after a restart and a prune', async () => {
    const url = server.database();
    {
      await using store = await open(url);
      await using chain = await audit(store);
      await fill(chain, 350);
      assert.deepEqual([(await chain.verify()).ok, (await chain.verify()).rows], [true, 350]);
    }
    await using store = await open(url);
    await using chain = await audit(store);
    await fill(chain, 5);
    assert.equal((await chain.search({ who: '太郎', event: 'proxy.*', limit: 3 })).rows[0]?.seq, 355);
    await chain.prune(new Date(Date.now() + 60_000));
    await fill(chain, 5);
    assert.equal((await chain.verify()).ok, true);
    await store.db.updateTable('audit').set({ who_id: 'x' }).where('seq', '=', 358).execute();
    assert.deepEqual(
      (await chain.verify()).problems.map(({ seq, problem }) => `${problem}@${seq}`),
      ['changed@358'],
    );
  });

  test('admits one gate at a time, and says so to the second', async () => {
    const url = server.database();
    {
      await using _first = await open(url);
      await assert.rejects(open(url), { code: 'conflict', message: /another gate is running on this database/ });
    }
    await using _next = await open(url);
  });

  test('that drops the connection loses no acknowledged row, and is taken up again by itself', async () => {
    const url = server.database();
    await using store = await open(url);
    await using chain = await audit(store);
    const acknowledged: number[] = [];
    for (let round = 0; round < 3; round++) {
      const rows = Array.from({ length: 300 }, () =>
        chain.append(event()).then(
          ({ seq }) => acknowledged.push(seq),
          () => {},
        ),
      );
      await new Promise(resolve => setImmediate(resolve));
      server.disconnect(url);
      await Promise.all(rows);
      for (let isBack = false; !isBack; )
        isBack = await chain.append(event()).then(
          () => true,
          () => false,
        );
    }
    const kept = new Set((await store.db.selectFrom('audit').select('seq').execute()).map(({ seq }) => seq));
    assert.deepEqual(
      acknowledged.filter(seq => !kept.has(seq)),
      [],
    );
    assert.equal((await chain.verify()).ok, true);
  });

  test('that was taken over by another gate admits nobody here', async () => {
    const url = server.database();
    await using store = await open(url);
    await using chain = await audit(store);
    await fill(chain, 1);
    server.disconnect(url);
    await using _other = await open(url);
    await assert.rejects(chain.append(event()), { code: 'unreachable', message: /another gate is running/ });
  });

  test('is backed up while it runs, and restored into PostgreSQL and into SQLite', async () => {
    const url = server.database();
    const backup = `${dir}/backup.db`;
    {
      await using store = await open(url);
      await using chain = await audit(store);
      await fill(chain, 1200);
      await store.db
        .insertInto('approval_vote')
        .values({ approval: 'ap-1', voter: 'bob', credential: '', vote: 'approve', reason: '', at: 'x' })
        .execute()
        .then(
          () => assert.fail('foreign keys must hold'),
          () => {},
        );
      const writing = fill(chain, 300);
      await store.backup(backup);
      await writing;
    }
    assert.equal(statSync(backup).mode & 0o777, 0o600);
    const fresh = server.database();
    for (const to of [fresh, url, `sqlite:${dir}/restored.db`]) {
      await restoreStore({ from: backup, url: to, log: quiet });
      // With the key, and without the newest head that was kept beside it: the backup is older, and may be.
      const folder = mkdtempSync(`${dir}/restored-`);
      copyFileSync(`${dir}/audit.key`, `${folder}/audit.key`);
      await using store = await open(to);
      await using chain = await audit(store, folder);
      const report = await chain.verify();
      assert.equal(report.ok, true, JSON.stringify(report));
      assert.ok(report.rows >= 1200 && report.rows <= 1500);
    }
  });

  test('that is newer is refused; one that must go forward is copied first', async () => {
    const { migrations } = await import('../../src/store/migrations/index.ts');
    const third = {
      name: '9001-test',
      up: async ({ db }: Parameters<(typeof migrations)[0]['up']>[0]) =>
        void (await db.schema.createTable('extra').addColumn('id', 'text').execute()),
    };
    const url = server.database();
    await (await open(url))[Symbol.asyncDispose]();
    const forward = await openStore({ url, log: quiet, backups: dir, migrations: [...migrations, third] });
    await forward[Symbol.asyncDispose]();
    await using _copy = await open(`sqlite:${dir}/${new URL(url.replace('@/', '@x/')).pathname.slice(1)}.before-9001`);
    await assert.rejects(open(url), { code: 'conflict', message: /newer version/ });
  });

  test('that cannot be reached is said without its password', async () => {
    await assert.rejects(open('postgres://gate:hunter2@127.0.0.1:1/x'), error => {
      assert.equal((error as { code?: string }).code, 'unreachable');
      assert.doesNotMatch((error as Error).message, /hunter2/);
      return true;
    });
  });
});

describe('kill -9', () => {
  test('at any moment loses no acknowledged row and leaves a database that opens and verifies', {
    timeout: 100_000,
  }, async () => {
    const url = `sqlite:${dir}/gate.db`;
    const writer = `${dir}/writer.ts`;
    const source = new URL('../../src/', import.meta.url).href;
    writeFileSync(
      writer,
      `import { openStore } from '${source}store/index.ts';
import { openAudit } from '${source}access/index.ts';
const log = { child: () => log, debug() {}, info() {}, warn() {}, error() {} };
const store = await openStore({ url: ${JSON.stringify(url)}, log });
const audit = await openAudit({ store, keyFile: ${JSON.stringify(`${dir}/audit.key`)}, log, headRows: 50 });
const go = async () => { for (;;) { const row = await audit.append(${JSON.stringify(event({ text: 'x'.repeat(300) }))}); process.stdout.write(row.seq + ' ' + row.hash + '\\n'); } };
for (let n = 0; n < 20; n++) void go();
`,
    );
    const acknowledged = new Map<number, string>();
    for (let round = 0; round < 6; round++) {
      const child = spawn(process.execPath, [writer], { stdio: ['ignore', 'pipe', 'inherit'] });
      const ended = once(child, 'exit');
      const enough = 1 + Math.floor(Math.random() * 400); // a random moment, counted in rows and not in time
      let seen = 0;
      for await (const line of createInterface({ input: child.stdout })) {
        const [seq = '', hash = ''] = line.split(' ');
        if (hash.length === 64) acknowledged.set(Number(seq), hash); // the last line may be cut
        if (++seen === enough) child.kill('SIGKILL');
      }
      await ended;
    }
    await using store = await open(url);
    await using chain = await audit(store);
    const kept = new Map(
      (await store.db.selectFrom('audit').select(['seq', 'hash']).execute()).map(({ seq, hash }) => [seq, hash]),
    );
    assert.ok(acknowledged.size > 6);
    for (const [seq, hash] of acknowledged) assert.equal(kept.get(seq), hash, `row ${seq}`);
    const report = await chain.verify();
    assert.equal(report.ok, true, JSON.stringify(report.problems.slice(0, 3)));
  });
});

describe('a backup of a SQLite store', () => {
  test('is made while rows are written, and comes back whole', async () => {
    const url = `sqlite:${dir}/gate.db`;
    {
      await using store = await open(url);
      await using chain = await audit(store);
      await fill(chain, 500);
      const writing = fill(chain, 500);
      await store.backup(`${dir}/backups/one.db`);
      await writing;
      await assert.rejects(restoreStore({ from: `${dir}/backups/one.db`, url, log: quiet }), {
        code: 'conflict',
        message: /another gate/,
      });
    }
    assert.equal(statSync(`${dir}/backups/one.db`).mode & 0o777, 0o600);
    await restoreStore({ from: `${dir}/backups/one.db`, url, log: quiet });
    assert.equal(statSync(`${dir}/gate.db.before-restore`).mode & 0o777, 0o600);
    await using store = await open(url);
    await using chain = await audit(store);
    assert.equal((await chain.verify()).ok, true);
  });

  test('is refused when it is none, or damaged', async () => {
    const url = `sqlite:${dir}/gate.db`;
    writeFileSync(`${dir}/text`, 'not a database at all, but long enough for somebody to look at it'.repeat(30));
    await assert.rejects(restoreStore({ from: `${dir}/text`, url, log: quiet }), {
      code: 'invalid',
      message: /is not a backup/,
    });
    await assert.rejects(restoreStore({ from: `${dir}/none`, url, log: quiet }), {
      code: 'invalid',
      message: /there is no backup/,
    });
  });
});

const mounted = (path: string): boolean =>
  spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', path]).status === 0;

describe('a disk that is really full', () => {
  test('refuses rows with the reason, and takes them again when there is room', async context => {
    const disk = `${dir}/disk`;
    mkdirSync(disk);
    if (!mounted(disk)) return context.skip('mounting a small tmpfs needs root');
    try {
      await using store = await open(`sqlite:${disk}/gate.db`);
      await using chain = await audit(store);
      await assert.rejects(
        (async () => {
          for (;;) await chain.append(event({ text: 'x'.repeat(1000) }));
        })(),
        { code: 'unreachable', message: /the audit cannot be written.*(disk is full|disk reports an error)/ },
      );
      spawnSync('mount', ['-o', 'remount,size=8m', disk]);
      await fill(chain, 10);
      assert.equal((await chain.verify()).ok, true);
    } finally {
      spawnSync('umount', [disk]);
    }
  });
});

describe('a third party', () => {
  const python = spawnSync('python3', ['--version']).status === 0;
  test('verifies an export with the lines of Python that access/README.md prints', {
    skip: python ? false : 'python3 is not installed',
  }, async () => {
    const { readFileSync } = await import('node:fs');
    const readme = readFileSync(new URL('../../src/access/README.md', import.meta.url), 'utf8');
    const script = /```python\n([\s\S]*?)```/.exec(readme)?.[1] ?? '';
    assert.ok(script.includes('sha256'));
    await using store = await open(`sqlite:${dir}/gate.db`);
    await using chain = await audit(store);
    await fill(chain, 50);
    await chain.append(event({ nested: { b: [1, null, true, 0.5, 1e21], a: { '10': 1, '9': 2 } }, when: new Date(0) }));
    const text = (await Array.fromAsync(chain.export())).join('');
    const check = (input: string) => spawnSync('python3', ['-c', script], { input, encoding: 'utf8' });
    const good = check(text);
    assert.equal(good.status, 0, good.stderr);
    assert.match(good.stdout, /51 rows/);
    assert.notEqual(check(text.replace('proxy/db', 'proxy/dc')).status, 0);
    assert.notEqual(check(text.split('\n').toSpliced(3, 1).join('\n')).status, 0);
  });
});
