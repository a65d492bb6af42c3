// What the registry keeps, and which name means whom.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { memoryLog } from '../../../test/fixtures/quiet.ts';
import { TestClock } from '../../core/clock.ts';
import { openStore } from '../../store/index.ts';
import { openDeviceRegistry } from './registry.ts';

async function open(t: TestContext) {
  const [clock, log] = [new TestClock(), memoryLog()];
  const store = await openStore({ url: 'sqlite::memory:', log, clock });
  t.after(async () => store[Symbol.asyncDispose]());
  return {
    clock,
    reopen: () => openDeviceRegistry({ store, clock, log }),
    registry: await openDeviceRegistry({ store, clock, log }),
  };
}

test('a device is found by its name and aliases, and another cannot take any of them', async t => {
  const { registry } = await open(t);
  await registry.invite('pump-7', { aliases: [{ name: '440101234567890', kind: 'imsi' }] });
  assert.equal(registry.find('440101234567890')?.name, 'pump-7');
  await assert.rejects(registry.invite('440101234567890', {}), { code: 'conflict' });
  await assert.rejects(registry.invite('x', { aliases: [{ name: 'pump-7', kind: 'alias' }] }), { code: 'conflict' });
  await assert.rejects(registry.invite('a b', {}), { code: 'invalid' });
  assert.throws(() => registry.named('440101234567890'), { code: 'missing' });
  assert.equal(registry.standing('440101234567890'), undefined, 'no certificate was issued in an alias');
});

test('a renamed device keeps standing under its former name, which stays taken', async t => {
  const { registry } = await open(t);
  await registry.invite('old', {});
  await registry.rename('old', 'new');
  assert.deepEqual([registry.standing('old'), registry.standing('new')], ['new', 'new']);
  await assert.rejects(registry.invite('old', {}), { code: 'conflict' });
  await registry.change('new', { aliases: [] });
  assert.equal(registry.standing('old'), 'new', 'a former name is not given up by hand');
  await registry.rename('new', 'old');
  assert.equal(registry.standing('new'), 'old');
});

test('a revoked device stands no more until it is invited again; a removed one is forgotten', async t => {
  const { registry } = await open(t);
  await registry.invite('pump-7', {});
  await registry.revoke('pump-7');
  assert.equal(registry.standing('pump-7'), undefined);
  await registry.invite('pump-7', {});
  assert.equal(registry.standing('pump-7'), 'pump-7');
  await registry.remove('pump-7');
  assert.equal(registry.find('pump-7'), undefined);
});

test('what was seen is there at once and in the store a little later', async t => {
  const { registry, reopen, clock } = await open(t);
  const { id } = await registry.invite('pump-7', { tags: { site: 'north' }, services: { ssh: '127.0.0.1:22' } });
  registry.seen(id, { lastSeen: clock.now(), address: '203.0.113.7', services: { web: '127.0.0.1:80' } });
  assert.equal(registry.get('pump-7').address, '203.0.113.7');
  await registry[Symbol.asyncDispose]();
  const again = (await reopen()).get('pump-7');
  assert.deepEqual(
    [again.lastSeen, again.services, again.tags],
    [clock.now(), { web: '127.0.0.1:80' }, { site: 'north' }],
  );
});

test('of many who take one name at once, one gets it', async t => {
  const { registry } = await open(t);
  await Promise.all(['a', 'b', 'c'].map(name => registry.invite(name, {})));
  const tries = await Promise.allSettled(['a', 'b', 'c'].map(name => registry.rename(name, 'same')));
  assert.equal(tries.filter(({ status }) => status === 'fulfilled').length, 1);
});
