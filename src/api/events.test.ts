// Promises of one event stream, pulled by hand.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { noMetrics, silentLog } from '../../test/e2e/api-fakes.ts';
import { openHouse } from '../../test/e2e/api-house.ts';
import type { ApiDeps } from './deps.ts';
import { streamEvents } from './events.ts';
import { watch } from './watch.ts';

const who = { kind: 'anonymous', id: '', groups: [], attributes: new Map(), credential: '' } as const;
const from = { host: '203.0.113.7', port: 4000 };

async function open(t: { after(call: () => unknown): void }) {
  const house = await openHouse(t);
  const policy = () => ({ decide: () => ({ allow: true, rule: 'x' }) as const });
  const deps: ApiDeps = { ...house, policy, log: silentLog, metrics: noMetrics };
  const admit = () =>
    house.gate.admit({ who, action: 'proxy.connect', resource: 'proxy/db', from, opened: 'proxy/db' });
  return { house, deps, admit };
}

test('a burst larger than the queue costs no reader the stream: every row comes, and session changes are counted', async t => {
  const { deps, admit } = await open(t);
  const ending = new AbortController();
  const drop = () => assert.fail('a burst is no fault of the reader');
  const events = streamEvents(deps, { after: undefined, signal: ending.signal, peer: from, drop });
  const reading = events[Symbol.asyncIterator]();
  await reading.next(); // retry
  const first = reading.next();
  const many = 600;
  await Promise.all(Array.from({ length: many }, async () => (await admit())[Symbol.asyncDispose]()));
  const texts = [String((await first).value)];
  const ids = (): number[] => texts.flatMap(text => /^id: (\d+)$/m.exec(text)?.[1] ?? []).map(Number);
  while (ids().length < 2 * many) texts.push(String((await reading.next()).value));
  (await admit())[Symbol.asyncDispose]();
  const counted = (): number =>
    texts.filter(text => text.startsWith('event: session')).length +
    texts.reduce((sum, text) => sum + Number(/"sessions":(\d+)/.exec(text)?.[1] ?? 0), 0);
  while (counted() < 2 * many + 2) texts.push(String((await reading.next()).value));
  assert.deepEqual(
    ids(),
    ids().map((_, at) => (ids()[0] ?? 0) + at),
  );
  assert.ok(texts.some(text => text.startsWith('event: missed')));
  ending.abort();
});

test('a client that stops to read and reads on much later is told why, and how to go on', async t => {
  const { house, deps, admit } = await open(t);
  let dropped = 0;
  const ending = new AbortController();
  const events = streamEvents(deps, { after: undefined, signal: ending.signal, peer: from, drop: () => dropped++ });
  const reading = events[Symbol.asyncIterator]();
  await reading.next(); // retry
  const first = reading.next();
  await (await admit())[Symbol.asyncDispose]();
  await first;
  house.clock.move(15_000);
  assert.equal(dropped, 0, 'it has just read');
  house.clock.move(15_000);
  assert.equal(dropped, 1);
  const rest: string[] = [];
  for (let next = await reading.next(); !next.done; next = await reading.next()) rest.push(String(next.value));
  assert.match(rest.at(-1) ?? '', /^event: dropped\ndata: \{"message":"this client has not read .*Last-Event-ID/);
});

test('a client that is gone before its first event leaves no session', async t => {
  const { house, deps } = await open(t);
  const caller = { who: { ...who, kind: 'user', groups: ['role:admin'], credential: 'local' } as const, from };
  const gone = AbortSignal.abort();
  const call = { caller, signal: gone, endOn() {} };
  const options = { action: 'audit.tail', draining: new AbortController().signal } as const;
  const stream = await watch(deps, call, options, async function* () {});
  await stream[Symbol.asyncIterator]().return?.();
  assert.equal(house.sessions.size, 0);
});
