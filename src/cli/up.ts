// sekisho up: runs the gate until a signal ends it, and says what it opened.
import type { Command } from 'commander';
import { type Context, examples } from './command.ts';

export function define(command: Command, context: Context): void {
  command
    .option('-c, --config <file>', 'the configuration (default: the gate alone, on 127.0.0.1:8443)')
    .option('--watch', 'reload when the file is saved; a bad file changes nothing')
    .action(async (options: { config?: string; watch?: true }) => {
      const { runGateway } = await import('../daemon/index.ts');
      await runGateway({
        data: context.data,
        signal: context.io.signal,
        watch: options.watch === true,
        ...(options.config === undefined ? {} : { config: options.config }),
        ready: (gateway, file) => void greet(gateway, file, context),
      });
    });
  examples(
    command,
    ['sekisho up', 'the gate alone: CA, users, API'],
    ['sekisho up -c sekisho.yaml --watch'],
    ['sekisho up -c /etc/sekisho/sekisho.yaml --data /var/lib/sekisho'],
  );
}

type Daemon = typeof import('../daemon/index.ts');
type Ready = NonNullable<Parameters<Daemon['runGateway']>[0]['ready']>;

async function greet(...[gateway, file, context]: [...Parameters<Ready>, Context]): Promise<void> {
  const { screen, json } = context;
  const routes = await gateway.routes();
  const opened = [
    ...gateway.listeners().map(({ name, listen }) => [name, listen] as const),
    ...routes.map(({ name, listens }) => [`proxy ${name}`, listens.map(({ written }) => written).join(', ')] as const),
  ];
  if (json)
    return screen.jsonLine({
      ready: true,
      data: context.data,
      opened: opened.map(([name, listen]) => ({ name, listen })),
    });
  screen.heading(`Sekisho is up (${file.path ?? 'no configuration: the gate alone'})`);
  screen.facts(opened);
  screen.line();
  screen.line('Three things to try, in another terminal:');
  for (const line of await threeThings(file, context)) screen.line(`  ${line}`);
}

/** Lines that work as they are printed. */
async function threeThings(file: Parameters<Ready>[1], { io, data, dataGiven }: Context): Promise<string[]> {
  const program = io.env['SEKISHO_COMMAND'] ?? 'sekisho';
  const where = dataGiven ? ` --data ${quoted(data)}` : '';
  const gate = file.config.gate?.listen.find(address => 'port' in address);
  const host = gate && 'host' in gate ? (isEvery(gate.host) ? '127.0.0.1' : gate.host) : undefined;
  const own =
    gate && 'port' in gate
      ? `${program} cert ca${where} > ca.pem && curl --cacert ca.pem https://${host?.includes(':') ? `[${host}]` : host}:${gate.port}/healthz`
      : `${program} audit tail${where}`;
  return [`${program} status${where}`, own, `${program} cert issue alice --pem .${where}`];
}

const isEvery = (host: string): boolean => host === '' || host === '0.0.0.0' || host === '::';
const quoted = (path: string): string => (/^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`);
