// Hostile backups: whatever the bytes, unsealing and unpacking answer with the plaintext or a Fault `invalid`.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { restoreBackup } from '../../src/api/backup.ts';
import { seal } from '../../src/api/seal.ts';
import { Fault } from '../../src/core/fault.ts';

const numRuns = Number(process.env['FUZZ_RUNS'] ?? 60);
const cheap = { N: 10, r: 8, p: 1 };
async function* streamOf(...chunks: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* chunks;
}

async function restore(from: AsyncIterable<Uint8Array>): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'sekisho-fuzz-'));
  try {
    await restoreBackup({ from, passphrase: 'x', data: join(dir, 'data'), force: false });
  } catch (error) {
    if (!(error instanceof Fault) || error.code !== 'invalid') throw error;
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

test('bytes that were never sealed', async () => {
  const header = Buffer.from('SEKISHO-BACKUP\n\x01');
  const bytes = fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 4 });
  await fc.assert(
    fc.asyncProperty(bytes, fc.boolean(), (chunks, isMarked) =>
      restore(streamOf(...(isMarked ? [header] : []), ...chunks)),
    ),
    { numRuns },
  );
});

test('a seal around anything but files', async () => {
  const length = fc.nat({ max: 5000 }).map(value => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(value);
    return bytes;
  });
  const head = fc
    .record(
      { path: fc.oneof(fc.string(), fc.constant('a/b')), mode: fc.integer(), size: fc.integer() },
      { requiredKeys: [] },
    )
    .map(value => {
      const text = Buffer.from(JSON.stringify(value));
      const size = Buffer.alloc(4);
      size.writeUInt32BE(text.length);
      return Buffer.concat([size, text]);
    });
  const part = fc.oneof(length, head, fc.uint8Array({ maxLength: 100 }));
  await fc.assert(
    fc.asyncProperty(fc.array(part, { maxLength: 6 }), parts => restore(seal(streamOf(...parts), 'x', cheap))),
    { numRuns },
  );
});
