// sekisho tunnel: ways to devices behind firewalls, for a while; and the source side on this machine.
import type { Command } from 'commander';
import type { TunnelAnswer } from '../api/contract/tunnel.ts';
import { Fault } from '../core/fault.ts';
import { type Context, examples } from './command.ts';
import { createFile } from './files.ts';
import { minute } from './format.ts';
import type { Screen } from './screen.ts';
import { defineConnect } from './tunnel-connect.ts';
import { showTunnels } from './tunnel-table.ts';

const several = (value: string, before: string[] = []): string[] => [
  ...before,
  ...value.split(',').map(text => text.trim()),
];
const each = (value: string, before: string[] = []): string[] => [...before, value];

export function define(command: Command, context: Context): void {
  defineOpen(command, context);
  defineReads(command, context);
  defineChanges(command, context);
  defineConnect(command, context);
  examples(
    command,
    ['sekisho tunnel open pump-7 --service ssh --for 1h', 'prints both tokens, and tells the device'],
    ['sekisho tunnel connect --gate https://gate.example.com --token-file t --listen ssh=127.0.0.1:10022'],
    ['ssh -o ProxyCommand="sekisho tunnel connect --gate https://gate.example.com --token-file t --stdio" pump-7'],
    ['sekisho tunnel connect --region ap-northeast-1 --token-file t', 'the same for a tunnel of AWS'],
    ['sekisho tunnel notify 1f0a… --topic "\\$aws/things/pump-7/tunneling/notify"'],
    ['sekisho tunnel close 1f0a…'],
  );
}

interface OpenOptions {
  readonly service?: string[];
  readonly for?: string;
  readonly description?: string;
  readonly tag?: string[];
  readonly sourceTokenFile?: string;
  readonly destinationTokenFile?: string;
}

function defineOpen(command: Command, context: Context): void {
  command
    .command('open [device]')
    .summary('open a tunnel, tell its device, print both tokens')
    .option('--service <name>', 'a service of the device (repeatable)', several)
    .option('--for <time>', 'how long, at most 12h (default: tunnel.lifetime)')
    .option('--description <text>', 'what it is for')
    .option('--tag <key=value>', 'a tag (repeatable)', each)
    .option('--source-token-file <file>', 'write the source token there (0600) instead of printing it')
    .option('--destination-token-file <file>', 'the same for the destination token')
    .action(async (device: string | undefined, options: OpenOptions) => {
      // Opened before the tunnel is: a file that cannot be written should be found out now.
      await using source = options.sourceTokenFile
        ? await createFile(options.sourceTokenFile, { mode: 0o600 })
        : undefined;
      await using destination = options.destinationTokenFile
        ? await createFile(options.destinationTokenFile, { mode: 0o600 })
        : undefined;
      const answer = await (await context.client()).call('tunnel.open', {
        body: {
          ...(device === undefined ? {} : { thing: device }),
          services: options.service ?? [],
          tags: (options.tag ?? []).map(tagOf),
          ...(options.for === undefined ? {} : { for: options.for }),
          ...(options.description === undefined ? {} : { description: options.description }),
        },
      });
      await source?.write(`${answer.sourceToken}\n`);
      await source?.keep();
      await destination?.write(`${answer.destinationToken}\n`);
      await destination?.keep();
      const { tunnel, sourceToken, destinationToken } = answer;
      if (context.json) {
        return context.screen.json({
          ...{ id: tunnel.id, tunnel },
          ...(source ? {} : { sourceToken }),
          ...(destination ? {} : { destinationToken }),
        });
      }
      context.screen.facts([
        ['tunnel', tunnel.id],
        ['until', `${minute(tunnel.until)}`],
        ['source token', source ? `in ${source.path}` : sourceToken],
        ['destination token', destination ? `in ${destination.path}` : destinationToken],
      ]);
      context.screen.note(
        'each token lets one side in, once; the gate does not tell them again (tunnel rotate makes new ones)',
      );
    });
}

function tagOf(text: string): { key: string; value: string } {
  const at = text.indexOf('=');
  if (at < 1) throw new Fault('invalid', `"${text}" is not a tag; write key=value`);
  return { key: text.slice(0, at), value: text.slice(at + 1) };
}

function defineReads(command: Command, context: Context): void {
  command
    .command('list')
    .summary('tunnels, newest first; closed ones for three hours')
    .option('--device <name>', 'only to this device')
    .option('--state <state>', 'open or closed')
    .option('--limit <count>', 'how many at most', '100')
    .action(async ({ device, state, limit }: { device?: string; state?: string; limit: string }) => {
      const query = { limit, ...(device ? { thing: device } : {}), ...(state ? { state: state as 'open' } : {}) };
      const found = await (await context.client()).call('tunnel.list', { query });
      if (context.json) return context.screen.json(found);
      showTunnels(context.screen, found.tunnels);
      if (found.total > found.tunnels.length) context.screen.note(`… of ${found.total}; see --limit`);
    });
  command
    .command('show <id>')
    .summary('one tunnel')
    .action(async id => {
      const tunnel = await (await context.client()).call('tunnel.show', { params: { id } });
      context.json ? context.screen.json(tunnel) : showTunnel(context.screen, tunnel);
    });
}

function showTunnel(screen: Screen, tunnel: TunnelAnswer): void {
  const side = ({ state, changed }: TunnelAnswer['source']): string =>
    `${state}${changed === undefined ? '' : `, since ${minute(changed)}`}`;
  screen.facts([
    ['id', tunnel.id],
    ['ARN', tunnel.arn],
    ['state', { text: tunnel.state, tone: tunnel.state === 'open' ? 'green' : 'dim' }],
    ['device', tunnel.thing],
    ['services', tunnel.services.join(', ') || undefined],
    ['description', tunnel.description],
    ['tags', tunnel.tags.map(({ key, value }) => `${key}=${value}`).join(', ') || undefined],
    ['opened', `${minute(tunnel.created)} by ${tunnel.opener}`],
    [tunnel.closed === undefined ? 'until' : 'closed', minute(tunnel.closed ?? tunnel.until)],
    ['source', side(tunnel.source)],
    ['destination', side(tunnel.destination)],
    ['connections', tunnel.connections],
  ]);
}

function defineChanges(command: Command, context: Context): void {
  command
    .command('rotate <id>')
    .summary('new tokens; the old ones do not count any more')
    .option('--side <side>', 'source, destination or all', 'all')
    .action(async (id, { side }: { side: string }) => {
      const body = { side: side as 'all' };
      const { sourceToken, destinationToken } = await (await context.client()).call('tunnel.rotate', {
        params: { id },
        body,
      });
      if (context.json) {
        return context.screen.json({
          id,
          ...(sourceToken === undefined ? {} : { sourceToken }),
          ...(destinationToken === undefined ? {} : { destinationToken }),
        });
      }
      context.screen.facts([
        ['source token', sourceToken],
        ['destination token', destinationToken],
      ]);
    });
  command
    .command('close <id>')
    .summary('close it now; both ends are told')
    .option('--erase', 'and forget it at once')
    .action(async (id, { erase }: { erase?: true }) => {
      const answer = await (await context.client()).call('tunnel.close', {
        params: { id },
        body: { erase: erase === true },
      });
      context.json ? context.screen.json(answer) : context.screen.line(`tunnel ${answer.id} is closed`);
    });
  command
    .command('notify <id>')
    .summary('tell the device again, over MQTT')
    .option('--topic <topic>', 'default: $aws/things/<device>/tunnels/notify')
    .action(async (id, { topic }: { topic?: string }) => {
      const body = topic === undefined ? {} : { topic };
      const answer = await (await context.client()).call('tunnel.notify', { params: { id }, body });
      if (context.json) return context.screen.json(answer);
      context.screen.line(`published on ${answer.topic}`);
      if (answer.rotated)
        context.screen.note(
          'with a new destination token: the one before was used, or made before the gate’s last start',
        );
    });
}
