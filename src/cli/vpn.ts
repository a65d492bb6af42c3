// sekisho vpn: hubs, their members, who is on them, what their tables hold, and administration by vpncmd.
import { readFile } from 'node:fs/promises';
import { type Command, Option } from 'commander';
import type { VpnHubAnswer, VpnMemberAnswer } from '../api/contract/vpn.ts';
import { Fault } from '../core/fault.ts';
import { askSecret, askYes } from './ask.ts';
import { type Context, examples } from './command.ts';
import { ago, formatBytes, minute } from './format.ts';
import { defineGroup } from './vpn-group.ts';
import { defineJoin } from './vpn-join.ts';
import { defineOpenVpn } from './vpn-openvpn.ts';
import { defineHubSet, settingOptions, settingsOf } from './vpn-settings.ts';
import { parsePolicy, pathOf } from './vpn-words.ts';

export function define(command: Command, context: Context): void {
  defineHub(command.command('hub').summary('hubs: list, show, create, set, delete').helpCommand(false), context);
  defineUser(command.command('user').summary('members: list, add, set, remove').helpCommand(false), context);
  defineGroup(
    command.command('group').summary('members who share a policy: list, set, remove').helpCommand(false),
    context,
  );
  defineSession(command.command('session').summary('who is on a hub: list, cut').helpCommand(false), context);
  defineTable(command, context);
  defineJoin(command, context);
  defineOpenVpn(command, context);
  defineAdmin(
    command.command('admin').summary('administration by vpncmd: show, passwd, off').helpCommand(false),
    context,
  );
  examples(
    command,
    ['sekisho vpn hub create mikalab --nat 192.168.30.1/24 --route 10.0.1.0/24'],
    ['sekisho vpn user add mikalab/staff01 --password-stdin'],
    ['sekisho vpn user set mikalab/staff01 --policy multiLogins=1'],
    ['sekisho vpn group set mikalab/guests --policy maxDownload=10000000'],
    ['sekisho vpn session cut mikalab/SID-STAFF01-1'],
    ['sekisho vpn table mikalab leases'],
    ['sekisho vpn join --gate https://gate.example.com --hub mikalab --user staff01', 'our own client'],
    ['sekisho vpn openvpn mikalab --user staff01 --issue --out staff01.ovpn', 'for telephones, with a certificate'],
    ['sekisho vpn admin passwd', 'then: vpncmd HOST:443 /SERVER /ADMINHUB:mikalab'],
  );
}

function defineHub(command: Command, context: Context): void {
  command
    .command('list')
    .summary('hubs')
    .action(async () => {
      const { hubs } = await (await context.client()).call('vpn.hub-list');
      if (context.json) return context.screen.json({ hubs });
      context.screen.table(
        ['name', 'state', 'members', 'on it', 'nat', 'bridge', 'made'],
        hubs.map(hub => [
          hub.name,
          hub.online ? { text: 'online', tone: 'green' } : { text: 'offline', tone: 'dim' },
          hub.members,
          hub.sessions,
          natOf(hub),
          String(hub.settings['bridge'] ?? '–'),
          hub.origin === 'file' ? 'in the file' : minute(hub.created),
        ]),
        'no hubs yet; try: sekisho vpn hub create NAME',
      );
    });
  command
    .command('show <hub>')
    .summary('one hub, with its settings')
    .action(async hub => {
      const answer = await (await context.client()).call('vpn.hub-show', { params: { hub } });
      context.json ? context.screen.json(answer) : showHub(context, answer);
    });
  const create = command.command('create <name>').summary('make a hub');
  for (const option of settingOptions()) create.addOption(option);
  create.action(async (name: string, options) => {
    const body = { name, settings: settingsOf(options) as never };
    const answer = await (await context.client()).call('vpn.hub-create', { body });
    if (context.json) return context.screen.json(answer);
    context.screen.line(`hub ${answer.name} is made`);
    context.screen.note(`let somebody in with: sekisho vpn user add ${answer.name}/NAME`);
  });
  defineHubSet(command, context);
  command
    .command('delete <hub>')
    .summary('delete a hub with its memberships; the users stay')
    .option('--yes', 'do not ask')
    .action(async (hub: string, { yes }) => {
      if (!yes && context.io.stdin.isTTY && !(await askYes(context.io, `Delete ${hub} and its memberships?`)))
        throw new Fault('invalid', 'nothing was deleted');
      const answer = await (await context.client()).call('vpn.hub-delete', { params: { hub } });
      context.json ? context.screen.json(answer) : context.screen.line(`hub ${answer.name} is deleted`);
    });
}

const natOf = ({ settings }: VpnHubAnswer): string => {
  const nat = settings['secureNat'] as { enabled: boolean; options: { address: string } } | undefined;
  return nat?.enabled ? nat.options.address : '–';
};

function showHub({ screen }: Context, hub: VpnHubAnswer): void {
  screen.facts([
    ['name', hub.name],
    ['made', hub.origin === 'file' ? 'in the configuration file' : minute(hub.created)],
    ['state', hub.online ? 'online' : 'offline'],
    ['members', hub.members],
    ['on it now', hub.sessions],
    ['addresses seen', `${hub.macs} MAC, ${hub.ips} IP`],
    ...Object.entries(hub.settings)
      .filter(([key]) => key !== 'online')
      .map(([key, value]) => [key, typeof value === 'string' ? value : JSON.stringify(value)] as const),
  ]);
}

interface SecretOptions {
  readonly passwordStdin?: true;
  readonly plainOnly?: true;
  readonly gatePassword?: true;
  readonly certificate?: string;
}
interface AboutOptions {
  readonly group?: string;
  readonly realname?: string;
  readonly note?: string;
  readonly policy?: Record<string, boolean | number>;
  readonly expires?: string;
}

const secretOptions = (command: Command): Command =>
  command
    .option('--password-stdin', 'read the password from the first line of stdin (on a terminal it is asked for)')
    .option('--plain-only', 'keep a modern hash only: the client must send the password itself (vpncmd: /TYPE:radius)')
    .option('--gate-password', "the gate's own password of this user counts (vpncmd: /TYPE:radius)")
    .option('--certificate <file>', 'only certificates: those of the gate (write: gate), and this one (PEM)')
    .option('--group <name>', 'a group of the hub')
    .option('--realname <text>')
    .option('--note <text>')
    .option('--expires <time>', 'when the membership ends: 2026-12-31T00:00:00Z, or never')
    .addOption(
      new Option(
        '--policy <item=value...>',
        'items of the policy, like multiLogins=1 noBridge=true; none = take away',
      ).argParser(parsePolicy),
    );

const aboutOf = ({ group, realname, note, policy, expires }: AboutOptions) => ({
  ...{ group, realname, note },
  ...(policy === undefined ? {} : { policy: Object.keys(policy).length === 0 ? null : (policy as never) }),
  ...(expires === undefined ? {} : { expires: expires === 'never' ? null : expires }),
});

/** @throws Fault `invalid` when nothing or too much says how somebody proves who they are */
async function secretOf(options: SecretOptions, label: string, { io }: Context) {
  const { passwordStdin, plainOnly, gatePassword, certificate } = options;
  const ways = [gatePassword, certificate, passwordStdin ?? plainOnly].filter(way => way !== undefined);
  if (ways.length > 1) throw new Fault('invalid', 'a password, --gate-password or --certificate: one of them');
  if (gatePassword) return { gatePassword: true as const };
  if (certificate === 'gate') return { certificate: 'gate' as const };
  if (certificate !== undefined) return { certificate: await readFile(certificate, 'utf8') };
  return { password: await askSecret(io, `VPN password for ${label}`, true), plainOnly: plainOnly === true };
}

function defineUser(command: Command, context: Context): void {
  command
    .command('list <hub>')
    .summary('members of a hub')
    .action(async hub => {
      const { users } = await (await context.client()).call('vpn.user-list', { params: { hub } });
      if (context.json) return context.screen.json({ users });
      context.screen.table(
        ['user', 'proves it by', 'group', 'policy', 'logins', 'last', 'until'],
        users.map(user => [
          user.user,
          proofText(user),
          user.group || '–',
          user.policy ? 'own' : '–',
          user.logins,
          user.lastLogin ? ago(user.lastLogin) : '–',
          user.expires ? minute(user.expires) : '–',
        ]),
        `nobody may join yet; try: sekisho vpn user add ${hub}/NAME`,
      );
    });
  secretOptions(
    command.command('add <hub/name>').summary('let a user of the gate join a hub; adds the user when missing'),
  ).action(async (path: string, options: SecretOptions & AboutOptions) => {
    const [hub, user] = pathOf(path);
    const secret = await secretOf(options, path, context);
    const body = { user, secret, ...aboutOf(options) };
    const answer = await (await context.client()).call('vpn.user-add', { params: { hub }, body });
    if (context.json) return context.screen.json(answer);
    context.screen.line(`${answer.user} may join ${answer.hub}: ${proofText(answer)}`);
  });
  secretOptions(command.command('set <hub/name>').summary('change a membership; a new policy counts at once')).action(
    async (path: string, options: SecretOptions & AboutOptions) => {
      const [hub, user] = pathOf(path);
      const asks = options.passwordStdin || options.plainOnly || options.gatePassword || options.certificate;
      const secret = asks ? { secret: await secretOf(options, path, context) } : {};
      const body = { ...secret, ...aboutOf(options) };
      const answer = await (await context.client()).call('vpn.user-change', { params: { hub, user }, body });
      context.json ? context.screen.json(answer) : context.screen.line(`${answer.hub}/${answer.user} is changed`);
    },
  );
  command
    .command('passwd <hub/name>')
    .summary('set the VPN password: asks on the terminal, or reads the first line of stdin; ends live sessions')
    .option('--plain-only', 'keep a modern hash only')
    .action(async (path: string, { plainOnly }: SecretOptions) => {
      const [hub, user] = pathOf(path);
      const secret = {
        password: await askSecret(context.io, `VPN password for ${path}`, true),
        plainOnly: plainOnly === true,
      };
      const answer = await (await context.client()).call('vpn.user-change', {
        params: { hub, user },
        body: { secret },
      });
      context.json
        ? context.screen.json(answer)
        : context.screen.line(`the VPN password of ${answer.hub}/${answer.user} is set`);
    });
  command
    .command('remove <hub/name>')
    .summary('end a membership and its live sessions; the user stays')
    .action(async (path: string) => {
      const [hub, user] = pathOf(path);
      const answer = await (await context.client()).call('vpn.user-remove', { params: { hub, user } });
      context.json
        ? context.screen.json(answer)
        : context.screen.line(`${answer.user} is no member of ${answer.hub} any more`);
    });
}

const proofTexts: Readonly<Record<VpnMemberAnswer['proof'], string>> = {
  password: 'password',
  plain: 'password, sent plainly inside TLS',
  gate: "the gate's password",
  certificate: 'certificate only',
};
const proofText = (member: VpnMemberAnswer): string =>
  member.hasSecret ? proofTexts[member.proof] : 'no password yet';

function defineSession(command: Command, context: Context): void {
  command
    .command('list [hub]')
    .summary('who is on which hub')
    .action(async (hub?: string) => {
      const query = hub === undefined ? {} : { hub };
      const { sessions } = await (await context.client()).call('vpn.session-list', { query });
      if (context.json) return context.screen.json({ sessions });
      context.screen.table(
        ['session', 'by', 'user', 'from', 'since', 'tcp', 'up', 'down', { title: 'addresses', shrinks: true }],
        sessions.map(one => [
          `${one.hub}/${one.name}`,
          one.protocol,
          one.user,
          one.from,
          ago(one.since),
          `${one.connections.now}/${one.connections.most}`,
          formatBytes(one.bytes.up),
          formatBytes(one.bytes.down),
          one.ips.join(', ') || '–',
        ]),
        'nobody is on a hub',
      );
    });
  command
    .command('cut <hub/session>')
    .summary('end a session now')
    .action(async (path: string) => {
      const [hub, name] = pathOf(path, 'SESSION');
      const answer = await (await context.client()).call('vpn.session-cut', { params: { hub, name } });
      context.json ? context.screen.json(answer) : context.screen.line(`${answer.name} is cut`);
    });
}

const tableNames = ['macs', 'ips', 'leases', 'flows'] as const;

function defineTable(command: Command, context: Context): void {
  command
    .command('table <hub> <which>')
    .summary(`what a hub has seen and handed out: ${tableNames.join(', ')}`)
    .action(async (hub: string, which: string) => {
      const wanted = tableNames.find(one => one === which);
      if (!wanted) throw new Fault('invalid', `there are the tables ${tableNames.join(', ')}, not "${which}"`);
      const tables = await (await context.client()).call('vpn.tables', { params: { hub } });
      if (context.json) return context.screen.json({ hub: tables.hub, [wanted]: tables[wanted] });
      const { screen } = context;
      const none = 'nothing in it';
      if (wanted === 'macs')
        screen.table(
          ['mac', 'session', 'vlan', 'seen'],
          tables.macs.map(row => [row.mac, row.session, row.vlan || '–', ago(row.updated)]),
          none,
        );
      else if (wanted === 'ips')
        screen.table(
          ['address', 'session', 'dhcp', 'seen'],
          tables.ips.map(row => [row.address, row.session, row.dhcp ? 'yes' : '–', ago(row.updated)]),
          none,
        );
      else if (wanted === 'leases')
        screen.table(
          ['address', 'mac', 'name', 'leased', 'until'],
          tables.leases.map(row => [row.address, row.mac, row.hostname || '–', ago(row.leased), minute(row.expires)]),
          none,
        );
      else
        screen.table(
          ['protocol', 'from', 'to', 'state', 'sent', 'received', 'used'],
          tables.flows.map(row => [
            ...[row.protocol, `${row.from.host}:${row.from.port}`, `${row.to.host}:${row.to.port}`],
            ...[row.state ?? '–', formatBytes(row.sent), formatBytes(row.received), ago(row.used)],
          ]),
          none,
        );
    });
}

function defineAdmin(command: Command, context: Context): void {
  command
    .command('show')
    .summary('whether vpncmd may administer, and from where')
    .action(async () => {
      const answer = await (await context.client()).call('vpn.admin-show');
      if (context.json) return context.screen.json(answer);
      context.screen.facts([
        ['administration', answer.on ? { text: 'on', tone: 'yellow' } : 'off'],
        ['from', answer.from.join(', ')],
        ['since', answer.since && minute(answer.since)],
      ]);
    });
  command
    .command('passwd')
    .summary('set the password of administrators: asks on the terminal, or reads the first line of stdin')
    .action(async () => {
      const password = await askSecret(context.io, 'Password of VPN administrators', true);
      const answer = await (await context.client()).call('vpn.admin-passwd', { body: { password } });
      if (context.json) return context.screen.json(answer);
      context.screen.line('vpncmd may administer now, from the addresses of vpn.admin.from');
    });
  command
    .command('off')
    .summary('no administration by vpncmd; those who are in are put out')
    .action(async () => {
      const answer = await (await context.client()).call('vpn.admin-passwd', { body: { password: null } });
      context.json ? context.screen.json(answer) : context.screen.line('administration by vpncmd is off');
    });
}
