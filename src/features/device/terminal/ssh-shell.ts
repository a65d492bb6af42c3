// Ends SSH (RFC 4251–4254) in the gate: a shell on a device for somebody whose page speaks a WebSocket. What proves them to
// the device lives in memory as long as the login lasts, and is written nowhere.
import type { Duplex } from 'node:stream';
import type { AnyAuthMethod, ClientChannel, ConnectConfig, ServerHostKeyAlgorithm } from 'ssh2';
import type { Clock } from '../../../core/clock.ts';
import { Fault } from '../../../core/fault.ts';
import type { HostKey, Prompt, Start } from '../../../wire/terminal-message.ts';
import { hostKeyOf } from './host-keys.ts';

export interface ShellOptions {
  /** Towards the device's SSH server. */
  readonly stream: Duplex;
  readonly start: Start;
  /** The algorithm of the key that is pinned: a server that has several then shows that one. */
  readonly known: string | undefined;
  /** Whether to go on with this key. What it throws is what becomes of the login. */
  readonly verify: (key: HostKey) => Promise<boolean>;
  /** Keyboard-interactive (RFC 4256): the person's answers. */
  readonly ask: (title: string, text: string, prompts: readonly Prompt[]) => Promise<readonly string[]>;
  readonly clock: Clock;
}

export interface Shell {
  /** Bytes both ways; reading more slowly holds the device back by its window. */
  readonly channel: ClientChannel;
  resize(columns: number, rows: number): void;
  /** How it ended, where the device said so. */
  readonly status: () => number | string | undefined;
  end(): void;
}

/** Milliseconds until the server has shown its key. */
const greeting = 20_000;
/** Milliseconds for the whole login; people look at a key, and type. */
const patience = 180_000;
const mostRounds = 10;
const longestText = 1000;

/** Without SHA-1 (RFC 8332 §3 wants it gone): a key proven by it proves nothing. */
const hostKeys: readonly ServerHostKeyAlgorithm[] = [
  'ssh-ed25519',
  'ecdsa-sha2-nistp256',
  'ecdsa-sha2-nistp384',
  'ecdsa-sha2-nistp521',
  'rsa-sha2-512',
  'rsa-sha2-256',
];

/** @throws Fault `denied` (the device says no), `unreachable`, `timeout`, `invalid` (the key), and what `verify` throws */
export async function openShell(options: ShellOptions): Promise<Shell> {
  const { stream, start, known, clock } = options;
  const { default: ssh } = await import('ssh2'); // nobody else pays for it
  const client = new ssh.Client();
  const { promise, resolve, reject } = Promise.withResolvers<Shell>();
  let refusal: unknown;
  let accepted: Buffer | undefined;
  let rounds = 0;
  const late = (what: string) => () => fail(new Fault('timeout', what));
  let disarm = clock.after(greeting, late('the device’s SSH server does not answer'));
  const fail = (error: unknown): void => {
    disarm();
    login.forget();
    client.end();
    stream.destroy();
    reject(refusal ?? error);
  };
  client.on('error', error => fail(inWords(error)));
  client.on('close', () => fail(new Fault('unreachable', 'the device’s SSH server has hung up')));
  const login = loginOf(start, async (title, text, prompts) => {
    if (++rounds > mostRounds) throw new Fault('denied', 'the device asks without end');
    return options.ask(title, text, prompts);
  });
  client.on('ready', () => {
    login.forget();
    client.shell(
      { term: 'xterm-256color', cols: start.columns, rows: start.rows, width: 0, height: 0 },
      (error, channel) => {
        if (error) return fail(new Fault('denied', 'the device let you in and gives no shell', { cause: error }));
        disarm();
        resolve(shellOf(channel, () => client.end()));
      },
    );
  });
  const config: ConnectConfig = {
    sock: stream,
    username: start.user,
    authHandler: (left, _isPartial, next) => next(login.wayOf(left, fail) as never),
    readyTimeout: 0, // ours are above
    keepaliveInterval: 30_000,
    keepaliveCountMax: 3,
    algorithms: { serverHostKey: inFavourOf(known), compress: ['none'] },
    hostVerifier: (blob: Buffer, verify: (isGood: boolean) => void) => {
      // New keys are agreed on each hour or gigabyte (RFC 4253 §9); the server is then who it was.
      if (accepted) return void verify(blob.equals(accepted));
      disarm();
      disarm = clock.after(patience, late('logging in took too long'));
      (async () => options.verify(hostKeyOf(blob)))().then(
        isGood => {
          if (isGood) accepted = blob;
          else refusal = new Fault('denied', 'the key of the device was not accepted');
          verify(isGood);
        },
        error => {
          refusal = error;
          verify(false);
        },
      );
    },
  };
  try {
    checkKey(ssh.utils.parseKey, start);
    client.connect(config);
  } catch (error) {
    fail(error);
  }
  return promise;
}

type Ask = ShellOptions['ask'];
type Ways = ('none' | 'publickey' | 'password' | 'keyboard-interactive')[];

/**
 * RFC 4252 §5: the server says which methods may go on, also after one of several that it wants; each is tried once, where
 * there is something to show. `none` comes first, to be told.
 */
function loginOf(start: Start, ask: Ask) {
  const { user: username } = start;
  let ways: Ways = [
    'none',
    ...(start.key === undefined ? [] : ['publickey' as const]),
    ...(start.password === undefined ? [] : ['password' as const]),
    'keyboard-interactive',
  ];
  let isTyped = start.password !== undefined;
  return {
    wayOf(left: readonly string[] | null, fail: (error: unknown) => void): AnyAuthMethod | false {
      const way = ways.find(one => left === null || left.length === 0 || one === 'none' || left.includes(one));
      ways = ways.filter(one => one !== way);
      const { password = '', key = '', passphrase } = start;
      if (way === undefined) return false;
      if (way === 'none') return { type: 'none', username };
      if (way === 'password') return { type: 'password', username, password };
      if (way === 'publickey')
        return { type: 'publickey', username, key, ...(passphrase === undefined ? {} : { passphrase }) };
      return {
        type: 'keyboard-interactive',
        username,
        prompt: (title, text, _language, prompts, finish) => {
          const asked = prompts.slice(0, 16).map(({ prompt, echo }) => ({ text: cut(prompt), echo: echo === true }));
          if (asked.length === 0) return finish([]); // RFC 4256 §3.3: nothing to ask is answered with nothing
          // A server that asks for the password this way alone asks for what was typed already; once.
          if (isTyped && !left?.includes('password') && asked.length === 1 && asked[0]?.echo === false) {
            isTyped = false;
            return finish([password]);
          }
          ask(cut(title), cut(text), asked).then(answers => finish(asked.map((_, at) => answers[at] ?? '')), fail);
        },
      };
    },
    /** It has done its work, one way or the other. */
    forget(): void {
      ways = [];
      for (const name of ['password', 'key', 'passphrase'] as const) delete start[name];
    },
  };
}

/** The pinned key's algorithm first, as OpenSSH does it; `ssh-rsa` is a key, which proves itself by SHA-2. */
function inFavourOf(known: string | undefined): ServerHostKeyAlgorithm[] {
  const isFirst = (name: string): boolean => (known === 'ssh-rsa' ? name.startsWith('rsa-') : name === known);
  return [...hostKeys.filter(isFirst), ...hostKeys.filter(name => !isFirst(name))];
}

/** Before anything is dialled on: what ssh2 says about a key never repeats it. @throws Fault `invalid` */
function checkKey(parse: typeof import('ssh2').utils.parseKey, { key, passphrase }: Start): void {
  if (key === undefined) return;
  const parsed = parse(key, passphrase);
  if (parsed instanceof Error) {
    const needs = /no passphrase/i.test(parsed.message);
    throw new Fault(
      'invalid',
      needs ? 'this key needs its passphrase' : 'this is no private key that can be read, or its passphrase is another',
    );
  }
  if (![parsed].flat()[0]?.isPrivateKey())
    throw new Fault('invalid', 'this is a public key; the private one is needed');
}

function shellOf(channel: ClientChannel, end: () => void): Shell {
  let status: number | string | undefined;
  channel.on('exit', (code: number | null, signal?: string) => {
    status = code ?? signal;
  });
  channel.on('error', () => {}); // 'close' follows
  channel.stderr.on('error', () => {});
  return {
    channel,
    resize: (columns, rows) => channel.setWindow(rows, columns, 0, 0),
    status: () => status,
    end,
  };
}

function inWords(error: Error & { readonly level?: string }): Fault {
  const { level, message } = error;
  const options = { cause: error };
  if (level === 'client-authentication')
    return new Fault('denied', 'the device did not accept this user, password or key', options);
  if (level === 'handshake')
    return new Fault('unreachable', `the device and the gate found no common SSH (${cut(message)})`, options);
  if (level === 'client-socket') return new Fault('unreachable', 'the connection to the device has ended', options);
  return new Fault('unreachable', `SSH with the device failed (${cut(message)})`, options);
}

/** What a device says is text of somebody else: short, and without control characters. */
const cut = (text: string): string =>
  text
    .replace(/[\p{Cc}\u2028\u2029]+/gu, ' ')
    .trim()
    .slice(0, longestText);
