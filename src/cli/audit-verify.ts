// sekisho audit verify: the chain at the gate, or an export on a machine that has no gate.
import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Command } from 'commander';
import { z } from 'zod';
import { signedHead, type VerifyAnswer } from '../api/contract/audit.ts';
import { Fault } from '../core/fault.ts';
import type { Context } from './command.ts';
import { readText } from './files.ts';
import { offline } from './offline.ts';
import { harmless } from './width.ts';

interface Options {
  readonly file?: string;
  readonly key?: string;
  readonly head?: string;
}

export function defineVerify(command: Command, context: Context): void {
  command
    .command('verify')
    .summary('check the chain: changed, missing, reordered or cut-off rows are found')
    .option('--head <file>', 'a head kept elsewhere (audit head --json): finds what was cut off or rewritten since')
    .option('--file <export>', 'check an export instead, offline')
    .option('--key <file>', "with --file: the gate's public audit key (else the one that --head brings)")
    .action(async (options: Options) => {
      const report = await (options.file === undefined ? online(options, context) : onFile(options, context));
      if (!report.ok) context.status = 1;
      context.json ? context.screen.json(report) : show(report, context);
    });
}

async function online({ head, key }: Options, context: Context): Promise<Report> {
  if (key !== undefined) throw new Fault('invalid', '--key belongs to --file; the gate checks with its own key');
  const body = head === undefined ? {} : { head: (await readHead(head)).head };
  return (await context.client()).call('audit.verify', { body });
}

async function onFile({ file = '', key, head }: Options, context: Context): Promise<Report> {
  const kept = head === undefined ? undefined : await readHead(head);
  const publicKey = key === undefined ? kept?.publicKey : await readText(key, 16_384);
  if (publicKey === undefined) {
    throw new Fault(
      'invalid',
      'an export is checked with the key that signed it: --key audit.pub (audit export --public-key audit.pub)',
    );
  }
  const { verifyExport } = await offline();
  const work = verifyExport(linesOf(file), publicKey, kept?.head);
  return context.screen.progress(`checking ${file}`, work);
}

async function* linesOf(path: string): AsyncIterable<string> {
  const input = createReadStream(path);
  try {
    for await (const line of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) yield line;
  } catch (error) {
    throw new Fault('invalid', `cannot read ${path}: ${(error as Error).message}`, { cause: error });
  } finally {
    input.destroy();
  }
}

/** What `audit head --json` wrote. The key in it is for exports; the gate checks with its own. */
async function readHead(
  path: string,
): Promise<{ head: ReturnType<typeof signedHead.parse>; publicKey: string | undefined }> {
  const text = await readText(path, 16_384);
  try {
    const { publicKey, ...head } = signedHead.extend({ publicKey: z.string().optional() }).parse(JSON.parse(text));
    return { head, publicKey };
  } catch (cause) {
    throw new Fault('invalid', `${path} holds no signed head; make one with: sekisho audit head --json`, { cause });
  }
}

type Report = Readonly<Omit<VerifyAnswer, 'problems' | 'notes'>> & {
  readonly problems: readonly VerifyAnswer['problems'][number][];
  readonly notes: readonly string[];
};

const count = (many: number, what: string): string => `${many} ${what}${many === 1 ? '' : 's'}`;

/** The verdict first, then what is wrong and where. */
function show({ ok, rows, first, last, heads, problems, notes }: Report, { screen }: Context): void {
  const range = first === undefined ? '' : ` (${first} to ${last})`;
  const what = `${count(rows, 'row')}${range}, ${count(heads, 'signed head')}`;
  screen.line(
    ok
      ? `${screen.tone('green', 'the record is whole')}: ${what}`
      : `${screen.tone('red', 'the record is NOT whole')}: ${what}`,
  );
  screen.table(
    ['row', 'problem', 'what'],
    problems.map(({ seq, problem, text }) => [seq, { text: problem, tone: 'red' }, text]),
  );
  for (const note of notes) screen.line(screen.tone('dim', harmless(note)));
}
