// Runs the command line inside the test, with streams of the test's own; `spawnSekisho` runs the real executable.
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { type Io, run } from '../../src/cli/index.ts';

export interface Told {
  readonly status: number;
  readonly out: string;
  readonly err: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests read whatever came
  readonly json: any;
}
export interface RunOptions {
  readonly env?: Record<string, string>;
  /** What comes on stdin, which is no terminal. */
  readonly input?: string;
  /** What is typed on a terminal: each entry once the prompt before it has been written. */
  readonly typed?: readonly string[];
  /** Whether stdout is a terminal, so many columns wide. */
  readonly columns?: number;
  readonly signal?: AbortSignal;
}

export async function runSekisho(
  argv: readonly string[],
  options: RunOptions = {},
): Promise<Told & { raw: boolean[] }> {
  const { env = {}, input, typed, columns, signal = new AbortController().signal } = options;
  const [out, err, raw]: [string[], string[], boolean[]] = [[], [], []];
  const stdout = Object.assign(new PassThrough(), columns === undefined ? {} : { isTTY: true, columns });
  const stderr = new PassThrough();
  const stdin = Object.assign(
    new PassThrough(),
    typed === undefined ? {} : { isTTY: true, setRawMode: (on: boolean) => raw.push(on) },
  );
  const answers = [...(typed ?? [])];
  stdout.on('data', chunk => out.push(String(chunk)));
  stderr.on('data', chunk => {
    err.push(String(chunk));
    if (/(: |\] )$/.test(String(chunk)) && answers.length > 0) stdin.write(answers.shift());
  });
  if (typed === undefined) stdin.end(input ?? '');
  const io: Io = { stdin, stdout, stderr, env: { HOME: '/nonexistent', ...env }, signal };
  const status = await run(argv, io);
  const text = out.join('');
  return {
    ...{ status, raw, out: text, err: err.join('') },
    get json() {
      return JSON.parse(text);
    },
  };
}

const main = join(import.meta.dirname, '..', '..', 'src', 'main.ts');

export function spawnSekisho(argv: readonly string[], env: Record<string, string> = {}): ChildProcess {
  return spawn(process.execPath, [main, ...argv], {
    env: { PATH: process.env['PATH'] ?? '', HOME: '/nonexistent', ...env },
  });
}
