// A full disk: a small tmpfs as the data folder. Nobody new gets in, nobody is thrown out, nothing that happened is lost.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { freePorts, newFolder, startGate, until } from '../fixtures/gate-process.ts';
import { ask, assertTidy, ca, endProperly, head, liveSessions, terminate } from './house.ts';
import { backend, dialTls, echo, load, within } from './streams.ts';

const isRoot = process.getuid?.() === 0;

test('a full disk refuses new sessions with a sentence, keeps live ones and their records, and heals by itself', {
  skip: isRoot ? false : 'only root may mount a small disk',
}, async t => {
  const folder = newFolder();
  const data = join(folder, 'data');
  mkdirSync(data, { mode: 0o700 });
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=12m,mode=0700', 'sekisho-lab', data]);
  t.after(() => execFileSync('umount', ['-l', data]));
  await using server = await backend(echo);
  const [port = 0] = await freePorts(1);
  const gate = await startGate(t, { folder, config: head(2) + terminate('tls', port, server.port) });
  const dial = dialTls(port, { ca: ca.cert });
  const live = await Promise.all(Array.from({ length: 20 }, dial));
  for (const socket of live) {
    socket.write('in');
    await once(socket, 'data');
  }
  const ballast = join(data, 'ballast');
  const fill = (): void => {
    for (let size = 1 << 20; size >= 512; size /= 2) {
      try {
        for (;;) writeFileSync(ballast, Buffer.alloc(size), { flag: 'a' });
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
      }
    }
  };
  fill();
  // What SQLite has allotted already still takes rows; after that nobody gets in.
  await using busy = load({ dial, clients: 4, most: 2000 });
  await until('newcomers are turned away', () => {
    if (statfsSync(data).bfree > 0) fill();
    return busy.failures.length > 20;
  });
  await busy.stop();
  const before = busy.done();
  await using late = load({ dial, clients: 2, most: 2000 });
  await until('they still are', () => late.failures.length > 10);
  await late.stop();
  assert.equal(late.done(), 0, 'nobody is let in whose opening is not written');
  const said = gate.log.find(line => /cannot be written.*disk is full|disk is full.*make room/.test(line));
  assert.ok(said, `a sentence says so:\n${gate.log.slice(-5).join('\n')}`);
  t.diagnostic(said);

  for (const socket of live) {
    socket.write('still in');
    const [answer] = await within(5000, once(socket, 'data'), () => 'a live session was stopped');
    assert.equal(String(answer), 'still in');
  }
  assert.equal(await liveSessions(gate), live.length, 'the API answers');
  for (const socket of live.splice(0, 10)) socket.end();
  await until('their ends are seen', async () => (await liveSessions(gate)) === 10);
  const { warnings } = await ask<{ warnings: string[] }>(gate, 'status');
  assert.ok(
    warnings.some(text => /audit records wait for the disk/.test(text)),
    `status says so: ${warnings}`,
  );

  rmSync(ballast);
  await using again = load({ dial, clients: 2 });
  await until('newcomers are let in again', () => again.done() > 5);
  await again.stop();
  for (const socket of live) socket.end();
  await until('what was kept back is written', async () =>
    (await ask<{ warnings: string[] }>(gate, 'status')).warnings.every(text => !/records wait/.test(text)),
  );
  const rows = await assertTidy(gate);
  assert.ok(rows.filter(({ event }) => event === 'proxy.closed').length >= 20 + before, 'no record was lost');
  assert.ok(
    rows.some(({ event, facts }) => event === 'proxy.closed' && 'happened' in facts),
    'a record that waited says when it happened',
  );
  await endProperly(gate);
});
