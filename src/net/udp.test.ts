// Datagrams as conns.
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { test } from 'node:test';
import { memoryLog, memoryMetrics } from '../../test/fixtures/quiet.ts';
import type { Conn, Listener } from '../core/parts.ts';
import { dialUdp, listenUdp, type UdpListenOptions } from './udp.ts';

const never = new AbortController().signal;
const metrics = memoryMetrics();
const listen = (more: Partial<UdpListenOptions> = {}): Promise<Listener> =>
  listenUdp({ host: '127.0.0.1', port: 0, sessions: 10, log: memoryLog(), metrics, ...more });
const portOf = ({ address }: Listener): number => ('port' in address ? address.port : 0);
const dial = (listener: Listener): Promise<Conn> => dialUdp({ host: '127.0.0.1', port: portOf(listener) }, never);
const received = async (conn: Conn): Promise<string> => String((await once(conn.stream, 'data'))[0]);
const take = async (conns: AsyncIterator<Conn>): Promise<Conn> => {
  const { value } = await conns.next();
  assert.ok(value);
  return value;
};

test('each source address is a session, and each datagram keeps its edges', async () => {
  await using listener = await listen();
  const conns = listener[Symbol.asyncIterator]();
  const [one, other] = [await dial(listener), await dial(listener)];
  one.stream.write(Buffer.from('a'));
  const first = await take(conns);
  other.stream.write(Buffer.from('b'));
  const second = await take(conns);
  assert.deepEqual([first.peer, second.peer], [one.local, other.local]);
  assert.deepEqual(first.local, listener.address);
  assert.equal(await received(first), 'a');
  assert.equal(await received(second), 'b');
  first.stream.write(Buffer.from('to one'));
  second.stream.write(Buffer.from(''));
  assert.equal(await received(one), 'to one');
  assert.equal(await received(other), '', 'an empty datagram is one too');
  for (const conn of [one, other, first, second]) await conn.close(never);
});

test('sessions are bounded: a further source is dropped and counted, until one ends', async () => {
  await using listener = await listen({ sessions: 1 });
  const conns = listener[Symbol.asyncIterator]();
  const [one, other] = [await dial(listener), await dial(listener)];
  one.stream.write(Buffer.from('a'));
  const first = await take(conns);
  const before = metrics.values.get('datagrams_dropped_total{reason=sessions}') ?? 0;
  while ((metrics.values.get('datagrams_dropped_total{reason=sessions}') ?? 0) === before) {
    other.stream.write(Buffer.from('b'));
    await new Promise(setImmediate);
  }
  await first.close(never);
  other.stream.write(Buffer.from('c'));
  const second = await take(conns);
  assert.deepEqual(second.peer, other.local);
  for (const conn of [one, other, second]) await conn.close(never);
});

test('a queue that is full drops, and what was queued is still there', async () => {
  await using listener = await listen({ queue: 2 });
  const conns = listener[Symbol.asyncIterator]();
  const client = await dial(listener);
  const before = metrics.values.get('datagrams_dropped_total{reason=queue}') ?? 0;
  for (let count = 0; (metrics.values.get('datagrams_dropped_total{reason=queue}') ?? 0) === before; count++) {
    client.stream.write(Buffer.from(String(count)));
    await new Promise(setImmediate);
  }
  const server = await take(conns);
  assert.deepEqual([String(server.stream.read()), String(server.stream.read())], ['0', '1']);
  assert.equal(server.stream.read(), null);
  await server.close(never);
  await client.close(never);
});

test('after its number of requests a source begins a new session, and the old one still answers', async () => {
  await using listener = await listen({ requests: 1 });
  const conns = listener[Symbol.asyncIterator]();
  const client = await dial(listener);
  client.stream.write(Buffer.from('one'));
  const first = await take(conns);
  client.stream.write(Buffer.from('two'));
  const second = await take(conns);
  assert.deepEqual(first.peer, second.peer);
  first.stream.write(Buffer.from('first answer'));
  assert.equal(await received(client), 'first answer');
  for (const conn of [first, second, client]) await conn.close(never);
});

test('nobody at the target fails the conn', async () => {
  const gone = await listen();
  await gone[Symbol.asyncDispose]();
  const conn = await dial(gone);
  const failed = once(conn.stream, 'error');
  conn.stream.write(Buffer.from('x'));
  assert.equal((await failed)[0].code, 'ECONNREFUSED');
});

test('a disposed listener takes nobody new; the sessions that stand are served to their end', async () => {
  const listener = await listen();
  const conns = listener[Symbol.asyncIterator]();
  const client = await dial(listener);
  client.stream.write(Buffer.from('a'));
  const server = await take(conns);
  await listener[Symbol.asyncDispose]();
  assert.equal((await conns.next()).done, true);
  server.stream.write(Buffer.from('still here'));
  assert.equal(await received(client), 'still here');
  await server.close(never);
  await client.close(never);
  // Only now is the port free.
  const probe = createSocket('udp4');
  await new Promise<void>(resolve => probe.bind(portOf(listener), '127.0.0.1', resolve));
  probe.close();
});

test('a port in use and a name that does not exist are said', async () => {
  await using listener = await listen();
  await assert.rejects(listen({ port: portOf(listener) }), {
    name: 'Fault',
    code: 'conflict',
    message: /udp is in use/,
  });
  await assert.rejects(dialUdp({ host: 'no-such-host.invalid', port: 1 }, never), {
    code: 'unreachable',
    message: /cannot be resolved/,
  });
});
