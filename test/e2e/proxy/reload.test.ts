// Moving to another configuration under load: nobody is dropped, nothing half-changes, and at the end all drain.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { Fault } from '../../../src/core/fault.ts';
import { type Issued, makeCa, temporaryFolder } from '../../fixtures/certificates.ts';
import { freePort } from '../../fixtures/ports.ts';
import { closed, dialPlain, dialTlsTo, echo, echoes, openRig, plainServer, type Rig, readAll } from './rig.ts';

const ca = makeCa('Reload CA');
const issue = (): Issued => ca.issue({ cn: 'localhost', san: ['DNS:localhost'] });
const files = (one: Issued): object => ({ cert: `file:${one.certFile}`, key: `file:${one.keyFile}` });
const first = issue();
const listenAnywhere = { listen: 'tls://127.0.0.1:0', certificate: files(first) };

/** Says who it is, then echoes. */
const named =
  (name: string) =>
  (socket: Socket): void => {
    socket.write(name);
    echo(socket);
  };
const callTo = async (rig: Rig, route = 'db'): Promise<{ client: Socket; name: string }> => {
  const client = await dialTlsTo(rig.port(route), { ca: ca.cert });
  return { client, name: await nameOf(client) };
};
const nameOf = async (client: Socket): Promise<string> => {
  const { readBytes } = await import('./rig.ts');
  return (await readBytes(client, 1)).toString();
};

test('a route whose target changed keeps live connections on the old target', async () => {
  await using a = await plainServer(named('a'));
  await using b = await plainServer(named('b'));
  await using rig = await openRig({ db: { ...listenAnywhere, to: `tcp://127.0.0.1:${a.port}` } });
  const old = await callTo(rig);
  const port = rig.port('db');
  await rig.reload({ db: { ...listenAnywhere, to: `tcp://127.0.0.1:${b.port}` } });
  assert.equal(rig.port('db'), port, 'the listener stayed');
  const fresh = await callTo(rig);
  assert.deepEqual([old.name, fresh.name], ['a', 'b']);
  assert.equal(await echoes(old.client, 'still here'), 'still here');
  assert.equal(rig.service.state()[0]?.draining, 1);
  old.client.end();
  await readAll(old.client);
  await (await rig.gate.admission()).ended;
  fresh.client.destroy();
});

test('a changed certificate is swapped in place: live connections stay, new ones see the new one', async () => {
  await using a = await plainServer(named('a'));
  const to = `tcp://127.0.0.1:${a.port}`;
  await using rig = await openRig({ db: { ...listenAnywhere, to } });
  const old = await callTo(rig);
  const second = issue();
  await rig.reload({ db: { ...listenAnywhere, certificate: files(second), to } });
  const fresh = await dialTlsTo(rig.port('db'), { ca: ca.cert });
  assert.deepEqual(fresh.getPeerX509Certificate()?.raw, second.der);
  assert.equal(await echoes(old.client, 'still here'), 'still here');
  assert.equal(rig.service.state()[0]?.draining, 0, 'the same route, not a new one');
  old.client.destroy();
  fresh.destroy();
});

test('routes that did not change keep their connections while others come and go', async () => {
  await using a = await plainServer(named('a'));
  const route = { listen: 'tcp://127.0.0.1:0', to: `tcp://127.0.0.1:${a.port}` };
  await using rig = await openRig({ stays: route, goes: route });
  const [stays, goes] = [rig.port('stays'), rig.port('goes')];
  const clients = [await dialPlain(stays), await dialPlain(goes)];
  for (const client of clients) assert.equal(await nameOf(client), 'a');
  await rig.reload({ stays: route, comes: route });
  assert.equal(rig.port('stays'), stays);
  for (const client of clients) assert.equal(await echoes(client, 'x'), 'x', 'a removed route lets its own finish');
  const late = await dialPlain(goes).then(
    () => 'taken',
    () => 'refused',
  );
  assert.equal(late, 'refused', 'a removed route takes nobody any more');
  const [one] = await Promise.all([dialPlain(rig.port('comes'))]);
  assert.equal(await nameOf(one), 'a');
  for (const client of [...clients, one]) client.destroy();
});

test('a configuration that cannot be opened changes nothing, and says what stood in the way', async () => {
  await using a = await plainServer(named('a'));
  await using taken = await plainServer(() => {});
  const route = { ...listenAnywhere, to: `tcp://127.0.0.1:${a.port}` };
  await using rig = await openRig({ db: route });
  const before = JSON.stringify(rig.service.state());
  const client = (await callTo(rig)).client;
  const bad = {
    db: { ...route, to: 'tcp://127.0.0.1:1' },
    more: { listen: `tcp://127.0.0.1:${taken.port}`, to: route.to },
  };
  await assert.rejects(rig.reload(bad), (error: Fault) => {
    assert.ok(error instanceof Fault);
    assert.equal(error.code, 'conflict');
    assert.match(error.message, /^proxy\.more\.listen: 127\.0\.0\.1:\d+ is in use/);
    return true;
  });
  assert.equal(await echoes(client, 'still here'), 'still here');
  client.destroy();
  const again = await callTo(rig);
  assert.equal(again.name, 'a');
  again.client.destroy();
  assert.equal(
    JSON.stringify(rig.service.state().map(one => one.listens)),
    JSON.stringify(JSON.parse(before).map((one: { listens: unknown }) => one.listens)),
  );
});

test('a start that cannot open everything opens nothing', async () => {
  await using taken = await plainServer(() => {});
  const path = join(temporaryFolder('half'), 'first.sock');
  const to = `tcp://127.0.0.1:${taken.port}`;
  await assert.rejects(
    openRig({ first: { listen: `unix:${path}`, to }, second: { listen: to, to: 'tcp://127.0.0.1:1' } }),
    {
      code: 'conflict',
    },
  );
  // The first one's socket is gone, so the same address can be opened again.
  await using rig = await openRig({ first: { listen: `unix:${path}`, to } });
  assert.equal(rig.service.state()[0]?.name, 'first');
});

test('reload under load: hundreds of connections, a dozen reloads, not one dropped', async () => {
  await using a = await plainServer(echo);
  await using b = await plainServer(echo);
  const route = (backend: number, certificate = first): object => ({
    listen: `tls://127.0.0.1:${port}`,
    names: ['localhost'],
    certificate: files(certificate),
    to: `tcp://127.0.0.1:${backend}`,
  });
  const port = await freePort();
  const other = { ...route(a.port), names: ['other.test'] };
  const second = issue();
  const steps = [
    { db: route(b.port) },
    { db: route(b.port, second) },
    { db: route(b.port, second), other },
    { db: route(a.port), other },
    { db: route(a.port), other: { ...other, limits: { idle: '1m' } } },
    { db: route(a.port) },
  ];
  await using rig = await openRig({ db: route(a.port) });
  let state: 'reloading' | 'done' = 'reloading';
  let calls = 0;
  const load = Array.from({ length: 8 }, async (_, worker) => {
    for (let call = 0; state === 'reloading' || call < 3; call++) {
      const client = await dialTlsTo(port, { ca: ca.cert });
      const text = `worker ${worker} call ${call} `.repeat(200);
      assert.equal(await echoes(client, text), text);
      assert.equal(await echoes(client, 'and again'), 'and again');
      client.end();
      await readAll(client);
      calls++;
    }
  });
  const reloads = (async () => {
    for (let round = 0; round < 2; round++) {
      for (const step of steps) {
        const seen = calls;
        await rig.reload(step);
        while (calls < seen + 8) await new Promise(resolve => setImmediate(resolve));
      }
    }
    state = 'done';
  })();
  await Promise.all([...load, reloads]);
  assert.ok(calls >= 96);
  await Promise.all(rig.gate.admissions.map(one => one.ended));
  assert.deepEqual(new Set(rig.gate.admissions.map(one => one.notes.get('cause'))), new Set(['ended']));
});

test('drain under load: newcomers are refused, the rest finish, and the last ones are cut at the deadline', async () => {
  await using a = await plainServer(echo);
  const rig = await openRig({ db: { ...listenAnywhere, to: `tcp://127.0.0.1:${a.port}` } });
  const port = rig.port('db');
  const polite = await dialTlsTo(port, { ca: ca.cert });
  const stubborn = await dialTlsTo(port, { ca: ca.cert });
  for (const client of [polite, stubborn]) assert.equal(await echoes(client, 'x'), 'x');
  const deadline = new AbortController();
  const drained = rig.service.drain(deadline.signal);
  while (
    (await dialPlain(port).then(
      () => 'taken',
      () => 'refused',
    )) === 'taken'
  );
  assert.equal(rig.service.health(), 'down');
  assert.equal(await echoes(polite, 'one more'), 'one more');
  polite.end();
  await readAll(polite);
  const [first] = rig.gate.admissions;
  await first?.ended;
  assert.equal(rig.gate.open().length, 1);
  const cut = closed(stubborn);
  deadline.abort('drain');
  await drained;
  await cut;
  assert.equal(rig.gate.open().length, 0);
  assert.deepEqual(
    rig.gate.admissions.map(one => one.notes.get('cause')),
    ['ended', 'drain'],
  );
});

test('a drain whose deadline is over waits for nobody: neither the silent nor the half-way', async () => {
  await using a = await plainServer(echo);
  const names = { names: ['localhost'], listen: `tls://127.0.0.1:${await freePort()}` };
  const rig = await openRig({
    sorted: { ...listenAnywhere, ...names, to: `tcp://127.0.0.1:${a.port}` },
    plain: { ...listenAnywhere, to: `tcp://127.0.0.1:${a.port}` },
  });
  const silent = [await dialPlain(rig.port('sorted')), await dialPlain(rig.port('plain'))];
  const through = await dialTlsTo(rig.port('plain'), { ca: ca.cert });
  assert.equal(await echoes(through, 'x'), 'x');
  const gone = Promise.all([...silent, through].map(socket => readAll(socket).catch(() => {})));
  const patient = rig.service.drain(new AbortController().signal);
  await rig.service[Symbol.asyncDispose]();
  await patient;
  await gone;
});

test('a certificate file that was replaced is seen by the next reload', async () => {
  const dir = temporaryFolder('hot');
  const [cert, key] = [join(dir, 'cert.pem'), join(dir, 'key.pem')];
  const write = (one: Issued): void => {
    writeFileSync(cert, one.cert);
    writeFileSync(key, one.key);
  };
  await using a = await plainServer(echo);
  const config = {
    db: {
      listen: 'tls://127.0.0.1:0',
      certificate: { cert: `file:${cert}`, key: `file:${key}` },
      to: `tcp://127.0.0.1:${a.port}`,
    },
  };
  write(first);
  await using rig = await openRig(config);
  const second = issue();
  write(second);
  await rig.reload(config);
  const client = await dialTlsTo(rig.port('db'), { ca: ca.cert });
  assert.deepEqual(client.getPeerX509Certificate()?.raw, second.der);
  client.destroy();
  writeFileSync(key, first.key);
  await assert.rejects(rig.reload(config), /^Fault: proxy\.db\.certificate\.key: the key does not match/);
  const still = await dialTlsTo(rig.port('db'), { ca: ca.cert });
  assert.deepEqual(still.getPeerX509Certificate()?.raw, second.der);
  still.destroy();
});
