// The backup of a running gate: a copy of the database and the key files, sealed with a passphrase.
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type BackupEntry, sealBackup } from '../api/index.ts';
import type { Store } from '../store/index.ts';
import { keyFiles } from '../trust/index.ts';

/** Bytes to be written somewhere else. The database's copy lies in the data folder (0700) until they have been read. */
export async function backupOf(store: Store, data: string, passphrase: string): Promise<AsyncIterable<Uint8Array>> {
  const beside = await mkdtemp(join(data, '.backup-'));
  const clean = (): Promise<void> => rm(beside, { recursive: true, force: true });
  try {
    const copy = join(beside, 'sekisho.db');
    await store.backup(copy);
    const entries: BackupEntry[] = [{ path: 'sekisho.db', from: copy }, ...(await keyEntries(data))];
    return thenClean(sealBackup(entries, passphrase), clean);
  } catch (error) {
    await clean();
    throw error;
  }
}

/** What trust cannot make again, the key that signs the audit, and the one that services know identities by. */
async function keyEntries(data: string): Promise<BackupEntry[]> {
  const own = ['audit.key', 'web-identity.key'].filter(file => existsSync(join(data, file)));
  return [...(await keyFiles(data)), ...own].map(path => ({ path, from: join(data, path) }));
}

async function* thenClean(bytes: AsyncIterable<Uint8Array>, clean: () => Promise<void>): AsyncGenerator<Uint8Array> {
  try {
    yield* bytes;
  } finally {
    await clean();
  }
}
