// Enrolment links: one person, one use, an end; and what becomes of them when things go wrong.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { TestClock } from '../core/clock.ts';
import { openStore } from '../store/index.ts';
import { trustConfig } from './config.ts';
import { type Enrolments, openEnrolments } from './enrolments.ts';
import { createLimiter } from './limiter.ts';
import { openUsers } from './users.ts';

const log = { child: () => log, debug() {}, info() {}, warn() {}, error() {} };
const from = { host: '203.0.113.7', port: 4000 };
const day = 86_400_000;

async function open(t: TestContext) {
  const clock = new TestClock('2026-11-22T09:00:00Z');
  const store = await openStore({ url: 'sqlite::memory:', log, clock });
  t.after(() => store[Symbol.asyncDispose]());
  const users = await openUsers(store, clock);
  await users.add({ name: 'alice' });
  const limiter = createLimiter(trustConfig.parse({})['rate-limit']);
  const enrolments = openEnrolments({ store, clock, limiter, find: users.find });
  return { clock, store, users, enrolments };
}
const made = async (): Promise<{ serial: string }> => ({ serial: 'abc' });
const refused = (enrolments: Enrolments, code: string): Promise<void> =>
  assert.rejects(enrolments.look(code, from), { code: 'unknown-caller' });

test('a link says whose it is as often as it is asked, and works once', async t => {
  const { enrolments } = await open(t);
  const { code, id } = await enrolments.invite({ user: 'alice', wish: { ou: ['医療事業部'] } });
  assert.equal((await enrolments.look(code, from)).user, 'alice');
  assert.deepEqual((await enrolments.look(code, from)).wish, { ou: ['医療事業部'] });
  await enrolments.redeem(code, from, made);
  await refused(enrolments, code);
  await assert.rejects(enrolments.redeem(code, from, made), { code: 'unknown-caller' });
  assert.deepEqual(
    (await enrolments.list()).map(({ state, serial }) => [state, serial]),
    [['used', 'abc']],
  );
  await assert.rejects(enrolments.revoke(id), { code: 'conflict' });
});

test('of many who use a link at once, one gets the certificate', async t => {
  const { enrolments } = await open(t);
  const { code } = await enrolments.invite({ user: 'alice', wish: {} });
  const tries = await Promise.allSettled(Array.from({ length: 8 }, () => enrolments.redeem(code, from, made)));
  assert.equal(tries.filter(({ status }) => status === 'fulfilled').length, 1);
});

test('a link that is revoked while a request with it fails stays revoked', async t => {
  const { enrolments } = await open(t);
  const { code, id } = await enrolments.invite({ user: 'alice', wish: {} });
  const gate = Promise.withResolvers<never>();
  const begun = Promise.withResolvers<void>();
  const failing = enrolments.redeem(code, from, () => {
    begun.resolve();
    return gate.promise;
  });
  await begun.promise;
  const revoking = enrolments.revoke(id);
  gate.reject(new Error('no signing request'));
  await assert.rejects(failing, /no signing request/);
  assert.equal((await revoking).state, 'revoked');
  await refused(enrolments, code);
  // And one that is fetched meanwhile is said to be used, since its certificate is what must be revoked then.
  const other = await enrolments.invite({ user: 'alice', wish: {} });
  const slow = Promise.withResolvers<{ serial: string }>();
  const sure = Promise.withResolvers<void>();
  const fetching = enrolments.redeem(other.code, from, () => {
    sure.resolve();
    return slow.promise;
  });
  await sure.promise;
  const late = assert.rejects(enrolments.revoke(other.id), { code: 'conflict', message: /revoke abc instead/ });
  slow.resolve({ serial: 'abc' });
  await Promise.all([fetching, late]);
});

test('a link ends after 15 minutes, or after as long as was asked for, seven days at most', async t => {
  const { enrolments, clock } = await open(t);
  const usual = await enrolments.invite({ user: 'alice', wish: {} });
  const long = await enrolments.invite({ user: 'alice', wish: {}, for: 7 * day });
  await assert.rejects(enrolments.invite({ user: 'alice', wish: {}, for: 7 * day + 1 }), { code: 'invalid' });
  await assert.rejects(enrolments.invite({ user: 'alice', wish: {}, for: 0 }), { code: 'invalid' });
  clock.move(15 * 60_000);
  await refused(enrolments, usual.code);
  clock.move(6 * day);
  await enrolments.look(long.code, from);
  clock.move(day);
  await refused(enrolments, long.code);
});

test('a link that is revoked, or whose person is disabled or gone, works no more', async t => {
  const { enrolments, users, clock } = await open(t);
  const first = await enrolments.invite({ user: 'alice', wish: {} });
  assert.equal((await enrolments.revoke(first.id)).state, 'revoked');
  await refused(enrolments, first.code);
  await assert.rejects(enrolments.revoke('no-such-id'), { code: 'missing' });
  const second = await enrolments.invite({ user: 'alice', wish: {} });
  await users.change('alice', { state: 'disabled' });
  await refused(enrolments, second.code);
  await users.change('alice', { state: 'active' });
  await enrolments.look(second.code, from);
  await users.remove('alice');
  clock.move(1000);
  await users.add({ name: 'alice' });
  await refused(enrolments, second.code);
});

test('a request that is refused leaves the link open', async t => {
  const { enrolments } = await open(t);
  const { code } = await enrolments.invite({ user: 'alice', wish: {} });
  await assert.rejects(
    enrolments.redeem(code, from, () => Promise.reject(new Error('no'))),
    /no/,
  );
  assert.equal((await enrolments.redeem(code, from, made)).serial, 'abc');
});

test('who guesses is shut out, and a right link still works from the same address', async t => {
  const { enrolments } = await open(t);
  const { code } = await enrolments.invite({ user: 'alice', wish: {} });
  for (let i = 0; i < 30; i++) await refused(enrolments, `skc_${String(i).padStart(27, 'x')}`);
  await assert.rejects(enrolments.look(`skc_${'y'.repeat(27)}`, from), { code: 'limit' });
  await assert.rejects(enrolments.look('no code at all', from), { code: 'limit' });
  await enrolments.redeem(code, from, made);
});

test('the code is kept as a hash only', async t => {
  const { enrolments, store } = await open(t);
  const { code } = await enrolments.invite({ user: 'alice', wish: {} });
  const rows = await store.db.selectFrom('enrolment').selectAll().execute();
  assert.doesNotMatch(JSON.stringify(rows), new RegExp(code.slice(4)));
});
