// The small parts: who may come, which port is lent, what is counted, how long.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TestClock } from '../../core/clock.ts';
import type { AccessRequest } from '../../core/parts.ts';
import { parseCidr } from '../../wire/cidr.ts';
import type { Endpoint, EndpointLimits } from './endpoint.ts';
import { Guard } from './guard.ts';
import { endOf, extendedEnd, wantedLife } from './lifetime.ts';
import { PortPool } from './pool.ts';
import { Refusals } from './refusals.ts';
import { insideOf } from './sources.ts';
import { checkTarget, parseEndpointTarget, type ReachDeps, resourcesOf } from './target.ts';

const endpoint = (limits: Partial<EndpointLimits>, more: Partial<Endpoint> = {}): Endpoint =>
  ({
    latched: undefined,
    used: false,
    ...more,
    limits: { sources: ['0.0.0.0/0', '::/0'], latch: false, once: false, perMinute: 0, signIn: false, ...limits },
  }) as Endpoint;

test('the list: both families, and v4-mapped addresses as IPv4', () => {
  const guard = new Guard(endpoint({ sources: ['203.0.113.0/24', '2001:db8::/48'] }), [], new TestClock());
  const inside = ['203.0.113.7', '::ffff:203.0.113.7', '2001:db8::1', '2001:db8:0:ffff::1'];
  const outside = ['203.0.114.7', '::ffff:203.0.114.7', '2001:db8:1::1', '::1', 'nonsense', ''];
  for (const host of inside) assert.equal(guard.judge(host), undefined, host);
  for (const host of outside) assert.equal(guard.judge(host), 'address not in the list', host);
});

test('the latch counts an IPv6 /64 as one address, and is undone when the gate does not admit', () => {
  const guard = new Guard(endpoint({ latch: true }), [], new TestClock());
  const undo = guard.claim('2001:db8:1:2::1');
  assert.equal(typeof undo, 'function');
  assert.equal(guard.judge('2001:db8:1:2:ffff::9'), undefined);
  assert.equal(guard.judge('2001:db8:1:3::1'), 'it belongs to the first address that came');
  assert.equal(guard.claim('198.51.100.1'), 'it belongs to the first address that came');
  if (typeof undo === 'function') undo();
  assert.equal(guard.judge('2001:db8:1:3::1'), undefined);
  const kept = new Guard(endpoint({ latch: true }, { latched: '198.51.100.1' }), [], new TestClock());
  assert.equal(kept.judge('198.51.100.2'), 'it belongs to the first address that came');
});

test('a sign-in lets in the address, or the /64, that it came from', () => {
  const guard = new Guard(endpoint({ signIn: true }), ['198.51.100.1'], new TestClock());
  assert.equal(guard.judge('198.51.100.1'), undefined);
  assert.equal(guard.judge('198.51.100.2'), 'nobody has signed in from this address');
  guard.unlock('2001:db8:0:0::/64');
  assert.equal(guard.judge('2001:db8::42'), undefined);
});

test('of two who finish at once, a one-shot endpoint takes one', () => {
  const guard = new Guard(endpoint({ once: true }), [], new TestClock());
  assert.equal(guard.judge('192.0.2.1'), undefined);
  assert.equal(guard.judge('192.0.2.2'), undefined);
  assert.equal(typeof guard.claim('192.0.2.1'), 'function');
  assert.equal(guard.claim('192.0.2.2'), 'it was good for one connection');
});

test('the pool lends no port twice, whatever is taken and given', () => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ take: fc.boolean(), owner: fc.constantFrom('a', 'b'), wait: fc.nat(20) })),
      steps => {
        const clock = new TestClock();
        const pool = new PortPool({ from: 1, to: 5 }, 10, clock);
        const lent = new Map<number, string>();
        const given = new Map<number, { owner: string; at: number }>();
        for (const { take, owner, wait } of steps) {
          clock.move(wait);
          const now = clock.now().getTime();
          if (!take) {
            const [port] = lent.keys();
            if (port === undefined) continue;
            given.set(port, { owner: lent.get(port) ?? '', at: now });
            lent.delete(port);
            pool.give(port, given.get(port)?.owner ?? '');
            continue;
          }
          try {
            const port = pool.take(owner);
            assert.ok(!lent.has(port) && port >= 1 && port <= 5);
            const before = given.get(port);
            assert.ok(!before || before.owner === owner || now - before.at >= 10, 'somebody else’s, and still warm');
            lent.set(port, owner);
          } catch (error) {
            assert.equal((error as { code?: string }).code, 'limit');
          }
        }
      },
    ),
  );
});

test('a flood is told in few rows that add up, from one address and from many', () => {
  const clock = new TestClock();
  const told: { host: string; reason: string; times: number }[] = [];
  const gate = {
    refuse: ({ from }: AccessRequest, reason: string, times = 1) =>
      void told.push({ host: 'host' in from ? from.host : '', reason, times }),
  };
  const refusals = new Refusals(gate, clock, (_, host, port) => ({ from: { host, port } }) as AccessRequest);
  for (let count = 0; count < 10_000; count++) refusals.add('one', '192.0.2.1', count, 'no');
  for (let count = 0; count < 5000; count++) refusals.add('two', `10.0.${count >> 8}.${count & 255}`, 1, 'no');
  assert.equal(told.length, 1 + 16 + 1, 'the first of each at once, and one for the crowd');
  clock.move(5000);
  assert.equal(told.length, 18 + 2);
  assert.equal(
    told.reduce((sum, { times }) => sum + times, 0),
    15_000,
  );
});

test('how long: asked, granted, allowed — the shortest', () => {
  const bounds = { usual: 30, most: 1000 * 60 };
  assert.throws(() => wantedLife(undefined, bounds), /a second at least/);
  assert.equal(wantedLife(undefined, { usual: 5000, most: 9000 }), 5000);
  assert.throws(() => wantedLife(9001, { usual: 5000, most: 9000 }), /longer than an endpoint may last/);
  assert.equal(endOf(100, 50, undefined), 150);
  assert.equal(endOf(100, 50, new Date(120)), 120);
  const one = { now: 100, opened: 0, until: 200, more: 1000, granted: undefined };
  assert.equal(extendedEnd(one, { usual: 1, most: 500 }), 500);
  assert.equal(extendedEnd({ ...one, granted: new Date(300) }, { usual: 1, most: 500 }), 300);
  assert.throws(() => extendedEnd({ ...one, until: 500 }, { usual: 1, most: 500 }), { code: 'limit' });
});

test('networks within networks', () => {
  const inside = (one: string, other: string): boolean => insideOf(parseCidr(one), parseCidr(other));
  assert.equal(inside('203.0.113.7/32', '203.0.113.0/24'), true);
  assert.equal(inside('203.0.113.0/24', '203.0.113.0/25'), false);
  assert.equal(inside('0.0.0.0/0', '::/0'), false);
  assert.equal(inside('2001:db8::/64', '2001:db8::/32'), true);
  assert.equal(inside('203.0.114.0/25', '203.0.113.0/24'), false);
});

test('targets: what a rule is asked about, and what is never one', () => {
  assert.deepEqual(resourcesOf(parseEndpointTarget('device://pump-7/ssh')), ['device/pump-7/ssh', 'device/pump-7']);
  assert.deepEqual(resourcesOf(parseEndpointTarget('tcp://[2001:db8::1]:22')), ['tcp/[2001:db8::1]:22']);
  for (const bad of ['tls://a:1', 'udp://a:1', 'unix:/x', 'gate', 'device://x', 'tcp://a', '']) {
    assert.throws(() => parseEndpointTarget(bad), { code: 'invalid' }, bad);
  }
  const deps = {
    isOwn: (host: string) => host === '10.0.0.1',
    addressFault: (host: string) => ({ '127.0.0.1': 'is loopback', '169.254.169.254': 'is a metadata service' })[host],
  } as unknown as ReachDeps;
  const check = (host: string, written: boolean) => () => checkTarget({ host, port: 22 }, written, deps);
  assert.doesNotThrow(check('127.0.0.1', true));
  for (const [host, written] of [
    ['127.0.0.1', false],
    ['169.254.169.254', true],
    ['10.0.0.1', true],
  ] as const) {
    assert.throws(check(host, written), { code: 'denied' }, host);
  }
});
