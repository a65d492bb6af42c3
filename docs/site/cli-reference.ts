// The reference of the command line: what --help says, of every command and its parts.
import { PassThrough } from 'node:stream';
import type { Command } from 'commander';
import { plant } from '../../src/cli/index.ts';

/** Columns of a help text on the page. */
const width = 100;

/** One Markdown section a command. */
export async function cliReference(): Promise<string> {
  const stdout = Object.assign(new PassThrough(), { columns: width });
  const stderr = new PassThrough();
  const { signal } = new AbortController();
  const { program } = await plant({ stdin: new PassThrough(), stdout, stderr, env: {}, signal }, () => true);
  const sections = program.commands.map(command => sectionOf(command, 2, stdout));
  return ['# Command line', helpOf(program, stdout), ...sections].join('\n\n');
}

function sectionOf(command: Command, depth: number, out: PassThrough): string {
  const name = `${'#'.repeat(Math.min(depth, 4))} ${pathOf(command)}`;
  return [name, helpOf(command, out), ...command.commands.map(one => sectionOf(one, depth + 1, out))].join('\n\n');
}

const pathOf = (command: Command): string =>
  command.parent ? `${pathOf(command.parent)} ${command.name()}` : command.name();

/** With the examples, which commander writes but does not return. */
function helpOf(command: Command, out: PassThrough): string {
  out.read();
  command.configureOutput({ writeOut: text => out.write(text), getOutHelpWidth: () => width });
  command.outputHelp();
  return `\`\`\`\n${String(out.read() ?? '').trim()}\n\`\`\``;
}
