// A data folder belongs to its owner and to one gate at a time, however the gate before it died.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Fault } from '../core/fault.ts';
import { openDataDir } from './data-dir.ts';

const folder = (): string => join(mkdtempSync(join(tmpdir(), 'sekisho-data-')), 'data');

test('the folder is made for its owner alone, and an open one is closed', () => {
  const path = folder();
  openDataDir(path)[Symbol.dispose]();
  assert.equal(statSync(path).mode & 0o777, 0o700);
  assert.equal(statSync(join(path, 'gate.lock')).mode & 0o777, 0o600);
  chmodSync(path, 0o755);
  openDataDir(path)[Symbol.dispose]();
  assert.equal(statSync(path).mode & 0o777, 0o700);
});

test('two gates cannot share a folder: the second is told who holds it and what to do', () => {
  const path = folder();
  using first = openDataDir(path);
  assert.equal(first.path, path);
  assert.throws(
    () => openDataDir(path),
    (error: unknown) =>
      error instanceof Fault &&
      error.code === 'conflict' &&
      error.message.includes(`another gate (process ${process.pid}) runs on ${path}; stop it, or give this one`),
  );
});

test('a gate that was killed leaves a folder that the next one opens', async t => {
  const path = folder();
  const script = `import { openDataDir } from ${JSON.stringify(join(import.meta.dirname, 'data-dir.ts'))};
    globalThis.held = openDataDir(${JSON.stringify(path)}); process.stdout.write('held'); setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  assert.throws(() => openDataDir(path), /another gate \(process \d+\) runs on/);
  child.kill('SIGKILL');
  await once(child, 'exit');
  openDataDir(path)[Symbol.dispose]();
});

test('a folder that cannot be made says why', () => {
  const path = folder();
  writeFileSync(path, 'a file');
  assert.throws(() => openDataDir(join(path, 'data')), /the folder .* cannot be used \(E\w+\); make it writable/);
});
