// The gate's promises: nobody passes unproven, unallowed, unlimited or unwritten, and every end is written once.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { TestClock } from '../core/clock.ts';
import { Fault } from '../core/fault.ts';
import type { AccessRequest, Log, Metrics, Principal, Session } from '../core/parts.ts';
import { openStore, type Store } from '../store/index.ts';
import {
  type Approvals,
  type Audit,
  type AuditRow,
  accessConfig,
  createApprovals,
  createGate,
  createPolicy,
  createSessions,
  type GateDeps,
  type LiveGate,
  openAudit,
  type SessionRegister,
  type SessionView,
} from './index.ts';

const quiet: Log = { child: () => quiet, debug() {}, info() {}, warn() {}, error() {} };
const metrics: Metrics = { count() {}, gauge() {}, observe() {} };
const person = (id: string, groups: string[] = [], credential = `cert:${id}`): Principal => ({
  kind: id === '' ? 'anonymous' : 'user',
  id,
  groups,
  attributes: new Map(),
  credential,
});
const request = (more: Partial<AccessRequest> = {}): AccessRequest => ({
  who: person('alice'),
  action: 'proxy.connect',
  resource: 'proxy/db',
  from: { host: '203.0.113.7', port: 5000 },
  ...more,
});

let dir = '';
let store: Store;
let audit: Audit;
let clock: TestClock;
let sessions: SessionRegister;
let approvals: Approvals;
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'sekisho-gate-'));
  clock = new TestClock('2026-11-22T09:00:00Z');
  store = await openStore({ url: 'sqlite::memory:', log: quiet, clock });
  audit = await openAudit({ store, keyFile: `${dir}/audit.key`, clock, log: quiet });
  sessions = createSessions();
  approvals = createApprovals({ store, audit, clock, log: quiet });
});
afterEach(async () => {
  await audit[Symbol.asyncDispose]();
  await store[Symbol.asyncDispose]();
  rmSync(dir, { recursive: true, force: true });
});

const gateWith = (rules: unknown = [{ allow: 'proxy.connect' }], more: Partial<GateDeps> = {}): LiveGate => {
  const policy = createPolicy(accessConfig.parse(rules));
  return createGate({
    policy: () => policy,
    audit,
    sessions,
    standing: who => who,
    approvals,
    clock,
    log: quiet,
    metrics,
    ...more,
  });
};
const rows = async (filter = {}): Promise<AuditRow[]> => (await audit.search(filter)).rows.reverse();
const events = async (): Promise<string[]> => (await rows()).map(({ event }) => event);
const aborted = (session: Session): Promise<unknown> =>
  new Promise(resolve => session.signal.addEventListener('abort', () => resolve(session.signal.reason)));

describe('a session', () => {
  test('is on the disk before it exists, and its end is written once with bytes, cause and notes', async () => {
    const gate = gateWith();
    const session = await gate.admit(request());
    assert.deepEqual(
      (await rows()).map(({ event, rule, session: id }) => [event, rule, id]),
      [['proxy.opened', 'access[0]', session.id]],
    );
    session.count('up', 10);
    session.count('up', 5);
    session.count('down', 7);
    session.note('target', 'tcp://10.0.0.5:5432');
    clock.move(1500);
    await Promise.all([session[Symbol.asyncDispose](), session[Symbol.asyncDispose]()]);
    const closed = await rows({ event: 'proxy.closed' });
    assert.equal(closed.length, 1);
    assert.deepEqual(closed[0]?.facts, { up: 15, down: 7, cause: 'ended', ms: 1500, target: 'tcp://10.0.0.5:5432' });
    assert.deepEqual(sessions.list(), []);
  });

  test('is listed while it lives, found by patterns, and its listeners hear of it', async () => {
    const heard: string[] = [];
    sessions.on('opened', view => heard.push(`+${view.resource}`));
    const stop = sessions.on('closed', view => heard.push(`-${view.resource}`));
    const gate = gateWith();
    await using first = await gate.admit(request());
    {
      await using _second = await gate.admit(request({ resource: 'proxy/web' }));
      assert.equal(sessions.list().length, 2);
      assert.deepEqual(
        sessions.list({ resource: '*web' }).map(({ resource }) => resource),
        ['proxy/web'],
      );
    }
    stop();
    const view = sessions.get(first.id) as SessionView;
    assert.deepEqual([view.who.id, view.from, view.rule], ['alice', '203.0.113.7:5000', 'access[0]']);
    assert.deepEqual(heard, ['+proxy/db', '+proxy/web', '-proxy/web']);
  });

  test('ends when its time is over, by a cut, and by a revocation, each with its reason', async () => {
    const gate = gateWith([{ allow: 'proxy.connect', for: '30m' }]);
    const [timed, cut, revoked] = await Promise.all([
      gate.admit(request()),
      gate.admit(request()),
      gate.admit(request({ who: person('bob') })),
    ]);
    const ends = Promise.all([timed, cut, revoked].map(aborted));
    assert.equal(sessions.cut(cut.id, 'closed'), true);
    assert.equal(sessions.cut(cut.id, 'closed'), false);
    assert.equal(
      sessions.cutBy(view => view.who.credential === 'cert:bob'),
      1,
    );
    clock.move(30 * 60_000);
    assert.deepEqual(await ends, ['expired', 'closed', 'revoked']);
    for (const session of [timed, cut, revoked]) await session[Symbol.asyncDispose]();
    assert.deepEqual(
      (await rows({ event: 'proxy.closed' })).map(({ facts }) => facts['cause']),
      ['expired', 'closed', 'revoked'],
    );
  });

  test('is not given to somebody who is revoked while the opening is being written', async () => {
    const gate = gateWith();
    const admission = gate.admit(request());
    sessions.cutBy(() => true);
    await assert.rejects(admission, { code: 'denied' });
    assert.deepEqual(await events(), ['proxy.opened', 'proxy.closed']);
  });

  test('of a route that is its own rule needs no policy', async () => {
    const gate = gateWith([]);
    await using _session = await gate.admit(request({ who: person(''), opened: 'proxy/db' }));
    assert.equal((await rows())[0]?.rule, 'proxy/db');
  });

  test('acts of the API are named as acts', async () => {
    const gate = gateWith([]);
    const who = person('root', ['role:admin']);
    const session = await gate.admit(request({ who, action: 'cert.issue', resource: 'cert/staff01' }));
    await session[Symbol.asyncDispose]();
    assert.deepEqual(
      (await rows()).map(({ event, outcome }) => [event, outcome]),
      [
        ['cert.allowed', 'allowed'],
        ['cert.issued', 'done'],
      ],
    );
  });
});

describe('a denial', () => {
  test('tells the caller nothing and the audit everything', async () => {
    const gate = gateWith([{ allow: 'proxy.connect', who: { user: 'bob' } }]);
    await assert.rejects(gate.admit(request()), error => {
      assert.ok(error instanceof Fault);
      assert.deepEqual([error.code, error.message], ['denied', 'this is not allowed']);
      return true;
    });
    await gate.drain(AbortSignal.abort());
    const [row] = await rows();
    assert.deepEqual(
      [row?.event, row?.outcome, row?.rule, row?.facts['reason']],
      ['proxy.denied', 'denied', 'access[0]', 'the nearest rule asks for another caller'],
    );
  });

  test('of a foreign certificate keeps what the certificate says', async () => {
    const gate = gateWith([]);
    const who: Principal = {
      ...person(''),
      kind: 'user',
      attributes: new Map([['cn', ['alice']]]),
      credential: 'cert:ff',
    };
    await assert.rejects(gate.admit(request({ who })), { code: 'denied' });
    await gate.drain(AbortSignal.abort());
    assert.deepEqual((await rows())[0]?.facts['certificate'], { cn: ['alice'] });
  });

  test('that repeats within ten seconds becomes one row with a count', async () => {
    const gate = gateWith([]);
    for (let index = 0; index < 500; index++)
      gate.refuse(request({ from: { host: '198.51.100.1', port: index } }), 'address rule');
    gate.refuse(request({ from: { host: '198.51.100.2', port: 1 } }), 'address rule');
    clock.move(10_000);
    await gate.drain(AbortSignal.abort());
    assert.deepEqual(
      (await rows()).map(({ from, facts }) => [from, facts['count']]),
      [
        ['198.51.100.1:0', 1],
        ['198.51.100.2:1', 1],
        ['198.51.100.1:0', 499],
      ],
    );
  });

  test('from everywhere at once fills neither memory nor disk', async () => {
    const gate = gateWith([]);
    for (let index = 0; index < 20_000; index++) {
      gate.refuse(
        request({ from: { host: `10.${index >> 16}.${(index >> 8) & 255}.${index & 255}`, port: 1 } }),
        'address rule',
      );
    }
    clock.move(10_000);
    await gate.drain(AbortSignal.abort());
    assert.ok(audit.head().seq <= 5002, String(audit.head().seq));
    const many = (await audit.search({ limit: 10 })).rows.find(
      row => row.facts['addresses'] === 'many' && row.facts['count'] !== 1,
    );
    assert.equal(many?.facts['count'], 14_999);
  });

  test('of everything at once fills neither memory nor disk', async () => {
    const gate = gateWith([]);
    for (let index = 0; index < 20_000; index++)
      gate.refuse(request({ resource: `vpn/10.0.0.1:${index}` }), `10.0.0.1:${index} is not reached`);
    clock.move(10_000);
    await gate.drain(AbortSignal.abort());
    assert.ok(audit.head().seq <= 5502, String(audit.head().seq));
    const many = (await audit.search({ limit: 10 })).rows.find(
      row => row.facts['resources'] === 'many' && row.facts['count'] !== 1,
    );
    assert.equal(many?.facts['count'], 14_499);
  });

  test('of who is revoked is written', async () => {
    const gate = gateWith(undefined, {
      standing: () => {
        throw new Fault('unknown-caller', 'who is this');
      },
    });
    await assert.rejects(gate.admit(request()), { code: 'unknown-caller' });
    await gate.drain(AbortSignal.abort());
    assert.equal((await rows())[0]?.facts['reason'], 'revoked or unknown');
  });
});

describe('limits', () => {
  const limits = { connections: 2, perAddress: 2, queue: 1, wait: 1000 };
  test('hold exactly, and who waits gets the place that becomes free', async () => {
    const gate = gateWith();
    const from = (host: string) => request({ limits, from: { host, port: 1 } });
    const [first] = await Promise.all([gate.admit(from('10.0.0.1')), gate.admit(from('10.0.0.2'))]);
    const waiting = gate.admit(from('10.0.0.3'));
    await assert.rejects(gate.admit(from('10.0.0.4')), { code: 'limit', message: /no free place/ });
    await first[Symbol.asyncDispose]();
    await using third = await waiting;
    assert.deepEqual(third.request.from, { host: '10.0.0.3', port: 1 });
    assert.equal(sessions.size, 2);
    await assert.rejects(
      (async () => {
        const late = gate.admit(from('10.0.0.5'));
        clock.move(1000);
        await late;
      })(),
      { code: 'limit', message: /in time/ },
    );
    assert.equal(sessions.size, 2);
  });

  test('count an IPv6 network as one address, and one address over all processes', async () => {
    const gate = gateWith();
    const from = (host: string) => request({ limits: { perAddress: 2 }, from: { host, port: 1 } });
    await gate.admit(from('2001:db8::1'));
    await gate.admit(from('2001:db8::ffff'));
    await assert.rejects(gate.admit(from('2001:db8::2')), { code: 'limit', message: /this address/ });
    await gate.admit(from('2001:db8:0:1::1'));
  });

  test('do not let a place leak when the audit refuses', async () => {
    let full = true;
    const failing: Pick<Audit, 'append'> = {
      append: event => (full ? Promise.reject(new Fault('unreachable', 'disk full')) : audit.append(event)),
    };
    const gate = gateWith(undefined, { audit: failing });
    const asked = request({ limits: { connections: 1 } });
    await assert.rejects(gate.admit(asked), { code: 'unreachable' });
    full = false;
    await using _session = await gate.admit(asked);
    assert.equal(sessions.size, 1);
  });

  test('check again whoever has waited', async () => {
    let isGone = false;
    const gate = gateWith(undefined, {
      standing: who => {
        if (isGone) throw new Fault('unknown-caller', 'gone');
        return who;
      },
    });
    const asked = request({ limits: { connections: 1, queue: 1, wait: 1000 } });
    const first = await gate.admit(asked);
    const refused = assert.rejects(gate.admit(asked), { code: 'unknown-caller' });
    isGone = true;
    await first[Symbol.asyncDispose]();
    await refused;
    isGone = false;
    await using _session = await gate.admit(asked);
  });
});

describe('a disk that is full', () => {
  test('keeps the ends of sessions until there is room, refuses new ones, and recovers by itself', async () => {
    let full = false;
    const failing: Pick<Audit, 'append'> = {
      append: event => (full ? Promise.reject(new Fault('unreachable', 'disk full')) : audit.append(event)),
    };
    const gate = gateWith(undefined, { audit: failing });
    const all = await Promise.all(Array.from({ length: 20 }, () => gate.admit(request())));
    full = true;
    await Promise.all(all.map(session => session[Symbol.asyncDispose]()));
    assert.equal(gate.unwritten, 20);
    await assert.rejects(gate.admit(request()), { code: 'unreachable' });
    clock.move(500); // the first try fails again
    await new Promise(resolve => setImmediate(resolve));
    assert.equal(gate.unwritten, 20);
    full = false;
    clock.move(60_000);
    for await (const row of audit.tail(0)) if (row.event === 'proxy.closed' && row.seq === 40) break;
    await using _session = await gate.admit(request());
    const closed = await rows({ event: 'proxy.closed' });
    assert.equal(closed.length, 20);
    assert.equal(closed[0]?.facts['happened'], '2026-11-22T09:00:00.000Z');
    assert.equal(gate.unwritten, 0);
  });
});

describe('draining', () => {
  test('admits nobody, waits for who is in, then ends the rest', async () => {
    const gate = gateWith();
    const [first, second] = await Promise.all([gate.admit(request()), gate.admit(request())]);
    const deadline = new AbortController();
    const drained = gate.drain(deadline.signal);
    await assert.rejects(gate.admit(request()), { code: 'unreachable', message: /shutting down/ });
    await first[Symbol.asyncDispose]();
    const reason = aborted(second);
    deadline.abort();
    assert.equal(await reason, 'drain');
    await second[Symbol.asyncDispose]();
    await drained;
    assert.deepEqual(
      (await rows({ event: 'proxy.closed' })).map(({ facts }) => facts['cause']),
      ['ended', 'drain'],
    );
  });

  test('writes the end even of a session that does not end', async () => {
    const gate = gateWith();
    await gate.admit(request());
    const drained = gate.drain(AbortSignal.abort());
    await new Promise(resolve => setImmediate(resolve));
    clock.move(5000);
    await drained;
    assert.deepEqual(await events(), ['proxy.opened', 'proxy.closed']);
  });
});

describe('approvals', () => {
  const rules = [{ allow: 'endpoint.open', for: '30m', approve: { group: 'leads', count: 2, within: '1h' } }];
  const asked = (more: Partial<AccessRequest> = {}) =>
    request({ action: 'endpoint.open', resource: 'device/pump-7', asks: { reason: 'repair' }, ...more });
  const lead = (id: string) => person(id, ['leads']);
  const ask = async (gate: LiveGate, more = {}): Promise<string> => {
    const error = await gate.admit(asked(more)).then(
      () => assert.fail('was admitted'),
      (fault: Fault) => fault,
    );
    return String(error.facts['approval']);
  };

  test('let in after enough different members said yes, once for one act', async () => {
    const gate = gateWith(rules);
    const id = await ask(gate);
    assert.equal(await ask(gate), id, 'asking again makes no second request');
    await approvals.approve({ id, by: lead('bob') });
    await assert.rejects(approvals.approve({ id, by: lead('bob') }), {
      code: 'conflict',
      message: /decided about this already/,
    });
    assert.equal(await ask(gate), id);
    assert.equal((await approvals.approve({ id, by: lead('carol') })).state, 'approved');
    const session = await gate.admit(asked());
    await session[Symbol.asyncDispose]();
    assert.equal((await approvals.get(id)).state, 'used');
    assert.notEqual(await ask(gate), id, 'the next act asks anew');
    assert.deepEqual((await events()).slice(0, 4), [
      'endpoint.approval-asked',
      'endpoint.approval-approved',
      'endpoint.approval-approved',
      'endpoint.allowed',
    ]);
  });

  test('are not for strangers to the group, nor for oneself, nor for something else than was asked', async () => {
    const gate = gateWith(rules);
    const id = await ask(gate, { who: lead('alice') });
    await assert.rejects(approvals.approve({ id, by: person('mallory') }), {
      code: 'denied',
      message: /members of the group leads/,
    });
    await assert.rejects(approvals.approve({ id, by: lead('alice') }), { code: 'denied', message: /of their own/ });
    await assert.rejects(approvals.approve({ id, by: { ...lead('alice2'), credential: 'cert:alice' } }), {
      code: 'denied',
    });
    await assert.rejects(approvals.approve({ id: 'ap-none', by: lead('bob') }), { code: 'missing' });
    await approvals.approve({ id, by: lead('bob') });
    await approvals.approve({ id, by: lead('carol') });
    assert.notEqual(await ask(gate, { who: lead('alice'), asks: { reason: 'repair', for: 3_600_000 } }), id);
    assert.notEqual(await ask(gate, { who: person('dave') }), id);
  });

  test('end with one no', async () => {
    const gate = gateWith(rules);
    const id = await ask(gate);
    await approvals.approve({ id, by: lead('bob') });
    assert.equal((await approvals.refuse({ id, by: lead('carol'), reason: 'not tonight' })).state, 'refused');
    await assert.rejects(gate.admit(asked()), { code: 'denied', message: /was refused/ });
    await assert.rejects(approvals.approve({ id, by: lead('dora') }), { code: 'conflict' });
    const [view] = await approvals.list({ state: 'refused' });
    assert.deepEqual(
      view?.votes.map(({ user, vote }) => [user, vote]),
      [
        ['bob', 'approve'],
        ['carol', 'refuse'],
      ],
    );
  });

  test('lapse when nobody answers in time, and the audit says so', async () => {
    const gate = gateWith(rules);
    const id = await ask(gate);
    clock.move(3_600_000);
    assert.equal((await approvals.get(id)).state, 'expired');
    await assert.rejects(approvals.approve({ id, by: lead('bob') }), { code: 'conflict', message: /expired already/ });
    assert.equal((await rows({ event: 'endpoint.approval-lapsed' })).length, 1);
  });

  test('of a way for bytes are good for its time, and survive a restart', async () => {
    const gate = gateWith([{ allow: 'proxy.connect', for: '30m', approve: { group: 'leads' } }]);
    await assert.rejects(gate.admit(request()), { code: 'denied', message: /needs approval by 1 of the group leads/ });
    const [waiting] = await approvals.list({ state: 'waiting' });
    const restarted = createApprovals({ store, audit, clock, log: quiet });
    await restarted.approve({ id: waiting?.id ?? '', by: lead('bob') });
    clock.move(10 * 60_000);
    await using session = await gate.admit(request());
    assert.equal(sessions.get(session.id)?.until?.toISOString(), '2026-11-22T09:30:00.000Z');
    clock.move(20 * 60_000);
    assert.equal(session.signal.reason, 'expired');
    await assert.rejects(gate.admit(request()), { code: 'denied', message: /needs approval/ });
  });
});

test('who leaves a group loses what it let in at once; other people and what the file opened stay', async () => {
  const groups = new Map([
    ['alice', ['staff']],
    ['bob', ['staff']],
  ]);
  const gate = gateWith([{ allow: 'proxy.connect', who: { group: 'staff' } }], {
    standing: who => ({ ...who, groups: groups.get(who.id) ?? [] }),
  });
  const alice = await gate.admit(request());
  const bob = await gate.admit(request({ who: person('bob') }));
  const open = await gate.admit(request({ opened: 'proxy/db' }));
  gate.recheck('alice');
  assert.equal(alice.signal.aborted, false);
  groups.clear();
  gate.recheck('alice');
  assert.equal(alice.signal.reason, 'revoked');
  assert.equal(bob.signal.aborted, false);
  gate.recheck();
  assert.equal(bob.signal.reason, 'revoked');
  assert.equal(open.signal.aborted, false);
  for (const session of [alice, bob, open]) await session[Symbol.asyncDispose]();
});
