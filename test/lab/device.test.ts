// Full size: 1 GiB by scp through gate and agent, there and back, bit by bit.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { tunnelGate } from '../e2e/tunnel/rig.ts';
import { startAgent } from '../fixtures/agent.ts';
import { temporaryFolder } from '../fixtures/certificates.ts';
import { freePorts } from '../fixtures/gate-process.ts';
import { run } from '../fixtures/programs.ts';
import { sshServer } from '../fixtures/ssh-server.ts';

const size = Number(process.env['LAB_BYTES'] ?? 1024 ** 3);
const digest = (path: string): string => execFileSync('sha256sum', [path]).toString().split(' ')[0] ?? '';
/** Kilobytes that a process has in memory. */
const memoryOf = (pid: number): number =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);

test('1 GiB by scp through a device’s link, there and back', async t => {
  const [route = 0] = await freePorts(1);
  const house = await tunnelGate(
    t,
    `proxy: { pump: { listen: "tcp://127.0.0.1:${route}", to: "device://pump-7/ssh" } }\n`,
  );
  await using server = await sshServer();
  const folder = temporaryFolder('bulk');
  const { code } = await house.call('device', 'enroll', 'pump-7', '--service', `ssh=127.0.0.1:${server.port}`);
  const agent = await startAgent(t, ['--gate', `https://localhost:${house.port}`, '--enroll', String(code)]);
  await agent.logged(/linked/);
  execFileSync('sh', ['-c', `head -c ${size} /dev/urandom > ${folder}/file`]);
  const scp = ['-q', ...server.options, '-P', String(route)];
  const from = performance.now();
  for (const [what, to] of [
    [`${folder}/file`, `${server.user}@127.0.0.1:${folder}/there`],
    [`${server.user}@127.0.0.1:${folder}/there`, `${folder}/back`],
  ] as const) {
    const { code: status, stderr } = await run('scp', [...scp, what, to]);
    assert.equal(status, 0, stderr);
  }
  t.diagnostic(`${Math.round((2 * size) / 1e6 / ((performance.now() - from) / 1000))} MB/s`);
  assert.equal(digest(`${folder}/there`), digest(`${folder}/file`));
  assert.equal(digest(`${folder}/back`), digest(`${folder}/file`));
  for (const [name, { pid = 0 }] of Object.entries({ gate: house.gate.child, agent: agent.child })) {
    t.diagnostic(`${name}: ${Math.round(memoryOf(pid) / 1024)} MiB`);
    assert.ok(memoryOf(pid) < 500 * 1024, `${name} grew`);
  }
});
