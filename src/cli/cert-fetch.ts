// sekisho cert fetch: what the page of an enrolment link does, for whoever has no browser at hand. PEM keys are made here.
import { createPublicKey, type KeyObject, X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import type { Command } from 'commander';
import type { AnswerOf } from '../api/contract/routes.ts';
import { Fault } from '../core/fault.ts';
import { askSecret } from './ask.ts';
import { type Client, clientOf } from './client.ts';
import type { Context } from './command.ts';
import { createFile, createFolder, readText } from './files.ts';
import { readLogins } from './logins.ts';
import { pinAuthority } from './pin.ts';
import { parseGate, tlsPlace } from './place.ts';

interface Options {
  readonly out?: string;
  readonly pem?: string;
  readonly legacy?: true;
  readonly password?: true;
  readonly force?: true;
  readonly ca?: string;
  readonly fingerprint?: string;
}
type Fetched = AnswerOf<'cert.fetch'>;

export function defineFetch(command: Command, context: Context): void {
  command
    .summary('use an enrolment link (- = from stdin): what its page does, without a browser')
    .option('--out <file>', 'PKCS#12 with certificate, key and CA; the gate makes the key')
    .option('--legacy', 'with --out: 3DES and SHA-1, for importers that know nothing newer')
    .option('--pem <dir>', 'NAME.crt, NAME.key (0600) and ca.crt in this folder; the key is made here')
    .option('--password', 'with --pem: encrypt the key; asks for the password, or reads it from stdin')
    .option('--force', 'replace files that exist')
    .option('--ca <file>', "the gate's CA certificate, from: sekisho cert ca > ca.pem")
    .option('--fingerprint <sha256>', "or that certificate's fingerprint")
    .action(async (text: string, options: Options) => {
      if ((options.out === undefined) === (options.pem === undefined))
        throw new Fault('invalid', 'say where the certificate goes: --out NAME.p12, or --pem DIR');
      const { url, code } = await linkOf(text, context);
      const client = await clientAt(url, options, context);
      const link = await client.call('cert.link', { body: { code } });
      context.screen.note(`${link.subject}, from ${link.gate}`);
      await (options.pem === undefined ? fetchP12 : fetchPem)(link.user, code, client, options, context);
    });
}

/** A code on the command line is read by everybody on this machine, so it may come on stdin. */
async function linkOf(text: string, { io }: Context): Promise<{ url: URL; code: string }> {
  const link = text === '-' ? await askSecret(io, 'Link') : text;
  const url = URL.canParse(link) ? new URL(link) : undefined;
  const code = new URLSearchParams(url?.hash.slice(1)).get('code');
  if (url?.pathname !== '/enrol' || !code)
    throw new Fault('invalid', 'that is no enrolment link; one looks like https://gate.example.com/enrol#code=…');
  return { url: parseGate(url.origin), code };
}

async function clientAt(url: URL, options: Options, context: Context): Promise<Client> {
  const { io, screen } = context;
  const known = (await readLogins(io.env)).gates[url.origin]?.ca;
  const given = options.ca === undefined ? known : await readText(options.ca);
  const ca = options.fingerprint === undefined ? given : undefined;
  const root = ca ?? (await pinAuthority(url, options.fingerprint, context));
  const place = tlsPlace(url, root === undefined ? {} : { ca: root });
  return clientOf(place, { signal: io.signal, progress: screen.progress });
}

/** The files are opened first: a link works once. */
async function fetchP12(user: string, code: string, client: Client, options: Options, context: Context) {
  await using file = await createFile(options.out ?? '', { mode: 0o600, force: options.force === true });
  const password = await askSecret(context.io, `Password for ${file.path}`, true);
  const format = options.legacy ? 'p12-legacy' : 'p12';
  const made = await client.call('cert.fetch', { body: { code, format, password } });
  await file.write(Buffer.from(made.p12 ?? '', 'base64'));
  await file.keep();
  tell(context, user, made, [file.path]);
}

async function fetchPem(user: string, code: string, client: Client, options: Options, context: Context) {
  const stem = user.replace(/[^A-Za-z0-9._-]/g, '_');
  const force = options.force === true;
  const dir = options.pem ?? '';
  await using folder = await createFolder(dir);
  await using key = await createFile(join(dir, `${stem}.key`), { mode: 0o600, force });
  await using cert = await createFile(join(dir, `${stem}.crt`), { mode: 0o644, force });
  await using ca = await createFile(join(dir, 'ca.crt'), { mode: 0o644, force: true });
  const passphrase = options.password ? await askSecret(context.io, `Password for ${key.path}`, true) : undefined;
  const { makeRequest, newDeviceKey } = await import('../daemon/agent-parts.ts');
  const privateKey = await newDeviceKey();
  const made = await client.call('cert.fetch', { body: { code, csr: makeRequest(privateKey, user) } });
  checkKey(made, privateKey);
  const cipher = passphrase === undefined ? {} : { cipher: 'aes-256-cbc', passphrase };
  await key.write(privateKey.export({ type: 'pkcs8', format: 'pem', ...cipher }));
  await cert.write([made.cert, ...made.chain].map(line).join(''));
  await ca.write(line(made.ca));
  for (const file of [key, cert, ca]) await file.keep();
  folder.keep();
  tell(context, user, made, [cert.path, key.path, ca.path]);
}

function checkKey({ cert }: Fetched, key: KeyObject): void {
  if (new X509Certificate(cert).publicKey.equals(createPublicKey(key))) return;
  throw new Fault('protocol', 'the gate answered with a certificate for another key');
}

function tell({ json, screen }: Context, user: string, made: Fetched, files: readonly string[]): void {
  const { serial, fingerprint, notAfter } = made;
  if (json) {
    screen.json({ user, serial, fingerprint, notAfter, files });
    return;
  }
  screen.line(`certificate for ${user} in ${files.join(', ')}`);
  screen.line(screen.tone('dim', `serial ${serial}, valid until ${notAfter.slice(0, 10)}`));
}

const line = (pem: string): string => (pem.endsWith('\n') ? pem : `${pem}\n`);
