// sekisho import: an nginx.conf becomes a sekisho.yaml, and every line of it is accounted for.
import type { Command } from 'commander';
import { faults } from '../core/fault.ts';
import type { NginxImport } from '../daemon/index.ts';
import { type Context, examples } from './command.ts';
import { createFile } from './files.ts';
import type { Cell, Tone } from './screen.ts';
import { harmless } from './width.ts';

interface Options {
  readonly output: string;
  readonly force?: true;
}

export function define(command: Command, context: Context): void {
  command
    .argument('<nginx.conf>', 'the main file; what it includes is read too')
    .option('-o, --output <file>', 'where to write the configuration; - for stdout', 'sekisho.yaml')
    .option('--force', 'replace the file if it exists')
    .action(async (path: string, options: Options) => {
      const { importNginxFile } = await import('../daemon/index.ts'); // only here: the command line starts faster without it
      const result = importNginxFile(path);
      await write(result, options, context);
      // What is not converted is for a person to decide: scripts must notice.
      if (result.refused > 0) context.status = faults.invalid.exit;
    });
  examples(
    command,
    ['sekisho import /etc/nginx/nginx.conf', 'writes sekisho.yaml here, and says what became of each line'],
    ['sekisho import nginx.conf -o gate.yaml && sekisho check -c gate.yaml'],
    ['sekisho import nginx.conf --json -o /tmp/x.yaml | jq .findings'],
  );
  command.addHelpText(
    'after',
    '\nExit status: 0 when all was converted or safely ignored, 2 when something was refused.',
  );
}

async function write(result: NginxImport, { output, force }: Options, context: Context): Promise<void> {
  const { screen } = context;
  if (output === '-') {
    if (context.json) return screen.json(summary(result, undefined));
    await screen.write(result.yaml);
    for (const { at, directive, reason } of result.rows.filter(row => row.status === 'refused')) {
      screen.note(`refused: ${harmless(`${at.file}:${at.line} ${directive}: ${reason}`)}`);
    }
    return;
  }
  await using file = await createFile(output, { mode: 0o644, force: force === true });
  await file.write(result.yaml);
  await file.keep();
  if (context.json) return screen.json(summary(result, output));
  report(result, context);
  screen.line();
  screen.line(`${countsText(result)}: ${harmless(output)}`);
}

const counts = ({ rows }: NginxImport) => ({
  converted: rows.filter(row => row.status === 'converted').length,
  noted: rows.filter(row => row.status === 'noted').length,
  ignored: rows.filter(row => row.status === 'ignored').length,
  refused: rows.filter(row => row.status === 'refused').length,
});

function countsText(result: NginxImport): string {
  const { converted, noted, ignored, refused } = counts(result);
  return `${converted} converted, ${noted} with a note, ${ignored} safely ignored, ${refused} refused`;
}

const summary = (result: NginxImport, output: string | undefined): object => ({
  ...(output === undefined ? { yaml: result.yaml } : { output }),
  counts: counts(result),
  rows: result.rows.map(({ at, ...row }) => ({ ...at, ...row })),
  findings: result.findings.map(({ at, ...finding }) => ({ ...at, ...finding })),
});

const words: Record<string, Cell> = {
  converted: { text: 'converted', tone: 'green' },
  noted: { text: 'with a note', tone: 'yellow' },
  ignored: { text: 'ignored', tone: 'dim' },
  refused: { text: 'refused', tone: 'red' },
};
const tones: Record<string, Tone> = { high: 'red', medium: 'yellow', low: 'dim' };

function report({ rows, findings }: NginxImport, { screen }: Context): void {
  screen.table(
    ['line', 'result', { title: 'directive', shrinks: true }, { title: 'what became of it', shrinks: true }],
    rows.map(({ at, status, directive, reason }) => [`${at.file}:${at.line}`, words[status], directive, reason]),
    'the file is empty',
  );
  const refused = rows.filter(row => row.status === 'refused');
  if (refused.length > 0) {
    screen.line();
    screen.heading('Not converted, and what to do');
    for (const { at, directive, reason, todo } of refused) {
      screen.line(harmless(`${at.file}:${at.line} ${directive}: ${reason}`));
      if (todo !== undefined) screen.line(`    → ${harmless(todo)}`);
    }
  }
  if (findings.length === 0) return;
  screen.line();
  screen.heading('Found: what the original does, and may not be meant to');
  for (const { severity, at, text, todo } of findings) {
    screen.line(`${screen.tone(tones[severity] ?? 'dim', severity)} ${harmless(`${at.file}:${at.line} ${text}`)}`);
    screen.line(`    → ${harmless(todo)}`);
  }
}
