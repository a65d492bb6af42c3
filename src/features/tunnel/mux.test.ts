// The mux without sockets: pacing, back-pressure, windows, and what it says in which dialect.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { fakePipe } from '../../../test/fixtures/fake-pipe.ts';
import { memoryLog } from '../../../test/fixtures/quiet.ts';
import { frame, types } from '../../../test/fixtures/tunnel-peer.ts';
import { type MuxOptions, TunnelMux } from './mux.ts';
import type { TunnelStream } from './stream.ts';

function open(options: Partial<MuxOptions> = {}) {
  const pipe = fakePipe();
  const streams: TunnelStream[] = [];
  const mux = new TunnelMux({
    ...{ pipe, role: 'acceptor', place: 'service', services: ['SSH', 'WEB'], log: memoryLog() },
    onStream: stream => void streams.push(stream),
    ...options,
  });
  return {
    pipe,
    mux,
    streams,
    hear: (...fields: Parameters<typeof frame>[0][]) => pipe.hear(Buffer.concat(fields.map(frame))),
  };
}
const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve));
const block = (size = 64_512): Buffer => Buffer.alloc(size, 'x');

test('a stream that nobody reads is buffered to its bound; then the socket waits, and goes on when it is read', async () => {
  const { pipe, mux, streams, hear } = open({ limits: { stream: 200_000, all: 1_000_000, streams: 10 } });
  hear({ type: types.start, stream: 1, service: 'SSH', connection: 1 });
  for (let count = 0; count < 3; count++)
    hear({ type: types.data, stream: 1, service: 'SSH', connection: 1, payload: block() });
  assert.equal(pipe.state, 'reading');
  hear({ type: types.data, stream: 1, service: 'SSH', connection: 1, payload: block() });
  assert.equal(pipe.state, 'paused');
  assert.ok(mux.isBlocked && mux.queued > 200_000);
  let read = 0;
  streams[0]?.on('data', chunk => {
    read += chunk.length;
  });
  while (read < 4 * 64_512) await turn();
  assert.equal(pipe.state, 'reading');
  assert.equal(mux.queued, 0);
});

test('the bound of all streams together holds, and a stream that is destroyed gives back its part', () => {
  const { pipe, mux, streams, hear } = open({ limits: { stream: 200_000, all: 250_000, streams: 10 } });
  for (const connection of [1, 2]) {
    hear({ type: connection === 1 ? types.start : types.connectionStart, stream: 1, service: 'SSH', connection });
    for (let count = 0; count < 2; count++)
      hear({ type: types.data, stream: 1, service: 'SSH', connection, payload: block() });
  }
  assert.equal(pipe.state, 'paused');
  for (const stream of streams) stream.destroy();
  assert.equal(pipe.state, 'reading');
  assert.equal(mux.queued, 0);
  assert.equal(mux.streams, 0);
});

test('what comes for a connection that nobody has taken yet is bounded, and does not hold up its neighbours', () => {
  const { pipe, streams, hear } = open();
  hear({ type: types.start, stream: 1, service: 'SSH', connection: 1 });
  const [stream] = streams;
  assert.ok(stream);
  stream.most = 100_000;
  hear({ type: types.data, stream: 1, service: 'SSH', connection: 1, payload: block() });
  hear({ type: types.data, stream: 1, service: 'SSH', connection: 1, payload: block() });
  assert.ok(stream.destroyed);
  assert.equal(pipe.state, 'reading');
  assert.deepEqual(
    pipe
      .said()
      .map(({ type, connection }) => [type, connection])
      .at(-1),
    [types.connectionReset, 1],
  );
});

test('pieces of several writers leave in turn, each at most 64,512 bytes', async () => {
  const { pipe, mux } = open({ role: 'opener' });
  const [one, two] = [mux.open('SSH'), mux.open('SSH')];
  pipe.open = false; // one frame more is taken, then it is full
  one.write(block(200_000));
  two.write(block(200_000));
  await turn();
  pipe.open = true;
  for (let count = 0; count < 20; count++) await turn();
  const sizes = pipe.said().filter(({ type }) => type === types.data);
  assert.ok(sizes.every(({ payload }) => payload.length <= 64_512));
  const order = sizes.map(({ connection }) => connection);
  assert.equal(order.length, 8);
  for (let end = 1; end <= 8; end++) {
    const ahead = order.slice(0, end).reduce((sum, connection) => sum + (connection === 1 ? 1 : -1), 0);
    assert.ok(Math.abs(ahead) <= 2, order.join());
  }
});

test('a paced peer gets no more than its rate, in bursts of no more than its bucket', async () => {
  const { pipe, mux } = open({ role: 'opener', pace: { rate: 2_000_000, burst: 65_536 } });
  const stream = mux.open('SSH');
  const from = performance.now();
  stream.end(block(600_000));
  await once(stream, 'finish');
  const seconds = (performance.now() - from) / 1000;
  const bytes = pipe.said().reduce((sum, { payload }) => sum + payload.length, 0);
  assert.equal(bytes, 600_000);
  // Not faster than the rate allows; how much slower is the machine's business.
  assert.ok(bytes - 2 * 65_536 <= seconds * 2_000_000, `${bytes} in ${seconds}`);
});

test('windows: a writer stops at what the far reader allows, and goes on with what it gives', async () => {
  const { pipe, mux } = open({ role: 'opener', extended: true });
  const stream = mux.open('SSH');
  stream.write(block(2_500_000));
  for (let count = 0; count < 50; count++) await turn();
  const sent = (): number => pipe.said().reduce((sum, { type, payload }) => sum + (type === 1 ? payload.length : 0), 0);
  assert.equal(sent(), 2 * 1024 * 1024);
  const more = Buffer.alloc(4);
  more.writeUInt32BE(500_000);
  pipe.hear(frame({ type: 65, stream: 1, service: 'SSH', connection: 1, payload: more }));
  for (let count = 0; count < 50; count++) await turn();
  assert.equal(sent(), 2_500_000);
});

test('windows: who sends beyond them is told so and let go; the socket itself never waits', () => {
  const { pipe, hear } = open({ extended: true });
  hear({ type: types.start, stream: 1, service: 'SSH', connection: 1 });
  for (let count = 0; count < 33; count++)
    hear({ type: types.data, stream: 1, service: 'SSH', connection: 1, payload: block() });
  assert.equal(pipe.state, 'reading');
  hear({ type: types.data, stream: 1, service: 'SSH', connection: 1, payload: block() });
  assert.equal(pipe.end?.code, 1008);
});

test('half-close where it was agreed on, a reset where not', async () => {
  for (const extended of [true, false]) {
    const { pipe, mux } = open({ role: 'opener', extended });
    const stream = mux.open('SSH');
    stream.resume().end('bye');
    await once(stream, 'finish');
    const said = pipe.said().map(({ type }) => type);
    assert.deepEqual(said.slice(-2), [types.data, extended ? 64 : types.connectionReset]);
    assert.equal(mux.streams, extended ? 1 : 0);
    if (extended) {
      pipe.hear(frame({ type: 64, stream: 1, service: 'SSH', connection: 1 }));
      await once(stream, 'close');
      assert.equal(mux.streams, 0);
    }
  }
});

test('ids are said only where the opening message said them', () => {
  const cases = [
    { start: { stream: 7 }, end: { type: types.reset, stream: 7, service: '', connection: 0 }, services: ['SSH'] },
    {
      start: { stream: 7, service: 'SSH' },
      end: { type: types.reset, stream: 7, service: 'SSH', connection: 0 },
      services: ['SSH', 'WEB'],
    },
    {
      start: { stream: 7, service: 'SSH', connection: 3 },
      ...{ end: { type: types.connectionReset, stream: 7, service: 'SSH', connection: 3 }, services: ['SSH'] },
    },
    {
      start: { stream: 7, connection: 3 },
      end: { type: types.connectionReset, stream: 7, service: '', connection: 3 },
      services: [],
    },
  ];
  for (const { start, end, services } of cases) {
    const { pipe, streams, hear } = open({ services });
    hear({ type: types.start, ...start });
    streams[0]?.destroy();
    const { type, stream, service, connection } = pipe.said().at(-1) ?? {};
    assert.deepEqual({ type, stream, service, connection }, end);
  }
});

test('a source that starts a stream anew, and one that uses a number twice: the old connection ends, the new one stands', async () => {
  const { streams, hear } = open();
  hear(
    { type: types.start, stream: 1, service: 'SSH' },
    { type: types.data, stream: 1, service: 'SSH', payload: 'old' },
  );
  hear(
    { type: types.start, stream: 2, service: 'SSH' },
    { type: types.data, stream: 1, service: 'SSH', payload: 'stale' },
  );
  hear({ type: types.data, stream: 2, service: 'SSH', payload: 'new' });
  const [first, second] = streams;
  assert.equal(first?.farEnd, 'reset');
  assert.equal(String(first?.read()), 'old');
  assert.equal(String(second?.read()), 'new');
});

test('more connections than allowed are reset, not taken', () => {
  const { pipe, streams, hear } = open({ limits: { stream: 1000, all: 1000, streams: 2 } });
  hear({ type: types.start, stream: 1, service: 'SSH', connection: 1 });
  for (const connection of [2, 3]) hear({ type: types.connectionStart, stream: 1, service: 'SSH', connection });
  assert.equal(streams.length, 2);
  assert.deepEqual([pipe.said().at(-1)?.type, pipe.said().at(-1)?.connection], [types.connectionReset, 3]);
});

test('the socket is gone: every stream fails as a lost connection does', async () => {
  const { mux } = open({ role: 'opener' });
  const stream = mux.open('SSH');
  const failed = once(stream, 'error').catch(error => [error]);
  mux.destroy();
  const [error] = await failed;
  assert.equal((error as NodeJS.ErrnoException).code, 'ECONNRESET');
  assert.throws(() => mux.open('SSH'), { code: 'gone' });
});
