// sekisho device terminal: the shell that the console opens, in this terminal. SSH ends in the gate, which knows the device's
// host key and records where the configuration says so.
import { connect as connectUnix } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { Command } from 'commander';
import { Fault, faults } from '../core/fault.ts';
import type { JoinedTerminal, Said, Told } from '../daemon/terminal-join.ts';
import { askLine, askSecret, askYes } from './ask.ts';
import { refusal } from './client.ts';
import type { Context } from './command.ts';
import { readText } from './files.ts';
import { explain, type Place, type TlsPlace } from './place.ts';
import { sendKeys } from './terminal-keys.ts';
import { harmless } from './width.ts';

interface Options {
  readonly user?: string;
  readonly service: string;
  readonly key?: string;
  readonly trust?: string;
}
type Start = Extract<Said, { kind: 'start' }>;
type End = Extract<Told, { kind: 'end' }>;

export function defineTerminal(command: Command, context: Context): void {
  command
    .summary('a shell on a device, as the console opens it; Ctrl-] leaves it')
    .option('--user <name>', 'as whom on the device')
    .option('--service <name>', 'which of its services', 'ssh')
    .option('--key <file>', 'log in with this private key (default: asks for a password)')
    .option('--trust <fingerprint>', 'the host key to expect, SHA256:…, where nobody sits who could look at it')
    .action(async (name: string, options: Options) => {
      const start = await startOf(name, options, context);
      const end = await talk(name, start, options, context);
      if (end.cause === 'exit') context.status = end.status ?? 0;
      else if (Object.hasOwn(faults, end.cause)) throw new Fault(end.cause as 'denied', end.text);
      else throw new Fault('gone', `the terminal has ended: ${end.text || end.cause}`);
    });
}

async function startOf(name: string, { user, key }: Options, { io }: Context): Promise<Start> {
  const login = user ?? (await askLine(io, `User on ${name}`));
  if (login === '') throw new Fault('invalid', 'say as whom: --user NAME');
  const { columns = 80, rows = 24 } = io.stdout;
  const common = { kind: 'start', user: login, columns, rows } as const;
  if (key === undefined) {
    if (!io.stdin.isTTY) throw new Fault('invalid', 'without a terminal to ask for a password, give --key FILE');
    return { ...common, password: await askSecret(io, `Password of ${login} on ${name}`) };
  }
  const text = await readText(key, 32_768);
  return {
    ...common,
    key: text,
    ...(isLocked(text) ? { passphrase: await askSecret(io, `Passphrase of ${key}`) } : {}),
  };
}

/** OpenSSH's form says in its first bytes, in base64, what it is locked with; the others say it in a word. */
function isLocked(pem: string): boolean {
  const inner = Buffer.from(pem.replace(/-----[^-]+-----|\s/g, '').slice(0, 64), 'base64').toString('latin1');
  return /ENCRYPTED/.test(pem) || (inner.startsWith('openssh-key-v1') && !inner.includes('none'));
}

/** Until the gate says how it ended, the socket is gone, or somebody left. */
async function talk(device: string, start: Start, options: Options, context: Context): Promise<End> {
  const { io, screen, json } = context;
  const { joinTerminal } = await import('../daemon/terminal-join.ts');
  const { place } = await context.client();
  const decoder = new TextDecoder();
  const over = Promise.withResolvers<End>();
  let letGo: (() => void) | undefined;
  const joined: JoinedTerminal = await joinTerminal({
    ...wayTo(place, new URLSearchParams({ device, service: options.service })),
    signal: io.signal,
    refused: answer => refusal(answer, answer.statusCode ?? 0, place),
    lost: error => explain(error, place),
    async printed(bytes) {
      if (json) screen.jsonLine({ kind: 'printed', text: decoder.decode(bytes, { stream: true }) });
      else await screen.write(bytes);
      joined.say({ kind: 'taken', bytes: bytes.length });
    },
    async told(message) {
      if (json) screen.jsonLine(message);
      if (message.kind === 'end') over.resolve(message);
      else if (message.kind === 'ask') joined.say({ kind: 'answers', answers: await answersTo(message, context) });
      else if (message.kind === 'open') {
        if (!json) screen.note(`${message.recorded ? 'this terminal is recorded; ' : ''}Ctrl-] leaves it`);
        letGo = sendKeys(joined, io, () => over.resolve({ kind: 'end', cause: 'exit', text: '', status: 0 }));
      } else if (message.state === 'new')
        joined.say({ kind: 'trust', yes: await isTrusted(message, options, context) });
    },
  });
  joined.say(start);
  const lost = joined.ended.then((): End => {
    if (io.signal.aborted) throw io.signal.reason;
    throw new Fault('unreachable', `${place.label} closed the connection`);
  });
  return Promise.race([over.promise, lost]).finally(() => {
    letGo?.();
    joined.close();
  });
}

function wayTo({ secure, host, options, token }: Place, query: URLSearchParams) {
  const path = `/v1/devices/terminal?${query}`;
  if (secure) {
    const dial = () => connectTls({ ...(options as TlsPlace), ALPNProtocols: ['http/1.1'] });
    return { url: `wss://${host}${path}`, dial, ...(token === undefined ? {} : { token }) };
  }
  const { socketPath } = options as { readonly socketPath: string };
  return { url: `ws://${host}${path}`, dial: () => connectUnix({ path: socketPath }) };
}

async function isTrusted(
  { algorithm, fingerprint }: Extract<Told, { kind: 'host-key' }>,
  { trust }: Options,
  { io, screen }: Context,
): Promise<boolean> {
  if (trust !== undefined) return trust === fingerprint;
  screen.note(`The gate does not know this device's host key yet: ${harmless(algorithm)} ${harmless(fingerprint)}`);
  return askYes(io, 'Is it the device’s?');
}

async function answersTo({ text, prompts }: Extract<Told, { kind: 'ask' }>, { io, screen }: Context) {
  if (!io.stdin.isTTY) throw new Fault('invalid', 'the device asks something, and there is no terminal to answer from');
  if (text !== '') screen.note(harmless(text));
  const answers: string[] = [];
  for (const { text: label, echo } of prompts) {
    const plain = label.replace(/:\s*$/, '');
    answers.push(echo ? await askLine(io, plain) : await askSecret(io, plain));
  }
  return answers;
}
