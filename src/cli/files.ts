// Files that commands write: secrets 0600 from the first byte, nothing overwritten unless told so.
import { randomBytes } from 'node:crypto';
import { type FileHandle, mkdir, open, readFile, rename, rm, rmdir, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { Fault } from '../core/fault.ts';

export interface NewFile {
  readonly path: string;
  write(content: string | Uint8Array): Promise<void>;
  /** Keeps it; without this, the disposal takes it away again. */
  keep(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Opens a file before the work whose result it will hold: a path that cannot be written should be found out before a
 * certificate is issued, not after. With `force`, what is there stays until the new one is complete.
 * @throws Fault `conflict` when it exists, `invalid` when it cannot be made.
 */
export async function createFile(path: string, options: { mode: number; force?: boolean }): Promise<NewFile> {
  const place = options.force ? `${path}.${randomBytes(4).toString('hex')}.new` : path;
  let file: FileHandle | undefined;
  try {
    if (options.force && (await stat(path).catch(() => undefined))?.isDirectory()) {
      throw Object.assign(new Error('directory'), { code: 'EISDIR' });
    }
    file = await open(place, 'wx', options.mode);
  } catch (error) {
    throw cannot(error as NodeJS.ErrnoException, path, 'write');
  }
  let kept = false;
  const end = async (): Promise<void> => {
    await file?.close();
    file = undefined;
  };
  return {
    path,
    write: async content => {
      await file?.writeFile(content).catch(error => Promise.reject(cannot(error, path, 'write')));
    },
    keep: async () => {
      await file?.sync();
      await end();
      if (place !== path) await rename(place, path).catch(error => Promise.reject(cannot(error, path, 'write')));
      kept = true;
    },
    [Symbol.asyncDispose]: async () => {
      await end();
      if (!kept) await rm(place, { force: true });
    },
  };
}

export interface NewFolder extends AsyncDisposable {
  /** Keeps it; without this, the disposal takes away what was made of it, if nothing else has come into it. */
  keep(): void;
}

export async function createFolder(path: string): Promise<NewFolder> {
  const wanted = resolve(path);
  const first = await mkdir(wanted, { recursive: true }).catch(error => Promise.reject(cannot(error, path, 'make')));
  let kept = first === undefined;
  return {
    keep() {
      kept = true;
    },
    async [Symbol.asyncDispose]() {
      if (kept || first === undefined) return;
      for (let at = wanted; at.length >= first.length; at = dirname(at)) {
        if (
          !(await rmdir(at)
            .then(() => true)
            .catch(() => false))
        )
          return;
      }
    },
  };
}

/** Reads a whole file of at most `limit` bytes. */
export async function readText(path: string, limit = 1024 * 1024): Promise<string> {
  const content = await readFile(path).catch(error => Promise.reject(cannot(error, path, 'read')));
  if (content.length > limit)
    throw new Fault('invalid', `${path} is longer than ${limit} bytes; is it the right file?`);
  return content.toString('utf8');
}

const reasons: Record<string, string> = {
  ENOENT: 'there is no such file or folder',
  EACCES: 'permission denied',
  EISDIR: 'it is a folder',
  ENOTDIR: 'a part of the path is not a folder',
  ENOSPC: 'the disk is full',
  EROFS: 'the file system is read-only',
};

function cannot(error: NodeJS.ErrnoException, path: string, verb: string): Fault {
  if (error.code === 'EEXIST') {
    return new Fault('conflict', `${path} exists already; choose another name, or --force to replace it`, {
      cause: error,
    });
  }
  return new Fault('invalid', `cannot ${verb} ${path}: ${reasons[error.code ?? ''] ?? error.message}`, {
    cause: error,
  });
}
