// sekisho audit: the record.
import { type Command, Option } from 'commander';
import type { AuditRowAnswer } from '../api/contract/audit.ts';
import { parseDuration } from '../core/duration.ts';
import { Fault } from '../core/fault.ts';
import { proofOf } from './audit-proof.ts';
import { defineVerify } from './audit-verify.ts';
import { type Context, examples } from './command.ts';
import { createFile, type NewFile } from './files.ts';
import { formatWho, second } from './format.ts';
import type { Screen, Tone } from './screen.ts';
import { cut, displayWidth, harmless, pad } from './width.ts';

export function define(command: Command, context: Context): void {
  command
    .command('tail')
    .summary('the newest rows')
    .option('-f, --follow', 'and those to come')
    .option('-n, --last <count>', 'how many to begin with', '10')
    .option('--after <row>', 'begin after this row number instead')
    .action(async ({ follow, last, after }) => {
      const query = { follow: follow === true ? 'true' : 'false', last, after };
      const client = await context.client();
      for await (const row of client.lines('audit.tail', { query })) {
        context.json ? context.screen.jsonLine(row) : context.screen.line(rowLine(context.screen, row));
      }
    });
  defineSearch(command, context);
  defineVerify(command, context);
  defineExport(command, context);
  defineRecordings(command, context);
  examples(
    command,
    ['sekisho audit tail --follow'],
    ['sekisho audit search --event "*.denied" --since 24h'],
    ['sekisho audit search --user staff01 --json'],
    ['sekisho audit head --json > head.json', 'keep it somewhere else: verify --head finds rewriting'],
    ['sekisho audit verify --head head.json'],
    ['sekisho audit export --out audit.jsonl --public-key audit.pub'],
    ['sekisho audit verify --file audit.jsonl --key audit.pub', 'offline, without a gate'],
    ['sekisho audit export --format csv --out audit.csv --proof audit --public-key audit.pub', 'for openssl alone'],
  );
}

function defineSearch(command: Command, context: Context): void {
  command
    .command('search')
    .summary('rows that match, newest first')
    .option('--event <pattern>', 'for example "*.denied" or proxy.opened')
    .option('--user <name>', 'who')
    .option('--resource <pattern>', 'for example "proxy/*"')
    .option('--outcome <outcome>', 'allowed, denied, ended, done or failed')
    .option('--session <id>', 'one session')
    .option('--since <time>', 'RFC 3339, or so long ago: 24h')
    .option('--until <time>', 'likewise')
    .option('--before <row>', 'only rows before this number')
    .option('--limit <count>', 'how many at most', '100')
    .action(async ({ since, until, ...rest }) => {
      const query = { ...rest, since: timeOf(since), until: timeOf(until) };
      const found = await (await context.client()).call('audit.search', { query });
      if (context.json) return context.screen.json(found);
      for (const row of found.rows) context.screen.line(rowLine(context.screen, row));
      if (found.next !== undefined) context.screen.note(`… there are more: --before ${found.next}`);
    });
}

function defineExport(command: Command, context: Context): void {
  command
    .command('export')
    .summary('everything an offline verifier needs, one JSON value a line, or as CSV; the last line is signed')
    .option('--out <file>', 'into a file instead of stdout')
    .addOption(new Option('--format <format>', 'how it is written').choices(['jsonl', 'csv']).default('jsonl'))
    .option('--proof <name>', 'for openssl: NAME.txt, which was signed, and NAME.sig; see the guide to operations')
    .option('--public-key <file>', 'the key that checks it, into another file')
    .option('--since <time>', 'RFC 3339, or so long ago: 30d')
    .option('--until <time>', 'likewise')
    .option('--force', 'replace files that exist')
    .action(async (options: Export) => {
      const { screen } = context;
      const client = await context.client();
      const force = options.force === true;
      await using key =
        options.publicKey === undefined ? undefined : await createFile(options.publicKey, { mode: 0o644, force });
      await using file = options.out === undefined ? undefined : await createFile(options.out, { mode: 0o600, force });
      if (key) {
        await key.write((await client.call('audit.head')).publicKey);
        await key.keep();
      }
      const proof = options.proof === undefined ? undefined : await proofFiles(options.proof, force);
      await using text = proof?.text;
      await using signature = proof?.signature;
      const query = { since: timeOf(options.since), until: timeOf(options.until), format: options.format };
      const answer = await client.open('audit.export', { query });
      let tail = Buffer.alloc(0);
      const work = async (): Promise<void> => {
        for await (const chunk of answer) {
          tail = Buffer.concat([tail, chunk]).subarray(-longestEnd);
          file ? await file.write(chunk) : await screen.write(chunk);
        }
      };
      await (file ? screen.progress(`exporting to ${options.out}`, work()) : work());
      if (text && signature) {
        const made = proofOf(tail.toString('utf8').trimEnd().split('\n').at(-1) ?? '');
        await text.write(made.text);
        await signature.write(made.signature);
        for (const one of [text, signature]) await one.keep();
      }
      await file?.keep();
      const { out, proof: name, publicKey } = options;
      const proofs = name === undefined ? {} : { proof: [`${name}.txt`, `${name}.sig`] };
      // Without --out the export itself is what stands on stdout.
      if (file && context.json)
        screen.json({ file: out, ...proofs, ...(publicKey === undefined ? {} : { publicKey }) });
    });
  command
    .command('head')
    .summary('the signed head of the chain')
    .action(async () => {
      const { head, publicKey } = await (await context.client()).call('audit.head');
      if (context.json) return context.screen.json({ ...head, publicKey });
      context.screen.facts(Object.entries(head).map(([name, value]) => [name, String(value)] as const));
      context.screen.line(publicKey.trimEnd());
    });
}

interface Export {
  readonly out?: string;
  readonly publicKey?: string;
  readonly since?: string;
  readonly until?: string;
  readonly format: 'jsonl' | 'csv';
  readonly proof?: string;
  readonly force?: true;
}
/** Bytes that the signed end may have. */
const longestEnd = 64 * 1024;

async function proofFiles(name: string, force: boolean): Promise<{ text: NewFile; signature: NewFile }> {
  const text = await createFile(`${name}.txt`, { mode: 0o644, force });
  try {
    return { text, signature: await createFile(`${name}.sig`, { mode: 0o644, force }) };
  } catch (error) {
    await text[Symbol.asyncDispose]();
    throw error;
  }
}

function defineRecordings(command: Command, context: Context): void {
  command
    .command('recordings')
    .summary('recordings of terminals, newest first')
    .option('--device <name>', 'of one device')
    .option('--user <name>', 'of one user')
    .option('--limit <count>', 'how many at most', '100')
    .action(async (query: { device?: string; user?: string; limit: string }) => {
      const answer = await (await context.client()).call('audit.recording-list', { query });
      if (context.json) return context.screen.json(answer);
      context.screen.table(
        ['id', 'begun', 'user', 'login', 'device', 'service', 'bytes'],
        answer.recordings.map(({ id, begun, user, login, device, service, bytes }) => [
          ...[id, second(begun), user, login, device, service],
          bytes,
        ]),
        'nothing is recorded; device.terminal.recording.devices says on which devices it is',
      );
    });
  command
    .command('recording <id>')
    .summary('one recording, asciicast v2; asciinema play shows it')
    .option('--out <file>', 'into a file instead of stdout')
    .option('--force', 'replace a file that exists')
    .action(async (id: string, { out, force }: { out?: string; force?: true }) => {
      const answer = await (await context.client()).open('audit.recording', { params: { id } });
      await using file = out === undefined ? undefined : await createFile(out, { mode: 0o600, force: force === true });
      for await (const chunk of answer) file ? await file.write(chunk) : await context.screen.write(chunk);
      await file?.keep();
      if (file && context.json) context.screen.json({ file: out });
    });
}

/** `24h` is so long ago; anything else goes to the gate as it is, which knows RFC 3339. */
function timeOf(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  if (/^(\d+(ms|s|m|h|d|w))+$/.test(text)) return new Date(Date.now() - parseDuration(text)).toISOString();
  const time = Date.parse(text);
  if (Number.isNaN(time))
    throw new Fault('invalid', `"${text}" is not a time; write 2026-11-22T09:00:00Z, 2026-11-22 or 24h`);
  return new Date(time).toISOString();
}

const tones: Record<string, Tone> = { allowed: 'green', done: 'green', denied: 'red', failed: 'red', ended: 'dim' };

/** One row, one line: when, what, on what, who, from where, why, and the facts, as far as the terminal is wide. */
export function rowLine(screen: Screen, row: AuditRowAnswer): string {
  const { seq, at, outcome, event, resource, who, from, rule, facts } = row;
  const parts: readonly (readonly [text: string, tone?: Tone])[] = [
    [String(seq).padStart(6), 'dim'],
    [second(at), 'dim'],
    [pad(harmless(event), 18), tones[outcome] ?? 'dim'],
    [harmless(resource)],
    [harmless(formatWho(who))],
    // The owner's unix socket has no address worth a word.
    [from === null || from === '(unix)' || from.startsWith('/') ? '' : `from ${harmless(from)}`],
    [rule === null ? '' : `by ${harmless(rule)}`, 'dim'],
    [harmless(factsText(facts)), 'dim'],
  ];
  let room = screen.columns ?? Number.POSITIVE_INFINITY;
  const shown: string[] = [];
  for (const [text, tone] of parts) {
    if (text === '' || room < 4) continue;
    const short = cut(text, room);
    shown.push(tone ? screen.tone(tone, short) : short);
    room -= displayWidth(short) + 2;
  }
  return shown.join('  ');
}

/** What the row says already is left out. */
const factsText = ({ action: _, cause, ...facts }: AuditRowAnswer['facts']): string =>
  Object.entries(cause === 'ended' ? facts : { ...facts, cause })
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
    .join(' ');
