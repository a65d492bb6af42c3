// Full sizes: 1 GiB by scp through our own source and destination, bit by bit, and 1,000 tunnels opened and closed.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { tunnelGate } from '../e2e/tunnel/rig.ts';
import { temporaryFolder } from '../fixtures/certificates.ts';
import { freePorts } from '../fixtures/gate-process.ts';
import { localproxyAt, withoutLocalproxy } from '../fixtures/localproxy.ts';
import { run, serving } from '../fixtures/programs.ts';
import { sshServer, trySsh } from '../fixtures/ssh-server.ts';

const main = join(import.meta.dirname, '../../src/main.ts');
const size = Number(process.env['LAB_BYTES'] ?? 1024 ** 3);
const rounds = Number(process.env['LAB_ROUNDS'] ?? 1000);
const digest = (path: string): string => execFileSync('sha256sum', [path]).toString().split(' ')[0] ?? '';
/** Kilobytes that a process has in memory. */
const memoryOf = (pid: number): number =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);

test('1 GiB by scp, there and back', async t => {
  const house = await tunnelGate(t);
  await using server = await sshServer();
  const folder = temporaryFolder('bulk');
  const gate = ['--gate', `https://localhost:${house.port}`, '--ca', house.caFile];
  const { sourceToken, destinationToken } = await house.open('pump-7', ['ssh']);
  const end = async (name: string, token: string, ...args: string[]) => {
    writeFileSync(join(folder, name), token, { mode: 0o600 });
    return serving(
      process.execPath,
      [main, 'tunnel', 'connect', ...gate, '--token-file', join(folder, name), ...args],
      /Ctrl-C/,
    );
  };
  const [port = 0] = await freePorts(1);
  await using destination = await end('d', destinationToken, '--to', `ssh=${server.port}`);
  await using source = await end('s', sourceToken, '--listen', `ssh=${port}`);
  assert.ok(source && destination);
  execFileSync('sh', ['-c', `head -c ${size} /dev/urandom > ${folder}/file`]);
  const scp = ['-q', ...server.options, '-P', String(port)];
  const from = performance.now();
  for (const [what, to] of [
    [`${folder}/file`, `${server.user}@127.0.0.1:${folder}/there`],
    [`${server.user}@127.0.0.1:${folder}/there`, `${folder}/back`],
  ] as const) {
    const { code, stderr } = await run('scp', [...scp, what, to]);
    assert.equal(code, 0, stderr);
  }
  t.diagnostic(`${Math.round((2 * size) / 1e6 / ((performance.now() - from) / 1000))} MB/s`);
  assert.equal(digest(`${folder}/back`), digest(`${folder}/file`));
  for (const [name, { pid = 0 }] of Object.entries({
    gate: house.gate.child,
    source: source.child,
    destination: destination.child,
  })) {
    t.diagnostic(`${name}: ${Math.round(memoryOf(pid) / 1024)} MiB`);
    assert.ok(memoryOf(pid) < 500 * 1024, `${name} grew`);
  }
});

test('1 GiB by scp through AWS’s real localproxy on both ends, there and back', {
  skip: withoutLocalproxy,
}, async t => {
  const house = await tunnelGate(t);
  await using server = await sshServer();
  const here = localproxyAt(t, house);
  const { sourceToken, destinationToken } = await house.open('pump-7', ['ssh']);
  await here.destination(destinationToken, { ssh: server.port });
  const { ports } = await here.source(sourceToken, ['ssh']);
  await trySsh(t, server, ports['ssh'] ?? 0, size);
});

test('1,000 tunnels opened and closed leave nothing in the gate', async t => {
  // A small heap, so that what grows is a leak and not garbage that nobody was in a hurry to collect.
  process.env['NODE_OPTIONS'] = '--max-old-space-size=64 --max-semi-space-size=1';
  t.after(() => delete process.env['NODE_OPTIONS']);
  const house = await tunnelGate(t);
  const pid = house.gate.child.pid ?? 0;
  const round = async (count: number): Promise<void> => {
    for (let number = 0; number < count; number++) {
      const { id, sourceToken } = await openByApi(house.gate.data);
      const source = await house.peer('source', sourceToken);
      await source.next();
      await closeByApi(house.gate.data, id);
      await source.closed;
    }
  };
  await round(rounds / 5);
  const before = memoryOf(pid);
  await round(rounds);
  const grown = memoryOf(pid) - before;
  t.diagnostic(`${grown} KiB more after ${rounds}`);
  assert.ok(grown < 30 * 1024, `${grown} KiB`);
});

async function ask<T>(data: string, path: string, body: object): Promise<T> {
  const { request } = await import('node:http');
  return new Promise((resolve, reject) => {
    const headers = { host: 'localhost', 'content-type': 'application/json' };
    request({ socketPath: join(data, 'sekisho.sock'), path, method: 'POST', headers }, async answer => {
      resolve(JSON.parse(Buffer.concat(await answer.toArray()).toString()) as T);
    })
      .on('error', reject)
      .end(JSON.stringify(body));
  });
}
async function openByApi(data: string): Promise<{ id: string; sourceToken: string }> {
  const { tunnel, sourceToken } = await ask<{ tunnel: { id: string }; sourceToken: string }>(data, '/v1/tunnels', {
    services: ['ssh'],
  });
  return { id: tunnel.id, sourceToken };
}
const closeByApi = (data: string, id: string): Promise<unknown> =>
  ask(data, `/v1/tunnels/${id}/close`, { erase: true });
