// What the world does to a proxy: backends that come and go, clients that flood, stall or just sit there.
import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { TestClock } from '../../../src/core/clock.ts';
import { makeCa } from '../../fixtures/certificates.ts';
import { testGate } from '../../fixtures/gate.ts';
import { closed, dialPlain, dialTlsTo, echo, echoes, openRig, plainServer, readAll } from './rig.ts';

const ca = makeCa('Trouble CA');
const localhost = ca.issue({ cn: 'localhost', san: ['DNS:localhost'] });
const certificate = { cert: `file:${localhost.certFile}`, key: `file:${localhost.keyFile}` };

test('backend flapping: connections go where something answers, and come back when it does', async () => {
  const clock = new TestClock();
  await using steady = await plainServer(echo);
  const flapping = await plainServer(echo);
  const { port } = flapping;
  await flapping[Symbol.asyncDispose]();
  await using rig = await openRig(
    {
      db: {
        listen: 'tcp://127.0.0.1:0',
        to: [`tcp://127.0.0.1:${port}`, `tcp://127.0.0.1:${steady.port}`],
      },
    },
    { clock },
  );
  const call = async (): Promise<string> => {
    const client = await dialPlain(rig.port('db'));
    assert.equal(await echoes(client, 'x'), 'x');
    client.destroy();
    const { notes } = await rig.gate.admission(rig.gate.admissions.length - 1);
    return String(notes.get('target'));
  };
  for (let time = 0; time < 6; time++) assert.equal(await call(), `127.0.0.1:${steady.port}`);
  assert.equal(rig.service.state()[0]?.upstreams[0]?.state, 'failed');
  await using again = await plainServer(echo, { port });
  assert.equal(await call(), `127.0.0.1:${steady.port}`, 'not before fail-timeout');
  clock.move(10_001);
  const targets = new Set<string>();
  for (let time = 0; time < 6; time++) targets.add(await call());
  assert.deepEqual([...targets].sort(), [`127.0.0.1:${again.port}`, `127.0.0.1:${steady.port}`].sort());
  assert.equal(rig.service.state()[0]?.upstreams[0]?.state, 'up');
});

test('a client of a route whose targets are all gone is let go, and the audit knows why', async () => {
  const gone = await plainServer(echo);
  await gone[Symbol.asyncDispose]();
  await using rig = await openRig({ db: { listen: 'tcp://127.0.0.1:0', to: `tcp://127.0.0.1:${gone.port}` } });
  const client = await dialPlain(rig.port('db'));
  assert.equal((await readAll(client)).length, 0);
  const admission = await rig.gate.admission();
  await admission.ended;
  assert.equal(admission.notes.get('cause'), 'unreachable');
});

test('active health checks take a target out before a client meets it, and bring it back', async () => {
  const clock = new TestClock();
  let healthy = true;
  let probes = 0;
  const probed = new Set<() => void>();
  await using server = await plainServer(socket => {
    socket.once('data', () => {
      socket.end(healthy ? '+PONG\r\n' : '-LOADING\r\n');
      probes++;
      for (const call of [...probed]) call();
    });
  });
  await using rig = await openRig(
    {
      db: {
        listen: 'tcp://127.0.0.1:0',
        to: `tcp://127.0.0.1:${server.port}`,
        health: { interval: '5s', send: 'PING\r\n', expect: '+PONG' },
      },
    },
    { clock },
  );
  const state = (): string | undefined => rig.service.state()[0]?.upstreams[0]?.state;
  const becomes = async (wanted: string): Promise<void> => {
    while (state() !== wanted) {
      const before = probes;
      clock.move(6000);
      if (probes === before) await new Promise(resolve => setImmediate(resolve));
    }
  };
  healthy = false;
  await becomes('unhealthy');
  const client = await dialPlain(rig.port('db'));
  assert.equal((await readAll(client)).length, 0);
  healthy = true;
  await becomes('up');
  const check = await rig.gate.admission(0, 'proxy.check');
  assert.equal(check.request.who.kind, 'node');
  assert.equal(
    rig.gate.admissions.filter(one => one.request.action === 'proxy.check').length,
    1,
    'one session for all checks',
  );
});

test('handshake flood: clients that never speak do not keep out those that do', async () => {
  await using server = await plainServer(echo);
  await using rig = await openRig({
    db: { listen: 'tls://127.0.0.1:0', certificate, to: `tcp://127.0.0.1:${server.port}` },
  });
  const silent = await Promise.all(Array.from({ length: 400 }, () => dialPlain(rig.port('db'))));
  for (let time = 0; time < 5; time++) {
    const client = await dialTlsTo(rig.port('db'), { ca: ca.cert });
    assert.equal(await echoes(client, 'honest'), 'honest');
    client.destroy();
  }
  for (const socket of silent) socket.destroy();
  assert.equal(rig.gate.refusals.length, 0, 'who said nothing was not refused anything');
});

test('slow handshake: whoever is not through in time is dropped, and others do not wait for it', async () => {
  await using server = await plainServer(echo);
  await using rig = await openRig({
    db: {
      listen: 'tls://127.0.0.1:0',
      certificate,
      to: `tcp://127.0.0.1:${server.port}`,
      limits: { handshake: '2s' },
    },
  });
  const slow = await dialPlain(rig.port('db'));
  const dropped = readAll(slow).catch(() => {});
  slow.write(Buffer.from([22, 3, 1, 2, 0, 1, 0])); // the first bytes of a ClientHello that never goes on
  const quick = await dialTlsTo(rig.port('db'), { ca: ca.cert });
  assert.equal(await echoes(quick, 'x'), 'x');
  await dropped;
  assert.match((await rig.gate.refusal()).reason, /TLS handshake: took too long/);
  assert.equal(await echoes(quick, 'y'), 'y');
  quick.destroy();
});

test('idle connections: hundreds sit there at once, and each still works', async () => {
  const count = Number(process.env['SEKISHO_TEST_IDLE'] ?? 500);
  await using server = await plainServer(echo);
  await using rig = await openRig({
    db: { listen: 'tls://127.0.0.1:0', certificate, to: `tcp://127.0.0.1:${server.port}` },
  });
  const crowd = fork(join(import.meta.dirname, 'crowd.ts'), [String(rig.port('db')), String(count), ca.cert]);
  const left = once(crowd, 'exit');
  assert.deepEqual((await once(crowd, 'message'))[0], 'open');
  await rig.gate.admission(count - 1);
  assert.equal(rig.service.state()[0]?.live, count);
  crowd.send('echo');
  assert.deepEqual((await once(crowd, 'message'))[0], count);
  await left;
  await Promise.all(rig.gate.admissions.map(one => one.ended));
});

test('a silent connection ends when its idle time is over, cleanly', async () => {
  await using server = await plainServer(socket => void socket.resume().on('end', () => socket.end()));
  await using rig = await openRig({
    db: { listen: 'tcp://127.0.0.1:0', to: `tcp://127.0.0.1:${server.port}`, limits: { idle: '100ms' } },
  });
  const client = await dialPlain(rig.port('db'));
  assert.equal((await readAll(client)).length, 0);
  client.end();
  const admission = await rig.gate.admission();
  await admission.ended;
  assert.equal(admission.notes.get('cause'), 'idle');
});

test('whoever connects and leaves without a byte is no entry in the audit', async () => {
  await using server = await plainServer(echo);
  await using rig = await openRig({
    db: { listen: 'tls://127.0.0.1:0', certificate, to: `tcp://127.0.0.1:${server.port}` },
  });
  const probe = await dialPlain(rig.port('db'));
  probe.end();
  await readAll(probe);
  while (rig.service.state()[0]?.live !== 0) await new Promise(resolve => setImmediate(resolve));
  assert.equal(rig.gate.refusals.length + rig.gate.admissions.length + rig.lines.length, 0);
});

test('a session cut while its target is dialled ends quietly', async () => {
  await using server = await plainServer(echo);
  const gate = testGate();
  const admit = gate.admit.bind(gate);
  gate.admit = async request => {
    const session = await admit(request);
    gate.admissions.at(-1)?.end('revoked');
    return session;
  };
  await using rig = await openRig(
    { db: { listen: 'tcp://127.0.0.1:0', to: `tcp://127.0.0.1:${server.port}` } },
    { gate },
  );
  const client = await dialPlain(rig.port('db'));
  assert.equal((await readAll(client)).length, 0);
  const admission = await gate.admission();
  await admission.ended;
  assert.equal(admission.notes.get('cause'), 'revoked');
  assert.deepEqual(
    rig.log.lines.filter(line => line.level === 'error'),
    [],
  );
});

test('a lifetime ends even a busy connection', async () => {
  const clock = new TestClock();
  await using server = await plainServer(echo);
  await using rig = await openRig(
    { db: { listen: 'tcp://127.0.0.1:0', to: `tcp://127.0.0.1:${server.port}`, limits: { lifetime: '1h' } } },
    { clock },
  );
  const client = await dialPlain(rig.port('db'));
  assert.equal(await echoes(client, 'x'), 'x');
  const cut = closed(client);
  clock.move(3_600_000);
  await cut;
  const admission = await rig.gate.admission();
  await admission.ended;
  assert.equal(admission.notes.get('cause'), 'expired');
});

test('a cut session ends its connection at once, on both sides', async () => {
  const { promise: taken, resolve } = Promise.withResolvers<Socket>();
  await using server = await plainServer(socket => {
    echo(socket);
    resolve(socket);
  });
  await using rig = await openRig({ db: { listen: 'tcp://127.0.0.1:0', to: `tcp://127.0.0.1:${server.port}` } });
  const client = await dialPlain(rig.port('db'));
  assert.equal(await echoes(client, 'x'), 'x');
  const far = await taken;
  const both = Promise.all([closed(client), closed(far)]);
  const admission = await rig.gate.admission();
  admission.end('revoked');
  await both;
  await admission.ended;
  assert.equal(admission.notes.get('cause'), 'revoked');
});

test('limits of a route travel to the gate, which counts exactly', async () => {
  await using server = await plainServer(echo);
  await using rig = await openRig({
    db: {
      listen: 'tcp://127.0.0.1:0',
      to: `tcp://127.0.0.1:${server.port}`,
      limits: { connections: 500, 'per-address': 4, queue: 10, wait: '2s' },
    },
  });
  const client = await dialPlain(rig.port('db'));
  assert.equal(await echoes(client, 'x'), 'x');
  client.destroy();
  const { request } = await rig.gate.admission();
  assert.deepEqual(request.limits, { connections: 500, perAddress: 4, queue: 10, wait: 2000 });
});

test('a download rate slows the download and changes nothing else', async () => {
  const size = 96 * 1024;
  await using server = await plainServer(socket => void socket.end(Buffer.alloc(size, 7)));
  await using rig = await openRig({
    db: { listen: 'tcp://127.0.0.1:0', to: `tcp://127.0.0.1:${server.port}`, limits: { download: '256k' } },
  });
  const client = await dialPlain(rig.port('db'));
  client.end();
  const all = await readAll(client);
  assert.equal(all.length, size);
  assert.ok(all.every(byte => byte === 7));
});
