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
  // What a service writes is kept in a journal that others read: there it is `sekisho user link NAME`, for who asks.
  const isSeen = file.path === undefined || context.io.stdout.isTTY === true;
  const link = isSeen ? await gateway.firstLink() : undefined;
  if (link !== undefined) {
    screen.line();
    screen.line(`Sign in to the console, once and within 15 minutes:  ${link}`);
  }
  screen.line();
  screen.line('Three things to try, in another terminal:');
  // Another certificate than the built-in CA's is not known to ca.pem.
  const isOurs = file.config.gate?.certificate === 'auto';
  const gate = opened.find(([name, listen]) => isOurs && name === 'gate' && listen.startsWith('tls:'))?.[1];
  for (const line of threeThings(gate, context)) screen.line(`  ${line}`);
}

/** Lines that work as they are printed. */
function threeThings(gate: string | undefined, { io, data, dataGiven }: Context): string[] {
  const program = io.env['SEKISHO_COMMAND'] ?? 'sekisho';
  const where = dataGiven ? ` --data ${quoted(data)}` : '';
  // The certificate covers loopback whatever the gate's name is.
  const url = gate?.replace(/^tls:\/\/(?:0\.0\.0\.0|\[::\])?(?=:)/, 'https://127.0.0.1').replace(/^tls:/, 'https:');
  const own = url
    ? `${program} cert ca${where} > ca.pem && curl --cacert ca.pem ${url}/healthz`
    : `${program} audit search${where}`;
  return [`${program} status${where}`, own, `${program} cert issue alice --pem .${where}`];
}

const quoted = (path: string): string => (/^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`);
