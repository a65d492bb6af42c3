// Change under load: reloads, and the drain.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { freePorts, isClosed, startGate, until } from '../fixtures/gate-process.ts';
import {
  assertTidy,
  ca,
  descriptorsOf,
  endProperly,
  head,
  liveSessions,
  originate,
  plain,
  quiet,
  seconds,
  terminate,
} from './house.ts';
import { backend, dialPlain, dialTls, echo, expectPattern, load, send, within } from './streams.ts';

test('a reload every 200 ms for a minute under load breaks and truncates nothing', async t => {
  await using server = await backend(echo);
  const [tls = 0, chain = 0, direct = 0, extra = 0] = await freePorts(4);
  // Each version changes something else: TLS material and options, limits, a route that comes and goes.
  const versions = [
    head(2) +
      terminate('tls', tls, server.port) +
      originate('chain', chain, tls) +
      plain('direct', direct, server.port),
    head(2) +
      terminate('tls', tls, server.port, ', protocols: [TLSv1.3]') +
      originate('chain', chain, tls, ', limits: { idle: 9m }') +
      plain('direct', direct, server.port) +
      plain('extra', extra, server.port),
    head(2) +
      terminate('tls', tls, server.port, ', limits: { connections: 4000 }') +
      originate('chain', chain, tls, ', balance: random-two') +
      plain('direct', direct, server.port, ', limits: { per-address: 3000 }'),
  ] as const;
  const gate = await startGate(t, { config: versions[0] });
  const base = descriptorsOf(gate);
  const loads = [
    load({ dial: dialTls(tls, { ca: ca.cert }), clients: 3 }),
    load({ dial: dialPlain(chain), clients: 3 }),
    load({ dial: dialPlain(direct), clients: 2 }),
  ];
  t.after(() => Promise.all(loads.map(one => one.stop())));
  // And one connection that lives through all of it.
  const through = await dialTls(tls, { ca: ca.cert })();
  const heard = expectPattern(through);
  let sent = 0;
  const end = performance.now() + seconds(60) * 1000;
  let reloads = 0;
  while (performance.now() < end) {
    gate.write(versions[++reloads % versions.length] ?? versions[0]);
    gate.signal('SIGHUP');
    await send(through, 10_000, sent);
    sent += 10_000;
    await pause(200);
  }
  through.end();
  assert.equal(await within(20_000, heard.whole, () => `hangs after ${heard.count()} of ${sent}`), sent);
  for (const one of loads) await one.stop();
  const read = gate.log.filter(line => line.includes('configuration read anew')).length;
  t.diagnostic(`${reloads} reloads asked, ${read} done, ${loads.map(one => one.done()).join(' + ')} connections`);
  assert.deepEqual(
    loads.flatMap(one => one.failures),
    [],
  );
  assert.deepEqual(
    gate.log.filter(line => line.includes('configuration was refused')),
    [],
  );
  assert.ok(read > 0 && loads.every(one => one.done() > 0));
  await until('descriptors are back at the base', () => descriptorsOf(gate) <= base + 8);
  const rows = await assertTidy(gate);
  const odd = rows.filter(({ event, facts }) => event === 'proxy.closed' && facts['cause'] !== 'ended');
  assert.deepEqual(odd, [], 'every connection ended by itself');
  await endProperly(gate);
});

test('SIGTERM under load: what is open comes to its end whole, nothing new is let in, and every closing is written', async t => {
  await using server = await backend(echo);
  const [tls = 0, chain = 0] = await freePorts(2);
  const gate = await startGate(t, {
    config: head(2, ', drain: 20s') + terminate('tls', tls, server.port) + originate('chain', chain, tls),
  });
  const open = await Promise.all(
    Array.from({ length: 40 }, async () => {
      const socket = await dialTls(tls, { ca: ca.cert })();
      const heard = expectPattern(socket);
      await send(socket, 50_000);
      return { socket, heard };
    }),
  );
  await using others = load({ dial: dialTls(tls, { ca: ca.cert }), clients: 4 });
  await until('there is load', () => others.done() > 20);
  await until('all are in', async () => (await liveSessions(gate)) >= 40);
  const done = others.stop();
  gate.signal('SIGTERM');
  await until('nobody listens any more', async () => (await isClosed(tls)) && (await isClosed(chain)));
  for (const { socket, heard } of open) {
    await send(socket, 150_000, 50_000);
    socket.end();
    assert.equal(await within(15_000, heard.whole, () => `hangs after ${heard.count()}`), 200_000);
  }
  await done;
  // Those in the kernel's queue are reset; who was accepted is let in, and nobody is cut short.
  assert.deepEqual(
    others.failures.filter(text => /corrupted|truncated|hangs|turned away/.test(text)),
    [],
  );
  assert.equal(await within(25_000, gate.ended, () => 'the gate does not end'), 0);
  const next = await startGate(t, { folder: gate.folder, config: quiet });
  const rows = await assertTidy(next);
  const closed = rows.filter(({ event }) => event === 'proxy.closed');
  assert.ok(closed.length >= 40 + others.done());
  assert.deepEqual(
    closed.filter(({ facts }) => facts['cause'] !== 'ended'),
    [],
  );
  await endProperly(next);
});

test('the deadline of a drain cuts what will not end, and says so in the audit', async t => {
  await using server = await backend(echo);
  const [tls = 0] = await freePorts(1);
  const gate = await startGate(t, { config: head(2, ', drain: 2s') + terminate('tls', tls, server.port) });
  const stubborn = await Promise.all(Array.from({ length: 10 }, () => dialTls(tls, { ca: ca.cert })()));
  for (const socket of stubborn) await send(socket.resume(), 1000);
  await until('all are in', async () => (await liveSessions(gate)) === 10);
  gate.signal('SIGTERM');
  assert.equal(await within(20_000, gate.ended, () => 'the gate does not end'), 0);
  const next = await startGate(t, { folder: gate.folder, config: quiet });
  const rows = (await assertTidy(next)).filter(({ event }) => event === 'proxy.closed');
  assert.deepEqual(
    rows.map(({ facts }) => facts['cause']),
    Array(10).fill('drain'),
  );
});
