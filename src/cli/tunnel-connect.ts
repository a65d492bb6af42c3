// sekisho tunnel connect: one end of a tunnel on this machine, as AWS's localproxy is one. Against a gate or AWS itself.
import { Duplex } from 'node:stream';
import type { Command } from 'commander';
import { formatAddress } from '../core/address.ts';
import { Fault } from '../core/fault.ts';
import type { Log } from '../core/parts.ts';
import type { Context } from './command.ts';
import { readText } from './files.ts';
import { readLogins } from './logins.ts';
import { parseGate } from './place.ts';

interface Options {
  readonly region?: string;
  readonly tokenFile?: string;
  readonly listen?: string[];
  readonly to?: string[];
  readonly stdio?: true;
  readonly service?: string;
  readonly ca?: string;
  readonly destinationClientType?: string;
}

const each = (value: string, before: string[] = []): string[] => [...before, ...value.split(',')];

export function defineConnect(command: Command, context: Context): void {
  command
    .command('connect')
    .summary('the source side on this machine (what localproxy -s is); --to makes it the destination')
    .option('--region <region>', 'a tunnel of AWS in this region, instead of --gate')
    .option('--token-file <file>', 'the access token; - = stdin (default: AWSIOT_TUNNEL_ACCESS_TOKEN)')
    .option(
      '--listen <service=host:port>',
      'where clients of a service connect (repeatable; default: free ports)',
      each,
    )
    .option('--to <service=host:port>', 'be the destination: where a service is (repeatable)', each)
    .option('--stdio', 'one connection, on stdin and stdout: for ssh’s ProxyCommand')
    .option('--service <name>', 'which service --stdio is, where the tunnel has several')
    .option('--ca <file>', 'the CA of the gate’s certificate (default: as signed in, else the system’s)')
    .option('--destination-client-type <type>', 'with --region: V1 or V2, where the device’s client is older')
    .action(async (options: Options) => connect(options, context));
}

async function connect(options: Options, context: Context): Promise<void> {
  const { io, screen } = context;
  const { endpointOf, joinTunnel, markAtOnce, proxyFor } = await import('../daemon/tunnel-join.ts');
  markAtOnce();
  const place = await placeOf(options, context);
  const where = place.url ? { endpoint: place.url.host } : { region: options.region ?? '' };
  const { host, port } = endpointOf(where);
  const proxy = proxyFor(host, port, io.env);
  const type = options.destinationClientType;
  if (type !== undefined && !['V1', 'V2', 'V3'].includes(type)) {
    throw new Fault('invalid', '--destination-client-type is V1, V2 or V3');
  }
  const joined = await joinTunnel({
    ...where,
    ...(place.ca === undefined ? {} : { ca: place.ca }),
    ...(proxy === undefined ? {} : { proxy }),
    ...(type === undefined ? {} : { destinationClientType: type as 'V1' }),
    ...(io.env['AWSIOT_TUNNEL_CLIENT_TOKEN'] ? { clientToken: io.env['AWSIOT_TUNNEL_CLIENT_TOKEN'] } : {}),
    token: await tokenOf(options, context),
    mode: options.to ? 'destination' : 'source',
    ...servicesOf(options, context),
    signal: io.signal,
    log: remarks(context),
    onState: state => {
      if (state.state === 'away')
        screen.note(`away: ${state.reason}; trying again in ${Math.ceil(state.retry / 1000)} s`);
    },
  });
  const { listening, services } = joined;
  if (context.json) {
    const addresses = Object.entries(listening).map(([name, address]) => [name, formatAddress(address)]);
    if (!options.stdio) screen.jsonLine({ ready: true, services, listening: Object.fromEntries(addresses) });
  } else if (!options.stdio) {
    for (const [name, address] of Object.entries(listening))
      screen.line(`${name || 'tunnel'} = ${formatAddress(address)}`);
    if (options.to) screen.line(`joined as the destination of ${services.join(', ') || 'the tunnel'}`);
    screen.note('Ctrl-C ends it');
  }
  const end = await joined.ended;
  if (end.cause === 'refused') throw new Fault('denied', end.text);
  if (end.cause === 'broken') throw new Fault('unreachable', end.text);
  if (end.cause === 'closed' && !options.stdio) screen.note(`the tunnel is over: ${end.text}`);
}

async function placeOf(options: Options, { gate, io }: Context): Promise<{ url?: URL; ca?: string }> {
  const ca = options.ca === undefined ? undefined : await readText(options.ca);
  if (options.region !== undefined) return ca === undefined ? {} : { ca };
  const { gates, current } = await readLogins(io.env);
  const text = gate ?? current;
  if (text === undefined)
    throw new Fault('invalid', 'say where the tunnel is: --gate https://gate.example.com, or --region for AWS');
  const url = parseGate(text);
  const known = ca ?? (io.env['SEKISHO_CA'] ? await readText(io.env['SEKISHO_CA']) : gates[url.origin]?.ca);
  return { url, ...(known === undefined ? {} : { ca: known }) };
}

/** Never from the arguments, where everybody on the machine reads it. */
async function tokenOf({ tokenFile, stdio }: Options, { io }: Context): Promise<string> {
  if (tokenFile === '-' && stdio)
    throw new Fault('invalid', '--stdio needs stdin for itself; put the token into a file');
  if (tokenFile === '-') {
    let text = '';
    for await (const chunk of io.stdin) {
      text += String(chunk);
      if (text.includes('\n') || text.length > 8192) break;
    }
    return text.split('\n')[0]?.trim() ?? '';
  }
  if (tokenFile !== undefined) return (await readText(tokenFile, 8192)).trim();
  const token = io.env['AWSIOT_TUNNEL_ACCESS_TOKEN'];
  if (!token)
    throw new Fault('invalid', 'no token: give --token-file, or AWSIOT_TUNNEL_ACCESS_TOKEN in the environment');
  return token.trim();
}

type Services = NonNullable<Parameters<typeof import('../daemon/tunnel-join.ts').joinTunnel>[0]['services']>;

function servicesOf({ listen, to, stdio, service }: Options, { io }: Context): { services?: Services } {
  if ([listen, to, stdio].filter(Boolean).length > 1)
    throw new Fault('invalid', 'one of --listen, --to and --stdio, not several');
  if (stdio) {
    const stream = Duplex.from({ readable: io.stdin, writable: io.stdout });
    return { services: { [service ?? '*']: { stream } } };
  }
  const written = to ?? listen;
  return written ? { services: Object.fromEntries(written.map(placeOfService)) } : {};
}

/** `ssh=127.0.0.1:10022`, `ssh=10022`, `10022`, `ssh=unix:/run/app.sock`. */
function placeOfService(text: string): [string, Services[string]] {
  const [, name = '*', rest = ''] = /^(?:([a-zA-Z0-9:_-]+)=)?(.+)$/.exec(text) ?? [];
  if (rest.startsWith('unix:')) return [name, { path: rest.slice(5) }];
  const [, host = '127.0.0.1', digits = ''] = /^(?:(\[[^\]]+\]|[^:]+):)?(\d{1,5})$/.exec(rest) ?? [];
  const port = Number(digits);
  if (digits === '' || port > 65_535) {
    throw new Fault('invalid', `"${text}" is not a place; write service=host:port, like ssh=127.0.0.1:10022`);
  }
  return [name, { host: host.replace(/^\[|\]$/g, ''), port }];
}

/** Warnings as remarks; the rest is for whoever debugs. */
function remarks({ screen, io }: Context): Log {
  const log: Log = {
    child: () => log,
    debug: () => {},
    info: (_, text) => void (io.env['SEKISHO_DEBUG'] && screen.note(text)),
    warn: (facts, text) => screen.note(`! ${text} ${JSON.stringify(facts)}`),
    error: (facts, text) => screen.note(`! ${text} ${String((facts as { error?: unknown }).error ?? '')}`),
  };
  return log;
}
