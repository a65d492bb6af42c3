// A killed gate leaves no opening without an end: the next start writes it, once, and without reading the whole chain.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import fc from 'fast-check';
import { TestClock } from '../core/clock.ts';
import { Fault } from '../core/fault.ts';
import type { Action, Log } from '../core/parts.ts';
import { openStore, type Store, type Writer } from '../store/index.ts';
import { type Audit, openAudit } from './audit.ts';
import type { AuditEvent, AuditRow } from './audit-row.ts';
import { eventNames, isStream } from './events.ts';

const quiet: Log = { child: () => quiet, debug() {}, info() {}, warn() {}, error() {} };
let dir = '';
let store: Store;
const clock = new TestClock('2026-11-22T09:00:00Z');
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'sekisho-open-'));
  store = await openStore({ url: 'sqlite::memory:', log: quiet });
});
afterEach(async () => {
  await store[Symbol.asyncDispose]();
  rmSync(dir, { recursive: true, force: true });
});

const life = (writer: Writer = store.writer, headRows = 10): Promise<Audit> =>
  openAudit({ store: { ...store, writer }, keyFile: `${dir}/audit.key`, clock, log: quiet, headRows });

/** A process that is killed writes nothing more, not even a head. */
const killed = async (act: (audit: Audit) => Promise<unknown>): Promise<void> => {
  let isAlive = true;
  const audit = await life({
    append: rows => (isAlive ? store.writer.append(rows) : Promise.reject(new Fault('unreachable', 'killed'))),
  });
  await act(audit);
  isAlive = false;
  await audit[Symbol.asyncDispose]();
};

const opening = (session: string, action: Action = 'proxy.connect'): AuditEvent => ({
  event: eventNames(action).opened,
  session,
  who: { kind: 'user', id: 'alice', credential: 'cert:aa' },
  from: { host: '2001:db8::7', port: 5000 },
  resource: 'proxy/db',
  rule: 'access[0]',
  outcome: 'allowed',
  facts: isStream(action) ? {} : { action },
});
const end = (session: string, action: Action = 'proxy.connect'): AuditEvent => ({
  ...opening(session, action),
  event: eventNames(action).closed,
  outcome: isStream(action) ? 'ended' : 'done',
  facts: { cause: 'ended', ms: 5 },
});
const rowsOf = async (audit: Audit, session: string): Promise<AuditRow[]> =>
  (await audit.search({ session })).rows.reverse();

test('an opening of a killed gate gets its end at the next start: who and what as in the opening, bytes unknown', async () => {
  await killed(async audit => {
    await audit.append(opening('a-1'));
    await audit.append({ ...opening('a-3'), facts: { worker: 2 } });
    await audit.append(opening('a-2'));
    await audit.append(end('a-2'));
  });
  clock.move(60_000);
  {
    await using audit = await life();
    const [opened, closed, ...more] = await rowsOf(audit, 'a-1');
    assert.deepEqual(more, []);
    assert.ok(opened && closed);
    const same = ({ who, from, resource, rule, session }: AuditRow) => ({ who, from, resource, rule, session });
    assert.deepEqual(same(closed), same(opened));
    assert.deepEqual([closed.event, closed.outcome, closed.at], ['proxy.closed', 'ended', clock.now().toISOString()]);
    assert.deepEqual(closed.facts, { cause: 'gate-gone', bytes: 'unknown', opened: opened.at });
    assert.deepEqual((await rowsOf(audit, 'a-3'))[1]?.facts['worker'], 2, 'who may carry it on');
    assert.equal((await rowsOf(audit, 'a-2')).length, 2, 'what has ended is left alone');
    assert.equal((await audit.verify()).ok, true);
  }
  await using audit = await life();
  assert.equal((await rowsOf(audit, 'a-1')).length, 2, 'and only once');
});

test('the end has the name that belongs to the opening, whatever the word; of an act it says that nobody knows', async () => {
  const actions: Action[] = [
    'web.request',
    'vpn.join',
    'tunnel.use',
    'endpoint.connect',
    'device.stream',
    'cert.issue',
  ];
  await killed(audit => Promise.all(actions.map(action => audit.append(opening(action, action)))));
  await using audit = await life();
  for (const action of actions) {
    const [, closed] = await rowsOf(audit, action);
    assert.equal(closed?.event, eventNames(action).closed);
  }
  assert.deepEqual((await rowsOf(audit, 'cert.issue'))[1]?.facts['done'], 'unknown');
});

test('a session that outlives many heads, and even its own opening row, is not forgotten', async () => {
  await killed(async audit => {
    await audit.append(opening('long'));
    for (let at = 0; at < 100; at++) {
      await audit.append(opening(`short-${at}`));
      await audit.append(end(`short-${at}`));
    }
    clock.move(90 * 86_400_000);
    assert.ok((await audit.prune(clock.now())).removed >= 200);
  });
  await using audit = await life();
  const [closed, ...more] = await rowsOf(audit, 'long');
  assert.deepEqual([closed?.facts['cause'], closed?.who.id, more], ['gate-gone', 'alice', []]);
  assert.equal((await audit.search({ event: 'proxy.closed' })).rows.length, 1);
});

test('killed again while the ends are being written: each opening still gets exactly one', async () => {
  await killed(audit => Promise.all(Array.from({ length: 30 }, (_, at) => audit.append(opening(`s-${at}`)))));
  let commits = 0;
  const dying = await life(
    {
      append: rows => (++commits <= 1 ? store.writer.append(rows) : Promise.reject(new Fault('unreachable', 'killed'))),
    },
    1,
  );
  await dying[Symbol.asyncDispose]();
  await using audit = await life();
  for (let at = 0; at < 30; at++) assert.equal((await rowsOf(audit, `s-${at}`)).length, 2);
});

test('whatever opens, ends, fails to be written or is killed: every opening has exactly one end after the next start', async () => {
  const step = fc.oneof(
    { weight: 6, arbitrary: fc.constant('open' as const) },
    { weight: 5, arbitrary: fc.constant('end' as const) },
    { weight: 1, arbitrary: fc.constant('kill' as const) },
    { weight: 1, arbitrary: fc.constant('lost' as const) },
    { weight: 1, arbitrary: fc.constant('refused' as const) },
  );
  const runs = Number(process.env['FUZZ_RUNS'] ?? 60);
  let runsSoFar = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), fc.integer({ min: 1, max: 6 }), async (steps, headRows) => {
      const run = ++runsSoFar;
      await using fresh = await openStore({ url: 'sqlite::memory:', log: quiet });
      let trouble: 'none' | 'lost' | 'refused' | 'dead' = 'none';
      const open = (): Promise<Audit> => {
        const mine = {};
        current = mine;
        const writer: Writer = {
          async append(rows) {
            if (current !== mine || trouble === 'refused' || trouble === 'dead') throw new Fault('unreachable', 'no');
            await fresh.writer.append(rows);
            // It took place, and the answer was lost; nobody could look at the table either.
            if (trouble === 'lost') throw new Fault('unreachable', 'lost');
          },
        };
        return openAudit({ store: { ...fresh, writer }, keyFile: `${dir}/${run}.key`, clock, log: quiet, headRows });
      };
      let current: object = {};
      let audit = await open();
      const live: string[] = [];
      let count = 0;
      for (const what of steps) {
        if (what === 'open') {
          const session = `s-${++count}`;
          const isThere = await audit.append(opening(session)).then(
            () => true,
            () => false,
          );
          if (isThere) live.push(session);
        } else if (what === 'end') {
          const session = live.shift();
          if (session !== undefined) await audit.append(end(session)).catch(() => live.push(session));
        } else if (what === 'kill') {
          trouble = 'dead';
          await audit[Symbol.asyncDispose]();
          trouble = 'none';
          live.length = 0;
          audit = await open();
        } else trouble = trouble === 'none' ? what : 'none';
      }
      trouble = 'dead';
      await audit[Symbol.asyncDispose]();
      trouble = 'none';
      audit = await open();
      const { rows } = await audit.search({ limit: 1000 });
      const bySession = Map.groupBy(rows, row => row.session);
      for (const [session, own] of bySession) {
        const outcomes = own.map(({ outcome }) => outcome);
        assert.deepEqual(outcomes.toSorted(), ['allowed', 'ended'], `${session}: ${outcomes}`);
      }
      assert.equal((await audit.verify()).ok, true);
      await audit[Symbol.asyncDispose]();
      const left = await fresh.db.selectFrom('audit_open').selectAll().execute();
      assert.deepEqual(left, [], 'the books are empty when nothing is open');
    }),
    { numRuns: runs },
  );
});
