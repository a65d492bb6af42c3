// Backup and restore: files of a data folder in one sealed stream.
//
//   inside the seal, per file:  | length u32 | JSON {path, mode, size} | the file's bytes |     then a length of 0
import { createReadStream } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, rename, rm, rmdir, stat } from 'node:fs/promises';
import { connect } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { z } from 'zod';
import { Fault } from '../core/fault.ts';
import { ByteReader, seal, unseal } from './seal.ts';

/** A file of the backup. */
export interface BackupEntry {
  /** Relative to the data folder, with `/`: `sekisho.db`, `ca/root.key`. */
  readonly path: string;
  /** Where it lies now. */
  readonly from: string;
}

const header = z.strictObject({
  path: z
    .string()
    .max(512)
    .regex(/^(?!.*(^|\/)\.{1,2}(\/|$))[^/\\\0][^\\\0]*$/),
  mode: z.int().min(0).max(0o777),
  size: z.int().nonnegative(),
});

/** The files, sealed. They must not grow or shrink meanwhile: copy the database first (`store.backup`). */
export function sealBackup(entries: readonly BackupEntry[], passphrase: string): AsyncIterable<Uint8Array> {
  return seal(pack(entries), passphrase);
}

async function* pack(entries: readonly BackupEntry[]): AsyncGenerator<Uint8Array> {
  for (const { path, from } of entries) {
    const { size, mode } = await stat(from);
    const head = Buffer.from(JSON.stringify(header.parse({ path, mode: mode & 0o777, size })));
    yield Buffer.concat([u32(head.length), head]);
    let sent = 0;
    for await (const chunk of createReadStream(from, { highWaterMark: 256 * 1024 }) as AsyncIterable<Buffer>) {
      sent += chunk.length;
      yield chunk;
    }
    if (sent !== size) throw new Fault('conflict', `${path} changed while it was copied; try again`);
  }
  yield u32(0);
}

const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};

export interface RestoreOptions {
  readonly from: AsyncIterable<Uint8Array>;
  readonly passphrase: string;
  /** The data folder to make. */
  readonly data: string;
  /** Moves aside what is there, instead of refusing. */
  readonly force: boolean;
}

export interface Restored {
  readonly files: readonly string[];
  /** Where the former folder went. */
  readonly movedTo?: string;
}

/**
 * Writes everything beside the folder and puts it in place at the end: a damaged backup changes nothing.
 * @throws Fault `conflict` for a folder that is not empty or whose gate runs, `invalid` for a wrong passphrase or a damaged file
 */
export async function restoreBackup({ from, passphrase, data, force }: RestoreOptions): Promise<Restored> {
  const before = await contentOf(data);
  if (before === 'full' && !force) {
    throw new Fault('conflict', `${data} is not empty; choose another folder, or --force to move it aside`);
  }
  if (before === 'full' && (await isAnswering(join(data, 'sekisho.sock')))) {
    throw new Fault('conflict', `a gate runs in ${data}; stop it first`);
  }
  const beside = join(dirname(data), `.${basename(data)}.restoring-${process.pid}`);
  await mkdir(beside, { recursive: true, mode: 0o700 });
  try {
    const files = await unpack(unseal(from, passphrase), beside);
    if (before === 'missing') await rename(beside, data);
    else if (before === 'empty') await rmdir(data).then(() => rename(beside, data));
    else {
      const movedTo = `${data}.before-${new Date().toISOString().replace(/[:.]/g, '-')}`;
      await rename(data, movedTo);
      await rename(beside, data);
      return { files, movedTo };
    }
    return { files };
  } finally {
    await rm(beside, { recursive: true, force: true });
  }
}

async function unpack(plain: AsyncIterable<Buffer>, folder: string): Promise<string[]> {
  await using reader = new ByteReader(plain);
  const files: string[] = [];
  for (;;) {
    const length = (await need(reader, 4)).readUInt32BE();
    if (length === 0) return files;
    if (length > 4096) throw new Fault('invalid', 'the backup holds something that is not a file of ours');
    const { path, mode, size } = parseHeader((await need(reader, length)).toString('utf8'));
    const file = await make(folder, path, mode & 0o700);
    try {
      for (let left = size; left > 0; ) {
        const bytes = await need(reader, Math.min(left, 256 * 1024));
        await file.writeFile(bytes);
        left -= bytes.length;
      }
      await file.sync();
    } finally {
      await file.close();
    }
    files.push(path);
  }
}

/** @throws Fault `invalid`: the disk is full, or the backup holds a name twice or one that the system refuses */
async function make(folder: string, path: string, mode: number): Promise<FileHandle> {
  try {
    await mkdir(dirname(join(folder, path)), { recursive: true, mode: 0o700 });
    return await open(join(folder, path), 'wx', mode);
  } catch (cause) {
    throw new Fault('invalid', `${path} cannot be written (${(cause as NodeJS.ErrnoException).code})`, { cause });
  }
}

function parseHeader(text: string): z.output<typeof header> {
  try {
    return header.parse(JSON.parse(text));
  } catch (cause) {
    throw new Fault('invalid', 'the backup holds something that is not a file of ours', { cause });
  }
}

async function need(reader: ByteReader, length: number): Promise<Buffer> {
  const bytes = await reader.read(length);
  if (!bytes) throw new Fault('invalid', 'the backup ends in the middle of a file');
  return bytes;
}

async function contentOf(path: string): Promise<'missing' | 'empty' | 'full'> {
  try {
    return (await readdir(path)).length === 0 ? 'empty' : 'full';
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 'missing';
    throw new Fault('invalid', `${path} cannot be used: ${(error as Error).message}`, { cause: error });
  }
}

function isAnswering(socket: string): Promise<boolean> {
  return new Promise(resolve => {
    const conn = connect(socket);
    conn.once('connect', () => {
      conn.destroy();
      resolve(true);
    });
    conn.once('error', () => resolve(false));
  });
}
