// Bundling in a process of its own: the bundler takes some 250 MB, which the gate would keep for as long as it runs.
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Fault } from '../core/fault.ts';

const main = join(import.meta.dirname, 'bundle-main.ts');
const patience = 120_000;

/** In a clone only. @throws Fault `unreachable` where it cannot be built */
export async function bundleApart<What extends 'agent' | 'console'>(
  what: What,
): Promise<What extends 'agent' ? string : [name: string, text: string][]> {
  try {
    const { stdout } = await promisify(execFile)(process.execPath, [main, what], {
      maxBuffer: 64 * 1024 * 1024,
      timeout: patience,
    });
    return JSON.parse(stdout);
  } catch (cause) {
    throw new Fault('unreachable', `the ${what} is not built and cannot be; run npm run build`, { cause });
  }
}
