// The audit's promises: nothing acknowledged is lost, and nothing that was done to it stays hidden.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { TestClock } from '../core/clock.ts';
import { Fault } from '../core/fault.ts';
import type { Log } from '../core/parts.ts';
import { openStore, type Store } from '../store/index.ts';
import { type Audit, type AuditOptions, openAudit } from './audit.ts';
import type { AuditEvent, AuditRow } from './audit-row.ts';
import type { VerifyReport } from './chain-check.ts';
import { verifyExport } from './verify-export.ts';

const quiet: Log = { child: () => quiet, debug() {}, info() {}, warn() {}, error() {} };
let dir = '';
let store: Store;
const clock = new TestClock('2026-11-22T09:00:00Z');
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'sekisho-audit-'));
  store = await openStore({ url: 'sqlite::memory:', log: quiet });
});
afterEach(async () => {
  await store[Symbol.asyncDispose]();
  rmSync(dir, { recursive: true, force: true });
});
const open = (options: Partial<AuditOptions> = {}): Promise<Audit> =>
  openAudit({ store, keyFile: `${dir}/keys/audit.key`, clock, log: quiet, headRows: 10, ...options });

const event = (facts: AuditEvent['facts'] = {}, more: Partial<AuditEvent> = {}): AuditEvent => ({
  event: 'proxy.opened',
  who: { kind: 'user', id: 'alice', credential: 'cert:aa' },
  from: { host: '203.0.113.7', port: 5000 },
  resource: 'proxy/db',
  rule: 'access[0]',
  outcome: 'allowed',
  facts,
  ...more,
});
const fill = (audit: Audit, count: number): Promise<AuditRow[]> =>
  Promise.all(Array.from({ length: count }, (_, index) => audit.append(event({ index }))));
const found = (report: VerifyReport): string[] => report.problems.map(({ seq, problem }) => `${problem}@${seq}`);
const lines = async (audit: Audit, ...given: Parameters<Audit['export']>): Promise<string[]> =>
  (await Array.fromAsync(audit.export(...given))).join('').split('\n').filter(Boolean);

describe('the audit', () => {
  test('chains rows in the order in which they were appended, whatever commit they shared', async () => {
    await using audit = await open();
    const rows = await fill(audit, 25);
    assert.deepEqual(
      rows.map(({ seq }) => seq),
      Array.from({ length: 25 }, (_, index) => index + 1),
    );
    for (const [index, row] of rows.entries()) assert.equal(row.prev, rows[index - 1]?.hash ?? '0'.repeat(64));
    const report = await audit.verify();
    assert.deepEqual([report.ok, report.rows, report.heads > 0], [true, 25, true]);
  });

  test('goes on after a restart where it ended, and signs a head at the end', async () => {
    {
      await using audit = await open();
      await fill(audit, 3);
    }
    assert.equal((await store.db.selectFrom('audit_head').select('seq').execute())[0]?.seq, 3);
    await using audit = await open();
    const row = await audit.append(event());
    assert.equal(row.seq, 4);
    assert.equal((await audit.verify()).ok, true);
  });

  test('signs a head after some time when there are new rows, and only then', async () => {
    const heads: number[] = [];
    await using audit = await open({ headRows: 1000, headEvery: 60_000, onHead: ({ seq }) => heads.push(seq) });
    clock.move(60_000);
    await audit.append(event());
    clock.move(60_000);
    await audit.append(event());
    assert.deepEqual(heads, [1]);
  });

  test('makes its key readable by the owner only, and refuses a file that is none', async () => {
    await using _audit = await open();
    assert.equal(statSync(`${dir}/keys/audit.key`).mode & 0o777, 0o600);
    assert.match(readFileSync(`${dir}/keys/audit.key`, 'utf8'), /PRIVATE KEY/);
    await assert.rejects(open({ keyFile: new URL(import.meta.url).pathname }), {
      code: 'invalid',
      message: /not an Ed25519/,
    });
  });

  test('keeps hostile text harmless: NUL, half characters, too long, too deep', async () => {
    await using audit = await open();
    const deep: Record<string, unknown> = {};
    deep['self'] = deep;
    await audit.append(
      event({ deep, text: 'x'.repeat(100_000), '10': 1, '9': 2, ['__proto__x']: 0.5 }, { resource: 'web/\0\ud800' }),
    );
    const { rows } = await audit.search({});
    assert.equal(rows[0]?.resource, 'web/\ufffd\ufffd');
    assert.equal(String(rows[0]?.facts['text']).length, 1024);
    assert.equal((await audit.verify()).ok, true);
    assert.equal((await verifyExport(audit.export(), audit.publicKey)).ok, true);
  });

  test('hands rows to who follows, from where they ask, until they stop', async () => {
    await using audit = await open();
    await fill(audit, 3);
    const stop = new AbortController();
    const seen: number[] = [];
    const following = (async () => {
      for await (const row of audit.tail(1, stop.signal)) {
        seen.push(row.seq);
        if (row.seq === 3) void audit.append(event());
        if (row.seq === 4) stop.abort();
      }
    })();
    await following;
    assert.deepEqual(seen, [2, 3, 4]);
  });

  test('ends the followers when it is closed', async () => {
    const audit = await open();
    const following = Array.fromAsync(audit.tail());
    await fill(audit, 2);
    await audit[Symbol.asyncDispose]();
    assert.ok((await following).length <= 2);
    await assert.rejects(audit.append(event()), { code: 'unreachable' });
  });

  test('finds rows by every word of a filter, newest first, page by page', async () => {
    await using audit = await open();
    await fill(audit, 5);
    clock.move(3_600_000);
    const late = clock.now();
    await audit.append(event({}, { event: 'proxy.denied', outcome: 'denied', resource: 'proxy/web', session: 's1' }));
    await audit.append(event({}, { who: { kind: 'device', id: 'pump-7', credential: '' }, from: { path: '/x' } }));
    const seqs = async (filter: Parameters<Audit['search']>[0]) =>
      (await audit.search(filter)).rows.map(({ seq }) => seq);
    assert.deepEqual(await seqs({ event: 'proxy.den*' }), [6]);
    assert.deepEqual(await seqs({ outcome: 'denied' }), [6]);
    assert.deepEqual(await seqs({ resource: '*/web' }), [6]);
    assert.deepEqual(await seqs({ session: 's1' }), [6]);
    assert.deepEqual(await seqs({ who: 'pump-7' }), [7]);
    assert.deepEqual(await seqs({ who: 'pump*' }), [7]);
    assert.deepEqual(await seqs({ from: '203.0.113.7:*', after: 4 }), [6, 5]);
    assert.deepEqual(await seqs({ since: late }), [7, 6]);
    assert.deepEqual(await seqs({ until: late, limit: 2 }), [5, 4]);
    const page = await audit.search({ limit: 3 });
    assert.equal(page.next, 5);
    assert.deepEqual(await seqs({ limit: 9, before: page.next }), [4, 3, 2, 1]);
  });
});

describe('verification finds', () => {
  let audit: Audit;
  beforeEach(async () => {
    audit = await open();
    await fill(audit, 25);
  });
  const reopen = async (): Promise<Audit> => {
    await audit[Symbol.asyncDispose]();
    audit = await open();
    return audit;
  };
  afterEach(() => audit[Symbol.asyncDispose]());

  test('a changed row', async () => {
    await store.db.updateTable('audit').set({ who_id: 'mallory' }).where('seq', '=', 7).execute();
    assert.deepEqual(found(await audit.verify()), ['changed@7']);
  });

  test('a changed row whose hash was computed anew', async () => {
    await store.db
      .updateTable('audit')
      .set({ hash: 'f'.repeat(64) })
      .where('seq', '=', 7)
      .execute();
    assert.deepEqual(found(await audit.verify()), ['changed@7', 'changed@8']);
  });

  test('missing rows, in the middle and at the beginning', async () => {
    await store.db.deleteFrom('audit').where('seq', 'in', [1, 2, 12]).execute();
    assert.deepEqual(found(await audit.verify()), ['missing@1', 'missing@12']);
  });

  test('rows whose places were exchanged', async () => {
    await store.db.updateTable('audit').set({ seq: 100 }).where('seq', '=', 7).execute();
    await store.db.updateTable('audit').set({ seq: 7 }).where('seq', '=', 8).execute();
    await store.db.updateTable('audit').set({ seq: 8 }).where('seq', '=', 100).execute();
    assert.ok(found(await audit.verify()).includes('changed@7'));
  });

  test('a shortened end, while the gate runs, after a restart, and by a head that was kept elsewhere', async () => {
    const head = audit.head();
    await store.db.deleteFrom('audit').where('seq', '>', 22).execute();
    assert.deepEqual(found(await audit.verify()), ['truncated@23']);
    await reopen(); // which signs a head over row 25 first
    await store.db.deleteFrom('audit_head').where('seq', '>', 22).execute();
    const damaged = await audit.search({ event: 'audit.damaged' });
    assert.equal(damaged.rows.length, 1, 'the start itself has noticed');
    const report = await audit.verify({ head });
    assert.ok(
      found(report).some(problem => problem.startsWith('missing@23')),
      String(found(report)),
    );
  });

  test('a chain that was computed anew from a row on', async () => {
    await audit[Symbol.asyncDispose]();
    const { chainRow, fromTable } = await import('./audit-row.ts');
    const rows = (await store.db.selectFrom('audit').selectAll().orderBy('seq').execute()).map(fromTable);
    let end = { seq: 4, hash: rows[3]?.hash ?? '' };
    for (const old of rows.slice(4)) {
      const row = chainRow(event({ forged: true }), old.at, end);
      await store.db
        .updateTable('audit')
        .set({ facts: row.facts, prev: row.prev, hash: row.hash })
        .where('seq', '=', row.seq)
        .execute();
      end = row;
    }
    audit = await open();
    assert.ok(found(await audit.verify()).includes('rewritten@25'));
  });

  test('removed heads, forged heads and a head of another key', async () => {
    await audit.append(event()); // whose commit brings the head over row 25
    await store.db.updateTable('audit_head').set({ signature: 'AAAA' }).execute();
    assert.deepEqual(found(await audit.verify()), ['signature@25']);
    const other = await openAudit({ store, keyFile: `${dir}/other.key`, clock, log: quiet });
    assert.ok(found(await audit.verify({ head: other.head() })).some(problem => problem.startsWith('signature')));
  });
});

describe('pruning', () => {
  test('removes what is old, and the rest still verifies, also after a restart and against an old head', async () => {
    const audit = await open();
    await fill(audit, 15);
    const old = audit.head();
    clock.move(86_400_000);
    await fill(audit, 5);
    const point = await audit.prune(clock.now());
    assert.deepEqual([point.seq, point.removed], [15, 15]);
    assert.equal((await audit.prune(clock.now())).removed, 0);
    const report = await audit.verify({ head: old });
    assert.deepEqual([report.ok, report.first, report.notes.length], [true, 16, 1]);
    await audit[Symbol.asyncDispose]();
    await using again = await open();
    assert.equal((await again.verify()).ok, true);
    assert.equal((await verifyExport(again.export(), again.publicKey)).ok, true);
  });

  test('and verifying at the same time do not disturb each other', async () => {
    await using audit = await open();
    await fill(audit, 3000);
    clock.move(1000);
    const [before, point, after] = await Promise.all([audit.verify(), audit.prune(clock.now()), audit.verify()]);
    assert.deepEqual([before.ok, point.removed, after.ok], [true, 3000, true]);
  });

  test('of everything leaves a chain that goes on', async () => {
    await using audit = await open();
    await fill(audit, 5);
    clock.move(1000);
    assert.equal((await audit.prune(clock.now())).removed, 5);
    assert.equal((await audit.append(event())).seq, 7); // row 6 says that it was pruned
    assert.equal((await audit.verify()).ok, true);
  });

  test('that was interrupted is ended at the next start; a forged checkpoint is found', async () => {
    const audit = await open();
    await fill(audit, 10);
    clock.move(1000);
    await audit.prune(clock.now());
    await audit[Symbol.asyncDispose]();
    const row = { ...(await store.db.selectFrom('audit').selectAll().executeTakeFirstOrThrow()), seq: 4 };
    await store.db.insertInto('audit').values(row).execute();
    await using again = await open();
    assert.equal((await again.verify()).ok, true);
    assert.equal((await store.db.selectFrom('audit').selectAll().where('seq', '=', 4).execute()).length, 0);
    await store.db
      .updateTable('audit_checkpoint')
      .set({ hash: 'f'.repeat(64) })
      .execute();
    assert.ok(found(await again.verify()).includes('signature@10'));
  });
});

describe('an export', () => {
  test('verifies with nothing but the key, whole, as a range and filtered', async () => {
    await using audit = await open();
    await fill(audit, 12);
    for (const [filter, rows] of [
      [{}, 12],
      [{ after: 4, before: 9 }, 4],
      [{ who: 'alice' }, 12],
      [{ resource: 'none' }, 0],
    ] as const) {
      const report = await verifyExport(audit.export(filter), audit.publicKey, audit.head());
      assert.deepEqual([report.ok, report.rows], [true, rows], JSON.stringify([filter, report]));
    }
  });

  test('shows a changed, missing, exchanged, shortened or added line', async () => {
    await using audit = await open();
    await fill(audit, 12);
    const whole = await lines(audit);
    const check = async (change: (copy: string[]) => void, given = audit.head()) => {
      const copy = [...whole];
      change(copy);
      return found(await verifyExport(copy, audit.publicKey, given));
    };
    assert.deepEqual(await check(() => {}), []);
    assert.ok(
      (await check(copy => copy.splice(4, 1, copy[4]?.replace('alice', 'mallory') ?? ''))).includes('changed@5'),
    );
    assert.ok((await check(copy => copy.splice(4, 1))).includes('missing@5'));
    assert.ok((await check(copy => copy.splice(4, 2, copy[5] ?? '', copy[4] ?? ''))).includes('reordered@5'));
    assert.ok((await check(copy => copy.splice(0, 2))).includes('missing@1'));
    assert.ok((await check(copy => copy.splice(10, 2))).includes('truncated@11'));
    assert.ok((await check(copy => copy.pop())).includes('truncated@13'));
    assert.ok((await check(copy => copy.push(copy[0] ?? ''))).includes('format@12'));
    assert.ok((await check(copy => copy.splice(3, 0, 'no json'))).includes('format@4'));
  });

  test('of an earlier, shorter chain is found by a head that was kept', async () => {
    await using audit = await open();
    await fill(audit, 5);
    const early = await lines(audit);
    await fill(audit, 5);
    assert.deepEqual(found(await verifyExport(early, audit.publicKey)), []);
    assert.deepEqual(found(await verifyExport(early, audit.publicKey, audit.head())), ['truncated@6']);
  });

  test('that filters shows a line that was taken out', async () => {
    await using audit = await open();
    await fill(audit, 5);
    const some = await lines(audit, { who: 'alice' });
    some.splice(2, 1);
    assert.deepEqual(found(await verifyExport(some, audit.publicKey)), ['changed@5']);
  });

  test('as CSV cannot start a formula in a spreadsheet', async () => {
    await using audit = await open();
    await audit.append(event({}, { resource: '=cmd|"/c calc"!A1' }));
    const csv = (await Array.fromAsync(audit.export({}, 'csv'))).join('');
    assert.match(csv, /^\ufeffseq,at,event,outcome,/);
    assert.match(csv, /,"'=cmd\|""\/c calc""!A1",/);
    await audit.append(event({}, { resource: '＝HYPERLINK(A1)' }));
    assert.match((await Array.fromAsync(audit.export({}, 'csv'))).join(''), /,'＝HYPERLINK\(A1\),/);
  });
});

describe('a disk that is full', () => {
  const failing = (inner: Store, fails: () => boolean): Store => ({
    ...inner,
    writer: {
      append: async rows => {
        if (fails()) throw new Fault('unreachable', 'the database cannot be used: the disk is full; make room');
        await inner.writer.append(rows);
      },
    },
    backup: to => inner.backup(to),
    [Symbol.asyncDispose]: () => inner[Symbol.asyncDispose](),
  });

  test('refuses rows with the reason, keeps no part of them, and goes on by itself', async () => {
    let full = false;
    await using audit = await open({ store: failing(store, () => full) });
    await fill(audit, 3);
    full = true;
    await assert.rejects(audit.append(event()), { code: 'unreachable', message: /disk is full/ });
    full = false;
    assert.equal((await audit.append(event())).seq, 4);
    assert.equal((await audit.verify()).ok, true);
  });

  test('a commit whose answer was lost is neither lost nor written twice', async () => {
    let lose = false;
    const lossy: Store = {
      ...failing(store, () => false),
      writer: {
        append: async rows => {
          await store.writer.append(rows);
          if (lose) throw new Fault('unreachable', 'connection lost');
        },
      },
    };
    await using audit = await open({ store: lossy });
    lose = true;
    assert.equal((await audit.append(event())).seq, 1, 'the table shows that it was kept');
    lose = false;
    assert.equal((await audit.append(event())).seq, 2);
    assert.equal((await audit.verify()).ok, true);
  });

  test('more rows than may wait are refused at once', async () => {
    await using audit = await open({ queue: 2 });
    const answers = await Promise.allSettled([1, 2, 3].map(() => audit.append(event())));
    assert.deepEqual(
      answers.map(({ status }) => status),
      ['fulfilled', 'fulfilled', 'rejected'],
    );
  });
});
