// References are read once, within a limit, from files, FIFOs and the environment.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { createRead } from './read.ts';

const folder = mkdtempSync(join(tmpdir(), 'sekisho-read-'));

test('file: is relative to the folder of the configuration, env: is the environment', async () => {
  writeFileSync(join(folder, 'pass.txt'), 'one\ntwo\n');
  const seen: string[] = [];
  const read = createRead({ folder, env: { PASS: 'three' }, seen: path => seen.push(path) });
  assert.equal(String(await read('file:pass.txt')), 'one\ntwo\n');
  assert.equal(String(await read(`file:${join(folder, 'pass.txt')}`)), 'one\ntwo\n');
  assert.equal(String(await read('env:PASS')), 'three');
  assert.deepEqual(seen, [join(folder, 'pass.txt'), join(folder, 'pass.txt')]);
});

test('what cannot be read says which file and what to do', async () => {
  const read = createRead({ folder, env: {} });
  await assert.rejects(read('file:none.pem'), /none\.pem: there is no such file; check the path/);
  await assert.rejects(read('file:.'), /this is a folder; name a file/);
  await assert.rejects(read('env:NONE'), /env:NONE: this environment variable is not set/);
});

test('a file that this user may not read says so, and what to do', async () => {
  const path = join(folder, 'secret.key');
  writeFileSync(path, 'x', { mode: 0o600 });
  // Root may read everything, so root becomes somebody else for a moment; others take the permission away.
  const isRoot = process.getuid?.() === 0;
  if (isRoot) chmodSync(folder, 0o755);
  else chmodSync(path, 0);
  if (isRoot) process.seteuid?.(65534);
  try {
    await assert.rejects(
      createRead({ folder })('file:secret.key'),
      /secret\.key: no permission to read it; the user that runs the gate/,
    );
  } finally {
    if (isRoot) process.seteuid?.(0);
  }
});

test('a file larger than the limit is refused, also one that says it has no size', async () => {
  writeFileSync(join(folder, 'large'), 'x'.repeat(200));
  await assert.rejects(
    createRead({ folder, limit: 100 })('file:large'),
    /larger than 100 bytes; is this the right file\?/,
  );
  await assert.rejects(createRead({ folder, limit: 1 })('file:/proc/self/status'), /larger than 1 bytes/);
});

test('a FIFO gives its content to every route that names it', async () => {
  const path = join(folder, 'fifo');
  execFileSync('mkfifo', [path]);
  const read = createRead({ folder });
  const [a, b] = [read('file:fifo'), read('file:fifo')];
  spawn('sh', ['-c', `printf 'secret' > ${path}`], { stdio: 'ignore' });
  assert.equal(String(await a), 'secret');
  assert.equal(String(await b), 'secret');
});

test('a FIFO that nobody writes to does not hold the gate for ever', async () => {
  execFileSync('mkfifo', [join(folder, 'silent')]);
  await assert.rejects(createRead({ folder, patience: 50 })('file:silent'), /nobody wrote to this FIFO within 0\.05 s/);
});
