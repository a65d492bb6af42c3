// The seam's promises: a worker's sessions are the gate's, counted, cut and ended as if they were its own.
import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { TestClock } from '../core/clock.ts';
import type { AccessRequest, Log, Metrics, Principal } from '../core/parts.ts';
import { openStore, type Store } from '../store/index.ts';
import {
  type Audit,
  type AuditRow,
  accessConfig,
  type Channel,
  createGate,
  createPolicy,
  createRemoteGate,
  createSessions,
  type LiveGate,
  openAudit,
  type RemoteGate,
  type SessionRegister,
  serveGate,
} from './index.ts';

const quiet: Log = { child: () => quiet, debug() {}, info() {}, warn() {}, error() {} };
const metrics: Metrics = { count() {}, gauge() {}, observe() {} };
const alice: Principal = {
  kind: 'user',
  id: 'alice',
  groups: ['night'],
  attributes: new Map([['ou', ['医療事業部']]]),
  credential: 'cert:aa',
};
const anonymous: Principal = { kind: 'anonymous', id: '', groups: [], attributes: new Map(), credential: '' };
const request = (more: Partial<AccessRequest> = {}): AccessRequest => ({
  who: alice,
  action: 'proxy.connect',
  resource: 'proxy/db',
  from: { host: '203.0.113.7', port: 5000 },
  ...more,
});

/** Two ends; what passes is turned into text and back, as between processes. */
function pair(): { gate: Channel; worker: Channel; messages: string[]; close(): void } {
  const closed = new AbortController();
  const messages: string[] = [];
  const ends: { deliver?: (message: unknown) => void }[] = [{}, {}];
  const end = (here: number, there: number): Channel => ({
    send(message) {
      const text = JSON.stringify(message);
      messages.push(text);
      setImmediate(() => ends[there]?.deliver?.(JSON.parse(text)));
    },
    receive(deliver) {
      ends[here] = { deliver };
    },
    closed: closed.signal,
  });
  return { gate: end(0, 1), worker: end(1, 0), messages, close: () => closed.abort() };
}

let dir = '';
let store: Store;
let audit: Audit;
let clock: TestClock;
let sessions: SessionRegister;
let gate: LiveGate;
let worker: RemoteGate;
let channel: ReturnType<typeof pair>;
let served: Promise<void>;
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'sekisho-remote-'));
  clock = new TestClock();
  store = await openStore({ url: 'sqlite::memory:', log: quiet });
  audit = await openAudit({ store, keyFile: `${dir}/audit.key`, clock, log: quiet });
  sessions = createSessions();
  const policy = createPolicy(accessConfig.parse([{ allow: 'proxy.connect', who: { ou: '医療事業部' }, for: '30m' }]));
  gate = createGate({ policy: () => policy, audit, sessions, standing: who => who, clock, log: quiet, metrics });
  channel = pair();
  served = serveGate(channel.gate, gate, { log: quiet });
  worker = createRemoteGate(channel.worker, { log: quiet, clock });
});
afterEach(async () => {
  channel.close();
  await served;
  await audit[Symbol.asyncDispose]();
  await store[Symbol.asyncDispose]();
  rmSync(dir, { recursive: true, force: true });
});
const rows = async (filter = {}): Promise<AuditRow[]> => (await audit.search(filter)).rows.reverse();
/** Until what was sent in this turn has arrived: the batch, the channel and the answer each take one. */
const delivered = async (): Promise<void> => {
  for (let turn = 0; turn < 4; turn++) await new Promise(resolve => setImmediate(resolve));
};
/** Until the audit holds the row. */
const written = async (event: string, count = 1): Promise<AuditRow[]> => {
  const found: AuditRow[] = [];
  for await (const row of audit.tail(0)) {
    if (row.event === event && found.push(row) === count) break;
  }
  return found;
};

describe('a worker', () => {
  test('is admitted by the gate with the caller as it is, and ends with its counts and notes', async () => {
    const session = await worker.admit(request());
    const [view] = sessions.list();
    assert.deepEqual([view?.id, view?.rule, view?.who.id], [session.id, 'access[0]', 'alice']);
    session.count('up', 3);
    session.count('down', 4);
    session.note('target', 'tcp://x');
    clock.move(100);
    await session[Symbol.asyncDispose]();
    await session[Symbol.asyncDispose]();
    const [closed] = await written('proxy.closed');
    assert.deepEqual(closed?.facts, { up: 3, down: 4, target: 'tcp://x', cause: 'ended', ms: 100 });
    assert.equal(worker.size, 0);
  });

  test('hears why it is not admitted', async () => {
    await assert.rejects(worker.admit(request({ who: anonymous })), { code: 'denied', message: 'this is not allowed' });
    await assert.rejects(worker.admit(request({ limits: { connections: 0 } })), { code: 'limit' });
  });

  test('admits many in one message, and says what they share once', async () => {
    const limits = { connections: 1000 };
    await Promise.all(
      Array.from({ length: 200 }, () => worker.admit(request({ opened: 'proxy/db', who: anonymous, limits }))),
    );
    assert.equal(sessions.size, 200);
    assert.ok(channel.messages.length <= 8, `${channel.messages.length} messages`);
    assert.equal(channel.messages.join('').split('"proxy.connect"').length - 1, 1);
  });

  test('holds limits exactly together with all others', async () => {
    const other = pair();
    const served = serveGate(other.gate, gate, { log: quiet });
    const second = createRemoteGate(other.worker, { log: quiet, clock });
    const asked = request({ limits: { connections: 3 } });
    const answers = await Promise.allSettled(
      [worker, second, worker, second, worker, second].map(one => one.admit(asked)),
    );
    assert.equal(answers.filter(({ status }) => status === 'fulfilled').length, 3);
    other.close();
    await served;
  });

  test('ends a session that the gate cuts, with the reason', async () => {
    const [timed, revoked] = await Promise.all([worker.admit(request()), worker.admit(request())]);
    const reason = (signal: AbortSignal) =>
      new Promise(resolve => signal.addEventListener('abort', () => resolve(signal.reason)));
    const first = reason(revoked.signal);
    sessions.cut(revoked.id, 'revoked');
    assert.equal(await first, 'revoked');
    const second = reason(timed.signal);
    clock.move(30 * 60_000);
    assert.equal(await second, 'expired');
    await Promise.all([timed, revoked].map(session => session[Symbol.asyncDispose]()));
    const closed = await written('proxy.closed', 2);
    assert.deepEqual(closed.map(({ facts }) => facts['cause']).sort(), ['expired', 'revoked']);
  });

  test('ends by itself when its time is over and the gate process is gone; without an end it goes on', async () => {
    const timed = await worker.admit(request());
    const open = await worker.admit(request({ who: anonymous, opened: 'proxy/db' }));
    channel.close();
    clock.move(30 * 60_000 - 1);
    assert.equal(timed.signal.aborted, false);
    clock.move(1);
    assert.equal(timed.signal.reason, 'expired');
    assert.equal(open.signal.aborted, false);
  });

  test('tells its counts every few seconds, in one message, and only what has moved', async () => {
    const all = await Promise.all(Array.from({ length: 5 }, () => worker.admit(request())));
    all[1]?.count('up', 10);
    all[3]?.count('down', 20);
    const before = channel.messages.length;
    clock.move(3000);
    await delivered();
    assert.equal(channel.messages.length, before + 1);
    assert.deepEqual(
      sessions.list().map(({ bytes }) => bytes.up + bytes.down),
      [0, 10, 0, 20, 0],
    );
    clock.move(3000);
    await delivered();
    assert.equal(channel.messages.length, before + 1);
  });

  test('that dies leaves its sessions in the audit with the counts it sent last', async () => {
    const session = await worker.admit(request());
    session.count('up', 10);
    clock.move(3000);
    await delivered();
    session.count('up', 1_000_000);
    const late = worker.admit(request());
    channel.close();
    await assert.rejects(late, { code: 'unreachable' });
    await served;
    const [closed] = await rows({ event: 'proxy.closed' });
    assert.deepEqual([closed?.facts['cause'], closed?.facts['up']], ['worker-gone', 10]);
    assert.equal(sessions.size, 0);
    await assert.rejects(worker.admit(request()), { code: 'unreachable' });
    assert.equal(session.signal.aborted, false, 'what it carries goes on');
  });

  test('refuses without waiting, and a flood of the same is one item and one row', async () => {
    for (let index = 0; index < 1000; index++)
      worker.refuse(request({ from: { host: '198.51.100.9', port: index } }), 'address rule');
    worker.flush();
    const denied = await written('proxy.denied');
    assert.equal(denied[0]?.facts['reason'], 'address rule');
    assert.equal(channel.messages.length, 1);
    clock.move(10_000);
    const [, counted] = await written('proxy.denied', 2);
    assert.equal(counted?.facts['count'], 999);
  });

  test('that talks nonsense disturbs nobody', async () => {
    for (const message of [
      [[1, 9, 77, 0, ['x', 1], null]],
      [[99]],
      [[2, 12345, 0, 0, null]],
      [[3, 1]],
      [[4, 5, 0, ['x'], 'r', 1]],
    ])
      channel.worker.send(message);
    await using session = await worker.admit(request());
    assert.ok(session.id);
  });
});

describe('a worker process', () => {
  test('that is killed leaves no session behind', async () => {
    const source = new URL('./', import.meta.url).href;
    const file = `${dir}/worker.ts`;
    writeFileSync(
      file,
      `import { createRemoteGate } from '${source}index.ts';
const log = { child: () => log, debug() {}, info() {}, warn() {}, error() {} };
const gone = new AbortController();
process.on('disconnect', () => gone.abort());
const gate = createRemoteGate({ send: message => process.send(message), receive: deliver => process.on('message', deliver), closed: gone.signal }, { log });
const who = { kind: 'user', id: '', groups: [], attributes: new Map([['ou', ['医療事業部']]]), credential: 'cert:bb' };
await Promise.all(Array.from({ length: 50 }, (_, port) => gate.admit({ who, action: 'proxy.connect', resource: 'proxy/db', from: { host: '10.0.0.1', port } })));
process.send('ready');
`,
    );
    const child = fork(file, [], { execArgv: [], stdio: 'inherit' });
    const gone = new AbortController();
    child.on('disconnect', () => gone.abort());
    const ready = new Promise<void>(resolve => child.on('message', message => message === 'ready' && resolve()));
    const served = serveGate(
      {
        send: message => void child.send(message as object),
        receive: deliver => child.on('message', message => Array.isArray(message) && deliver(message)),
        closed: gone.signal,
      },
      gate,
      { log: quiet },
    );
    await ready;
    assert.equal(sessions.list({ user: '' }).length, 50);
    child.kill('SIGKILL');
    await served;
    assert.equal(sessions.size, 0);
    const closed = await rows({ event: 'proxy.closed', limit: 100 });
    assert.equal(closed.filter(({ facts }) => facts['cause'] === 'worker-gone').length, 50);
  });
});
