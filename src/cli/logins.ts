// Who signed in where: tokens in one file that only its owner may read.
import { chmod, mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { Fault } from '../core/fault.ts';

type Env = Readonly<Record<string, string | undefined>>;

const login = z.object({
  user: z.string(),
  token: z.string(),
  until: z.string(),
  ca: z.string().optional(),
});
export type Login = z.output<typeof login>;

const logins = z.object({ current: z.string().optional(), gates: z.record(z.string(), login) });
export type Logins = z.output<typeof logins>;

export const loginsFile = (env: Env): string =>
  join(env['XDG_CONFIG_HOME'] || join(env['HOME'] || homedir(), '.config'), 'sekisho', 'logins.json');

export async function readLogins(env: Env): Promise<Logins> {
  const path = loginsFile(env);
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { gates: {} };
    throw new Fault('invalid', `cannot read ${path}: ${(error as Error).message}`, { cause: error });
  }
  try {
    return logins.parse(JSON.parse(text));
  } catch (cause) {
    throw new Fault('invalid', `${path} is damaged; delete it and sign in again`, { cause });
  }
}

/** Written beside and renamed, 0600 from the first byte, so that a crash leaves the old file or the new. */
export async function writeLogins(env: Env, value: Logins): Promise<void> {
  const path = loginsFile(env);
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const beside = `${path}.${process.pid}`;
  await rm(beside, { force: true });
  const file = await open(beside, 'wx', 0o600);
  try {
    await file.writeFile(`${JSON.stringify(value, null, 2)}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(beside, path);
  await chmod(path, 0o600);
}
