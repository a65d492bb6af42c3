// The head that is kept outside the database: who can write the database alone cannot shorten the record unnoticed.
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { TestClock } from '../core/clock.ts';
import type { Log } from '../core/parts.ts';
import { openStore, type Store } from '../store/index.ts';
import { type Audit, openAudit } from './audit.ts';
import type { AuditEvent } from './audit-row.ts';

const errors: string[] = [];
const log: Log = {
  child: () => log,
  debug() {},
  info() {},
  warn() {},
  error: (_, text) => void errors.push(text),
};
let dir = '';
let store: Store;
const clock = new TestClock('2026-11-22T09:00:00Z');
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'sekisho-head-'));
  store = await openStore({ url: 'sqlite::memory:', log });
  errors.length = 0;
});
afterEach(async () => {
  await store[Symbol.asyncDispose]();
  rmSync(dir, { recursive: true, force: true });
});
const open = (storeName = 'one'): Promise<Audit> =>
  openAudit({ store, keyFile: `${dir}/audit.key`, storeName, clock, log, headRows: 10 });
const event: AuditEvent = {
  event: 'user.added',
  who: { kind: 'user', id: 'alice', credential: 'cert:aa' },
  resource: 'user/bob',
  outcome: 'done',
  facts: {},
};
/** One life of a gate. */
const life = async (rows: number, storeName?: string): Promise<Pick<Audit, 'warnings'>> => {
  await using audit = await open(storeName);
  for (let at = 0; at < rows; at++) await audit.append(event);
  return { warnings: audit.warnings };
};
const file = (): string => join(dir, 'audit.head');
const cutAfter = async (seq: number): Promise<void> => {
  await store.db.deleteFrom('audit').where('seq', '>', seq).execute();
  await store.db.deleteFrom('audit_head').where('seq', '>', seq).execute();
};

test('the newest head is in a file for the owner only, and an undamaged record raises no warning', async () => {
  await life(25);
  assert.equal(statSync(file()).mode & 0o777, 0o600);
  assert.equal((JSON.parse(readFileSync(file(), 'utf8')) as { newest: { seq: number } }).newest.seq, 25);
  assert.deepEqual((await life(5)).warnings, []);
  assert.equal(existsSync(`${file()}.new`), false);
});

test('rows and heads that were cut off together are missed at the start, and from then on, until a person has looked', async () => {
  await life(25);
  await cutAfter(12);
  {
    await using audit = await open();
    assert.match(audit.warnings.join('\n'), /the rows from 13 to 25 are gone: the head kept beside the audit key/);
    assert.match(errors.join('\n'), /damaged while the gate was down: the rows from 13 to 25 are gone/);
    const [damaged] = (await audit.search({ event: 'audit.damaged' })).rows;
    assert.equal(damaged?.seq, 26, 'the numbers of what is gone are not used again');
    for (let at = 0; at < 30; at++) await audit.append(event);
    const report = await audit.verify();
    assert.ok(
      report.problems.some(({ seq, problem }) => problem === 'missing' && seq === 13),
      JSON.stringify(report),
    );
  }
  errors.length = 0;
  assert.match((await life(5)).warnings.join('\n'), /does not hold the row 25 .* remove .*audit\.head/);
  assert.deepEqual(errors, [], 'what is known is not told as new');
  rmSync(file());
  assert.deepEqual((await life(5)).warnings, []);
});

test('rows that were computed anew, with heads removed, are found, also long after', async () => {
  await life(25);
  const { chainRow, fromTable } = await import('./audit-row.ts');
  const rows = (await store.db.selectFrom('audit').selectAll().orderBy('seq').execute()).map(fromTable);
  let end = { seq: 4, hash: rows[3]?.hash ?? '' };
  for (const old of rows.slice(4)) {
    const row = chainRow({ ...event, resource: 'user/forged' }, old.at, end);
    const { resource, prev, hash } = row;
    await store.db.updateTable('audit').set({ resource, prev, hash }).where('seq', '=', row.seq).execute();
    end = row;
  }
  await store.db.deleteFrom('audit_head').execute();
  assert.match((await life(30)).warnings.join('\n'), /the rows up to 25 were rewritten/);
  await using audit = await open();
  const { problems } = await audit.verify();
  assert.ok(
    problems.some(({ seq, problem }) => problem === 'rewritten' && seq === 25),
    JSON.stringify(problems),
  );
});

test('an emptied database, and a forged checkpoint that would excuse it, are found', async () => {
  await life(25);
  await cutAfter(0);
  const forged = { seq: 40, hash: 'ab'.repeat(32), at: '2026-11-22T09:00:00.000Z', before: '2026-11-22T09:00:00.000Z' };
  await store.db
    .insertInto('audit_checkpoint')
    .values({ ...forged, key: 'cd', signature: 'AAAA' })
    .execute();
  assert.match((await life(1)).warnings.join('\n'), /checkpoint|are gone/);
  await store.db.deleteFrom('audit_checkpoint').execute();
});

test('pruning is no damage, and neither is a store that the configuration has changed', async () => {
  await life(25);
  clock.move(90 * 86_400_000);
  {
    await using audit = await open();
    assert.ok((await audit.prune(clock.now())).removed >= 25);
  }
  assert.deepEqual((await life(3)).warnings, []);
  await store[Symbol.asyncDispose]();
  store = await openStore({ url: 'sqlite::memory:', log });
  assert.deepEqual((await life(3, 'another')).warnings, []);
  assert.deepEqual(errors, []);
});

test('a file that somebody has spoilt keeps no gate from starting, and is told', async () => {
  await life(5);
  writeFileSync(file(), '{"newest":');
  assert.match((await life(5)).warnings.join('\n'), /audit\.head holds no head of the audit/);
  assert.deepEqual((await life(5)).warnings, []);
});
