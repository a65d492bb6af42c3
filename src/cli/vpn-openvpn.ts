// sekisho vpn openvpn: a profile for OpenVPN's clients, with a certificate of the gate's CA in it where one is wished.
import type { Command } from 'commander';
import { Fault } from '../core/fault.ts';
import { type Context, examples } from './command.ts';
import { createFile } from './files.ts';

interface Options {
  readonly user?: string;
  readonly dev: string;
  readonly issue?: true;
  readonly days?: string;
  readonly out?: string;
  readonly force?: true;
}

export function defineOpenVpn(command: Command, context: Context): void {
  const openvpn = command
    .command('openvpn <hub>')
    .summary('write a profile (.ovpn) for OpenVPN’s clients')
    .option('--user <name>', 'the member whom it is for')
    .option('--dev <kind>', 'tun: IP, an address from the hub’s DHCP; tap: Ethernet', 'tun')
    .option('--issue', 'with a certificate for the user, and its key: no password is asked for')
    .option('--days <count>', 'how long that is valid')
    .option('--out <file>', 'into this file (0600) instead of the screen')
    .option('--force', 'replace a file that exists')
    .action(async (hub: string, options: Options) => run(hub, options, context));
  examples(
    openvpn,
    ['sekisho vpn openvpn mikalab > mikalab.ovpn', 'for everybody: name and password are asked for'],
    ['sekisho vpn openvpn mikalab --user staff01 --issue --out staff01.ovpn'],
  );
}

async function run(hub: string, options: Options, context: Context): Promise<void> {
  const { user, dev, issue, out } = options;
  if (dev !== 'tun' && dev !== 'tap') throw new Fault('invalid', `--dev is tun or tap, not "${dev}"`);
  if (issue && (user === undefined || out === undefined))
    throw new Fault(
      'invalid',
      '--issue needs --user NAME and --out FILE: the key is shown once, and has to have a place',
    );
  const client = await context.client();
  const query = { dev, ...(user === undefined ? {} : { user }) } as const;
  const answer = await client.call('vpn.openvpn-show', { params: { hub }, query });
  if (out === undefined) {
    if (context.json) return context.screen.json(answer);
    return void (await context.screen.write(answer.profile));
  }
  await using file = await createFile(out, { mode: 0o600, force: options.force === true });
  await file.write(
    issue && user !== undefined ? await withKey(answer.profile, user, options, context) : answer.profile,
  );
  await file.keep();
  if (context.json) context.screen.json({ hub: answer.hub, file: file.path });
  else context.screen.line(`profile for ${answer.hub} in ${file.path}`);
}

/** A certificate stands for the question of name and password. */
async function withKey(profile: string, user: string, { days }: Options, context: Context): Promise<string> {
  const wished = days === undefined ? undefined : Number(days);
  if (wished !== undefined && !Number.isInteger(wished))
    throw new Fault('invalid', `--days ${days} is not a number of days`);
  const body = { name: user, kind: 'client', ...(wished === undefined ? {} : { days: wished }) };
  const { cert, chain, key = '' } = await (await context.client()).call('cert.issue', { body: body as never });
  const block = (name: string, ...texts: string[]): string =>
    `<${name}>\n${texts.map(text => text.trim()).join('\n')}\n</${name}>\n`;
  return `${profile.replace('auth-user-pass\n', '')}${block('cert', cert, ...chain)}${block('key', key)}`;
}
