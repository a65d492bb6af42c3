// Both ends of a device link against each other and against hostile peers, over real sockets without TLS.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server, type Socket, connect as tcpConnect } from 'node:net';
import { finished } from 'node:stream/promises';
import { type TestContext, test } from 'node:test';
import { until } from '../../../test/fixtures/gate-process.ts';
import { memoryLog } from '../../../test/fixtures/quiet.ts';
import { TestClock } from '../../core/clock.ts';
import type { Conn } from '../../core/parts.ts';
import { connOfDialled, connOfTcp } from '../../net/conn.ts';
import { type ServedLink, serveLink } from './agent/serve-link.ts';
import type { Services } from './agent/services.ts';
import { parseHello } from './hello.ts';
import { DeviceLink } from './link.ts';

const never = new AbortController().signal;
const requests = {
  hello: () => ({ version: '1', node: '24.0.0', platform: 'linux x64', services: { echo: '127.0.0.1:1' } }),
  renew: async () => 'a signing request',
  identity: () => {},
};

async function listen(t: TestContext, serve: (socket: Socket) => void): Promise<number> {
  const sockets = new Set<Socket>();
  const server: Server = createServer({ allowHalfOpen: true }, socket => {
    sockets.add(socket);
    socket.on('error', () => {});
    serve(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return (server.address() as { port: number }).port;
}

/** Two ends of one TCP connection. */
async function pair(t: TestContext): Promise<[near: Conn, far: Conn]> {
  const { promise, resolve } = Promise.withResolvers<Socket>();
  const port = await listen(t, resolve);
  const socket = tcpConnect({ port, host: '127.0.0.1', allowHalfOpen: true });
  await once(socket, 'connect');
  return [connOfDialled(socket), connOfTcp(await promise)];
}

interface Rig {
  readonly link: DeviceLink;
  readonly device: ServedLink;
  readonly clock: TestClock;
  readonly near: Conn;
  readonly far: Conn;
  readonly lines: ReturnType<typeof memoryLog>['lines'];
}

async function rig(t: TestContext, services: Record<string, { host: string; port: number }>): Promise<Rig> {
  const [near, far] = await pair(t);
  const log = memoryLog();
  const clock = new TestClock();
  const list: Services = { find: name => services[name], all: () => ({}) };
  const device = serveLink(far, { services: list, requests, log });
  const link = new DeviceLink({ conn: near, log, now: () => clock.now().getTime() });
  t.after(() => link.end('closed'));
  return { link, device, clock, near, far, lines: log.lines };
}

const echo = (t: TestContext): Promise<number> => listen(t, socket => void socket.pipe(socket));
const at = (port: number) => ({ host: '127.0.0.1', port });
async function all(conn: Conn): Promise<string> {
  let text = '';
  for await (const chunk of conn.stream) text += chunk;
  return text;
}

test('a stream reaches the service, and keeps the answer when our side ends first', async t => {
  const port = await listen(t, socket => {
    let got = '';
    socket.on('data', chunk => {
      got += chunk;
    });
    socket.on('end', () => socket.end(`all of ${got}`));
  });
  const { link } = await rig(t, { late: at(port) });
  const conn = await link.open('late', never);
  conn.stream.end('it');
  assert.equal(await all(conn), 'all of it');
});

test('the service may end first and still be written to', async t => {
  const { promise, resolve } = Promise.withResolvers<string>();
  const port = await listen(t, socket => {
    let got = '';
    socket.on('data', chunk => {
      got += chunk;
    });
    socket.on('end', () => resolve(got));
    socket.end('bye');
  });
  const { link } = await rig(t, { early: at(port) });
  const conn = await link.open('early', never);
  assert.equal(await all(conn), 'bye');
  conn.stream.end('still here');
  assert.equal(await promise, 'still here');
});

test('a reset of the service is a reset here, and ours is one there', async t => {
  const sockets: Socket[] = [];
  const came = Promise.withResolvers<void>();
  const port = await listen(t, socket => {
    sockets.push(socket);
    if (sockets.length === 1) socket.once('data', () => socket.resetAndDestroy());
    else came.resolve();
  });
  const { link } = await rig(t, { raw: at(port) });
  const first = await link.open('raw', never);
  first.stream.write('go');
  await assert.rejects(finished(first.stream.resume()), /ERR_HTTP2_STREAM_ERROR|reset/i);
  const second = await link.open('raw', never);
  await came.promise;
  second.stream.destroy(new Error('cut'));
  await assert.rejects(once(sockets[1] as Socket, 'end'), { code: 'ECONNRESET' });
});

for (const how of ['a FIN', 'a reset'] as const) {
  test(`${how} of the link breaks its streams off at both ends, also where our side had ended: a cut is no end`, async t => {
    const served = Promise.withResolvers<Socket>();
    const port = await listen(t, socket => {
      served.resolve(socket.resume());
      socket.write('half an answer');
    });
    const { link, far } = await rig(t, { slow: at(port) });
    const conn = await link.open('slow', never);
    conn.stream.end('question');
    await once(conn.stream, 'data');
    const socket = await served.promise;
    const broken = assert.rejects(finished(conn.stream.resume()));
    const alsoThere = assert.rejects(once(socket, 'never'), { code: 'ECONNRESET' });
    if (how === 'a FIN') far.stream.destroy();
    else (far.stream as Socket).resetAndDestroy();
    await broken;
    await alsoThere;
    await link.closed;
  });
}

test('what the device does not list, cannot reach, or was asked wrongly is said in words', async t => {
  const port = await listen(t, () => {});
  const { link } = await rig(t, { closed: at(1), open: at(port) });
  await assert.rejects(link.open('other', never), { code: 'denied', message: /its own list/ });
  await assert.rejects(link.open('closed', never), { code: 'unreachable' });
  const gone = new AbortController();
  const opening = link.open('open', gone.signal);
  gone.abort('closed');
  await assert.rejects(opening, error => error === 'closed');
});

test('hello, renewal and what it brings pass over the link', async t => {
  const { link } = await rig(t, {});
  const said = parseHello(await link.hello({ gate: 'g', time: new Date(0).toISOString(), roots: [] }));
  assert.deepEqual(said.services, { echo: '127.0.0.1:1' });
  assert.equal(await link.renew(), 'a signing request');
  await link.give({ cert: 'c', chain: [] });
  assert.throws(() => parseHello({ ...said, services: { 'a b': 'x' } }), { code: 'protocol' });
  assert.throws(() => parseHello({ ...said, version: '\u001b[2J' }), { code: 'protocol' });
});

test('a retired link carries what it had to its end, takes nothing new, and then closes', async t => {
  const { link, device } = await rig(t, { echo: at(await echo(t)) });
  const conn = await link.open('echo', never);
  const retired = link.retire('replaced');
  assert.throws(() => link.open('echo', never), { code: 'unreachable' });
  conn.stream.write('still');
  assert.equal(String((await once(conn.stream, 'data'))[0]), 'still');
  conn.stream.end();
  await finished(conn.stream.resume());
  await retired;
  assert.equal(await device.ended, 'replaced');
});

test('a device that has fallen silent is asked, and given up when it does not answer', async t => {
  const [near, far] = await pair(t);
  far.stream.resume(); // it takes what we send and never says a word
  const clock = new TestClock();
  const link = new DeviceLink({ conn: near, log: memoryLog(), now: () => clock.now().getTime() });
  const beat = (ms: number): void => {
    clock.move(ms);
    link.beat(30_000);
  };
  beat(29_000);
  assert.equal(link.isOpen, true);
  beat(1000); // asks
  beat(14_000);
  assert.equal(link.isOpen, true);
  beat(1000);
  await link.closed;
});

test('a thousand streams one after the other leave nothing behind', async t => {
  const { link, device } = await rig(t, { echo: at(await echo(t)) });
  for (let n = 0; n < 1000; n++) {
    const conn = await link.open('echo', never);
    conn.stream.end('x');
    await finished(conn.stream.resume());
  }
  await new Promise(setImmediate);
  assert.deepEqual([link.live, link.carried], [0, 1000]);
  while (device.streams > 0) await new Promise(setImmediate);
});

test('sixty-four streams at once keep their bytes apart', async t => {
  const { link } = await rig(t, { echo: at(await echo(t)) });
  const texts = await Promise.all(
    Array.from({ length: 64 }, async (_, n) => {
      const conn = await link.open('echo', never);
      const own = `${n},`.repeat(20_000);
      conn.stream.end(own);
      return (await all(conn)) === own;
    }),
  );
  assert.ok(texts.every(Boolean));
});

// --- Hostile peers: frames by hand (RFC 9113 §4.1) --------------------------------------------------------------------

/**  length 24 | type 8 | flags 8 | R stream 31 | payload */
function frame(type: number, flags: number, stream: number, payload: Uint8Array = new Uint8Array()): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}
const settings = frame(4, 0, 0, Buffer.from('000300000064', 'hex'));
const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
const headers = (stream: number): Buffer =>
  // CONNECT to x: literal :method (index 2), literal :authority (index 1), without indexing
  frame(
    1,
    4,
    stream,
    Buffer.concat([Buffer.from('0207', 'hex'), Buffer.from('CONNECT'), Buffer.from('0101', 'hex'), Buffer.from('x')]),
  );

const floods: Record<string, () => Buffer> = {
  settings: () => settings,
  pings: () => frame(6, 0, 0, Buffer.alloc(8)),
  'priority updates of nobody': () => frame(8, 0, 0, Buffer.alloc(4)), // WINDOW_UPDATE of zero
  'data without a stream': () => frame(0, 0, 99, Buffer.from('x')),
  'pushes that were refused': () => frame(5, 4, 1, Buffer.from('00000002', 'hex')),
  'header blocks that never end': () => frame(9, 0, 1, Buffer.alloc(1000)),
  'frames longer than allowed': () => frame(0, 0, 1, Buffer.alloc(100_000)),
  'what is no HTTP/2 at all': () => Buffer.from('GET / HTTP/1.1\r\n\r\n'),
};
for (const [name, make] of Object.entries(floods)) {
  test(`a device that floods with ${name} is cut off`, async t => {
    const [near, far] = await pair(t);
    const link = new DeviceLink({ conn: near, log: memoryLog(), now: () => 0 });
    const { stream } = far;
    stream.on('error', () => {}).resume();
    stream.write(settings);
    const pour = (): void => {
      while (!stream.destroyed && stream.write(make()));
    };
    stream.on('drain', pour);
    pour();
    await link.closed;
    assert.equal(link.isOpen, false);
  });
  test(`a gate that floods with ${name} is left by the device`, async t => {
    const [near, far] = await pair(t);
    const device = serveLink(near, {
      services: { find: () => undefined, all: () => ({}) },
      requests,
      log: memoryLog(),
    });
    const { stream } = far;
    stream.on('error', () => {}).resume();
    stream.write(Buffer.concat([preface, settings]));
    const pour = (): void => {
      while (!stream.destroyed && stream.write(make()));
    };
    stream.on('drain', pour);
    pour();
    await device.ended;
  });
}

test('a gate that opens and resets streams without end is left by the device (rapid reset, CVE-2023-44487)', async t => {
  const port = await listen(t, () => {});
  const [near, far] = await pair(t);
  const device = serveLink(near, { services: { find: () => at(port), all: () => ({}) }, requests, log: memoryLog() });
  const { stream } = far;
  stream.on('error', () => {}).resume();
  stream.write(Buffer.concat([preface, settings]));
  let id = -1;
  const pour = (): void => {
    do id += 2;
    while (
      !stream.destroyed &&
      stream.write(Buffer.concat([headers(id), frame(3, 0, id, Buffer.from('00000008', 'hex'))]))
    );
  };
  stream.on('drain', pour);
  pour();
  await device.ended;
});

test('streams that nobody reads hold a bounded sum, however many they are, and one alone has its whole window again', async t => {
  const port = await listen(t, socket => {
    const pour = (): void => {
      while (socket.write(Buffer.alloc(65_536))) {
        // until it does not take more
      }
    };
    socket.on('drain', pour);
    pour();
  });
  const { link, clock } = await rig(t, { flood: at(port) });
  const conns: Conn[] = [];
  for (let number = 0; number < 300; number++) {
    conns.push(await link.open('flood', never));
    conns.at(-1)?.stream.pause();
  }
  // 64 MiB, and half of it more for each doubling beyond 8 streams (300 × 8 MiB would be 2.4 GiB).
  let held = -1;
  const sent = (): number => link.bytes.down;
  await until('the device may send no more', async () => {
    const before = sent();
    await new Promise(resolve => setTimeout(resolve, 300));
    held = sent();
    return held === before;
  });
  assert.ok(held < (64 + 6 * 32) * 1024 * 1024, `${held} bytes`);
  for (const { stream } of conns.slice(1)) stream.destroy();
  await until('they are gone', () => link.live === 1);
  clock.move(20_000);
  link.beat(30_000);
  const last = conns[0]?.stream;
  assert.ok(last);
  let got = 0;
  last.on('data', chunk => {
    got += chunk.length;
  });
  last.resume();
  await until('the one that is left goes on', () => got > 32 * 1024 * 1024);
});
