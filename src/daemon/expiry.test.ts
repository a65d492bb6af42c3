// Who is told that a certificate ends soon, and how often.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { memoryLog, memoryMetrics } from '../../test/fixtures/quiet.ts';
import { openAudit } from '../access/index.ts';
import { TestClock } from '../core/clock.ts';
import { createNotifier, type Notice, notifyConfig } from '../features/notify/index.ts';
import { openStore } from '../store/index.ts';
import { openAuthority } from '../trust/index.ts';
import { expiryWarnings, watchExpiry } from './expiry.ts';

const day = 86_400_000;

test('each threshold is told once, over restarts as well, until the certificate is renewed', async t => {
  const dir = mkdtempSync(join(tmpdir(), 'sekisho-expiry-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const [log, metrics, clock] = [memoryLog(), memoryMetrics(), new TestClock('2026-11-22T00:00:00Z')];
  await using store = await openStore({ url: 'sqlite::memory:', log, clock });
  await using authority = await openAuthority({ store, dir, log, clock });
  await using audit = await openAudit({ store, keyFile: join(dir, 'audit.key'), clock, log, metrics });
  const alice = await authority.issueClient({ user: 'alice', key: 'ecdsa', days: 100 });
  await authority.issueClient({ user: 'brief', key: 'ecdsa', days: 1 });
  await authority.issueClient({ user: 'ten', key: 'ecdsa', days: 10 });
  await authority.issueClient({ user: 'late', key: 'ecdsa', days: 400 });

  const told: Notice[] = [];
  const notify = createNotifier({ config: notifyConfig.parse({}), ways: [notice => told.push(notice)], clock });
  /** A gate that runs this long; its end waits for the look that is under way. */
  const run = async (days: number): Promise<string[]> => {
    const from = audit.head().seq;
    const watch = watchExpiry({ authority, audit, clock, log });
    for (let hours = 0; hours < days * 24; hours += 1) {
      for (let turn = 0; turn < 20; turn += 1) await new Promise(setImmediate);
      clock.move(3_600_000);
    }
    await watch[Symbol.asyncDispose]();
    const { rows } = await audit.search({ after: from, limit: 1000 });
    for (const row of rows.toReversed()) notify({ ...row, from: row.from ?? null });
    return rows.toReversed().map(({ event, facts }) => `${event} ${facts['name']} ${facts['days']}`);
  };
  assert.deepEqual(await run(1), [], 'a certificate for a day is nobody’s news, one for ten not at once');
  clock.move(8 * day);
  assert.deepEqual(await run(1), ['cert.expiring ten 1'], 'of several that are crossed, the nearest');
  assert.deepEqual(expiryWarnings(authority, clock.now()), []);
  clock.move(60 * day);
  assert.deepEqual(await run(1), ['cert.expiring alice 30']);
  assert.deepEqual(await run(1), [], 'a restart tells nothing twice');
  clock.move(21 * day);
  assert.deepEqual(await run(1), ['cert.expiring alice 7']);
  assert.match(expiryWarnings(authority, clock.now()).join(), /^1 certificate ends within 7 days: user alice; see/);
  assert.deepEqual(
    told.map(({ key }) => key.split(' ')[0]),
    ['cert.expiring', 'cert.expiring', 'cert.expiring'],
  );
  assert.equal(told.at(-1)?.resource, `cert/${alice.serial}`);

  await authority.issueClient({ user: 'alice', key: 'ecdsa', days: 100, replaces: alice.serial });
  clock.move(5 * day);
  assert.deepEqual(await run(1), []);
  assert.deepEqual(expiryWarnings(authority, clock.now()), []);
});
