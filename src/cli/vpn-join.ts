// sekisho vpn join: our own client. Joins a hub of a gate, or of a SoftEther server, as a proxy on loopback or as a device.
import type { Command } from 'commander';
import { Fault } from '../core/fault.ts';
import type { Log } from '../core/parts.ts';
import { askSecret } from './ask.ts';
import { type Context, examples } from './command.ts';
import { readText } from './files.ts';
import { readLogins } from './logins.ts';
import { parseGate } from './place.ts';

interface Options {
  readonly hub: string;
  readonly user?: string;
  readonly passwordFile?: string;
  readonly passwordStdin?: true;
  readonly plain?: true;
  readonly cert?: string;
  readonly key?: string;
  readonly anonymous?: true;
  readonly ca?: string;
  readonly name?: string;
  readonly verify: boolean;
  readonly proxy?: string;
  readonly connections: string;
  readonly socks?: string | true;
  readonly device: string;
  readonly defaultRoute: boolean;
}

export function defineJoin(command: Command, context: Context): void {
  const join = command
    .command('join')
    .summary('join a hub from this machine: as a network device (root), or as SOCKS5 and HTTP on loopback')
    .requiredOption('--hub <hub>', 'the hub’s name')
    .option('--user <name>', 'the member')
    .option('--password-file <file>', 'the password is the first line of it (default: asked, or read from stdin)')
    .option('--password-stdin', 'the password is the first line of stdin')
    .option('--plain', 'send the password as it is, inside TLS: for members whose password is checked elsewhere')
    .option('--cert <file>', 'prove it with a certificate instead (PEM, RSA)')
    .option('--key <file>', 'its key')
    .option('--anonymous', 'without proof, where the hub allows it')
    .option('--socks [host:port]', 'no device, no root: the hub as SOCKS5 and HTTP proxy (default: 127.0.0.1:1080)')
    .option('--device <name>', 'the network device', 'vpn0')
    .option('--no-default-route', 'leave out a default gateway that the hub pushes')
    .option('--connections <n>', 'TCP connections, 1 to 32', '1')
    .option('--ca <file>', 'the CA of the gate’s certificate (default: as signed in, else the system’s)')
    .option('--name <name>', 'the name in the gate’s certificate (default: its host)')
    .option('--no-verify', 'accept any certificate: encrypted, but with whom?')
    .option('--proxy <url>', 'an HTTP proxy on the way (default: HTTPS_PROXY)')
    .action(async (options: Options) => run(options, context));
  examples(
    join,
    ['sekisho vpn join --gate https://gate.example.com --hub mikalab --user staff01', 'as root: a device vpn0'],
    ['sekisho vpn join --gate https://gate.example.com --hub mikalab --user staff01 --socks', 'without root; then:'],
    ['curl -x socks5h://127.0.0.1:1080 http://10.0.1.26/'],
  );
}

async function run(options: Options, context: Context): Promise<void> {
  const { io, screen, json } = context;
  const { joinAsMember, parseProxy, proxyOf } = await import('../daemon/member.ts');
  const url = parseGate(context.gate ?? '');
  const gate = { host: url.hostname.replace(/^\[|\]$/g, ''), port: Number(url.port || 443) };
  const how = howOf(options, json ? undefined : screen);
  const proxy = options.proxy === undefined ? proxyOf(io.env, gate) : parseProxy(options.proxy);
  const ca = await caOf(options, url, context);
  const proof = await proofOf(options, context);
  if (!options.verify) screen.note('! the gate’s certificate is not verified: whoever answers gets the proof');
  const leased = Promise.withResolvers<void>();
  const say = (facts: Record<string, unknown>, text: string): void =>
    json ? screen.jsonLine(facts) : screen.note(text);
  await using member = await joinAsMember({
    ...{ gate, hub: options.hub, user: options.user ?? '', proof, verify: options.verify, how },
    ...(ca === undefined ? {} : { ca }),
    ...(options.name === undefined ? {} : { name: options.name }),
    ...(proxy === undefined ? {} : { proxy }),
    connections: countOf(options.connections),
    signal: io.signal,
    log: remarks(context),
    onState(state) {
      if (state.state === 'away')
        say({ ...state }, `away: ${state.reason}; trying again in ${(state.retry / 1000).toFixed(1)} s`);
      else {
        say({ ...state }, `on ${options.hub} as ${state.session} (${state.product})`);
        if (!json && state.message.trim() !== '') screen.note(state.message.trim());
      }
    },
    onLease(lease) {
      if (!lease) return say({ lease: null }, 'the hub has taken the address back; asking for another');
      const routes = lease.routes.map(({ network, via }) => `${network} via ${via}`);
      say({ lease }, `address ${lease.address}${routes.length > 0 ? `; routes ${routes.join(', ')}` : ''}`);
      leased.resolve();
    },
  });
  const isFirst = await Promise.race([leased.promise.then(() => true), member.ended.then(() => false)]);
  if (isFirst) {
    if (json) screen.jsonLine({ ready: true, at: member.at });
    else screen.line(how.kind === 'socks' ? `socks5h://${member.at} and http://${member.at}` : `device ${member.at}`);
    if (!json) screen.note('Ctrl-C ends it');
  }
  const fault = await member.ended;
  if (fault && !io.signal.aborted) throw fault;
}

type How = Parameters<typeof import('../daemon/member.ts').joinAsMember>[0]['how'];

function howOf({ socks, device, defaultRoute }: Options, screen: Context['screen'] | undefined): How {
  const isRoot = process.platform === 'linux' && process.getuid?.() === 0;
  if (socks === undefined && isRoot) return { kind: 'tap', device, defaultRoute };
  if (socks === undefined) screen?.note('not root, so no network device: SOCKS5 and HTTP on loopback (--socks)');
  const text = typeof socks === 'string' ? socks : '127.0.0.1:1080';
  const [, host = '127.0.0.1', port = ''] = /^(?:(\[[^\]]+\]|[^:]+):)?(\d{1,5})$/.exec(text) ?? [];
  if (port === '' || Number(port) > 65_535)
    throw new Fault('invalid', `--socks "${text}": write host:port, like 127.0.0.1:1080`);
  return { kind: 'socks', host: host === 'localhost' ? '127.0.0.1' : host.replace(/^\[|\]$/g, ''), port: Number(port) };
}

function countOf(text: string): number {
  const count = Number(text);
  if (!Number.isInteger(count) || count < 1 || count > 32) throw new Fault('invalid', '--connections is 1 to 32');
  return count;
}

async function caOf({ ca, verify }: Options, url: URL, { io }: Context): Promise<string | undefined> {
  if (!verify) return undefined;
  if (ca !== undefined) return readText(ca);
  if (io.env['SEKISHO_CA']) return readText(io.env['SEKISHO_CA']);
  return (await readLogins(io.env)).gates[url.origin]?.ca;
}

type Proof = Parameters<typeof import('../daemon/member.ts').joinAsMember>[0]['proof'];

async function proofOf(options: Options, { io }: Context): Promise<Proof> {
  const { cert, key, anonymous, passwordFile, plain, user } = options;
  if (anonymous) return { kind: 'anonymous' };
  if (user === undefined) throw new Fault('invalid', 'say who joins: --user NAME (or --anonymous)');
  if ((cert === undefined) !== (key === undefined)) throw new Fault('invalid', '--cert and --key belong together');
  if (cert !== undefined && key !== undefined)
    return { kind: 'certificate', cert: await readText(cert), key: await readText(key) };
  const password =
    passwordFile === undefined || passwordFile === '-'
      ? await askSecret(io, `Password of ${user}`)
      : ((await readText(passwordFile, 4096)).split('\n')[0]?.replace(/\r$/, '') ?? '');
  if (password === '')
    throw new Fault('invalid', `the first line of ${passwordFile} is empty; it should be the password`);
  return { kind: plain ? 'plain' : 'password', password };
}

/** Warnings as remarks; the rest is for whoever debugs. */
function remarks({ screen, io }: Context): Log {
  const debug = (_: object, text: string): void => void (io.env['SEKISHO_DEBUG'] && screen.note(text));
  const log: Log = {
    child: () => log,
    debug,
    info: debug,
    warn: (_, text) => screen.note(`! ${text}`),
    error: (facts, text) => screen.note(`! ${text}: ${String((facts as { error?: unknown }).error ?? '')}`),
  };
  return log;
}
