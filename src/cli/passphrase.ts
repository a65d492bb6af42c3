// The passphrase of a backup: from a file's first line, the terminal, or stdin. Never from the arguments.
import { Fault } from '../core/fault.ts';
import { askSecret } from './ask.ts';
import type { Io } from './command.ts';
import { readText } from './files.ts';

export async function readPassphrase(io: Io, file: string | undefined, isNew = false): Promise<string> {
  const text =
    file === undefined ? await askSecret(io, 'Passphrase', isNew) : firstLine(await readText(file, 4096), file);
  if (isNew && text.length < 12)
    throw new Fault('invalid', 'a passphrase has at least 12 characters; a sentence is good');
  return text;
}

function firstLine(text: string, file: string): string {
  const line = text.split('\n')[0]?.replace(/\r$/, '') ?? '';
  if (line === '') throw new Fault('invalid', `the first line of ${file} is empty; it should be the passphrase`);
  return line;
}
