// Many at once: idle thousands, a flood of half-open handshakes, slow ones, and real clients among them.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { test } from 'node:test';
import { freePorts, startGate, until } from '../fixtures/gate-process.ts';
import {
  assertTidy,
  ca,
  descriptorsOf,
  endProperly,
  head,
  liveSessions,
  memoryOf,
  seconds,
  terminate,
  workersOf,
} from './house.ts';
import { backend, closing, dialTls, echo, load, watched, within } from './streams.ts';

/** Many at a time, but not all in one turn. */
async function inParallel<T>(count: number, width: number, make: (index: number) => Promise<T>): Promise<T[]> {
  const made: T[] = [];
  let next = 0;
  const hand = async (): Promise<void> => {
    for (let index = next++; index < count; index = next++) made.push(await make(index));
  };
  await Promise.all(Array.from({ length: width }, hand));
  return made;
}

const descriptors_ = Number(/Max open files\s+\d+\s+(\d+)/.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1]);
if (descriptors_ < 12_000)
  throw new Error(`a hard limit of ${descriptors_} open files is too low for this; ulimit -Hn 20000, as root`);

test('5,000 idle TLS connections stay open, cost what is reported, and every one still answers', async t => {
  await using server = await backend(echo);
  const [port = 0] = await freePorts(1);
  const gate = await startGate(t, { config: head(2) + terminate('idle', port, server.port) });
  const dial = dialTls(port, { ca: ca.cert });
  (await dial()).destroy();
  await until('the first is gone', async () => (await liveSessions(gate)) === 0);
  const [memory, descriptors] = [memoryOf(gate), descriptorsOf(gate)];

  const count = 5000;
  const started = performance.now();
  const sockets = await inParallel(count, 64, dial);
  await until('all are admitted', async () => (await liveSessions(gate)) === count);
  t.diagnostic(`${count} connections in ${Math.round(performance.now() - started)} ms`);
  t.diagnostic(`${((memoryOf(gate) - memory) / count).toFixed(1)} kB resident each, all three processes`);
  t.diagnostic(`${((descriptorsOf(gate) - descriptors) / count).toFixed(2)} descriptors each`);

  await inParallel(count, 64, async index => {
    const socket = sockets[index] as Socket;
    socket.write(`still here ${index}`);
    const [answer] = await within(30_000, once(socket, 'data'), () => `connection ${index} does not answer`);
    assert.equal(String(answer), `still here ${index}`);
  });
  for (const socket of sockets) socket.end();
  await until('their descriptors are closed', () => descriptorsOf(gate) <= descriptors + 8);
  await assertTidy(gate);
  await endProperly(gate);
});

test('2,000 half-open handshakes do not keep real clients out, and are thrown out at the handshake limit', async t => {
  await using server = await backend(echo);
  const [port = 0] = await freePorts(1);
  const gate = await startGate(t, {
    config: head(2) + terminate('door', port, server.port, ', limits: { handshake: 20s, connections: 3000 }'),
  });
  const base = descriptorsOf(gate);
  // The beginning of a ClientHello that says it is 512 bytes long, and nothing more.
  const beginning = Buffer.from('1603010200010001fc0303', 'hex');
  const flood = await inParallel(2000, 64, async index => {
    const socket = watched(connect({ port, host: '127.0.0.1' }));
    await once(socket, 'connect');
    if (index % 2 === 0) socket.write(beginning);
    return socket;
  });
  const closed = Promise.all(flood.map(socket => closing(socket.resume())));
  await using real = load({ dial: dialTls(port, { ca: ca.cert }), clients: 8 });
  await until('real clients get through', () => real.done() > 50 || real.failures.length > 0);
  await within(40_000, closed, () => `${flood.filter(socket => !socket.closed).length} half-open ones are still held`);
  await real.stop();
  assert.deepEqual(real.failures, []);
  t.diagnostic(`${real.done()} real connections meanwhile`);
  await until('their descriptors are closed', () => descriptorsOf(gate) <= base + 8);
  await assertTidy(gate);
  await endProperly(gate);
});

test('a slow-loris handshake, a byte at a time, is cut at the limit however busily it drips', async t => {
  await using server = await backend(echo);
  const [port = 0, peek = 0] = await freePorts(2);
  const route = (name: string, what: string): string =>
    `  ${name}: { listen: "tcp://127.0.0.1:${peek}", to: "tcp://127.0.0.1:${server.port}", ${what}, limits: { handshake: 3s } }
`;
  const gate = await startGate(t, {
    config:
      head(2) +
      terminate('door', port, server.port, ', limits: { handshake: 3s }') +
      route('named', 'names: [localhost]') +
      route('other', 'plain: true'),
  });
  const hello = Buffer.from(`1603010200010001fc0303${'00'.repeat(501)}`, 'hex');
  const drips = await Promise.all(
    Array.from({ length: 60 }, async (_, index) => {
      const socket = watched(connect({ port: index % 2 === 0 ? port : peek, host: '127.0.0.1' }));
      await once(socket, 'connect');
      let at = 0;
      const timer = setInterval(() => socket.write(hello.subarray(at, ++at)), 100);
      socket.once('close', () => clearInterval(timer));
      return socket.resume();
    }),
  );
  await using real = load({ dial: dialTls(port, { ca: ca.cert }), clients: 2 });
  await within(
    15_000,
    Promise.all(drips.map(closing)),
    () => `${drips.filter(socket => !socket.closed).length} of ${drips.length} are still held after 15 s`,
  );
  await real.stop();
  assert.deepEqual(real.failures, []);
  await assertTidy(gate);
  await endProperly(gate);
});

test('a backend that comes and goes for a minute: whoever is let in is answered whole, nobody hangs, and it ends well', async t => {
  let up: Awaited<ReturnType<typeof backend>> | undefined = await backend(echo);
  const { port: target } = up;
  const [port = 0] = await freePorts(1);
  const gate = await startGate(t, {
    config: head(2) + terminate('flaps', port, target, ', limits: { connect: 2s }'),
  });
  const base = descriptorsOf(gate);
  await using clients = load({ dial: dialTls(port, { ca: ca.cert }), clients: 6 });
  const until_ = performance.now() + seconds(60) * 1000;
  let flaps = 0;
  while (performance.now() < until_) {
    await new Promise(done => setTimeout(done, 50 + Math.random() * 400));
    if (up) await up[Symbol.asyncDispose]();
    up = up ? undefined : await backend(echo, { port: target });
    flaps++;
  }
  up ??= await backend(echo, { port: target });
  await clients.stop();
  t.diagnostic(`${flaps} changes, ${clients.done()} whole, ${clients.failures.length} broken off`);
  const bad = clients.failures.filter(text => /corrupted|hangs/.test(text));
  assert.deepEqual(bad, []);
  assert.ok(clients.done() > 0);
  // Back to good health by itself (fail-timeout is 10 s).
  await using after = load({ dial: dialTls(port, { ca: ca.cert }), clients: 1 });
  await until('it serves again', () => after.done() > 20);
  await after.stop();
  assert.equal(workersOf(gate).length, 2, 'no worker died');
  await until('descriptors are back at the base', () => descriptorsOf(gate) <= base + 8);
  const rows = await assertTidy(gate);
  const causes = new Map<unknown, number>();
  for (const { event, facts } of rows)
    if (event === 'proxy.closed') causes.set(facts['cause'], (causes.get(facts['cause']) ?? 0) + 1);
  t.diagnostic(`causes: ${JSON.stringify([...causes])}`);
  await endProperly(gate);
  await up[Symbol.asyncDispose]();
});
