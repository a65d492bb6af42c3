// What `vpn hub create` and `vpn hub set` may say of a hub, as options and as the API wants it.
import { type Command, Option } from 'commander';
import { Fault } from '../core/fault.ts';
import type { Context } from './command.ts';

export interface SettingOptions {
  readonly nat?: string;
  readonly range?: string;
  readonly route?: readonly string[];
  readonly gateway?: string;
  readonly dns?: readonly string[];
  readonly forward?: readonly string[];
  readonly bridge?: string;
  readonly anonymous?: boolean;
  readonly listing?: boolean;
  readonly sstp?: boolean;
  readonly online?: boolean;
  readonly maxSessions?: number;
  readonly message?: string;
}

const several = (value: string, before: string[] = []): string[] => [...before, ...value.split(',')];

export const settingOptions = (): Option[] => [
  new Option('--nat <cidr>', 'a virtual router with DHCP and NAT, like 192.168.30.1/24; off = none'),
  new Option('--range <first-last>', 'addresses that DHCP hands out; default: .10 to .200 of the network'),
  new Option(
    '--route <cidr>',
    'a network behind the router that members are told of (repeatable); NAT reaches no other',
  ).argParser(several),
  new Option('--gateway <address>', 'a default gateway for members; without it theirs stays as it is'),
  new Option('--dns <address>', 'name servers that DHCP names, two at most').argParser(several),
  new Option(
    '--forward <listen=to>',
    'a port of the hub that leads out: 192.168.30.1:80=tcp://10.0.1.26:80 (repeatable)',
  ).argParser(several),
  new Option('--bridge <tap>', 'a TAP device on this machine, like tap_00; off = none'),
  new Option('--anonymous', 'whoever knows the name may join without proof'),
  new Option('--no-anonymous'),
  new Option('--listing', 'the name is told to whoever asks for a list'),
  new Option('--no-listing'),
  new Option('--sstp', 'Windows’ own VPN client may join; passwords set from now on are kept in its form as well'),
  new Option('--no-sstp'),
  new Option('--max-sessions <count>', 'members at a time; 0 = no limit').argParser(Number),
  new Option('--message <text>', 'shown to members when they join'),
];

/** The settings that options name; undefined values stay as they are. */
export function settingsOf(options: SettingOptions): Record<string, unknown> {
  const { nat, forward, bridge, anonymous, listing, sstp, online, maxSessions, message } = options;
  const wanted = {
    ...{ anonymous, listing, sstp, online, maxSessions, message },
    secureNat: natOf(options),
    forward: forward?.map(forwardOf),
    bridge: bridge === 'off' ? '' : bridge,
  };
  if (nat === undefined && (options.range ?? options.route ?? options.gateway ?? options.dns) !== undefined)
    throw new Fault('invalid', '--range, --route, --gateway and --dns belong to --nat; say that as well');
  return Object.fromEntries(Object.entries(wanted).filter(([, value]) => value !== undefined));
}

function natOf({ nat, range, route, gateway, dns }: SettingOptions): unknown {
  if (nat === undefined) return undefined;
  if (nat === 'off') return { enabled: false, options: { address: '192.168.30.1/24' } };
  const [, network = '', bits] = /^(\d{1,3}\.\d{1,3}\.\d{1,3})\.\d{1,3}\/(\d{1,2})$/.exec(nat) ?? [];
  if (bits === undefined)
    throw new Fault('invalid', `--nat: write an address and its network, like 192.168.30.1/24, not "${nat}"`);
  if (range === undefined && bits !== '24') throw new Fault('invalid', '--nat: a network other than /24 needs --range');
  const [first = '', last = ''] = (range ?? `${network}.10-${network}.200`).split('-');
  return {
    enabled: true,
    options: {
      address: nat,
      dhcp: {
        range: [first, last],
        ...(route ? { routes: route.map(one => ({ network: one })) } : {}),
        ...(gateway === undefined ? {} : { gateway }),
        ...(dns ? { dns } : {}),
      },
    },
  };
}

function forwardOf(text: string): { listen: string; to: string } {
  const [, listen, to] = /^([^=]+)=(.+)$/.exec(text) ?? [];
  if (!listen || !to) throw new Fault('invalid', `--forward: write listen=to, like 192.168.30.1:80=tcp://10.0.1.26:80`);
  return { listen, to };
}

export function defineHubSet(command: Command, context: Context): void {
  const set = command.command('set <hub>').summary('change a hub that was made at run time; what is not said stays');
  for (const option of settingOptions()) set.addOption(option);
  set.option('--online', 'open it').option('--no-online', 'close it; its members are put out');
  set.action(async (hub: string, options: SettingOptions) => {
    const body = settingsOf(options);
    if (Object.keys(body).length === 0) throw new Fault('invalid', 'nothing to change was named; see --help');
    const answer = await (await context.client()).call('vpn.hub-change', { params: { hub }, body: body as never });
    context.json ? context.screen.json(answer) : context.screen.line(`hub ${answer.name} is changed`);
  });
}
