// sekisho cert issue: a certificate with its key as PKCS#12 or PEM files, or a certificate for a key made elsewhere.
import { createPrivateKey } from 'node:crypto';
import { join } from 'node:path';
import type { Command } from 'commander';
import type { AnswerOf } from '../api/contract/routes.ts';
import { Fault } from '../core/fault.ts';
import { askSecret } from './ask.ts';
import type { Context } from './command.ts';
import { createFile, createFolder, readText } from './files.ts';

interface Options {
  readonly server?: true;
  readonly cn?: string;
  readonly ou?: string[];
  readonly o?: string;
  readonly name?: string[];
  readonly days?: string;
  readonly key?: string;
  readonly csr?: string;
  readonly out?: string;
  readonly pem?: string;
  readonly legacy?: true;
  readonly password?: true;
  readonly force?: true;
}
type Issued = AnswerOf<'cert.issue'>;

const several = (value: string, before: string[] = []): string[] => [...before, value];

export function defineIssue(command: Command, context: Context): void {
  command
    .summary('issue a client or server certificate')
    .option('--server', 'for a server; NAME is its host name')
    .option('--name <host>', 'a further host name or address of a server (repeatable)', several)
    .option('--cn <text>', 'common name (default: NAME)')
    .option('--ou <text>', 'organisational unit (repeatable)', several)
    .option('--o <text>', 'organisation')
    .option('--days <count>', 'how long it is valid')
    .option('--key <kind>', 'rsa or ecdsa')
    .option('--csr <file>', 'sign this request; its key stays where it is')
    .option('--out <file>', 'PKCS#12 with certificate, key and CA; with --csr the certificate, PEM')
    .option('--legacy', 'with --out: 3DES and SHA-1, for importers that know nothing newer')
    .option('--pem <dir>', 'NAME.crt, NAME.key (0600) and ca.crt in this folder')
    .option('--password', 'with --pem: encrypt the key; asks for the password, or reads it from stdin')
    .option('--force', 'replace files that exist')
    .action(async (name: string, options: Options) => {
      const write = waysToWrite.find(way => way.fits(options, context));
      if (!write) {
        throw new Fault('invalid', `say where the certificate goes: --out ${name}.p12, or --pem DIR, or --json`);
      }
      await write.run(name, options, context);
    });
}

interface Way {
  readonly fits: (options: Options, context: Context) => boolean;
  readonly run: (name: string, options: Options, context: Context) => Promise<void>;
}

const waysToWrite: readonly Way[] = [
  { fits: ({ out, pem }) => out !== undefined && pem !== undefined, run: refuseBoth },
  { fits: ({ csr }) => csr !== undefined, run: signRequest },
  { fits: ({ pem }) => pem !== undefined, run: writePem },
  { fits: ({ out }) => out !== undefined, run: writeP12 },
  {
    fits: (_, { json }) => json,
    run: async (name, options, context) => context.screen.json(await issue(name, options, context)),
  },
];

async function refuseBoth(): Promise<void> {
  throw new Fault('invalid', '--out and --pem are two ways to write it; give one of them');
}

async function issue(name: string, options: Options, context: Context, extra: object = {}): Promise<Issued> {
  const days = options.days === undefined ? undefined : Number(options.days);
  if (days !== undefined && !Number.isInteger(days))
    throw new Fault('invalid', `--days ${options.days} is not a number of days`);
  const body = {
    name,
    kind: options.server ? 'server' : 'client',
    cn: options.cn,
    ou: options.ou,
    o: options.o,
    names: options.name,
    days,
    key: options.key,
    ...extra,
  };
  return (await context.client()).call('cert.issue', { body: body as never });
}

/** Opened before anything is issued: a key is shown once, and must have a place to go. */
async function writeP12(name: string, options: Options, context: Context): Promise<void> {
  await using file = await createFile(options.out ?? '', { mode: 0o600, force: options.force === true });
  const password = await askSecret(context.io, `Password for ${file.path}`, true);
  const issued = await issue(name, options, context, { format: options.legacy ? 'p12-legacy' : 'p12', password });
  await file.write(Buffer.from(issued.p12 ?? '', 'base64'));
  await file.keep();
  tell(context, issued, [file.path], `certificate for ${name} in ${file.path}`);
}

async function writePem(name: string, options: Options, context: Context): Promise<void> {
  const dir = options.pem ?? '';
  const stem = name.replace(/[^A-Za-z0-9._-]/g, '_');
  const force = options.force === true;
  await using folder = await createFolder(dir);
  await using key = await createFile(join(dir, `${stem}.key`), { mode: 0o600, force });
  await using cert = await createFile(join(dir, `${stem}.crt`), { mode: 0o644, force });
  await using ca = await createFile(join(dir, 'ca.crt'), { mode: 0o644, force: true });
  const password = options.password ? await askSecret(context.io, `Password for ${key.path}`, true) : undefined;
  const issued = await issue(name, options, context);
  await key.write(password === undefined ? (issued.key ?? '') : encrypted(issued.key ?? '', password));
  await cert.write([issued.cert, ...issued.chain].map(line).join(''));
  await ca.write(line(issued.ca));
  for (const file of [key, cert, ca]) await file.keep();
  folder.keep();
  const paths = [cert.path, key.path, ca.path];
  tell(context, issued, paths, `certificate for ${name} in ${paths.join(', ')}`);
}

async function signRequest(name: string, options: Options, context: Context): Promise<void> {
  if (options.pem !== undefined) throw new Fault('invalid', 'with --csr there is no key to write; use --out FILE.crt');
  const csr = await readText(options.csr ?? '', 16_384);
  if (options.out === undefined) {
    const issued = await issue(name, options, context, { csr });
    context.json
      ? context.screen.json(issued)
      : await context.screen.write([issued.cert, ...issued.chain].map(line).join(''));
    return;
  }
  await using file = await createFile(options.out, { mode: 0o644, force: options.force === true });
  const issued = await issue(name, options, context, { csr });
  await file.write([issued.cert, ...issued.chain].map(line).join(''));
  await file.keep();
  tell(context, issued, [file.path], `certificate for ${name} in ${file.path}`);
}

/** What is said of it never holds the key: that went into the file. */
function tell(context: Context, { serial, fingerprint, notAfter }: Issued, files: string[], sentence: string): void {
  const { json, screen } = context;
  if (json) {
    screen.json({ serial, fingerprint, notAfter, files });
    return;
  }
  screen.line(sentence);
  screen.line(screen.tone('dim', `serial ${serial}, valid until ${notAfter.slice(0, 10)}`));
}

const line = (pem: string): string => (pem.endsWith('\n') ? pem : `${pem}\n`);

const encrypted = (key: string, passphrase: string): string =>
  createPrivateKey(key).export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase }).toString();
