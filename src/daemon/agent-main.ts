// The agent's executable: bundled into the one file that the gate serves as /agent.js. Runs on Node 18 and newer.
import { parseArgs } from 'node:util';
import { Fault, faults, toFault } from '../core/fault.ts';
import { runAgent, systemdUnit } from './agent.ts';
import { createAgentLog } from './agent-log.ts';

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
  --install                   print a systemd unit
  --json                      log in JSON lines
  --verbose                   say more
  --version, --help
`;

const ending = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => ending.abort(signal));

async function main(): Promise<void> {
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
  const { gate, enroll, service, dir, name, proxy } = values;
  const defined = Object.fromEntries(
    Object.entries({ gate, enroll, service, dir, name, proxy, proxyCredentials: values['proxy-credentials'] }).filter(
      ([, value]) => value !== undefined,
    ),
  );
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
