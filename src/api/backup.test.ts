// Promises of backup and restore: what went in comes out, and nothing else is taken for it.
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { Fault } from '../core/fault.ts';
import { restoreBackup, sealBackup } from './backup.ts';
import { seal, unseal } from './seal.ts';

const cheap = { N: 10, r: 8, p: 1 };
async function* streamOf(...chunks: Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* chunks;
}
const collect = async (stream: AsyncIterable<Uint8Array>): Promise<Buffer> =>
  Buffer.concat(await Array.fromAsync(stream));
const isFault = (code: string, text: RegExp) => (error: unknown) =>
  error instanceof Fault && error.code === code && text.test(error.message);

async function folder(t: { after(call: () => unknown): void }): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'sekisho-backup-'));
  t.after(() => rm(path, { recursive: true, force: true }));
  return path;
}

test('what was sealed in any pieces is unsealed in any pieces', async () => {
  const pieces = fc.array(fc.uint8Array({ maxLength: 3000 }), { maxLength: 8 });
  await fc.assert(
    fc.asyncProperty(pieces, fc.integer({ min: 1, max: 5000 }), async (chunks, step) => {
      const sealed = await collect(seal(streamOf(...chunks), 'correct horse', cheap));
      const cut = Array.from({ length: Math.ceil(sealed.length / step) }, (_, at) =>
        sealed.subarray(at * step, (at + 1) * step),
      );
      assert.deepEqual(await collect(unseal(streamOf(...cut), 'correct horse')), Buffer.concat(chunks));
    }),
    { numRuns: 20 },
  );
});

test('a sealed stream that was changed anywhere or cut anywhere is refused', async () => {
  const plain = Buffer.alloc(600_000, 'x'); // three chunks
  const sealed = await collect(seal(streamOf(plain), 'correct horse', cheap));
  for (const at of [3, 20, 33, 36, 50, 262_200, 300_000, sealed.length - 1]) {
    const changed = Buffer.from(sealed);
    changed[at] = (changed[at] ?? 0) ^ 1;
    await assert.rejects(collect(unseal(streamOf(changed), 'correct horse')), isFault('invalid', /./), `byte ${at}`);
  }
  const ends = [0, 10, 35, 39, 35 + 4 + 262_144 + 16, sealed.length - 1];
  for (const end of ends) {
    await assert.rejects(
      collect(unseal(streamOf(sealed.subarray(0, end)), 'correct horse')),
      isFault('invalid', /./),
      `cut at ${end}`,
    );
  }
  await assert.rejects(
    collect(unseal(streamOf(sealed, Buffer.from([0])), 'correct horse')),
    isFault('invalid', /damaged/),
  );
});

test('a wrong passphrase is said to be one', async () => {
  const sealed = await collect(seal(streamOf(Buffer.from('secret')), 'correct horse', cheap));
  await assert.rejects(collect(unseal(streamOf(sealed), 'wrong horse')), isFault('invalid', /passphrase is wrong/));
});

test('a header that asks for absurd memory is refused before any is taken', async () => {
  const sealed = await collect(seal(streamOf(), 'x', cheap));
  sealed[32] = 40;
  await assert.rejects(collect(unseal(streamOf(sealed), 'x')), isFault('invalid', /damaged/));
});

test('files come back with their bytes and modes, for their owner only', async t => {
  const dir = await folder(t);
  await mkdir(join(dir, 'from', 'ca'), { recursive: true });
  await writeFile(join(dir, 'from', 'sekisho.db'), Buffer.alloc(700_000, 7), { mode: 0o644 });
  await writeFile(join(dir, 'from', 'ca', 'root.key'), 'KEY', { mode: 0o600 });
  await writeFile(join(dir, 'from', 'empty'), '');
  const entries = ['sekisho.db', 'ca/root.key', 'empty'].map(path => ({ path, from: join(dir, 'from', path) }));
  const from = sealBackup(entries, 'a long passphrase');
  const data = join(dir, 'data');
  const restored = await restoreBackup({ from, passphrase: 'a long passphrase', data, force: false });
  assert.deepEqual(restored, { files: ['sekisho.db', 'ca/root.key', 'empty'] });
  assert.deepEqual(await readFile(join(data, 'sekisho.db')), Buffer.alloc(700_000, 7));
  assert.equal(await readFile(join(data, 'ca', 'root.key'), 'utf8'), 'KEY');
  for (const path of ['sekisho.db', 'ca/root.key']) assert.equal((await stat(join(data, path))).mode & 0o077, 0);
  assert.deepEqual((await readdir(dir)).sort(), ['data', 'from']);
});

test('a folder that is not empty is refused, and with force moved aside whole', async t => {
  const dir = await folder(t);
  await writeFile(join(dir, 'new'), 'new');
  const backup = await collect(sealBackup([{ path: 'new', from: join(dir, 'new') }], 'a long passphrase'));
  const data = join(dir, 'data');
  await mkdir(data);
  await writeFile(join(data, 'old'), 'old');
  const restore = (force: boolean) =>
    restoreBackup({ from: streamOf(backup), passphrase: 'a long passphrase', data, force });
  await assert.rejects(restore(false), isFault('conflict', /not empty/));
  const { movedTo = '' } = await restore(true);
  assert.equal(await readFile(join(movedTo, 'old'), 'utf8'), 'old');
  assert.deepEqual(await readdir(data), ['new']);
});

test('a damaged backup leaves the folder as it was', async t => {
  const dir = await folder(t);
  await writeFile(join(dir, 'new'), Buffer.alloc(400_000, 1));
  const backup = await collect(sealBackup([{ path: 'new', from: join(dir, 'new') }], 'a long passphrase'));
  const data = join(dir, 'data');
  await mkdir(data);
  await writeFile(join(data, 'old'), 'old');
  const cut = streamOf(backup.subarray(0, -100));
  await assert.rejects(
    restoreBackup({ from: cut, passphrase: 'a long passphrase', data, force: true }),
    isFault('invalid', /cut off/),
  );
  assert.deepEqual(await readdir(data), ['old']);
  assert.deepEqual((await readdir(dir)).sort(), ['data', 'new']);
});

test('a folder whose gate runs is not replaced, even with force', async t => {
  const dir = await folder(t);
  const data = join(dir, 'data');
  await mkdir(data);
  const gate = createServer().listen(join(data, 'sekisho.sock'));
  t.after(() => gate.close());
  await new Promise(resolve => gate.once('listening', resolve));
  await assert.rejects(
    restoreBackup({ from: streamOf(), passphrase: 'x', data, force: true }),
    isFault('conflict', /a gate runs/),
  );
});

test('a backup that names a file outside its folder is refused before anything is written', async t => {
  const dir = await folder(t);
  for (const path of ['../evil', '/evil', 'a/../../evil', 'a/..', '.', 'a\\b', '']) {
    const head = Buffer.from(JSON.stringify({ path, mode: 0o600, size: 4 }));
    const length = Buffer.alloc(4);
    length.writeUInt32BE(head.length);
    const from = seal(streamOf(length, head, Buffer.from('evil'), Buffer.alloc(4)), 'x', cheap);
    const restoring = restoreBackup({ from, passphrase: 'x', data: join(dir, 'data'), force: false });
    await assert.rejects(restoring, isFault('invalid', /not a file of ours/), path);
  }
  assert.deepEqual(await readdir(dir), []);
});

test('a backup that holds a name twice, or a folder where a file is, is refused', async t => {
  const dir = await folder(t);
  await writeFile(join(dir, 'file'), 'x');
  for (const paths of [['a', 'a'], ['a', 'a/b'], ['a/b', 'a'], ['x'.repeat(300)]]) {
    const from = sealBackup(
      paths.map(path => ({ path, from: join(dir, 'file') })),
      'a long passphrase',
    );
    const restoring = restoreBackup({ from, passphrase: 'a long passphrase', data: join(dir, 'data'), force: false });
    await assert.rejects(restoring, isFault('invalid', /cannot be written/), paths.join());
  }
  assert.deepEqual(await readdir(dir), ['file']);
});
