// Resolves what `file:` and `env:` name: a limit on every read, and FIFOs that are answered by whoever writes to them.
import { constants, open as openDescriptor, type Stats } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';
import { Socket } from 'node:net';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import { Fault } from '../core/fault.ts';
import type { Read } from '../wire/config-value.ts';
import { whyUnreadable } from './config-file.ts';

export interface ReadOptions {
  /** Where relative paths start. */
  readonly folder: string;
  readonly env?: NodeJS.ProcessEnv;
  /** Bytes; default 1 MiB, which holds the largest CA bundle several times. */
  readonly limit?: number;
  /** How long a FIFO may stay silent, ms; default 10,000. */
  readonly patience?: number;
  /** Called with every path that is read, so that somebody can watch it. */
  readonly seen?: (path: string) => void;
}

/**
 * A reader for one loading of the configuration. What it read it keeps, for a FIFO gives its content once and several
 * routes may name it; so make a new one for each loading.
 */
export function createRead(options: ReadOptions): Read {
  const kept = new Map<string, Promise<Buffer>>();
  return reference => {
    const before = kept.get(reference);
    if (before) return before;
    const content = readReference(reference, options);
    kept.set(reference, content);
    return content;
  };
}

async function readReference(reference: string, options: ReadOptions): Promise<Buffer> {
  if (reference.startsWith('env:')) {
    const name = reference.slice(4);
    const value = (options.env ?? process.env)[name];
    if (value === undefined) throw new Fault('invalid', `env:${name}: this environment variable is not set`);
    return Buffer.from(value);
  }
  if (!reference.startsWith('file:')) throw new Fault('invalid', 'write file:path or env:NAME');
  const path = resolve(options.folder, reference.slice(5));
  options.seen?.(path);
  const limit = options.limit ?? 1024 * 1024;
  try {
    const facts = await stat(path);
    if (facts.isFIFO()) return await readFifo(path, limit, options.patience ?? 10_000);
    return await readPlain(path, facts, limit);
  } catch (error) {
    if (error instanceof Fault) throw error;
    throw new Fault('invalid', `${path}: ${whyUnreadable(error)}`, { cause: error });
  }
}

async function readPlain(path: string, facts: Stats, limit: number): Promise<Buffer> {
  if (facts.isDirectory()) throw Object.assign(new Error('directory'), { code: 'EISDIR' });
  const file = await open(path, 'r');
  try {
    return await readBounded(file, path, limit);
  } finally {
    await file.close();
  }
}

/** Not by the size that stat says: a file of /proc says 0, and a file can grow while it is read. */
async function readBounded(file: FileHandle, path: string, limit: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  let total = 0;
  for (;;) {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(64 * 1024), 0, 64 * 1024);
    if (bytesRead === 0) return Buffer.concat(parts);
    total += bytesRead;
    if (total > limit) throw tooLarge(path, limit);
    parts.push(buffer.subarray(0, bytesRead));
  }
}

/**
 * Opened without blocking, since a plain open of a FIFO would hold a thread of Node's pool until somebody writes, and
 * cannot be called off. libuv then waits for the writer by epoll.
 */
async function readFifo(path: string, limit: number, patience: number): Promise<Buffer> {
  const fd = await promisify(openDescriptor)(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const socket = new Socket({ fd, readable: true, writable: false }); // closes the descriptor with itself
  const deadline = AbortSignal.timeout(patience);
  const giveUp = (): void => {
    socket.destroy(new Fault('invalid', `${path}: nobody wrote to this FIFO within ${patience / 1000} s`));
  };
  deadline.addEventListener('abort', giveUp, { once: true });
  const parts: Buffer[] = [];
  let total = 0;
  try {
    for await (const part of socket) {
      total += (part as Buffer).length;
      if (total > limit) throw tooLarge(path, limit);
      parts.push(part as Buffer);
    }
    return Buffer.concat(parts);
  } finally {
    deadline.removeEventListener('abort', giveUp);
    socket.destroy();
  }
}

const tooLarge = (path: string, limit: number): Fault =>
  new Fault('invalid', `${path}: larger than ${limit} bytes; is this the right file?`);
