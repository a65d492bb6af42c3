// One gate's life as a process: signals, systemd, a watched file, the end.
import { flushCompileCache } from 'node:module';
import { type ConfigFile, readConfigFile } from './config-file.ts';
import { defaultConfig } from './defaults.ts';
import { drainTime, type Gateway, openGateway } from './gateway.ts';
import { aborted } from './gateway-parts.ts';
import { createNotifier, passedSockets } from './systemd.ts';
import { watchFiles } from './watch.ts';

export interface RunOptions {
  /** The configuration; default: the gate on 127.0.0.1:8443 and nothing else. */
  readonly config?: string;
  /** The data folder, absolute. */
  readonly data: string;
  /** Reload when the file, or one that it names, is saved. */
  readonly watch?: boolean;
  /** The first signal asks for the end; whoever aborts again ends the process itself. */
  readonly signal: AbortSignal;
  /** Called once everything is open. */
  readonly ready?: (gateway: Gateway, file: ConfigFile) => void;
}

/** Resolves when the gate has ended. @throws Fault when it could not start; then nothing is open */
export async function runGateway(options: RunOptions): Promise<void> {
  process.title = 'sekisho: gate';
  using _ = stayAlive();
  const passed = passedSockets();
  const read = (): Promise<ConfigFile> =>
    options.config === undefined ? Promise.resolve(defaultConfig()) : readConfigFile(options.config);
  const file = await read();
  let latest = file;
  const readAgain = async (): Promise<ConfigFile> => {
    latest = await read();
    return latest;
  };
  const named = new Set<string>(file.path === undefined ? [] : [file.path]);
  const seen = (path: string): void => void named.add(path);
  await using gateway = await openGateway({ file, data: options.data, readAgain, passed, seen });
  const { log } = gateway;
  using notifier = createNotifier({ log });
  const count = gateway.listeners().length + (await gateway.routes()).length;
  const ready = (): void => notifier.ready(`${count} listeners and routes are open`);

  /** A refused reload has been logged with its reason; the gate goes on as it was. */
  const reload = (): void => {
    notifier.reloading();
    gateway.reload().then(ready, ready);
  };
  const reopen = (): void =>
    void gateway.reopenLogs().catch(error => log.error({ error }, 'log files cannot be opened anew'));
  process.on('SIGHUP', reload).on('SIGUSR1', reopen);
  using _watching = options.watch === true ? watchFiles(named, log, reload) : undefined;

  ready();
  flushCompileCache(); // now rather than at the end, which a kill does not reach
  options.ready?.(gateway, file);
  for (const text of gateway.warnings()) log.warn({}, text);
  await aborted(options.signal);
  _watching?.[Symbol.dispose]();
  notifier.stopping();
  const deadline = drainTime(latest.config);
  log.info({ deadline }, 'ending: no new connections; what is open may finish');
  await gateway.drain(AbortSignal.timeout(deadline));
  process.off('SIGHUP', reload).off('SIGUSR1', reopen);
}

/** Node ends a process that has only unreferenced things to wait for: timers of a drain, a thread that closes a database. */
function stayAlive(): Disposable {
  const timer = setInterval(() => {}, 2 ** 30);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}
