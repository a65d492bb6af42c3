// The agent's executable: bundled into the one file that the gate serves as /agent.js. Runs on Node 18 and newer.
import { parseArgs } from 'node:util';
import { Fault, faults, toFault } from '../core/fault.ts';
import { markAtOnce } from '../net/marking.ts';
import './agent-polyfill.ts';
import { runAgent, systemdUnit } from './agent.ts';
import { connectTunnel } from './agent-connect.ts';
import { createAgentLog } from './agent-log.ts';
import { wrapHere } from './agent-wrap.ts';

declare const __AGENT_VERSION__: string;

const help = `Sekisho agent: makes services of this device reachable through its gate, and nothing else.

  node sekisho-agent.js --gate https://gate.example.com --enroll CODE   the first time
  node sekisho-agent.js                                                 afterwards

  --gate URL                  the gate's address
  --enroll CODE               the one-time code that "sekisho device enroll" printed
  --service NAME=HOST:PORT    with --enroll: what may be reached (repeatable; default: what the gate proposes)
  --dir DIR                   key, certificate, list of services (default: SEKISHO_AGENT_DIR, else ~/.sekisho-agent)
  --name HOST                 what the gate's certificate says, where it is reached by another name
  --proxy URL                 http(s)://host:port; default HTTPS_PROXY and NO_PROXY; "off" = straight
  --proxy-credentials FILE    user:password of the proxy (or SEKISHO_PROXY_CREDENTIALS)
  --trust-gate-time           go on where this device's clock is more than a day off
  --mqtt URL                  besides: wait for tunnels at mqtts://host:port and join them as destination; with
                              --cert, --key, --thing (and --ca): without a gate, against AWS IoT itself
  --token-file FILE           join one tunnel as destination and nothing else; with --gate, or --region for AWS
  --install                   print a systemd unit
  --json                      log in JSON lines
  --verbose                   say more
  --version, --help

  node sekisho-agent.js tunnel connect --gate URL --token-file F [--listen ssh=127.0.0.1:10022] [--stdio] [--region R] [--ca F]
  node sekisho-agent.js wrap --listen URL --to URL [--ca F] [--name N] [--cert F --key F] [--no-verify]
`;

markAtOnce();
const ending = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => ending.abort(signal));

async function wrap(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      listen: { type: 'string' },
      to: { type: 'string' },
      ca: { type: 'string' },
      name: { type: 'string' },
      cert: { type: 'string' },
      key: { type: 'string' },
      'no-verify': { type: 'boolean', default: false },
    },
  });
  const { listen, to, 'no-verify': blind, ...rest } = values;
  if (listen === undefined || to === undefined) throw new Fault('invalid', 'wrap needs --listen and --to; see --help');
  await wrapHere({
    ...rest,
    listen,
    to,
    verify: !blind,
    log: createAgentLog({ level: 'info', json: false }),
    signal: ending.signal,
  });
}

async function main(): Promise<void> {
  const [first, second, ...rest] = process.argv.slice(2);
  if (first === 'wrap') return wrap(second === undefined ? [] : [second, ...rest]);
  if (first === 'tunnel') {
    if (second !== 'connect') throw new Fault('invalid', 'of tunnel, only "tunnel connect" is here; see --help');
    const log = createAgentLog({ level: 'warn', json: false });
    return connectTunnel(rest, { env: process.env, log, signal: ending.signal });
  }
  const { values } = parseArgs({
    options: {
      gate: { type: 'string' },
      enroll: { type: 'string' },
      service: { type: 'string', multiple: true },
      dir: { type: 'string' },
      name: { type: 'string' },
      proxy: { type: 'string' },
      'proxy-credentials': { type: 'string' },
      'trust-gate-time': { type: 'boolean', default: false },
      mqtt: { type: 'string' },
      thing: { type: 'string' },
      cert: { type: 'string' },
      key: { type: 'string' },
      ca: { type: 'string' },
      'token-file': { type: 'string' },
      region: { type: 'string' },
      install: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      verbose: { type: 'boolean', default: false },
      version: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) return void process.stdout.write(help);
  if (values.version) return void process.stdout.write(`${__AGENT_VERSION__}\n`);
  if (values.install) return void process.stdout.write(systemdUnit(process.execPath, process.argv[1] ?? ''));
  const { gate, enroll, service, dir, name, proxy, mqtt, thing, cert, key, ca, region } = values;
  const files = { proxyCredentials: values['proxy-credentials'], tokenFile: values['token-file'] };
  const given = { gate, enroll, service, dir, name, proxy, mqtt, thing, cert, key, ca, region, ...files };
  const defined = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  await runAgent({
    ...defined,
    trustGateTime: values['trust-gate-time'] === true,
    env: process.env,
    version: __AGENT_VERSION__,
    log: createAgentLog({ level: values.verbose ? 'debug' : 'info', json: values.json === true }),
    signal: ending.signal,
  });
}

main().then(
  () => {
    // Whatever still holds the process (a socket's last timer) is of no use any more.
    setTimeout(() => process.kill(process.pid, 'SIGKILL'), 10_000).unref();
  },
  (error: unknown) => {
    const usage = (error as NodeJS.ErrnoException).code?.startsWith('ERR_PARSE_ARGS');
    const fault = usage
      ? new Fault('invalid', `${(error as Error).message.split('\n')[0]}; see --help`)
      : toFault(error);
    const text = fault.code === 'bug' ? `internal error: ${(error as Error).stack}` : fault.message;
    process.stderr.write(`sekisho-agent: ${text}\n`);
    process.exitCode = faults[fault.code].exit;
  },
);
