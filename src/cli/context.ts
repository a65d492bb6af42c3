// What every command shares: the options of the whole program, the screen, the way to the gate.
import { join, resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { Fault } from '../core/fault.ts';
import { type Client, connect } from './client.ts';
import type { Context, Io } from './command.ts';
import { createScreen } from './screen.ts';

/** Options that stand before or after any command. */
export const globalOptions = (): Option[] => [
  new Option('--data <dir>', "the gate's folder; also SEKISHO_DATA (default: ./data)"),
  new Option('--gate <url>', 'a gate elsewhere, after sekisho login; also SEKISHO_GATE'),
  new Option('--json', 'answer in JSON'),
];

export function createContext(program: Command, io: Io): Context {
  const options = (): { data?: string; gate?: string; json?: boolean } => program.opts();
  let client: Promise<Client> | undefined;
  const context: Context = {
    io,
    screen: createScreen(io),
    status: 0,
    get json() {
      return options().json === true;
    },
    get data() {
      return resolve(options().data ?? (io.env['SEKISHO_DATA'] || './data'));
    },
    get dataGiven() {
      return options().data !== undefined || Boolean(io.env['SEKISHO_DATA']);
    },
    get gate() {
      return options().gate ?? (options().data === undefined ? io.env['SEKISHO_GATE'] || undefined : undefined);
    },
    client() {
      const { data, gate } = options();
      if (data !== undefined && gate !== undefined) {
        throw new Fault('invalid', '--data and --gate both say which gate; give one of them');
      }
      client ??= connect({
        socket: join(context.data, 'sekisho.sock'),
        data: context.data,
        dataGiven: context.dataGiven,
        gate: context.gate,
        env: io.env,
        signal: io.signal,
        progress: context.screen.progress,
      });
      return client;
    },
  };
  return context;
}
