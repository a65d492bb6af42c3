// The joiner of two conns: what it keeps, and what it passes on.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { test } from 'node:test';
import { text } from '../../test/conformance/streams.ts';
import { makeCa } from '../../test/fixtures/certificates.ts';
import { memoryLog, memoryMetrics } from '../../test/fixtures/quiet.ts';
import type { Conn } from '../core/parts.ts';
import { Beat } from './idle.ts';
import { memoryPair } from './memory.ts';
import { lowest, reset } from './reset.ts';
import { type SpliceEnd, type SpliceOptions, splice } from './splice.ts';
import { dialTcp, listenTcp } from './tcp.ts';
import { originateTls, upgradeTls } from './tls.ts';
import { dialUdp, listenUdp } from './udp.ts';

const never = new AbortController().signal;

interface Joined {
  readonly client: Conn;
  readonly server: Conn;
  readonly end: Promise<SpliceEnd>;
  readonly bytes: { up: number; down: number };
}
function join(near: Conn, far: Conn, options: Partial<SpliceOptions>, client: Conn, server: Conn): Joined {
  const bytes = { up: 0, down: 0 };
  const end = splice(near, far, {
    signal: never,
    idle: 0,
    halfClose: true,
    count: (direction, more) => {
      bytes[direction] += more;
    },
    ...options,
  });
  return { client, server, end, bytes };
}
function inMemory(options: Partial<SpliceOptions> = {}): Joined {
  const [client, near] = memoryPair();
  const [far, server] = memoryPair();
  return join(near, far, options, client, server);
}
async function tcpPair(): Promise<[Conn, Conn]> {
  await using listener = await listenTcp({ host: '127.0.0.1', port: 0, log: memoryLog(), metrics: memoryMetrics() });
  const port = 'port' in listener.address ? listener.address.port : 0;
  const accepted = listener[Symbol.asyncIterator]().next();
  const client = await dialTcp({ host: '127.0.0.1', port, timeout: 0 }, never);
  const { value } = await accepted;
  assert.ok(value);
  return [client, value];
}
async function overTcp(options: Partial<SpliceOptions> = {}): Promise<Joined> {
  const [client, near] = await tcpPair();
  const [far, server] = await tcpPair();
  return join(near, far, options, client, server);
}
const ca = makeCa('Splice CA');
const identity = ca.issue({ cn: 'localhost', san: ['localhost'] });
/** The client's leg is TLS. */
async function overTls(
  options: Partial<SpliceOptions> = {},
  closeNotify: 'required' | 'optional' = 'optional',
): Promise<Joined> {
  const [rawClient, rawNear] = await tcpPair();
  const upgrade = upgradeTls({
    identities: [identity],
    session: { tickets: true, cache: 0, timeout: 300_000 },
    context: 'splice',
    closeNotify,
    handshake: 0,
  });
  const [client, near] = await Promise.all([
    originateTls(rawClient, { handshake: 0, verify: { ca: [ca.cert], name: 'localhost' } }, never),
    upgrade(rawNear, never),
  ]);
  const [far, server] = await tcpPair();
  return join(near, far, options, client, server);
}
const ways: Record<string, (options?: Partial<SpliceOptions>) => Joined | Promise<Joined>> = {
  inMemory,
  overTcp,
  overTls,
};
const broken = (conn: Conn): Promise<NodeJS.ErrnoException> =>
  new Promise((resolve, reject) => {
    conn.stream.once('error', resolve).once('end', () => reject(new Error('the abort looked like an end')));
    conn.stream.resume();
  });

for (const [way, open] of Object.entries(ways)) {
  test(`${way}: the answer arrives after the client has half-closed, and bytes are counted`, async () => {
    const { client, server, end, bytes } = await open();
    client.stream.end('question');
    assert.equal(await text(server), 'question');
    server.stream.end('the answer');
    assert.equal(await text(client), 'the answer');
    assert.equal(await end, 'ended');
    assert.deepEqual(bytes, { up: 8, down: 10 });
  });

  test(`${way}: the server may end first, and the client still be heard`, async () => {
    const { client, server, end } = await open();
    server.stream.end('greeting');
    assert.equal(await text(client), 'greeting');
    client.stream.end('goodbye');
    assert.equal(await text(server), 'goodbye');
    assert.equal(await end, 'ended');
  });

  test(`${way}: without half-close the first end ends both, after what was said before it`, async () => {
    const { client, server, end } = await open({ halfClose: false });
    client.stream.end('question');
    const [asked, answered] = await Promise.all([text(server), text(client)]);
    assert.deepEqual([asked, answered], ['question', '']);
    assert.equal(await end, 'ended');
    server.stream.destroy();
    client.stream.destroy();
  });

  test(`${way}: a slow reader holds the writer back`, async () => {
    const { client, server } = await open();
    const chunk = Buffer.alloc(65_536);
    let sent = 0;
    // Held back for good, that is, for 50 turns of the loop, not only for one.
    for (let turns = 0; turns < 50; turns = client.stream.writableNeedDrain ? turns + 1 : 0) {
      if (!client.stream.writableNeedDrain) {
        client.stream.write(chunk);
        sent += chunk.length;
      }
      assert.ok(sent < 512 * 1024 * 1024, 'no back-pressure');
      await new Promise(setImmediate);
    }
    client.stream.end();
    let received = 0;
    for await (const piece of server.stream.iterator({ destroyOnReturn: false })) received += (piece as Buffer).length;
    assert.equal(received, sent);
    server.stream.end();
    client.stream.resume();
    await once(client.stream, 'end');
  });

  test(`${way}: 16 MiB both ways at once arrive bit for bit, in chunks of any size`, async () => {
    const { client, server, end, bytes } = await open();
    const hash = async (conn: Conn): Promise<string> => {
      const digest = createHash('sha256');
      for await (const piece of conn.stream.iterator({ destroyOnReturn: false })) digest.update(piece as Buffer);
      return digest.digest('hex');
    };
    const send = async (conn: Conn, sizes: readonly number[]): Promise<string> => {
      const digest = createHash('sha256');
      let left = 16 * 1024 * 1024;
      for (let index = 0; left > 0; index++) {
        const chunk = randomBytes(Math.min(left, sizes[index % sizes.length] ?? 1));
        left -= chunk.length;
        digest.update(chunk);
        if (!conn.stream.write(chunk)) await once(conn.stream, 'drain');
      }
      conn.stream.end();
      return digest.digest('hex');
    };
    const [up, gotUp, down, gotDown] = await Promise.all([
      send(client, [16_384, 1, 65_536, 16_383]),
      hash(server),
      send(server, [100_000, 16_384, 7]),
      hash(client),
    ]);
    assert.equal(gotUp, up);
    assert.equal(gotDown, down);
    assert.equal(await end, 'ended');
    assert.deepEqual(bytes, { up: 16 * 1024 * 1024, down: 16 * 1024 * 1024 });
  });

  test(`${way}: an abort of the client reaches the server as an abort`, async () => {
    const { client, server, end } = await open();
    client.stream.write('x');
    await once(server.stream, 'data');
    const seen = broken(server);
    reset(client.stream);
    assert.equal((await seen).code, 'ECONNRESET');
    assert.equal(await end, 'near-reset');
  });

  test(`${way}: an abort of the server reaches the client as an abort`, async () => {
    const { client, server, end } = await open();
    server.stream.write('x');
    await once(client.stream, 'data');
    const seen = broken(client);
    reset(server.stream);
    assert.equal((await seen).code, 'ECONNRESET');
    assert.equal(await end, 'far-reset');
  });

  test(`${way}: an abort after the client's half-close is still an abort`, async () => {
    const { client, server, end } = await open();
    client.stream.end('question');
    assert.equal(await text(server), 'question');
    server.stream.write('half an ans');
    await once(client.stream, 'data');
    const seen = broken(client);
    reset(server.stream);
    assert.equal((await seen).code, 'ECONNRESET');
    assert.equal(await end, 'far-reset');
  });

  test(`${way}: the signal cuts both sides, and its reason is the outcome`, async () => {
    const cut = new AbortController();
    const { client, server, end } = await open({ signal: cut.signal });
    client.stream.write('x');
    await once(server.stream, 'data');
    const both = Promise.all([broken(client), broken(server)]);
    cut.abort('revoked');
    assert.equal(await end, 'revoked');
    assert.deepEqual(
      (await both).map(error => error.code),
      ['ECONNRESET', 'ECONNRESET'],
    );
  });
}

test('a TLS client that just closes its socket has ended: what it sent arrives whole, then an end', async () => {
  const { client, server, end } = await overTls();
  const received = text(server);
  client.stream.write('a whole message');
  lowest(client.stream).end();
  assert.equal(await received, 'a whole message');
  server.stream.end();
  assert.equal(await end, 'ended');
  client.stream.destroy();
  server.stream.destroy();
});

test('where close_notify is required, a TLS client cut off without it is passed on as an abort', async () => {
  const { client, server, end } = await overTls({}, 'required');
  client.stream.write('half a message');
  const [data] = await once(server.stream, 'data');
  assert.equal(String(data), 'half a message');
  const seen = broken(server);
  // A FIN from below, as an attacker on the path can send one.
  lowest(client.stream).end();
  assert.equal((await seen).code, 'ECONNRESET');
  assert.equal(await end, 'near-reset');
});

test('idle counts from the last byte in either direction, in beats', async () => {
  const beat = new Beat(1000);
  const { client, server, end, bytes } = inMemory({ idle: 3000, beat });
  beat.beat();
  beat.beat();
  client.stream.write('x');
  await once(server.stream, 'data');
  beat.beat();
  assert.deepEqual(bytes, { up: 1, down: 0 }, 'counted as it goes, not only at the end');
  beat.beat();
  beat.beat();
  assert.equal(server.stream.readableEnded, false);
  beat.beat();
  assert.equal(await end, 'idle');
  assert.equal(await text(server), '');
});

test('after one end the half-close limit counts instead', async () => {
  const beat = new Beat(1000);
  const { client, server, end } = inMemory({ idle: 60_000, halfCloseIdle: 2000, beat });
  client.stream.end();
  await text(server);
  for (let count = 0; count < 4; count++) beat.beat();
  assert.equal(await end, 'idle');
});

test('a reader that is slow is not idle while it still takes something', async () => {
  const beat = new Beat(1000);
  const { client, server, end } = inMemory({ idle: 2000, beat });
  const chunk = Buffer.alloc(65_536);
  for (let count = 0; count < 40; count++) client.stream.write(chunk);
  let over = false;
  void end.then(() => {
    over = true;
  });
  for (let count = 0; count < 8; count++) {
    server.stream.read();
    await new Promise(setImmediate);
    beat.beat();
  }
  assert.equal(over, false);
  for (let count = 0; count < 4; count++) beat.beat();
  assert.equal(await end, 'idle');
  client.stream.destroy();
});

test('a rate lets one second through at once and then what each beat brings', async () => {
  const beat = new Beat(100);
  const { client, server } = inMemory({ upload: 1000, beat });
  let received = 0;
  server.stream.on('data', (piece: Buffer) => {
    received += piece.length;
  });
  const settle = async (): Promise<void> => {
    for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
  };
  for (let count = 0; count < 30; count++) client.stream.write(Buffer.alloc(100));
  await settle();
  assert.equal(received, 1100, 'the burst, and the chunk that went over it');
  for (let count = 0; count < 10; count++) {
    beat.beat();
    await settle();
  }
  assert.ok(received >= 1900 && received <= 2200, String(received));
  client.stream.destroy();
});

test('a conn that is already gone is passed on at once', async () => {
  const [client, near] = memoryPair();
  const [far, server] = memoryPair();
  far.stream.destroy();
  const { end } = join(near, far, {}, client, server);
  assert.equal(await end, 'far-reset');
  assert.ok(near.stream.destroyed);
  assert.equal(
    await join(memoryPair()[0], memoryPair()[0], { signal: AbortSignal.abort('drain') }, client, server).end,
    'drain',
  );
});

test('a conn that has ended before it was joined ends the other side', async () => {
  const [client, near] = memoryPair();
  const [far, server] = memoryPair();
  client.stream.end();
  near.stream.resume();
  await once(near.stream, 'end');
  const { end } = join(near, far, {}, client, server);
  assert.equal(await text(server), '');
  server.stream.end('x');
  assert.equal(await text(client), 'x');
  assert.equal(await end, 'ended');
});

test('datagrams keep their edges, and the session is done when every request has its answers', async () => {
  const quiet = { log: memoryLog(), metrics: memoryMetrics() };
  await using back = await listenUdp({ host: '127.0.0.1', port: 0, sessions: 4, ...quiet });
  await using front = await listenUdp({ host: '127.0.0.1', port: 0, sessions: 4, ...quiet });
  const portOf = (listener: { address: Conn['peer'] }): number =>
    'port' in listener.address ? listener.address.port : 0;
  const client = await dialUdp({ host: '127.0.0.1', port: portOf(front) }, never);
  client.stream.write(Buffer.from('one'));
  const { value: near } = await front[Symbol.asyncIterator]().next();
  assert.ok(near);
  const far = await dialUdp({ host: '127.0.0.1', port: portOf(back) }, never);
  const { end, bytes } = join(near, far, { requests: 2, responses: 1 }, client, client);
  const { value: server } = await back[Symbol.asyncIterator]().next();
  assert.ok(server);
  assert.equal(String((await once(server.stream, 'data'))[0]), 'one');
  client.stream.write(Buffer.from('two'));
  assert.equal(String((await once(server.stream, 'data'))[0]), 'two');
  server.stream.write(Buffer.from('first'));
  assert.equal(String((await once(client.stream, 'data'))[0]), 'first');
  server.stream.write(Buffer.from('second'));
  assert.equal(String((await once(client.stream, 'data'))[0]), 'second');
  assert.equal(await end, 'ended');
  assert.deepEqual(bytes, { up: 6, down: 11 });
  for (const conn of [client, near, far, server]) await conn.close(never);
});
