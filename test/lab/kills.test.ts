// kill -9, of a worker and of the gate, in the middle of work.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { freePorts, isClosed, startGate, until } from '../fixtures/gate-process.ts';
import {
  assertTidy,
  assertWhole,
  auditRows,
  ca,
  endProperly,
  head,
  liveSessions,
  terminate,
  unclosed,
  workersOf,
} from './house.ts';
import { backend, dialTls, echo, load, within } from './streams.ts';

const sayAndHear = async (socket: Socket, text: string): Promise<void> => {
  socket.write(text);
  const [answer] = await within(10_000, once(socket, 'data'), () => 'no answer');
  assert.equal(String(answer), text);
};

test('kill -9 of a worker under load: only its own connections die, the audit says worker-gone, a replacement accepts', async t => {
  await using server = await backend(echo);
  const [tls = 0] = await freePorts(1);
  const gate = await startGate(t, { config: head(2) + terminate('tls', tls, server.port) });
  const dial = dialTls(tls, { ca: ca.cert });
  const open = await Promise.all(Array.from({ length: 60 }, dial));
  for (const socket of open) await sayAndHear(socket, 'before');
  await using others = load({ dial, clients: 4 });
  await until('there is load', () => others.done() > 20);
  const [victim = 0, survivor = 0] = workersOf(gate);
  process.kill(victim, 'SIGKILL');
  await until('a replacement stands', () => {
    const now = workersOf(gate);
    return now.length === 2 && !now.includes(victim);
  });
  const failed = others.failures.length;
  await until('load goes on', () => others.done() > 300);
  await others.stop();
  assert.ok(workersOf(gate).includes(survivor));
  const lost = open.filter(socket => socket.destroyed || socket.readableEnded);
  const kept = open.filter(socket => !lost.includes(socket));
  t.diagnostic(`${lost.length} lost, ${kept.length} kept; ${failed} of the load broke off`);
  assert.ok(lost.length > 0 && kept.length > 0, 'both workers carried some');
  for (const socket of kept) await sayAndHear(socket, 'after');
  assert.ok(others.failures.length <= 8, `only what the worker carried breaks off: ${others.failures.join('; ')}`);
  assert.equal(await liveSessions(gate), kept.length);
  for (const socket of kept) socket.end();
  const rows = await assertTidy(gate);
  const gone = rows.filter(({ facts, event }) => event === 'proxy.closed' && facts['cause'] === 'worker-gone');
  assert.ok(gone.length >= lost.length && gone.length <= lost.length + 4, `${gone.length} rows say worker-gone`);
  await endProperly(gate);
});

test('kill -9 of the gate under load, several times: no acknowledged audit row is lost, and the chain is whole', async t => {
  await using server = await backend(echo);
  const [tls = 0] = await freePorts(1);
  const config = head(2) + terminate('tls', tls, server.port);
  let gate = await startGate(t, { config });
  const { folder } = gate;
  const acknowledged = new Map<number, string>();
  for (let kill = 0; kill < 3; kill++) {
    const tail = spawn(
      process.execPath,
      [join(import.meta.dirname, '../../src/main.ts'), 'audit', 'tail', '-f', '-n', '1', '--json', '--data', gate.data],
      { stdio: ['ignore', 'pipe', 'ignore'], env: { ...process.env, NODE_TEST_CONTEXT: undefined } },
    );
    t.after(() => tail.kill('SIGKILL'));
    await using others = load({ dial: dialTls(tls, { ca: ca.cert }), clients: 6, most: 20_000 });
    const before = acknowledged.size;
    createInterface({ input: tail.stdout }).on('line', line => {
      const { seq, hash } = JSON.parse(line) as { seq: number; hash: string };
      acknowledged.set(seq, hash);
    });
    await until('rows are acknowledged', () => acknowledged.size > before + 200);
    const orphans = workersOf(gate);
    gate.signal('SIGKILL');
    await gate.ended;
    const stopped = others.stop();
    await until('nothing new is accepted', () => isClosed(tls));
    await stopped;
    assert.deepEqual(
      others.failures.filter(text => /corrupted|truncated|hangs/.test(text)),
      [],
    );
    tail.kill('SIGKILL');
    await until('workers with nothing left to carry end', () => orphans.every(pid => !existsSync(`/proc/${pid}`)));
    gate = await startGate(t, { config, folder });
    await assertWhole(gate);
  }
  const rows = await auditRows(gate);
  const kept = new Map(rows.map(row => [row.seq, (row as unknown as { hash: string }).hash]));
  const lost = [...acknowledged].filter(([seq, hash]) => kept.get(seq) !== hash);
  assert.deepEqual(lost, [], `of ${acknowledged.size} rows that were seen, none is gone or changed`);
  assert.deepEqual(unclosed(rows), [], 'the sessions of each killed gate have their end');
  t.diagnostic(`${acknowledged.size} rows seen of ${rows.length}`);
  assert.equal(await liveSessions(gate), 0);
  await endProperly(gate);
});
