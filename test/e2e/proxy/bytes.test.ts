// What a proxy must not change: ends, order, pace and every single byte.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { makeCa } from '../../fixtures/certificates.ts';
import { closed, dialPlain, dialTlsTo, echo, openRig, plainServer, type Rig, readAll, readBytes } from './rig.ts';

const ca = makeCa('Bytes CA');
const localhost = ca.issue({ cn: 'localhost', san: ['DNS:localhost'] });
const certificate = { cert: `file:${localhost.certFile}`, key: `file:${localhost.keyFile}` };
const verify = { ca: `file:${ca.certFile}`, name: 'localhost' };

/** The same promise over each kind of leg: plain, TLS ended, TLS begun, and both in a row. */
const legs = {
  plain: { near: (to: string) => ({ near: { listen: 'tcp://127.0.0.1:0', to } }), dial: dialPlain },
  terminate: {
    near: (to: string) => ({ near: { listen: 'tls://127.0.0.1:0', certificate, to } }),
    dial: (port: number) => dialTlsTo(port, { ca: ca.cert, allowHalfOpen: true } as object) as Promise<Socket>,
  },
} as const;

/** Runs a body over: plain; terminate; originate into terminate (plain client, TLS between, plain server). */
async function overEach(
  backendPort: number,
  body: (client: Socket, name: string, rig: Rig) => Promise<void>,
): Promise<void> {
  const to = `tcp://127.0.0.1:${backendPort}`;
  for (const [name, leg] of Object.entries(legs)) {
    await using rig = await openRig(leg.near(to));
    await body(await leg.dial(rig.port('near')), name, rig);
    await (await rig.gate.admission()).ended;
  }
  await using inner = await openRig({ near: { listen: 'tls://127.0.0.1:0', certificate, to } });
  await using outer = await openRig({
    near: { listen: 'tcp://127.0.0.1:0', to: `tls://127.0.0.1:${inner.port('near')}`, verify },
  });
  await body(await dialPlain(outer.port('near')), 'originate to terminate', inner);
  for (const rig of [outer, inner]) await (await rig.gate.admission()).ended;
}

test('half-close: keeps the answer when the client ends first, and the question when the server ends first', async () => {
  await using late = await plainServer(async socket => {
    const question = await readAll(socket);
    socket.end(`answer to ${question}`);
  });
  await overEach(late.port, async (client, name, rig) => {
    client.end('question');
    assert.equal((await readAll(client)).toString(), 'answer to question', name);
    client.destroy();
    const admission = await rig.gate.admission();
    await admission.ended;
    assert.equal(admission.notes.get('cause'), 'ended', name);
  });
  const heard: string[] = [];
  const { promise: both, resolve } = Promise.withResolvers<void>();
  await using early = await plainServer(async socket => {
    socket.end('greeting');
    heard.push((await readAll(socket)).toString());
    if (heard.length === 3) resolve();
  });
  await overEach(early.port, async (client, name) => {
    assert.equal((await readAll(client)).toString(), 'greeting', name);
    client.end('still talking');
    assert.equal(await closed(client), '', `${name}: a proper end is no reset`);
  });
  await both;
  assert.deepEqual(heard, Array(3).fill('still talking'));
});

test('half-close off: the first end of either side ends both', async () => {
  await using server = await plainServer(socket => void socket.resume());
  await using rig = await openRig({
    near: { listen: 'tcp://127.0.0.1:0', to: `tcp://127.0.0.1:${server.port}`, 'half-close': false },
  });
  const client = await dialPlain(rig.port('near'));
  client.end('bye');
  assert.equal((await readAll(client)).length, 0);
});

test('back-pressure: a reader that stops makes the writer stop, and nothing is lost when it goes on', async () => {
  const { promise: taken, resolve } = Promise.withResolvers<Socket>();
  await using server = await plainServer(socket => {
    socket.pause();
    resolve(socket);
  });
  await using rig = await openRig({
    near: { listen: 'tls://127.0.0.1:0', certificate, to: `tcp://127.0.0.1:${server.port}` },
  });
  const client = await dialTlsTo(rig.port('near'), { ca: ca.cert });
  const chunk = randomBytes(256 * 1024);
  const hash = createHash('sha256');
  let sent = 0;
  // The kernel's buffers and ours fill up; then write() says no and 'drain' does not come.
  for (let held = false; !held; ) {
    hash.update(chunk);
    sent += chunk.length;
    held = client.write(chunk)
      ? false
      : !(await Promise.race([once(client, 'drain').then(() => true), stands(client)]));
    assert.ok(sent < 256 * 1024 * 1024, 'the writer was never held back');
  }
  const memory = process.memoryUsage().rss;
  const far = await taken;
  client.end();
  const received = createHash('sha256');
  let got = 0;
  for await (const part of far) {
    received.update(part as Buffer);
    got += (part as Buffer).length;
  }
  assert.equal(got, sent);
  assert.equal(received.digest('hex'), hash.digest('hex'));
  assert.ok(memory < 2 ** 31, 'the proxy did not swallow what it could not pass on');
  far.end();
  await closed(client);
});

test('tiny writes: a thousand single bytes arrive one by one and come back in order', async () => {
  await using server = await plainServer(echo);
  await overEach(server.port, async (client, name) => {
    for (let index = 0; index < 1000; index++) {
      client.write(Buffer.of(index & 255));
      const back = await readBytes(client, 1);
      assert.equal(back[0], index & 255, name);
    }
    client.destroy();
  });
});

test('abortive close: a reset of either side reaches the other as a reset, never as a clean end', async () => {
  const { promise: firstSocket, resolve } = Promise.withResolvers<Socket>();
  await using server = await plainServer(socket => {
    socket.resume();
    resolve(socket);
  });
  await using rig = await openRig({ near: { listen: 'tcp://127.0.0.1:0', to: `tcp://127.0.0.1:${server.port}` } });
  const client = await dialPlain(rig.port('near'));
  client.write('x');
  const far = await firstSocket;
  const farCloses = closed(far);
  client.resetAndDestroy();
  assert.equal(await farCloses, 'ECONNRESET');
  const admission = await rig.gate.admission();
  await admission.ended;
  assert.equal(admission.notes.get('cause'), 'near-reset');

  await using rude = await plainServer(socket => void socket.once('data', () => socket.resetAndDestroy()));
  await using other = await openRig({ near: { listen: 'tcp://127.0.0.1:0', to: `tcp://127.0.0.1:${rude.port}` } });
  const asking = await dialPlain(other.port('near'));
  asking.resume();
  asking.write('x');
  assert.equal(await closed(asking), 'ECONNRESET');
  const second = await other.gate.admission();
  await second.ended;
  assert.equal(second.notes.get('cause'), 'far-reset');
});

test('bulk: every byte both ways at once is bit-exact, and the audit counts them all', async () => {
  const size = Number(process.env['SEKISHO_TEST_BULK_MIB'] ?? 64) * 1024 * 1024;
  const block = randomBytes(1024 * 1024 + 13);
  const expected = hashOf(block, size);
  const { promise: served, resolve, reject } = Promise.withResolvers<string>();
  await using server = await plainServer(socket => {
    void pump(socket, block, size).catch(reject);
    digest(socket).then(resolve, reject);
  });
  await using inner = await openRig({
    near: { listen: 'tls://127.0.0.1:0', certificate, to: `tcp://127.0.0.1:${server.port}` },
  });
  await using outer = await openRig({
    near: { listen: 'tcp://127.0.0.1:0', to: `tls://127.0.0.1:${inner.port('near')}`, verify },
  });
  const client = await dialPlain(outer.port('near'));
  const [, received] = await Promise.all([pump(client, block, size), digest(client)]);
  assert.equal(received, expected);
  assert.equal(await served, expected);
  for (const rig of [inner, outer]) {
    const admission = await rig.gate.admission();
    await admission.ended;
    assert.deepEqual(admission.bytes, { up: size, down: size });
  }
});

async function pump(socket: Socket, block: Buffer, size: number): Promise<void> {
  for (let left = size; left > 0; left -= block.length) {
    if (!socket.write(left < block.length ? block.subarray(0, left) : block)) await once(socket, 'drain');
  }
  socket.end();
}

async function digest(socket: Socket): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of socket) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

function hashOf(block: Buffer, size: number): string {
  const hash = createHash('sha256');
  for (let left = size; left > 0; left -= block.length)
    hash.update(left < block.length ? block.subarray(0, left) : block);
  return hash.digest('hex');
}

/** Resolves false when nothing moves any more: what is written waits, turn after turn of the event loop. */
async function stands(client: Socket): Promise<boolean> {
  let before = -1;
  for (let still = 0; still < 200; ) {
    await new Promise(resolve => setImmediate(resolve));
    still = client.bytesWritten === before ? still + 1 : 0;
    before = client.bytesWritten;
  }
  return false;
}
