// How long an endpoint lives and whom it lets in: time is moved, not slept away.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { memoryPair } from '../../../src/net/memory.ts';
import { openRig, operator, until, user } from './rig.ts';

const minute = 60_000;

test('it ends by itself: nobody comes in any more, who is inside is cut, and both are written down', async t => {
  const rig = await openRig(t);
  const endpoint = await rig.open({ for: 30 * minute });
  assert.equal(endpoint.state, 'open');
  assert.ok(Number(endpoint.port) >= 21_000 && Number(endpoint.port) <= 23_999);
  const inside = await rig.enter(endpoint);
  assert.equal(await inside.say('hello'), 'hello');
  rig.clock.move(30 * minute - 1);
  assert.equal(await inside.say('still'), 'still');
  rig.clock.move(1);
  await inside.over;
  await until('the end is kept', async () => (await rig.service.get(endpoint.id)).state === 'closed');
  const over = await rig.service.get(endpoint.id);
  assert.equal(over.cause, 'expired');
  assert.equal(await (await rig.enter(endpoint)).say('late'), 'out');
  await until('both rows', async () => (await rig.rows('endpoint.expired')).length === 1);
  const [closed] = await rig.rows('endpoint.disconnected');
  assert.equal(closed?.facts['cause'], 'expired');
  assert.deepEqual([closed?.facts['up'], closed?.facts['down']], [10, 10]);
});

test('with drain, who is inside at the end may go on', async t => {
  const rig = await openRig(t);
  const endpoint = await rig.open({ for: minute, limits: { drain: true } });
  const inside = await rig.enter(endpoint);
  assert.equal(await inside.say('one'), 'one');
  rig.clock.move(minute);
  await until('it is over', async () => (await rig.service.get(endpoint.id)).state === 'closed');
  assert.equal(await inside.say('two'), 'two');
  assert.equal(await (await rig.enter(endpoint)).say('late'), 'out');
});

test('extension adds to the end, within the rule and within endpoint.lifetime.max', async t => {
  const rig = await openRig(t, {
    access: [{ allow: 'endpoint.open', for: '2h' }],
    config: { lifetime: { max: '3h' } },
  });
  const { id } = await rig.open({ for: 30 * minute });
  const start = rig.clock.now().getTime();
  assert.equal((await rig.service.extend(id, 60 * minute)).until, start + 90 * minute);
  assert.equal((await rig.service.extend(id, 60 * minute)).until, start + 120 * minute, 'the rule says two hours');
  await assert.rejects(rig.service.extend(id, minute), { code: 'limit' });
  rig.clock.move(100 * minute);
  assert.equal((await rig.service.extend(id, 600 * minute)).until, start + 180 * minute, 'three hours in all');
  await assert.rejects(rig.service.extend(id, minute), /lifetime\.max is 3h/);
  rig.clock.move(79 * minute);
  assert.equal((await rig.service.get(id)).state, 'open');
  rig.clock.move(minute);
  await until('it is over', async () => (await rig.service.get(id)).state === 'closed');
});

test('a rule’s `for` is the most, and more than endpoint.lifetime.max is refused', async t => {
  const rig = await openRig(t, { access: [{ allow: 'endpoint.open', for: '10m' }] });
  const endpoint = await rig.open({ for: 60 * minute });
  assert.equal(endpoint.until - (endpoint.opened ?? 0), 10 * minute);
  await assert.rejects(rig.open({ for: 9 * 60 * minute }), { code: 'invalid' });
  const usual = await openRig(t);
  const given = await usual.open();
  assert.equal(given.until - (given.opened ?? 0), 30 * minute);
});

test('the latch: the first address that is let in owns it, also after a restart', async t => {
  const rig = await openRig(t);
  const endpoint = await rig.open({ limits: { latch: true } });
  const first = await rig.enter(endpoint, '127.0.0.2');
  assert.equal(await first.say('mine'), 'mine');
  assert.equal((await rig.service.get(endpoint.id)).latched, '127.0.0.2');
  assert.equal(await (await rig.enter(endpoint, '127.0.0.3')).say('me too'), 'out');
  assert.equal(await (await rig.enter(endpoint, '127.0.0.2')).say('again'), 'again');
  await rig.restart();
  await first.over;
  assert.equal(await (await rig.enter(endpoint, '127.0.0.3')).say('now?'), 'out');
  assert.equal(await (await rig.enter(endpoint, '127.0.0.2')).say('still mine'), 'still mine');
  const reasons = (await rig.rows('endpoint.denied')).map(({ facts }) => facts['reason']);
  assert.ok(
    reasons.every(reason => reason === 'it belongs to the first address that came'),
    String(reasons),
  );
});

test('one shot: one connection, and when that ends the endpoint is over', async t => {
  const rig = await openRig(t);
  const endpoint = await rig.open({ limits: { once: true } });
  const only = await rig.enter(endpoint);
  assert.equal(await only.say('only'), 'only');
  assert.equal(await (await rig.enter(endpoint)).say('second'), 'out');
  only.socket.end();
  await only.over;
  await until('it is over', async () => (await rig.service.get(endpoint.id)).cause === 'used');
});

test('one shot: a device that could not be reached takes nobody’s connection away', async t => {
  const rig = await openRig(t);
  let answers = false;
  const dialer = {
    async dial() {
      if (!answers) throw Object.assign(new Error('offline'), { code: 'ECONNREFUSED' });
      const [near, far] = memoryPair();
      far.stream.pipe(far.stream);
      return near;
    },
  };
  const other = await openRig(t, {
    deps: {
      reach: {
        device: dialer,
        isOwn: () => false,
        addressFault: () => undefined,
        resolver: { addresses: async () => ({ addresses: [], ttl: 0 }) },
      },
    },
  });
  const endpoint = await other.open({ limits: { once: true } });
  assert.equal(await (await other.enter(endpoint)).say('x'), 'out');
  answers = true;
  await until('it may be tried again', async () => !(await other.service.get(endpoint.id)).used);
  assert.equal(await (await other.enter(endpoint)).say('now'), 'now');
  assert.equal((await other.rows('endpoint.unreached')).length, 1);
  assert.ok(rig);
});

test('idle: a connection without a byte for so long ends, one that is used does not', async t => {
  const rig = await openRig(t);
  const endpoint = await rig.open({ limits: { idle: 5 * minute } });
  const [quiet, busy] = [await rig.enter(endpoint), await rig.enter(endpoint)];
  await quiet.say('x');
  await busy.say('x');
  rig.clock.move(4 * minute);
  assert.equal(await busy.say('here'), 'here');
  rig.clock.move(2 * minute);
  await quiet.over;
  assert.equal(await busy.say('still here'), 'still here');
  await until('written down', async () => (await rig.rows('endpoint.disconnected')).length === 1);
  const [closed] = await rig.rows('endpoint.disconnected');
  assert.equal(closed?.facts['cause'], 'idle');
});

test('a long silence alone ends nothing', async t => {
  const rig = await openRig(t);
  const endpoint = await rig.open({ for: 8 * 60 * minute });
  const inside = await rig.enter(endpoint);
  await inside.say('hello');
  rig.clock.move(7 * 60 * minute);
  assert.equal(await inside.say('after seven hours'), 'after seven hours');
});

test('connections at a time, and new connections a minute', async t => {
  const rig = await openRig(t);
  const few = await rig.open({ limits: { connections: 1 } });
  const one = await rig.enter(few);
  assert.equal(await one.say('a'), 'a');
  assert.equal(await (await rig.enter(few)).say('b'), 'out');
  one.socket.end();
  await one.over;
  await until('its place is free', () => rig.service.connections(few.id) === 0);
  assert.equal(await (await rig.enter(few)).say('c'), 'c');

  const slow = await rig.open({ limits: { perMinute: 2 } });
  const said = [];
  for (let count = 0; count < 3; count++) said.push(await (await rig.enter(slow)).say('x'));
  assert.deepEqual(said, ['x', 'x', 'out']);
  rig.clock.move(minute / 2);
  assert.equal(await (await rig.enter(slow)).say('y'), 'y');
});

test('an address outside the list reaches no device, and a burst of it is two rows, not a thousand', async t => {
  const rig = await openRig(t);
  const endpoint = await rig.open({ from: ['127.0.0.9/32'] });
  for (let round = 0; round < 20; round++) {
    const crowd = await Promise.all(Array.from({ length: 10 }, () => rig.enter(endpoint, '127.0.0.4')));
    await Promise.all(crowd.map(({ over }) => over));
  }
  assert.equal(rig.reached.length, 0);
  rig.clock.move(6000);
  rig.clock.move(11_000);
  await until('the count is written', async () => (await rig.rows('endpoint.denied')).length >= 2);
  const rows = await rig.rows('endpoint.denied');
  assert.equal(rows.length, 2);
  assert.equal(
    rows.reduce((sum, { facts }) => sum + Number(facts['count']), 0),
    200,
  );
  assert.deepEqual([...new Set(rows.map(({ facts }) => facts['reason']))], ['address not in the list']);
  assert.equal(await (await rig.enter(endpoint, '127.0.0.9')).say('listed'), 'listed');
});

test('without a list, only the asker’s own address', async t => {
  const rig = await openRig(t);
  const endpoint = await rig.service.open(
    { target: 'device://pump-7/ssh' },
    { who: operator, from: { host: '127.0.0.5', port: 1 } },
  );
  assert.deepEqual(endpoint.limits.sources, ['127.0.0.5/32']);
  assert.equal(await (await rig.enter(endpoint, '127.0.0.6')).say('x'), 'out');
  assert.equal(await (await rig.enter(endpoint, '127.0.0.5')).say('x'), 'x');
});

test('after a restart: the same port, the same end, the same owner; what ran out meanwhile is over', async t => {
  const rig = await openRig(t);
  const [long, short] = [await rig.open({ for: 60 * minute }), await rig.open({ for: 10 * minute })];
  const inside = await rig.enter(long);
  await inside.say('before');
  await rig.service[Symbol.asyncDispose]();
  await inside.over;
  rig.clock.move(20 * minute);
  await rig.restart();
  const after = await rig.service.get(long.id);
  assert.deepEqual([after.port, after.until, after.state], [long.port, long.until, 'open']);
  assert.equal(await (await rig.enter(long)).say('after'), 'after');
  assert.equal((await rig.service.get(short.id)).cause, 'expired');
  assert.equal(await (await rig.enter(short)).say('x'), 'out');
  rig.clock.move(40 * minute);
  await until('it is over', async () => (await rig.service.get(long.id)).state === 'closed');
});

test('a one-shot endpoint whose connection a restart cut does not come back', async t => {
  const rig = await openRig(t);
  const endpoint = await rig.open({ limits: { once: true } });
  await (await rig.enter(endpoint)).say('only');
  await rig.restart();
  assert.equal((await rig.service.get(endpoint.id)).state, 'closed');
  assert.equal(await (await rig.enter(endpoint)).say('again'), 'out');
});

test('a port is given to nobody else until it has cooled, also over a restart', async t => {
  const config = { ports: '23990-23991', cooling: '10m' };
  const rig = await openRig(t, { config });
  const [one, two] = [await rig.open(), await rig.open()];
  await rig.service.close(one.id);
  await assert.rejects(rig.open({}, user('somebody-else')), { code: 'limit' });
  await rig.restart(config);
  await assert.rejects(rig.open({}, user('somebody-else')), { code: 'limit' });
  rig.clock.move(10 * minute);
  const third = await rig.open({}, user('somebody-else'));
  assert.equal(third.port, one.port);
  assert.notEqual(third.port, two.port);
});

test('who loses the right, or is gone, loses the endpoints', async t => {
  const rig = await openRig(t, { access: [{ allow: 'endpoint.open', to: 'device/pump-*' }] });
  const [mine, theirs] = [await rig.open(), await rig.open({}, user('alice'))];
  const inside = await rig.enter(theirs);
  await inside.say('x');
  rig.gone.add('alice');
  await rig.service.recheck();
  await inside.over;
  assert.equal((await rig.service.get(theirs.id)).cause, 'revoked');
  assert.equal((await rig.service.get(mine.id)).state, 'open');
  rig.setAccess([{ allow: 'endpoint.open', to: 'device/other' }]);
  await rig.service.recheck();
  assert.equal((await rig.service.get(mine.id)).cause, 'revoked');
});

test('a rule may name the device or one of its services; what no rule names is denied, whether it is there or not', async t => {
  const rig = await openRig(t, { access: [{ allow: 'endpoint.open', to: ['device/pump-7', 'device/pump-8/ssh'] }] });
  assert.equal((await rig.open()).resource, 'device/pump-7');
  assert.equal((await rig.open({ target: 'device://440101234567890/22' })).target, 'device://pump-7/ssh');
  await assert.rejects(rig.open({ target: 'device://pump-8/ssh' }), { code: 'missing' });
  await assert.rejects(rig.open({ target: 'device://pump-8/http' }), { code: 'denied' });
  await assert.rejects(rig.open({ target: 'device://pump-9/ssh' }), { code: 'denied' });
  await assert.rejects(rig.open({ target: 'device://pump-7/http' }), { code: 'missing' });
  await assert.rejects(rig.open({ target: 'tcp://127.0.0.1:22' }), { code: 'denied' });
});

test('wishes that contradict each other are refused with a sentence', async t => {
  const rig = await openRig(t, { config: { sources: ['127.0.0.0/8'] } });
  const cases: readonly (readonly [object, RegExp])[] = [
    [{ port: false }, /needs a way in/],
    [{ name: true }, /has none/],
    [{ from: ['0.0.0.0/0'] }, /wider than endpoint\.sources/],
    [{ limits: { certificate: true } }, /needs TLS/],
    [{ limits: { users: ['alice'] } }, /how would they show/],
    [{ tls: 'pass', limits: { certificate: true } }, /passed through/],
    [{ target: 'tls://10.0.0.1:443' }, /leads to device:/],
    [{ target: 'udp://10.0.0.1:53' }, /leads to device:/],
    [{ from: ['300.1.1.1/32'] }, /not a network/],
    [{ for: 10 }, /a second at least/],
  ];
  for (const [more, text] of cases) await assert.rejects(rig.open(more), text);
});

test('a rate holds each connection to its bytes a second', async t => {
  const rig = await openRig(t);
  const endpoint = await rig.open({ limits: { rate: 1000 } });
  const inside = await rig.enter(endpoint);
  assert.equal((await inside.say('x'.repeat(4000))).length, 4000, 'what came in one piece passes in one piece');
  let isThrough = false;
  const next = inside.say('y').then(said => {
    isThrough = true;
    return said;
  });
  for (let turn = 0; turn < 50; turn++) await new Promise(setImmediate);
  rig.clock.move(1000);
  for (let turn = 0; turn < 50; turn++) await new Promise(setImmediate);
  assert.equal(isThrough, false);
  rig.clock.move(5000);
  assert.equal(await next, 'y');
});
