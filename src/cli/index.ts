// The command line's front door: argv in, exit status out. Only the file of the command that was asked for is loaded.
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { faults, toFault } from '../core/fault.ts';
import type { CommandFile, Io } from './command.ts';
import { createContext, globalOptions } from './context.ts';
import { harmless, harmlessLines } from './width.ts';

export type { CommandFile, Context, Io } from './command.ts';

/** One command's place in `sekisho --help`, and the file that defines it. */
export interface Seat {
  readonly name: string;
  readonly summary: string;
  readonly group: string;
  readonly load: () => Promise<CommandFile>;
}

const running = 'Run a gate:';
const now = 'What is open, and what happened:';
const people = 'Who may come in:';
const care = 'Look after a gate:';
const away = 'From elsewhere:';
/** Every command, in the order of `--help`. */
export const seats: readonly Seat[] = [
  { group: running, name: 'up', summary: 'run the gate', load: () => import('./up.ts') },
  {
    group: running,
    name: 'check',
    summary: 'validate; say what it would open, what is weak',
    load: () => import('./check.ts'),
  },
  {
    group: running,
    name: 'wrap',
    summary: 'TLS around one address, no configuration',
    load: () => import('./wrap.ts'),
  },
  {
    group: running,
    name: 'import',
    summary: 'convert an nginx.conf; say what it leaves open',
    load: () => import('./import.ts'),
  },
  {
    group: running,
    name: 'agent',
    summary: 'the device side: stay linked to a gate',
    load: () => import('./agent.ts'),
  },
  { group: running, name: 'demo', summary: 'play the articles on this machine', load: () => import('./demo.ts') },
  {
    group: now,
    name: 'status',
    summary: 'what is open now, to whom, until when, why',
    load: () => import('./status.ts'),
  },
  { group: now, name: 'session', summary: 'live sessions: list, show, cut', load: () => import('./session.ts') },
  { group: now, name: 'proxy', summary: 'the routes and their upstreams', load: () => import('./proxy.ts') },
  {
    group: now,
    name: 'web',
    summary: 'internal web services: list, pac, check',
    load: () => import('./web.ts'),
  },
  {
    group: now,
    name: 'device',
    summary: 'devices: list, enroll, show, rename, revoke, terminal',
    load: () => import('./device.ts'),
  },
  {
    group: now,
    name: 'endpoint',
    summary: 'timed endpoints: open, list, show, extend, close, approve',
    load: () => import('./endpoint.ts'),
  },
  {
    group: now,
    name: 'tunnel',
    summary: 'tunnels to devices: open, list, show, rotate, close, notify, connect',
    load: () => import('./tunnel.ts'),
  },
  {
    group: now,
    name: 'vpn',
    summary: 'private networks: hub, user, session, table, admin',
    load: () => import('./vpn.ts'),
  },
  { group: now, name: 'audit', summary: 'the record: tail, search, verify, export', load: () => import('./audit.ts') },
  {
    group: people,
    name: 'cert',
    summary: 'certificates: ca, issue, enroll, fetch, list, show, revoke, crl',
    load: () => import('./cert.ts'),
  },
  { group: people, name: 'user', summary: 'users, their passwords, keys and roles', load: () => import('./user.ts') },
  { group: people, name: 'group', summary: 'groups and who is in them', load: () => import('./group.ts') },
  { group: people, name: 'token', summary: 'API tokens with a scope and an end', load: () => import('./token.ts') },
  {
    group: people,
    name: 'approval',
    summary: 'what waits for a yes: list, approve, refuse',
    load: () => import('./approval.ts'),
  },
  {
    group: care,
    name: 'reload',
    summary: 'read the configuration again, by difference',
    load: () => import('./reload.ts'),
  },
  {
    group: care,
    name: 'backup',
    summary: 'one encrypted file with everything in it',
    load: () => import('./backup.ts'),
  },
  { group: care, name: 'restore', summary: 'a data folder from a backup', load: () => import('./restore.ts') },
  { group: away, name: 'login', summary: 'sign in to a gate over TLS', load: () => import('./login.ts') },
  { group: away, name: 'logout', summary: 'forget the sign-in, and end its token', load: () => import('./logout.ts') },
  { group: away, name: 'whoami', summary: 'who the gate takes you for', load: () => import('./whoami.ts') },
  {
    group: away,
    name: 'completion',
    summary: 'the completion script of bash, zsh or fish',
    load: () => import('./completion.ts'),
  },
];

/** Runs one command line; resolves to the exit status. Never throws, never ends the process. */
export async function run(argv: readonly string[], io: Io): Promise<number> {
  const asked = wordsOf(argv)[0];
  try {
    const { program, context } = await plant(io, seat => seat.name === asked);
    if (argv.length === 0) {
      program.outputHelp();
      return 0;
    }
    await program.parseAsync([...argv], { from: 'user' });
    return context.status;
  } catch (error) {
    return tell(error, io, asked);
  }
}

/** The package's; two folders up from here in the sources and in dist/ alike. */
const version = (): string => JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')).version;

/** The command tree: every seat by name, those that `wanted` picks with their insides. */
export async function plant(io: Io, wanted: (seat: Seat) => boolean) {
  const program = new Command('sekisho')
    .description('Sekisho: one gate for what must be reached but not exposed.')
    .usage('<command> [options]')
    .helpOption('-h, --help', 'say how a command is used')
    .helpCommand(false)
    .configureHelp({
      showGlobalOptions: true,
      visibleGlobalOptions: command => (command.parent ? globalOptions() : []),
    })
    .configureOutput({
      writeOut: text => io.stdout.write(text),
      writeErr: text => io.stderr.write(text),
      outputError: () => {}, // `tell` writes it
      getOutHelpWidth: () => io.stdout.columns ?? 100,
      getErrHelpWidth: () => io.stdout.columns ?? 100,
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    })
    .exitOverride()
    .version(version(), '-V, --version', 'say which version this is');
  for (const option of globalOptions()) program.addOption(option);
  const context = createContext(program, io);
  for (const seat of seats) {
    program.commandsGroup(seat.group);
    const command = program.command(seat.name).summary(seat.summary).description(seat.summary).helpCommand(false);
    if (wanted(seat)) (await seat.load()).define(command, context);
  }
  program.addHelpText('after', '\nsekisho <command> --help shows examples of each command.');
  return { program, context };
}

/** What stands in argv besides options of the whole program. */
function wordsOf(argv: readonly string[]): string[] {
  const valued = new Set(globalOptions().flatMap(option => (option.required ? [option.long] : [])));
  return argv.filter((word, at) => !word.startsWith('-') && !valued.has(argv[at - 1] ?? ''));
}

/** The edge: one sentence on stderr, and the status that belongs to it. */
function tell(error: unknown, io: Io, asked: string | undefined): number {
  if (error instanceof CommanderError) return tellUsage(error, io, asked);
  if (io.signal.aborted && io.signal.reason === 'EPIPE') return 0; // the reader has seen enough
  if ((error as Error | undefined)?.name === 'AbortError') return 130; // a signal, or ^C at a prompt
  const fault = toFault(error);
  if (fault.code !== 'bug') {
    io.stderr.write(`sekisho: ${harmlessLines(fault.message)}\n`);
  } else {
    const cause = fault.cause ?? error;
    const text = cause instanceof Error ? cause.message : String(cause);
    io.stderr.write(`sekisho: internal error: ${harmlessLines(text)}\n`);
  }
  if (io.env['SEKISHO_DEBUG']) io.stderr.write(`${harmlessLines(inside(error))}\n`);
  return faults[fault.code].exit;
}

const inside = (error: unknown): string => {
  const { stack, cause } = error as Error;
  return cause === undefined ? `${stack}` : `${stack}\ncaused by ${inside(cause)}`;
};

/** commander's own complaints, in our words. */
function tellUsage(error: CommanderError, io: Io, asked: string | undefined): number {
  if (error.exitCode === 0) return 0;
  if (error.code === 'commander.help') return faults.invalid.exit; // it has just been shown
  const [first = '', ...rest] = error.message.replace(/^error: /, '').split('\n');
  const hint = /Did you mean (?:one of )?(.+)\?\)/.exec(rest.join(' '))?.[1];
  const place = seats.some(({ name }) => name === asked) ? `${asked} ` : '';
  const sentence = harmless(first).replaceAll("'", '"').replace(/\.$/, '');
  io.stderr.write(`sekisho: ${sentence}${hint ? `; did you mean ${hint}?` : `; see sekisho ${place}--help`}\n`);
  return faults.invalid.exit;
}
