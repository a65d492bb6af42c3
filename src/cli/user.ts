// sekisho user: people, their roles, passwords and access keys.
import { type Command, Option } from 'commander';
import { role } from '../api/contract/common.ts';
import type { UserAnswer } from '../api/contract/user.ts';
import { Fault } from '../core/fault.ts';
import { askSecret, askYes } from './ask.ts';
import { type Context, examples } from './command.ts';
import { minute } from './format.ts';
import type { Screen } from './screen.ts';

const several = (value: string, before: string[] = []): string[] => [
  ...before,
  ...value.split(',').map(text => text.trim()),
];
const roleNames = role.options.join(', ');

export function define(command: Command, context: Context): void {
  defineAdd(command, context);
  defineReads(command, context);
  defineLink(command, context);
  defineSecrets(command, context);
  command
    .command('role <name> [roles...]')
    .summary(`set a user's roles: ${roleNames}`)
    .action(async (name, roles: string[]) => {
      const params = { name };
      const client = await context.client();
      const answer = await client.call('user.role', {
        params,
        body: { roles: roles.flatMap(word => word.split(',')) as never },
      });
      context.json
        ? context.screen.json(answer)
        : context.screen.line(`${name}: ${answer.roles.join(', ') || 'no role'}`);
    });
  command
    .command('remove <name>')
    .summary('remove a user; credentials stop working, live sessions end')
    .option('--yes', 'do not ask')
    .action(async (name, { yes }) => {
      if (!yes && context.io.stdin.isTTY && !(await askYes(context.io, `Remove ${name} and end their sessions?`))) {
        throw new Fault('invalid', 'nothing was removed');
      }
      const answer = await (await context.client()).call('user.remove', { params: { name } });
      context.json ? context.screen.json(answer) : context.screen.line(`user ${answer.name} is removed`);
    });
  examples(
    command,
    ['sekisho user add alice --role operator --group night-shift'],
    ['sekisho user passwd alice', 'asks on the terminal, or reads the first line of stdin'],
    ['sekisho user key operator1 --json', 'accessKeyId and secretAccessKey, shown once'],
    ['sekisho user role alice operator approver'],
  );
}

function defineAdd(command: Command, context: Context): void {
  command
    .command('add <name>')
    .summary('add a user')
    .addOption(new Option('--role <role>', `${roleNames} (repeatable; default: member)`).argParser(several))
    .addOption(new Option('--group <name>', 'a group to be in (repeatable)').argParser(several))
    .option('--password', 'set a password too: asks for it, or reads it from stdin')
    .action(async (name, options: { role?: string[]; group?: string[]; password?: true }) => {
      const password = options.password ? await askSecret(context.io, `Password for ${name}`, true) : undefined;
      const answer = await (await context.client()).call('user.add', {
        body: { name, roles: options.role as never, groups: options.group, password },
      });
      if (context.json) return context.screen.json(answer);
      context.screen.line(`user ${answer.name} is added as ${answer.roles.join(', ')}`);
      if (!answer.password) context.screen.note(`no password yet; set one with: sekisho user passwd ${answer.name}`);
    });
}

function defineLink(command: Command, context: Context): void {
  command
    .command('link <name>')
    .summary('make a one-time link that signs a user in to the console')
    .action(async name => {
      const answer = await (await context.client()).call('user.link', { params: { name } });
      if (context.json) return context.screen.json(answer);
      context.screen.line(answer.link);
      context.screen.note(`valid once, until ${minute(answer.until)}; whoever opens it is ${answer.user}`);
    });
}

function defineReads(command: Command, context: Context): void {
  command
    .command('list')
    .summary('users')
    .option('--search <text>', 'part of a name, or of a group')
    .addOption(new Option('--role <role>', 'only with this role').choices(role.options))
    .option('--limit <count>', 'how many at most (default: all)')
    .option('--offset <count>', 'how many to leave out first', '0')
    .action(async options => {
      const { users, total } = await (await context.client()).call('user.list', { query: options as never });
      if (context.json) return context.screen.json({ users, total });
      context.screen.table(
        ['name', 'roles', 'groups', 'password', 'since'],
        users.map(user => [
          user.name,
          user.roles.join(', '),
          user.groups.join(', '),
          user.password ? 'yes' : { text: 'no', tone: 'dim' },
          user.created.slice(0, 10),
        ]),
        total === 0 && options.search === undefined && options.role === undefined
          ? 'no users yet; try: sekisho user add NAME'
          : 'no user is like that',
      );
      if (total > users.length) context.screen.note(`… of ${total}; see --limit and --offset`);
    });
  command
    .command('show <name>')
    .summary('one user, with access keys')
    .action(async name => {
      const user = await (await context.client()).call('user.show', { params: { name } });
      context.json ? context.screen.json(user) : showUser(context.screen, user);
    });
}

function defineSecrets(command: Command, context: Context): void {
  command
    .command('passwd <name>')
    .summary("set a user's password: asks on the terminal, or reads the first line of stdin")
    .option('--current', 'ask for the current one too (on stdin: the line before)')
    .action(async (name, options: { current?: true }) => {
      const client = await context.client();
      const me = await client.call('auth.whoami');
      const own = me.id === name && !me.roles.includes('admin');
      const current = options.current || own ? await askSecret(context.io, 'Current password') : undefined;
      const password = await askSecret(context.io, `New password for ${name}`, true);
      const answer = await client.call('user.passwd', { params: { name }, body: { password, current } });
      context.json ? context.screen.json(answer) : context.screen.line(`the password of ${answer.name} is set`);
    });
  command
    .command('totp <name>')
    .summary('set up the codes of an authenticator app, for sites that want a sign-in; the secret is shown once')
    .option('--remove', 'take them away instead')
    .action(async (name, { remove }) => {
      const client = await context.client();
      if (remove) {
        const answer = await client.call('user.totp-remove', { params: { name } });
        context.json ? context.screen.json(answer) : context.screen.line(`${answer.user} has no codes any more`);
        return;
      }
      const answer = await client.call('user.totp', { params: { name } });
      if (context.json) return context.screen.json(answer);
      context.screen.facts([
        ['user', answer.user],
        ['secret', answer.secret],
        ['address', answer.uri],
      ]);
      context.screen.note(
        'put the secret, or the address as a QR code, into an authenticator app; it is not shown again',
      );
    });
  command
    .command('passkey <name>')
    .summary('list the passkeys of a user; people set them up in the console')
    .option('--remove <id>', 'take this one away; sign-ins of the user end')
    .action(async (name, { remove }) => {
      const client = await context.client();
      if (remove !== undefined) {
        const answer = await client.call('user.passkey-remove', { params: { name, id: remove } });
        return context.json ? context.screen.json(answer) : context.screen.line(`passkey ${answer.id} is removed`);
      }
      const answer = await client.call('user.passkey-list', { params: { name } });
      if (context.json) return context.screen.json(answer);
      context.screen.table(
        [{ title: 'id', shrinks: true }, 'name', 'made', 'used', ''],
        answer.passkeys.map(({ id, label, created, used, synced }) => [
          ...[id, label, minute(created), used && minute(used), synced ? 'synced' : ''],
        ]),
        `${name} has no passkeys; people set them up in the console, under their own name`,
      );
    });
  command
    .command('key <name>')
    .summary('make an access key pair; adds the user as operator if missing')
    .option('--revoke <accessKeyId>', 'revoke this key instead')
    .action(async (name, { revoke }) => {
      const client = await context.client();
      if (revoke !== undefined) {
        const answer = await client.call('user.key-revoke', { params: { name, key: revoke } });
        return context.json
          ? context.screen.json(answer)
          : context.screen.line(`access key ${answer.accessKeyId} is revoked`);
      }
      const key = await client.call('user.key', { params: { name } });
      if (context.json) return context.screen.json(key);
      context.screen.facts([
        ['user', key.user],
        ['access key id', key.accessKeyId],
        ['secret access key', key.secretAccessKey],
      ]);
      context.screen.note('the secret is shown this once; the gate does not tell it again');
    });
}

function showUser(
  screen: Screen,
  user: UserAnswer & { keys: { accessKeyId: string; created: string; state: string }[] },
): void {
  screen.facts([
    ['name', user.name],
    ['roles', user.roles.join(', ') || 'none'],
    ['groups', user.groups.join(', ') || undefined],
    ['password', user.password ? 'set' : 'none'],
    ['since', minute(user.created)],
  ]);
  if (user.keys.length === 0) return;
  screen.line();
  screen.heading('Access keys');
  screen.table(
    ['id', 'made', 'state'],
    user.keys.map(key => [
      key.accessKeyId,
      minute(key.created),
      { text: key.state, tone: key.state === 'active' ? 'green' : 'dim' },
    ]),
  );
}
