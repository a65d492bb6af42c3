// sekisho restore: a data folder from a backup; no gate may run there.
import { createReadStream } from 'node:fs';
import type { Command } from 'commander';
import { Fault } from '../core/fault.ts';
import { type Context, examples } from './command.ts';
import { offline } from './offline.ts';
import { readPassphrase } from './passphrase.ts';

export function define(command: Command, context: Context): void {
  command
    .argument('<file>', 'from sekisho backup')
    .option('--passphrase-file <file>', 'its first line instead of asking')
    .option('--force', 'also into a folder that is not empty; what is there is moved aside, not deleted')
    .action(async (path: string, options: { passphraseFile?: string; force?: true }) => {
      if (!context.dataGiven) throw new Fault('invalid', 'say where to: sekisho restore FILE --data DIR');
      const passphrase = await readPassphrase(context.io, options.passphraseFile);
      const { restoreBackup } = await offline();
      const work = restoreBackup({
        from: bytesOf(path),
        passphrase,
        data: context.data,
        force: options.force === true,
      });
      const done = await context.screen.progress(`restoring ${context.data}`, work);
      if (context.json) return context.screen.json({ data: context.data, ...done });
      context.screen.line(`${context.data}: ${done.files.length} files restored`);
      if (done.movedTo) context.screen.note(`what was there is in ${done.movedTo}`);
      context.screen.note(`start it with: sekisho up --data ${context.data}`);
    });
  examples(command, ['sekisho restore gate.backup --data /var/lib/sekisho']);
}

async function* bytesOf(path: string): AsyncIterable<Uint8Array> {
  const input = createReadStream(path, { highWaterMark: 256 * 1024 });
  try {
    yield* input as AsyncIterable<Buffer>;
  } catch (error) {
    if (error instanceof Fault) throw error;
    throw new Fault('invalid', `cannot read ${path}: ${(error as Error).message}`, { cause: error });
  } finally {
    input.destroy();
  }
}
