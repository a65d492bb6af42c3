// A reset closes the descriptor and tells both ends, whatever the socket was about.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { makeCa } from '../../test/fixtures/certificates.ts';
import { memoryLog, memoryMetrics } from '../../test/fixtures/quiet.ts';
import type { Conn } from '../core/parts.ts';
import { reset } from './reset.ts';
import { listenTcp } from './tcp.ts';
import { upgradeTls } from './tls.ts';

const never = new AbortController().signal;

/** An accepted conn, and the plain socket at the other end of it. */
async function pair(t: TestContext): Promise<{ conn: Conn; peer: Socket }> {
  const listener = await listenTcp({ host: '127.0.0.1', port: 0, log: memoryLog(), metrics: memoryMetrics() });
  t.after(() => listener[Symbol.asyncDispose]());
  const peer = connect({ host: '127.0.0.1', port: 'port' in listener.address ? listener.address.port : 0 });
  t.after(() => void peer.destroy());
  const { value: conn } = await listener[Symbol.asyncIterator]().next();
  assert.ok(conn);
  t.after(() => void conn.stream.destroy());
  return { conn, peer };
}
const isOver = async (peer: Socket): Promise<void> => {
  peer.on('error', () => {}).resume();
  if (!peer.closed) await once(peer, 'close', { signal: AbortSignal.timeout(30_000) });
};

test('a socket is closed and says so when it is reset while its FIN is on its way out', async t => {
  const { conn, peer } = await pair(t);
  conn.stream.end('all of it');
  await new Promise(resolve => process.nextTick(() => process.nextTick(resolve))); // now libuv has a shutdown to do
  const closed = once(conn.stream, 'close', { signal: AbortSignal.timeout(30_000) });
  reset(conn.stream);
  await closed;
  await isOver(peer);
});

test('a reset reaches a TLS client that reads nothing, also after our end was written behind what it has not read', async t => {
  const ca = makeCa('Test CA');
  const { conn: raw, peer } = await pair(t);
  const upgrade = upgradeTls({
    identities: [ca.issue({ cn: 'localhost', san: ['localhost'] })],
    session: { tickets: true, cache: 0, timeout: 300_000 },
    context: 'test',
    handshake: 30_000,
  });
  const client = connectTls({ socket: peer, ca: ca.cert, servername: 'localhost' });
  client.on('error', () => {});
  const [conn] = await Promise.all([upgrade(raw, never), once(client, 'secureConnect')]);
  t.after(() => void conn.stream.destroy());
  client.pause();
  for (let full = 0; full < 3; ) full = conn.stream.write(Buffer.alloc(1 << 20)) ? 0 : full + 1;
  conn.stream.end();
  await new Promise(resolve => setImmediate(resolve));
  const closed = once(raw.stream, 'close', { signal: AbortSignal.timeout(30_000) });
  reset(conn.stream);
  await closed;
  client.resume();
  await isOver(peer);
});

test('a socket that is still connecting is given up at once', async () => {
  const socket = connect({ host: '127.0.0.1', port: 9 });
  socket.on('error', () => {});
  reset(socket);
  await once(socket, 'close', { signal: AbortSignal.timeout(30_000) });
});
