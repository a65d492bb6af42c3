// sekisho check: says what a configuration would open and what is weak in it; opens nothing.
import type { Command } from 'commander';
import { faults } from '../core/fault.ts';

import { type Context, examples } from './command.ts';

interface Options {
  readonly config?: string;
  readonly schema?: true;
  readonly strict?: true;
}

export function define(command: Command, context: Context): void {
  command
    .option('-c, --config <file>', 'the configuration (default: what sekisho up runs without one)')
    .option('--strict', 'weaknesses fail it too')
    .option('--schema', 'print the JSON Schema for editors instead')
    .action(async (options: Options) => {
      const { checkConfig, configJsonSchema } = await import('../daemon/index.ts');
      const { screen, json } = context;
      if (options.schema) return screen.json(configJsonSchema());
      const report = await screen.progress('checking', checkConfig(options.config));
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
    ['sekisho check -c sekisho.yaml --json --strict', 'for a pipeline: 2 = mistakes or weaknesses'],
    [
      'sekisho check --schema > sekisho.schema.json',
      'then, in the file: # yaml-language-server: $schema=sekisho.schema.json',
    ],
  );
}

const tones = { error: 'red', weak: 'yellow', note: 'dim' } as const;
