// Promises of the event stream: in order, resumable, bounded, let go when slow.
import assert from 'node:assert/strict';
import type { IncomingMessage } from 'node:http';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { type OpenHouse, openHouse } from './api-house.ts';

interface Told {
  readonly event?: string;
  readonly id?: number;
  // biome-ignore lint/suspicious/noExplicitAny: tests read whatever came
  readonly data?: any;
}

async function* eventsOf(answer: IncomingMessage): AsyncGenerator<Told> {
  let told: Record<string, unknown> = {};
  for await (const line of createInterface({ input: answer })) {
    const [, field = '', value = ''] = /^([a-z]+): (.*)$/.exec(line) ?? [];
    if (line === '') {
      if (told['event'] !== undefined) yield told;
      told = {};
    } else if (field !== '')
      told[field] = field === 'data' ? JSON.parse(value) : field === 'id' ? Number(value) : value;
  }
}

async function until(events: AsyncGenerator<Told>, fits: (told: Told) => boolean): Promise<Told[]> {
  const seen: Told[] = [];
  for (;;) {
    const { value, done } = await events.next();
    if (done) assert.fail(`the stream ended after ${JSON.stringify(seen)}`);
    seen.push(value);
    if (fits(value)) return seen;
  }
}

const admit = (house: OpenHouse) =>
  house.gate.admit({
    who: { kind: 'anonymous', id: '', groups: [], attributes: new Map(), credential: '' },
    ...{ action: 'proxy.connect', resource: 'proxy/db', opened: 'proxy/db' },
    from: { host: '203.0.113.7', port: 4000 },
  });

test('audit rows and session changes come as they happen', async t => {
  const house = await openHouse(t);
  const token = await house.signedIn('alice', 'auditor');
  const answer = await house.open('/v1/events', { token });
  assert.equal(answer.headers['content-type'], 'text/event-stream; charset=utf-8');
  assert.equal(answer.headers['cache-control'], 'no-store');
  const events = eventsOf(answer);
  const session = await admit(house);
  await session[Symbol.asyncDispose]();
  const seen = await until(events, ({ data }) => data?.event === 'proxy.closed');
  const changes = seen
    .filter(({ event }) => event === 'session')
    .map(({ data }) => [data.change, data.session.resource]);
  assert.deepEqual(changes, [
    ['opened', 'proxy/db'],
    ['closed', 'proxy/db'],
  ]);
  const opened = seen.find(({ data }) => data?.event === 'proxy.opened');
  assert.equal(opened?.id, opened?.data.seq);
  answer.destroy();
});

test('a client that comes back with Last-Event-ID misses no row and gets none twice', async t => {
  const house = await openHouse(t);
  const token = await house.signedIn('alice', 'auditor');
  for (let at = 0; at < 300; at++) await (await admit(house))[Symbol.asyncDispose]();
  const answer = await house.open('/v1/events', { token, headers: { 'last-event-id': '100' } });
  const events = eventsOf(answer);
  const past = await until(events, ({ id }) => id === 600);
  await house.local('/v1/users', { body: { name: 'bob' } });
  const now = await until(events, ({ data }) => data?.event === 'user.added');
  const ids = [...past, ...now].flatMap(({ id }) => (id === undefined ? [] : [id]));
  assert.deepEqual(
    ids,
    Array.from({ length: ids.length }, (_, at) => 101 + at),
  );
  answer.destroy();
  assert.equal((await house.remote('/v1/events', { token, headers: { 'last-event-id': 'x' } })).status, 400);
});

test('a client that does not read is told so and let go, and holds nothing of ours', async t => {
  const house = await openHouse(t);
  const token = await house.signedIn('alice', 'auditor');
  const answer = await house.open('/v1/events', { token });
  const [watching] = house.sessions.list();
  assert.equal(watching?.action, 'audit.events');
  // Never reading: socket buffers fill, then the feed, and a little later it is over. Notes make each event large.
  for (let at = 0; house.sessions.get(watching?.id ?? '') !== undefined && at < 20_000; at++) {
    const session = await admit(house);
    for (let key = 0; key < 20; key++) session.note(`key${key}`, 'x'.repeat(1000));
    await session[Symbol.asyncDispose]();
    house.clock.move(200);
  }
  assert.equal(house.sessions.get(watching?.id ?? ''), undefined, 'the stream is over');
  answer.destroy();
});

test('a line that is silent is kept alive by comments', async t => {
  const house = await openHouse(t);
  const token = await house.signedIn('alice', 'auditor');
  const answer = await house.open('/v1/events?after=1000', { token });
  const lines = createInterface({ input: answer })[Symbol.asyncIterator]();
  assert.equal((await lines.next()).value, 'retry: 3000');
  await lines.next();
  house.clock.move(15_000);
  const next: string[] = [];
  while (!next.includes(': still here')) next.push(String((await lines.next()).value));
  answer.destroy();
});

test('draining ends the streams', async t => {
  const house = await openHouse(t);
  const token = await house.signedIn('alice', 'auditor');
  const events = await house.open('/v1/events', { token });
  const tail = await house.open('/v1/audit/tail?follow=true', { token });
  const read = Promise.all(
    [events, tail].map(async answer => {
      for await (const _ of answer);
    }),
  );
  await house.api.drain(AbortSignal.timeout(10_000));
  await read;
  assert.equal(house.sessions.size, 0);
});

test('a client that goes leaves no session behind', async t => {
  const house = await openHouse(t);
  const token = await house.signedIn('alice', 'auditor');
  const answer = await house.open('/v1/events', { token });
  assert.equal(house.sessions.size, 1);
  const closed = new Promise<void>(resolve => house.sessions.on('closed', () => resolve()));
  answer.destroy();
  await closed;
  assert.equal(house.sessions.size, 0);
});
