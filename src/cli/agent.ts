// sekisho agent: the device's side. The same as the one file that the gate serves, for machines that have all of Sekisho.
import type { Command } from 'commander';
import { type Context, examples } from './command.ts';

interface Options {
  readonly enroll?: string;
  readonly service?: string[];
  readonly dir?: string;
  readonly name?: string;
  readonly proxy?: string;
  readonly proxyCredentials?: string;
  readonly trustGateTime?: true;
  readonly mqtt?: string;
  readonly thing?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly ca?: string;
  readonly tokenFile?: string;
  readonly region?: string;
  readonly install?: true;
  readonly verbose?: true;
}
const several = (value: string, before: string[] = []): string[] => [...before, value];

export function define(command: Command, context: Context): void {
  command
    .option('--enroll <code>', 'the one-time code that "sekisho device enroll" printed; needs --gate')
    .option(
      '--service <name=host:port>',
      'with --enroll: what may be reached (default: what the gate proposes)',
      several,
    )
    .option('--dir <dir>', 'key, certificate, list of services (default: SEKISHO_AGENT_DIR, else ~/.sekisho-agent)')
    .option('--name <host>', "what the gate's certificate says, where it is reached by another name")
    .option('--proxy <url>', 'http(s)://host:port (default: HTTPS_PROXY and NO_PROXY); "off" = straight')
    .option('--proxy-credentials <file>', 'user:password of the proxy')
    .option('--trust-gate-time', "go on where this device's clock is more than a day off")
    .option('--mqtt <url>', 'besides, wait for tunnels at mqtts://host:port and join them as destination')
    .option('--thing <name>', 'with --mqtt and without a gate (AWS IoT): who this is; needs --cert and --key')
    .option('--cert <file>', 'with --thing')
    .option('--key <file>', 'with --thing')
    .option('--ca <file>', 'the CA of the broker or gate, where the system does not know it')
    .option('--token-file <file>', 'join one tunnel as destination and nothing else; with --gate or --region')
    .option('--region <region>', 'AWS’s own endpoint of tunnels')
    .option('--install', 'print a systemd unit')
    .option('--verbose', 'say more')
    .action(async ({ install, verbose, ...options }: Options) => {
      const { createAgentLog, runAgent, systemdUnit, version } = await import('../daemon/agent-parts.ts');
      if (install) {
        await context.screen.write(systemdUnit(process.execPath, `${process.argv[1]} agent`));
        return;
      }
      await runAgent({
        ...options,
        ...(context.gate === undefined ? {} : { gate: context.gate }),
        ...{ version, env: context.io.env, signal: context.io.signal },
        log: createAgentLog({
          level: verbose ? 'debug' : 'info',
          json: context.json,
          write: line => void context.io.stderr.write(line),
        }),
        linked: device => {
          if (context.json) context.screen.jsonLine({ linked: device });
        },
      });
    });
  examples(
    command,
    ['sekisho agent --gate https://gate.example.com --enroll CODE', 'the first time'],
    ['sekisho agent', 'afterwards'],
    ['sekisho agent --install > /etc/systemd/system/sekisho-agent.service'],
  );
}
