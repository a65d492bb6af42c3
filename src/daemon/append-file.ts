// A file that lines are added to: buffered, flushed each second, bounded, opened anew when it was moved away.
import { open as openFile } from 'node:fs/promises';
import { Fault } from '../core/fault.ts';
import type { Log } from '../core/parts.ts';

export interface AppendFileOptions {
  readonly path: string;
  readonly log: Log;
  /** Longest time that a line waits, ms; default 1000. */
  readonly interval?: number;
  /** Characters that may wait; further lines are dropped and counted; default 4 Mi. */
  readonly limit?: number;
}

export interface AppendFile extends AsyncDisposable {
  /** Adds a line, without its end. Never throws, never waits. */
  line(text: string): void;
  flush(): Promise<void>;
  /** After logrotate has moved the file, or to another one: what waits goes to the old one, what comes to the new one. */
  reopen(path?: string): Promise<void>;
}

/** A write this large starts at once instead of waiting for the second. */
const eager = 64 * 1024;

/** @throws Fault `invalid` when the file cannot be opened. */
export async function openAppendFile(options: AppendFileOptions): Promise<AppendFile> {
  const { log, interval = 1000, limit = 4 * 1024 * 1024 } = options;
  // O_APPEND: workers write to the same file, and the kernel places each write at the end as a whole.
  let { path } = options;
  const open = async (path: string) => {
    try {
      return await openFile(path, 'a', 0o640);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      throw new Fault('invalid', `${path} cannot be opened for writing (${code}); check the path and its permissions`, {
        cause: error,
      });
    }
  };
  let file = await open(path);
  let waiting = '';
  let dropped = 0;
  let broken = false;
  let work: Promise<void> = Promise.resolve();

  const write = async (): Promise<void> => {
    if (waiting === '') return;
    const text = dropped === 0 ? waiting : `${waiting}# ${dropped} lines dropped: the disk was too slow\n`;
    waiting = '';
    dropped = 0;
    try {
      await file.writeFile(text);
      broken = false;
    } catch (error) {
      if (!broken) log.warn({ path, error }, 'access lines cannot be written; they are lost until this is mended');
      broken = true;
    }
  };
  /** One after the other, so that lines keep their order and a reopen falls between two writes. */
  const queue = (step: () => Promise<void>): Promise<void> => {
    work = work.then(step, step);
    return work;
  };
  const timer = setInterval(() => void queue(write), interval);
  timer.unref();
  return {
    line(text) {
      if (waiting.length + text.length > limit) {
        dropped++;
        return;
      }
      const before = waiting.length;
      waiting += `${text}\n`;
      if (before < eager && waiting.length >= eager) void queue(write);
    },
    flush: () => queue(write),
    reopen: (to = path) =>
      queue(async () => {
        await write();
        const next = await open(to); // fails before the old one is given up
        path = to;
        await file.close();
        file = next;
      }),
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      await queue(async () => {
        await write();
        await file.close();
      });
    },
  };
}
