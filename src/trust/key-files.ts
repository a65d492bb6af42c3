// Private keys and other secrets as files: 0600, written whole or not at all, never overwritten.
import { randomBytes } from 'node:crypto';
import { link, mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Fault } from '../core/fault.ts';

/** Writes a folder of files that appears at once, complete. `false` = it was already there and is untouched. */
export async function writeFolder(
  folder: string,
  files: Readonly<Record<string, string | Uint8Array>>,
): Promise<boolean> {
  const parent = dirname(folder);
  await mkdir(parent, { recursive: true, mode: 0o700 });
  const temporary = `${folder}.${randomBytes(6).toString('hex')}.new`;
  await mkdir(temporary, { mode: 0o700 });
  try {
    for (const [name, text] of Object.entries(files)) await writeDurably(join(temporary, name), text);
    await syncFolder(temporary);
    await rename(temporary, folder); // refused by the system when the folder is there and holds anything
    await syncFolder(parent);
    return true;
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    if (['ENOTEMPTY', 'EEXIST'].includes(codeOf(error))) return false;
    throw cannotWrite(folder, error);
  }
}

/** Writes one file that must not exist yet. `false` = it was already there and is untouched. */
export async function writeNew(path: string, text: string | Uint8Array): Promise<boolean> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.new`;
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await writeDurably(temporary, text);
    await link(temporary, path); // unlike rename, this refuses to replace
    await syncFolder(dirname(path));
    return true;
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false;
    throw cannotWrite(path, error);
  } finally {
    await rm(temporary, { force: true });
  }
}

/** Replaces a file that can be made again (an issued certificate); readers see the old or the new one, never a part. */
export async function replaceFile(path: string, text: string | Uint8Array): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.new`;
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await writeDurably(temporary, text);
    await rename(temporary, path);
    await syncFolder(dirname(path));
  } catch (error) {
    await rm(temporary, { force: true });
    throw cannotWrite(path, error);
  }
}

/** Reads a secret file that nobody else may read. `undefined` = it is not there. @throws Fault `invalid` */
export async function readSecretFile(path: string): Promise<Buffer | undefined> {
  try {
    const { mode } = await stat(path);
    if ((mode & 0o077) !== 0) {
      throw new Fault(
        'invalid',
        `${path} can be read by others (mode ${(mode & 0o777).toString(8)}); run: chmod 600 ${path}`,
      );
    }
    return await readFile(path);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    if (error instanceof Fault) throw error;
    throw new Fault('invalid', `${path} cannot be read (${codeOf(error)}); run the gate as the user who owns it`, {
      cause: error,
    });
  }
}

async function writeDurably(path: string, text: string | Uint8Array): Promise<void> {
  await using file = await open(path, 'wx', 0o600);
  await file.writeFile(text);
  await file.sync();
}

async function syncFolder(path: string): Promise<void> {
  await using folder = await open(path, 'r');
  await folder.sync();
}

const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? '';
const cannotWrite = (path: string, cause: unknown): Fault =>
  new Fault(
    'invalid',
    `${path} cannot be written (${codeOf(cause) || 'unknown reason'}); check the folder's owner and free space`,
    { cause },
  );

/**
 * Paths, relative to the data directory, of what a backup needs beside the database: the CA and secrets.key. ACME's and
 * automatic certificates are left out: they are made again.
 */
export async function keyFiles(dir: string): Promise<readonly string[]> {
  const names = async (folder: string): Promise<string[]> => {
    try {
      return await readdir(folder);
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return [];
      throw new Fault('invalid', `${folder} cannot be read; run the gate as the user who owns it`, { cause: error });
    }
  };
  const ca = (await names(join(dir, 'ca'))).map(name => `ca/${name}`);
  return [...ca, ...(await names(dir))]
    .filter(path => /^(ca\/((root(-\d+)?|issuing-\d+|cross-\d+)\.(crt|key)|active)|secrets\.key)$/.test(path))
    .sort();
}
