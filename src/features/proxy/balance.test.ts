// The balancing methods: who is next, under weights, failures, limits and on the ring.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TestClock } from '../../core/clock.ts';
import type { Log, Metrics } from '../../core/parts.ts';
import type { Peer } from './balance.ts';
import type { Balance, UpstreamPlan } from './route-plan.ts';
import { Upstreams } from './upstreams.ts';

const silent: Log = { child: () => silent, debug() {}, info() {}, warn() {}, error() {} };
const uncounted: Metrics = { count() {}, gauge() {}, observe() {} };

const upstream = (port: number, options: Partial<UpstreamPlan> = {}): UpstreamPlan => ({
  url: `tcp://127.0.0.1:${port}`,
  target: { kind: 'tcp', host: '127.0.0.1', port },
  weight: 1,
  backup: false,
  down: false,
  maxConnections: 0,
  maxFails: 1,
  failTimeout: 10_000,
  ...options,
});

function make(upstreams: UpstreamPlan[], balance: Balance = 'round-robin', random?: (below: number) => number) {
  const clock = new TestClock();
  const options = { upstreams, balance, clock, log: silent, metrics: uncounted };
  return { clock, group: new Upstreams(random ? { ...options, random } : options) };
}
const port = (peer: Peer | undefined): number => {
  const target = peer?.plan.target;
  return target && 'port' in target ? target.port : 0;
};
const take = (group: Upstreams, count: number, key = ''): number[] =>
  Array.from({ length: count }, () => port(group.next(key)));

test('weights 5, 1, 1 are spread smoothly, as nginx does', () => {
  const { group } = make([upstream(1, { weight: 5 }), upstream(2), upstream(3)]);
  assert.deepEqual(take(group, 7), [1, 1, 2, 1, 3, 1, 1]);
  assert.deepEqual(take(group, 7), [1, 1, 2, 1, 3, 1, 1]);
});

test('a target that is marked down is never chosen', () => {
  const { group } = make([upstream(1, { down: true }), upstream(2)]);
  assert.deepEqual(take(group, 3), [2, 2, 2]);
  assert.equal(group.state()[0]?.state, 'down');
});

test('max-fails within fail-timeout takes a target out; afterwards one connection tries it', () => {
  const { group, clock } = make([upstream(1, { maxFails: 2 }), upstream(2)]);
  const fail = (): void => {
    const peer = group.next(
      '',
      [...group.peers()].filter(one => port(one) === 2),
    );
    assert.ok(peer);
    group.release(peer);
    group.failed(peer);
  };
  fail();
  assert.equal(group.state()[0]?.state, 'up', 'one failure of two is forgiven');
  fail();
  assert.equal(group.state()[0]?.state, 'failed');
  assert.deepEqual(take(group, 4), [2, 2, 2, 2]);
  clock.move(10_001);
  const next = take(group, 4);
  assert.equal(next.filter(one => one === 1).length, 1, 'one try, not a stampede');
  const tried = group.peers().find(peer => port(peer) === 1);
  assert.ok(tried);
  group.connected(tried);
  assert.equal(group.state()[0]?.state, 'up');
  assert.ok(take(group, 4).includes(1));
});

test('failures further apart than fail-timeout do not add up', () => {
  const { group, clock } = make([upstream(1, { maxFails: 2 }), upstream(2)]);
  const first = group.peers()[0];
  assert.ok(first);
  group.failed(first);
  clock.move(10_001);
  take(group, 2);
  group.connected(first);
  group.failed(first);
  assert.equal(group.state()[0]?.state, 'up');
});

test('the only target is tried however often it failed', () => {
  const { group } = make([upstream(1)]);
  const only = group.peers()[0];
  assert.ok(only);
  for (let time = 0; time < 5; time++) group.failed(only);
  assert.deepEqual(take(group, 2), [1, 1]);
});

test('a backup is chosen only when no primary can be', () => {
  const { group } = make([upstream(1), upstream(2, { backup: true })]);
  assert.deepEqual(take(group, 3), [1, 1, 1]);
  const primary = group.peers()[0];
  assert.ok(primary);
  group.failed(primary);
  assert.deepEqual(take(group, 2), [2, 2]);
});

test('max-connections of a target is kept, and a freed place is used again', () => {
  const { group } = make([upstream(1, { maxConnections: 1 }), upstream(2, { maxConnections: 1 })]);
  assert.deepEqual(take(group, 3).sort(), [0, 1, 2]);
  const peer = group.peers()[1];
  assert.ok(peer);
  group.release(peer);
  assert.deepEqual(take(group, 2), [2, 0]);
});

test('least-connections counts per weight and shares equals by weight', () => {
  const { group } = make([upstream(1, { weight: 2 }), upstream(2)], 'least-connections');
  assert.deepEqual(take(group, 6).sort(), [1, 1, 1, 1, 2, 2]);
  const two = group.peers()[1];
  assert.ok(two);
  group.release(two);
  assert.deepEqual(take(group, 1), [2]);
});

test('random-two takes the less busy of two', () => {
  const draws = [0, 1, 0, 1];
  const { group } = make([upstream(1), upstream(2)], 'random-two', () => draws.shift() ?? 0);
  const first = group.next('');
  assert.ok(first);
  assert.notEqual(port(group.next('')), port(first));
});

test('random-two with one usable target still finds it', () => {
  const { group } = make([upstream(1), upstream(2, { down: true })], 'random-two');
  assert.deepEqual(take(group, 3), [1, 1, 1]);
});

test('the consistent hash keeps a key where it is when another target goes', () => {
  const all = [1, 2, 3, 4].map(one => upstream(one));
  const keys = Array.from({ length: 500 }, (_, index) => `10.0.${index >> 8}.${index & 255}`);
  const where = (upstreams: UpstreamPlan[]): number[] => {
    const { group } = make(upstreams, { hash: 'source-address' });
    return keys.map(key => port(group.next(key)));
  };
  const before = where(all);
  const after = where(all.map(one => ({ ...one, down: one.url.endsWith(':3') })));
  for (const [index, target] of before.entries()) if (target !== 3) assert.equal(after[index], target);
  assert.ok(after.every(target => target !== 3));
  for (const target of [1, 2, 3, 4]) {
    const share = before.filter(one => one === target).length;
    assert.ok(share > 60 && share < 220, `target ${target} has ${share} of 500`);
  }
});

test('addresses of a name that stay keep their state; those that go take no new connections', () => {
  const named = upstream(5, { url: 'tcp://db.test:5', target: { kind: 'tcp', host: 'db.test', port: 5 } });
  const { group } = make([named]);
  assert.equal(group.next(''), undefined, 'nothing is known before the name is resolved');
  group.setAddresses(0, ['10.0.0.1', '10.0.0.2']);
  const [one] = group.peers();
  assert.ok(one);
  group.failed(one);
  group.setAddresses(0, ['10.0.0.1', '10.0.0.3']);
  assert.deepEqual(
    group.state().map(({ address, state }) => `${address} ${state}`),
    ['10.0.0.1 failed', '10.0.0.3 up'],
  );
  assert.equal(group.next('')?.host, '10.0.0.3');
});
