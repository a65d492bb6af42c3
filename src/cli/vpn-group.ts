// sekisho vpn group: groups of a hub, whose members share a policy.
import { type Command, Option } from 'commander';
import type { Context } from './command.ts';
import { parsePolicy, pathOf } from './vpn-words.ts';

interface Options {
  readonly realname?: string;
  readonly note?: string;
  readonly policy?: Record<string, boolean | number>;
}

export function defineGroup(command: Command, context: Context): void {
  command
    .command('list <hub>')
    .summary('groups of a hub')
    .action(async (hub: string) => {
      const { groups } = await (await context.client()).call('vpn.group-list', { params: { hub } });
      if (context.json) return context.screen.json({ groups });
      context.screen.table(
        ['group', 'members', { title: 'policy', shrinks: true }, 'note'],
        groups.map(({ name, members, policy, note }) => [
          name,
          members,
          policy
            ? Object.entries(policy)
                .map(([item, value]) => `${item}=${String(value)}`)
                .join(' ')
            : '–',
          note || '–',
        ]),
        `no groups; try: sekisho vpn group set ${hub}/NAME --policy maxDownload=10000000`,
      );
    });
  command
    .command('set <hub/group>')
    .summary('make a group, or change it; a new policy counts at once')
    .option('--realname <text>')
    .option('--note <text>')
    .addOption(
      new Option('--policy <item=value...>', 'items of the policy, like noBridge=true; none = take away').argParser(
        parsePolicy,
      ),
    )
    .action(async (path: string, { realname, note, policy }: Options) => {
      const [hub, group] = pathOf(path, 'GROUP');
      const wanted = policy === undefined ? undefined : Object.keys(policy).length === 0 ? null : (policy as never);
      const body = { realname, note, ...(wanted === undefined ? {} : { policy: wanted }) };
      const answer = await (await context.client()).call('vpn.group-change', { params: { hub, group }, body });
      context.json ? context.screen.json(answer) : context.screen.line(`${answer.hub}/${answer.name} is set`);
    });
  command
    .command('remove <hub/group>')
    .summary('remove a group; its members stay, by the hub’s policy')
    .action(async (path: string) => {
      const [hub, group] = pathOf(path, 'GROUP');
      const answer = await (await context.client()).call('vpn.group-remove', { params: { hub, group } });
      context.json
        ? context.screen.json(answer)
        : context.screen.line(`${answer.group} is no group of ${answer.hub} any more`);
    });
}
