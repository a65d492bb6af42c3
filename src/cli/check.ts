// sekisho check: says what a configuration would open and what is weak in it; opens nothing.
import type { Command } from 'commander';
import type { AnswerOf } from '../api/contract/routes.ts';
import { Fault, faults } from '../core/fault.ts';
import { type Context, examples } from './command.ts';

interface Options {
  readonly config?: string;
  readonly schema?: true;
  readonly strict?: true;
  readonly running?: true;
}

export function define(command: Command, context: Context): void {
  command
    .option('-c, --config <file>', 'the configuration (default: what sekisho up runs without one)')
    .option('--strict', 'weaknesses fail it too')
    .option('--running', 'ask the running gate about its file as it is on disk now')
    .option('--schema', 'print the JSON Schema for editors instead')
    .action(async (options: Options) => {
      const { screen, json } = context;
      if (options.schema) return screen.json((await import('../daemon/index.ts')).configJsonSchema());
      const report = await reportOf(options, context);
      const isWeak = report.findings.some(({ level }) => level === 'weak');
      if (!report.ok || (options.strict === true && isWeak)) context.status = faults.invalid.exit;
      if (json) return screen.json(report);
      for (const { level, where, text } of report.findings) {
        screen.line(`${screen.tone(tones[level], level.padEnd(5))}  ${where === undefined ? '' : `${where}: `}${text}`);
      }
      if (!report.ok) return screen.note('nothing would be opened');
      if (report.findings.length > 0) screen.line();
      screen.heading('It would open');
      for (const line of report.opens) screen.line(`  ${line}`);
      if (report.opens.length === 0) screen.line('  nothing but its unix socket');
    });
  examples(
    command,
    ['sekisho check -c sekisho.yaml'],
    ['sekisho check --running', 'of a gate that runs, before sekisho reload'],
    ['sekisho check -c sekisho.yaml --json --strict', 'for a pipeline: 2 = mistakes or weaknesses'],
    [
      'sekisho check --schema > sekisho.schema.json',
      'then, in the file: # yaml-language-server: $schema=sekisho.schema.json',
    ],
  );
}

async function reportOf({ config, running }: Options, context: Context): Promise<AnswerOf<'gate.check'>> {
  if (running !== true) {
    const { checkConfig } = await import('../daemon/index.ts');
    return context.screen.progress('checking', checkConfig(config));
  }
  if (config !== undefined) throw new Fault('invalid', 'the running gate knows its file: give --running or --config');
  return (await context.client()).call('gate.check');
}

const tones = { error: 'red', weak: 'yellow', note: 'dim' } as const;
