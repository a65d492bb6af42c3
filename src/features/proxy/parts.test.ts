// The small parts of a route: the bound on handshakes, ticket keys, access lines, names that are followed, tries.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { plan } from '../../../test/e2e/proxy/planning.ts';
import { dialPlain, echo, echoes, plainServer } from '../../../test/e2e/proxy/rig.ts';
import { testGate } from '../../../test/fixtures/gate.ts';
import { memoryLog, memoryMetrics } from '../../../test/fixtures/quiet.ts';
import { systemClock, TestClock } from '../../core/clock.ts';
import { Fault } from '../../core/fault.ts';
import { memoryPair } from '../../net/memory.ts';
import { formatAccessLine } from './access-line.ts';
import type { Resolver } from './addresses.ts';
import { boundHandshakes } from './handshakes.ts';
import { openOutward } from './outward.ts';
import type { RoutePlan } from './route-plan.ts';
import { periodOf, sessionContext, ticketKey, untilNextPeriod } from './tickets.ts';

const planOf = async (route: object): Promise<RoutePlan> => {
  const [made] = await plan({ db: { listen: 'tcp://127.0.0.1:0', ...route } });
  assert.ok(made);
  return made;
};
const noNames: Resolver = {
  addresses: async host => {
    throw new Fault('unreachable', `${host} is unknown`);
  },
};
const outwardDeps = () => ({
  gate: testGate(),
  resolver: noNames,
  clock: systemClock,
  log: memoryLog(),
  metrics: memoryMetrics(),
});

test('of too many handshakes the oldest goes, not the newest', () => {
  let dropped = 0;
  const handshakes = boundHandshakes(2, () => dropped++);
  const conns = [memoryPair()[1], memoryPair()[1], memoryPair()[1]];
  for (const conn of conns) handshakes.add(conn);
  assert.deepEqual(
    conns.map(conn => conn.stream.destroyed),
    [true, false, false],
  );
  assert.equal(dropped, 1);
  assert.equal(handshakes.size, 2);
});

test('ticket keys are the same for all workers, and another for each context and period', () => {
  const master = Buffer.alloc(32, 7);
  const key = ticketKey(master, 'a', 1);
  assert.equal(key.length, 48);
  assert.deepEqual(ticketKey(Buffer.from(master), 'a', 1), key);
  assert.notDeepEqual(ticketKey(master, 'b', 1), key);
  assert.notDeepEqual(ticketKey(master, 'a', 2), key);
  assert.notDeepEqual(ticketKey(Buffer.alloc(32, 8), 'a', 1), key);
  const now = new Date('2026-01-01T10:59:59Z');
  assert.equal(untilNextPeriod(now, 3_600_000), 1000);
  assert.equal(periodOf(new Date(now.getTime() + 1000), 3_600_000), periodOf(now, 3_600_000) + 1);
});

test('the session context changes with the route, its names and whom it trusts', async () => {
  const base = await planOf({ to: 'tcp://127.0.0.1:1' });
  const trust = { mode: 'required', cas: ['a'], builtin: [], crls: [], crlGrace: 0, depth: 3 } as const;
  const contexts = [
    base,
    { ...base, name: 'other' },
    { ...base, names: ['a.test'] },
    { ...base, clients: trust },
    { ...base, clients: { ...trust, mode: 'optional' as const } },
    { ...base, clients: { ...trust, cas: ['b'] } },
    { ...base, clients: { ...trust, depth: 2 } },
  ].map(sessionContext);
  assert.equal(new Set(contexts).size, contexts.length);
  assert.equal(sessionContext({ ...base, limits: { ...base.limits, idle: 1 } }), contexts[0]);
});

test('an access line has what nginx writes, and nothing that a peer sent can break it', () => {
  const line = {
    time: new Date('2026-11-22T16:25:13.250Z'),
    route: 'db',
    client: { host: '2001:db8::1', port: 50312 },
    session: 's1',
    who: 'staff 01"\n',
    tls: { sni: 'db.example.com', protocol: 'TLSv1.3', cipher: 'TLS_AES_128_GCM_SHA256', resumed: true },
    target: '10.0.0.5:5432',
    up: 1204,
    down: 48220,
    seconds: 3.1724,
    cause: 'ended',
  };
  assert.equal(
    formatAccessLine(line),
    '[2001:db8::1]:50312 staff_01__ [22/Nov/2026:16:25:13 +0000] db db.example.com TLSv1.3/TLS_AES_128_GCM_SHA256/resumed "10.0.0.5:5432" 1204 48220 3.172 ended s1',
  );
  const { tls: _tls, session: _session, target: _target, who: _who, ...bare } = line;
  assert.equal(
    formatAccessLine({ ...bare, up: 0, down: 0, seconds: 0, cause: 'denied' }),
    '[2001:db8::1]:50312 - [22/Nov/2026:16:25:13 +0000] db - - "-" 0 0 0.000 denied -',
  );
});

test('names of targets are resolved again when their answer is old, and keep what they had when that fails', async () => {
  const clock = new TestClock();
  const answers: (string[] | 'fails')[] = [['127.0.0.1'], 'fails', ['127.0.0.2', '127.0.0.3']];
  const asked = Promise.withResolvers<void>();
  const resolver: Resolver = {
    async addresses() {
      const answer = answers.shift();
      if (answers.length === 0) asked.resolve();
      if (answer === 'fails' || !answer) throw new Fault('unreachable', 'no answer');
      return { addresses: answer, ttl: 30_000 };
    },
  };
  const { outward: plan } = await planOf({ to: 'tcp://db.test:5432' });
  await using outward = await openOutward('db', plan, { ...outwardDeps(), resolver, clock });
  const hosts = (): string[] => outward.state().map(one => one.address);
  assert.deepEqual(hosts(), ['127.0.0.1']);
  clock.move(29_999);
  assert.equal(answers.length, 2, 'not before its time');
  clock.move(1);
  await turn();
  assert.deepEqual(hosts(), ['127.0.0.1']);
  clock.move(5000);
  await asked.promise;
  await turn();
  assert.deepEqual(hosts(), ['127.0.0.2', '127.0.0.3']);
});

test('with resolve: off a name is asked once', async () => {
  const clock = new TestClock();
  let asked = 0;
  const resolver: Resolver = { addresses: async () => ({ addresses: [`127.0.0.${++asked}`], ttl: 1000 }) };
  const { outward: plan } = await planOf({ to: 'tcp://db.test:5432', resolve: 'off' });
  await using _outward = await openOutward('db', plan, { ...outwardDeps(), resolver, clock });
  clock.move(86_400_000);
  await turn();
  assert.equal(asked, 1);
});

test('a name without an address opens the route, and says so until it has one', async () => {
  const deps = outwardDeps();
  const { outward: plan } = await planOf({ to: 'tcp://db.test:5432' });
  await using outward = await openOutward('db', plan, { ...deps, clock: new TestClock() });
  assert.equal(outward.state()[0]?.state, 'failed');
  assert.match(deps.log.lines[0]?.text ?? '', /cannot be resolved/);
  const session = await deps.gate.admit(request);
  await assert.rejects(outward.connect({ peer: { path: 'x' } }, '', session), { code: 'unreachable' });
});

test('next-upstream: tries are bounded, off means one, and a cut session tries no further', async () => {
  await using server = await plainServer(echo);
  const gone = await Promise.all([1, 2, 3].map(() => plainServer(() => {})));
  for (const one of gone) await one[Symbol.asyncDispose]();
  const to = [...gone, server].map(one => `tcp://127.0.0.1:${one.port}`);
  const tries = async (next: object | string): Promise<string> => {
    const { outward: plan } = await planOf({ to, 'next-upstream': next });
    const deps = outwardDeps();
    await using outward = await openOutward('db', plan, deps);
    const session = await deps.gate.admit(request);
    try {
      const { conn, release } = await outward.connect({ peer: { path: 'x' } }, '', session);
      conn.stream.destroy();
      release();
      return 'reached';
    } catch (error) {
      assert.equal((error as Fault).code, 'unreachable');
      return `failed after ${outward.state().filter(one => one.state === 'failed').length}`;
    }
  };
  assert.equal(await tries({}), 'reached');
  assert.equal(await tries({ tries: 2 }), 'failed after 2');
  assert.equal(await tries('off'), 'failed after 1');
  const deps = outwardDeps();
  const { outward: plan } = await planOf({ to });
  await using outward = await openOutward('db', plan, deps);
  const session = await deps.gate.admit(request);
  deps.gate.admissions[0]?.end('revoked');
  await assert.rejects(outward.connect({ peer: { path: 'x' } }, '', session), error => error === 'revoked');
  assert.ok(
    outward.state().every(one => one.state === 'up' && one.live === 0),
    'nobody is blamed for it',
  );
  const alive = await dialPlain(server.port);
  assert.equal(await echoes(alive, 'x'), 'x');
  alive.destroy();
});

const request = {
  who: { kind: 'anonymous', id: '', groups: [], attributes: new Map(), credential: '' },
  action: 'proxy.connect',
  resource: 'proxy/db',
  from: { host: '127.0.0.1', port: 1 },
} as const;

/** Lets what was promised happen. */
const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve));
