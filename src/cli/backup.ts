// sekisho backup: database, CA keys and audit key in one encrypted file, while the gate runs.
import type { Command } from 'commander';
import { type Context, examples } from './command.ts';
import { createFile } from './files.ts';
import { formatBytes } from './format.ts';
import { readPassphrase } from './passphrase.ts';

export function define(command: Command, context: Context): void {
  command
    .argument('<file>', 'where to write it; 0600')
    .option('--passphrase-file <file>', 'its first line instead of asking')
    .option('--force', 'replace the file if it exists')
    .action(async (path: string, options: { passphraseFile?: string; force?: true }) => {
      await using file = await createFile(path, { mode: 0o600, force: options.force === true });
      const passphrase = await readPassphrase(context.io, options.passphraseFile, true);
      const answer = await (await context.client()).open('gate.backup', { body: { passphrase } });
      let bytes = 0;
      const work = async (): Promise<void> => {
        for await (const chunk of answer) {
          await file.write(chunk);
          bytes += chunk.length;
        }
      };
      await context.screen.progress(`backing up to ${path}`, work());
      await file.keep();
      if (context.json) return context.screen.json({ file: path, bytes });
      context.screen.line(`${path}: ${formatBytes(bytes)}`);
      context.screen.note('it holds the CA keys; without its passphrase it cannot be read by anybody');
    });
  examples(
    command,
    ['sekisho backup gate.backup', 'asks for a passphrase'],
    ['sekisho backup gate.backup --passphrase-file /etc/sekisho/backup.pass'],
  );
}
