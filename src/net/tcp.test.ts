// TCP and unix listeners and diallers: what they say when they cannot, and how they stand a flood.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer, Server } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { text } from '../../test/conformance/streams.ts';
import { temporaryFolder } from '../../test/fixtures/certificates.ts';
import { memoryLog, memoryMetrics } from '../../test/fixtures/quiet.ts';
import type { Listener } from '../core/parts.ts';
import { dialTcp, listenTcp } from './tcp.ts';
import { dialUnix, listenUnix } from './unix.ts';

const never = new AbortController().signal;
const quiet = (): { log: ReturnType<typeof memoryLog>; metrics: ReturnType<typeof memoryMetrics> } => ({
  log: memoryLog(),
  metrics: memoryMetrics(),
});
const portOf = ({ address }: Listener): number => ('port' in address ? address.port : 0);
const ended = (port: number): Promise<string> =>
  new Promise(resolve => {
    const socket = connect({ host: '127.0.0.1', port });
    socket.on('error', error => resolve((error as NodeJS.ErrnoException).code ?? '')).on('end', () => resolve('end'));
    socket.resume();
  });
/** The net.Server that the next listenTcp makes. */
function catchServer(context: TestContext): () => Server {
  let caught: Server | undefined;
  const listen = Server.prototype.listen;
  context.mock.method(Server.prototype, 'listen', function (this: Server, ...args: unknown[]) {
    caught = this;
    return (listen as (...all: unknown[]) => Server).apply(this, args);
  });
  return () => {
    assert.ok(caught);
    return caught;
  };
}

test('a port in use, an address of another machine and a bad descriptor are said with what to do', async () => {
  await using first = await listenTcp({ host: '127.0.0.1', port: 0, ...quiet() });
  const port = portOf(first);
  await assert.rejects(listenTcp({ host: '127.0.0.1', port, ...quiet() }), {
    name: 'Fault',
    code: 'conflict',
    message: new RegExp(`^127\\.0\\.0\\.1:${port} is in use by another program; stop it`),
  });
  await assert.rejects(listenTcp({ host: '192.0.2.1', port: 0, ...quiet() }), {
    code: 'invalid',
    message: /not an address of this machine/,
  });
  await assert.rejects(listenTcp({ host: '', port: 0, fd: 987, ...quiet() }), {
    code: 'invalid',
    message: /^descriptor 987 /,
  });
});

test('the port is free again once the listener is disposed', async () => {
  const first = await listenTcp({ host: '127.0.0.1', port: 0, ...quiet() });
  await first[Symbol.asyncDispose]();
  await using again = await listenTcp({ host: '127.0.0.1', port: portOf(first), ...quiet() });
  assert.equal(portOf(again), portOf(first));
});

test('the queue is bounded: who finds it full is reset and counted', async () => {
  const { log, metrics } = quiet();
  await using listener = await listenTcp({ host: '127.0.0.1', port: 0, queue: 2, log, metrics });
  const waiting = [connect(portOf(listener), '127.0.0.1'), connect(portOf(listener), '127.0.0.1')];
  await Promise.all(waiting.map(socket => new Promise(resolve => socket.once('connect', resolve))));
  assert.equal(await ended(portOf(listener)), 'ECONNRESET');
  assert.equal(metrics.values.get('accepts_refused_total{reason=queue}'), 1);
  const conns = listener[Symbol.asyncIterator]();
  for (const socket of waiting) {
    const { value } = await conns.next();
    assert.ok(value);
    assert.equal('port' in value.peer && value.peer.port, socket.localPort);
    value.stream.destroy();
    socket.destroy();
  }
});

test('conns that nobody took are closed with the listener', async () => {
  const listener = await listenTcp({ host: '127.0.0.1', port: 0, ...quiet() });
  const left = ended(portOf(listener));
  // The next conn is taken only to know that the one before it is in.
  const conns = listener[Symbol.asyncIterator]();
  const { value } = await conns.next();
  const second = ended(portOf(listener));
  value?.stream.destroy();
  await left;
  await new Promise(setImmediate);
  await listener[Symbol.asyncDispose]();
  await second;
});

test('after a failing accept newcomers are turned away for 5 ms, then twice as long, up to a second', async context => {
  const server = catchServer(context);
  const { log, metrics } = quiet();
  await using listener = await listenTcp({ host: '127.0.0.1', port: 0, log, metrics });
  context.mock.timers.enable({ apis: ['setTimeout'] });
  const fail = (): boolean => server().emit('error', Object.assign(new Error('too many'), { code: 'EMFILE' }));
  for (let count = 0; count < 10; count++) {
    fail();
    fail(); // during the breath it changes nothing
    context.mock.timers.tick(1000);
  }
  const delays = log.lines.map(line => (line.facts as { delay: number }).delay);
  assert.deepEqual(delays, [5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
  fail();
  assert.equal(await ended(portOf(listener)), 'ECONNRESET');
  assert.equal(metrics.values.get('accepts_refused_total{reason=backoff}'), 1);
  context.mock.timers.tick(1000);
  const conns = listener[Symbol.asyncIterator]();
  const conn = await dialTcp({ host: '127.0.0.1', port: portOf(listener), timeout: 0 }, never);
  (await conns.next()).value?.stream.destroy();
  conn.stream.destroy();
  fail();
  assert.equal(
    (log.lines.at(-1)?.facts as { delay?: number } | undefined)?.delay,
    5,
    'a conn taken in starts the count anew',
  );
});

test('a descriptor that was opened before us is served (socket activation)', async () => {
  const opened = createServer().listen(0, '127.0.0.1');
  await new Promise(resolve => opened.once('listening', resolve));
  const { port } = opened.address() as { port: number };
  const { fd } = (opened as unknown as { _handle: { fd: number } })._handle;
  const child = spawn(
    process.execPath,
    ['--input-type=module', '-e', workerSource('await listenTcp({ host: "", port: 0, fd: 3, log, metrics })')],
    { stdio: ['ignore', 'pipe', 'inherit', fd] },
  );
  try {
    await new Promise(resolve => child.stdout?.once('data', resolve));
    opened.close();
    const conn = await dialTcp({ host: '127.0.0.1', port, timeout: 0 }, never);
    assert.equal(await text(conn), `served at ${port}`);
    conn.stream.destroy();
  } finally {
    child.kill();
  }
});

test('workers of a cluster share one port, and one that ends leaves it to the others', async () => {
  const script = join(temporaryFolder(), 'cluster.mjs');
  writeFileSync(
    script,
    `import cluster from 'node:cluster';
    if (cluster.isPrimary) {
      cluster.schedulingPolicy = cluster.SCHED_NONE;
      let ready = 0;
      cluster.on('message', (worker, { port }) => {
        if (++ready === 2) console.log(port);
      });
      const [first] = [cluster.fork(), cluster.fork()];
      process.once('SIGUSR2', () => {
        first.once('exit', () => console.log('gone'));
        first.process.kill();
      });
    } else {
      ${workerSource('await listenTcp({ host: "127.0.0.1", port: 0, log, metrics })')}
    }`,
  );
  const child = spawn(process.execPath, [script], { stdio: ['ignore', 'pipe', 'inherit'] });
  const said = (): Promise<string> =>
    new Promise(resolve => child.stdout.once('data', data => resolve(String(data).trim())));
  const ask = async (port: number): Promise<void> => {
    const conn = await dialTcp({ host: '127.0.0.1', port, timeout: 0 }, never);
    assert.equal(await text(conn), `served at ${port}`);
    conn.stream.destroy();
  };
  try {
    const port = Number(await said());
    await Promise.all([ask(port), ask(port), ask(port)]);
    child.kill('SIGUSR2');
    assert.equal(await said(), 'gone');
    await Promise.all([ask(port), ask(port), ask(port)]);
  } finally {
    child.kill();
  }
});

/** A process that greets each conn with its port. */
const workerSource = (listen: string): string => `
  const { listenTcp } = await import(${JSON.stringify(new URL('./tcp.ts', import.meta.url).href)});
  const log = { warn() {} };
  const metrics = { count() {} };
  const listener = ${listen};
  if (process.send) process.send({ port: listener.address.port });
  else console.log(listener.address.port);
  for await (const conn of listener) conn.stream.end('served at ' + conn.local.port);
`;

test('a refused, an unknown and an unanswered target each have their sentence', async () => {
  const gone = await listenTcp({ host: '127.0.0.1', port: 0, ...quiet() });
  await gone[Symbol.asyncDispose]();
  await assert.rejects(dialTcp({ host: '127.0.0.1', port: portOf(gone), timeout: 1000 }, never), {
    name: 'Fault',
    code: 'unreachable',
    message: new RegExp(`^127\\.0\\.0\\.1:${portOf(gone)} refused the connection`),
  });
  await assert.rejects(dialTcp({ host: 'no-such-host.invalid', port: 1, timeout: 5000 }, never), {
    code: 'unreachable',
    message: /cannot be resolved/,
  });
  await assert.rejects(dialTcp({ host: '127.0.0.1', port: 9, bind: '192.0.2.1', timeout: 1000 }, never), {
    code: 'unreachable',
    message: /the address to come from/,
  });
});

test('a dial is given up at its timeout and by its signal', async () => {
  // A listener whose backlog is full answers nobody: the next handshake waits.
  const server = createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 });
  await new Promise(resolve => server.once('listening', resolve));
  const { port } = server.address() as { port: number };
  const stopped = new AbortController();
  stopped.abort(new Error('enough'));
  await assert.rejects(dialTcp({ host: '127.0.0.1', port, timeout: 0 }, stopped.signal), /enough/);
  const stop = new AbortController();
  const dialling = dialTcp({ host: '127.0.0.1', port, timeout: 0 }, stop.signal);
  stop.abort(new Error('changed my mind'));
  await assert.rejects(dialling, /changed my mind/);
  server.close();
});

test('a name is tried at every address it has', async () => {
  await using listener = await listenTcp({ host: '127.0.0.1', port: 0, ...quiet() });
  // localhost is ::1 as well on most machines, and nobody listens there.
  const conn = await dialTcp({ host: 'localhost', port: portOf(listener), timeout: 5000 }, never);
  assert.equal('host' in conn.peer && conn.peer.host, '127.0.0.1');
  conn.stream.destroy();
});

test('a dual-stack listener shows IPv4 peers as IPv4', async () => {
  await using listener = await listenTcp({ host: '::', port: 0, ...quiet() });
  const conns = listener[Symbol.asyncIterator]();
  const client = await dialTcp({ host: '127.0.0.1', port: portOf(listener), timeout: 0 }, never);
  const { value } = await conns.next();
  assert.ok(value);
  assert.deepEqual(value.peer, client.local);
  client.stream.destroy();
  value.stream.destroy();
});

test('a unix socket has its permissions, and is gone with its listener', async () => {
  const path = join(temporaryFolder(), 'a.sock');
  const listener = await listenUnix({ path, mode: 0o600, ...quiet() });
  assert.equal(statSync(path).mode & 0o777, 0o600);
  await listener[Symbol.asyncDispose]();
  assert.ok(!existsSync(path));
});

test('a dead socket file is replaced; a live one and another kind of file are not', async () => {
  const path = join(temporaryFolder(), 'a.sock');
  const child = spawn(process.execPath, [
    '-e',
    `require('net').createServer().listen(${JSON.stringify(path)}, () => console.log(1))`,
  ]);
  await new Promise(resolve => child.stdout.once('data', resolve));
  await assert.rejects(listenUnix({ path, ...quiet() }), {
    name: 'Fault',
    code: 'conflict',
    message: /in use by another program/,
  });
  child.kill('SIGKILL');
  await new Promise(resolve => child.once('exit', resolve));
  assert.ok(existsSync(path));
  await using listener = await listenUnix({ path, ...quiet() });
  (await dialUnix({ path }, never)).stream.destroy();
  assert.deepEqual(listener.address, { path });
  const file = join(temporaryFolder(), 'notes.txt');
  writeFileSync(file, 'keep me');
  await assert.rejects(listenUnix({ path: file, ...quiet() }), { code: 'conflict', message: /not a socket/ });
  await assert.rejects(listenUnix({ path: '/no/such/folder/a.sock', ...quiet() }), {
    code: 'invalid',
    message: /folder that does not exist/,
  });
  await assert.rejects(dialUnix({ path: join(temporaryFolder(), 'none') }, never), {
    code: 'unreachable',
    message: /does not exist/,
  });
});
