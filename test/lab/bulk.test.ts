// Big: one GiB in each direction at once, every byte compared, through each kind of leg.
import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { freePorts, startGate } from '../fixtures/gate-process.ts';
import { assertTidy, ca, endProperly, head, leaf, originate, terminate } from './house.ts';
import { backend, dialPlain, dialTls, expectPattern, send } from './streams.ts';

const gib = 1024 ** 3;
const upSeed = 7;
const downSeed = 1_000_003;

test('1 GiB both ways at once is bit-exact through terminate, originate, and the two in a row, with two workers', async t => {
  const received: Promise<number>[] = [];
  const serve = (socket: Socket): void => {
    received.push(expectPattern(socket, upSeed).whole);
    send(socket, gib, downSeed).then(
      () => socket.end(),
      error => t.diagnostic(String(error)),
    );
  };
  await using server = await backend(serve);
  await using tlsServer = await backend(serve, { tls: { cert: leaf.fullchain, key: leaf.key } });
  const [near = 0, out = 0, chain = 0] = await freePorts(3);
  const gate = await startGate(t, {
    config:
      head(2) +
      terminate('near', near, server.port) +
      originate('out', out, tlsServer.port) +
      originate('chain', chain, near),
  });
  const ways = {
    terminate: dialTls(near, { ca: ca.cert }),
    originate: dialPlain(out),
    'originate → terminate': dialPlain(chain),
  };
  for (const [name, dial] of Object.entries(ways)) {
    const started = performance.now();
    const socket = await dial();
    const heard = expectPattern(socket, downSeed);
    await send(socket, gib, upSeed);
    socket.end();
    assert.equal(await heard.whole, gib, `${name}: down`);
    assert.equal(await received.at(-1), gib, `${name}: up`);
    t.diagnostic(`${name}: ${Math.round((performance.now() - started) / 100) / 10} s`);
  }
  const rows = (await assertTidy(gate)).filter(({ event }) => event === 'proxy.closed');
  assert.equal(rows.length, 4);
  for (const { facts, resource } of rows) {
    assert.deepEqual([facts['up'], facts['down'], facts['cause']], [gib, gib, 'ended'], resource);
  }
  await endProperly(gate);
});
