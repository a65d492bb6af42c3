// The newest signed head in a file beside the audit key, outside the database: who cuts rows and signed heads off
// together, or puts an older database in place, is found by it at the next start and by every verification.
import { readFileSync } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { z } from 'zod';
import { Fault } from '../core/fault.ts';
import type { Log } from '../core/parts.ts';
import type { SignedHead } from './audit-key.ts';

const head = z.strictObject({
  seq: z.int().nonnegative(),
  hash: z.string().max(128),
  at: z.string().max(64),
  key: z.string().max(128),
  signature: z.string().max(256),
});
const content = z.strictObject({
  /** Which database these heads are of. */
  store: z.string().max(2048),
  newest: head.optional(),
  /** Heads that a start did not find in the database. They stay until a person has looked and removes the file. */
  missed: z.array(head).max(16),
});
type Content = z.output<typeof content>;

export interface HeadFile extends AsyncDisposable {
  readonly path: string;
  readonly newest: SignedHead | undefined;
  readonly missed: readonly SignedHead[];
  /** What is wrong with the file itself. */
  readonly trouble: string | undefined;
  /** Remembers it, soon; only the newest of many is written. Never throws. */
  keep(head: SignedHead): void;
  /** The newest one is not in the database: it is kept apart from those to come. */
  miss(): void;
}

export interface HeadFileOptions {
  readonly path: string;
  /** Names the database, without a password. Another one than before begins anew. */
  readonly store: string;
  readonly log: Log;
}

const mostMissed = 16;
const largest = 64 * 1024;

export function openHeadFile({ path, store, log }: HeadFileOptions): HeadFile {
  const found = read(path);
  const known = typeof found === 'object' && found.store === store ? found : undefined;
  if (typeof found === 'object' && !known)
    log.info({ path }, 'the store is another one; its audit is remembered from now on');
  let state: Content = known ?? { store, missed: [] };
  let isDue = false;
  let work: Promise<void> | undefined;

  const write = (): void => {
    isDue = true;
    work ??= (async () => {
      while (isDue) {
        isDue = false;
        await replace(path, `${JSON.stringify(state)}\n`).catch(error => {
          log.warn({ error, path }, 'the newest head of the audit could not be kept; the next one will be');
        });
      }
      work = undefined;
    })();
  };
  return {
    path,
    get newest() {
      return state.newest;
    },
    get missed() {
      return state.missed;
    },
    trouble: typeof found === 'string' ? found : undefined,
    keep({ seq, hash, at, key, signature }) {
      state = { ...state, newest: { seq, hash, at, key, signature } };
      write();
    },
    miss() {
      const { newest, missed } = state;
      if (newest && missed.length < mostMissed) state = { store, missed: [...missed, newest] };
      write();
    },
    async [Symbol.asyncDispose]() {
      await work;
    },
  };
}

/** A text says what is wrong; undefined: there is none yet. */
function read(path: string): Content | string | undefined {
  try {
    const text = readFileSync(path, 'utf8');
    if (text.length > largest) throw new Fault('invalid', 'too long');
    return content.parse(JSON.parse(text));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    return `${path} holds no head of the audit; somebody has changed it`;
  }
}

async function replace(path: string, text: string): Promise<void> {
  const fresh = `${path}.new`;
  await rm(fresh, { force: true });
  {
    await using file = await open(fresh, 'wx', 0o600);
    await file.writeFile(text);
    await file.sync();
  }
  await rename(fresh, path);
  await using folder = await open(dirname(path), 'r');
  await folder.sync();
}
