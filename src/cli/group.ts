// sekisho group: names for sets of users; policies and approvals speak of them.
import type { Command } from 'commander';
import { type Context, examples } from './command.ts';

export function define(command: Command, context: Context): void {
  command
    .command('list')
    .summary('groups and their members')
    .action(async () => {
      const { groups } = await (await context.client()).call('group.list');
      if (context.json) return context.screen.json({ groups });
      context.screen.table(
        ['name', 'members'],
        groups.map(group => [group.name, group.members.join(', ')]),
        'no groups yet; try: sekisho group add GROUP USER',
      );
    });
  command
    .command('show <name>')
    .summary('one group')
    .action(async name => {
      const group = await (await context.client()).call('group.show', { params: { name } });
      context.json ? context.screen.json(group) : context.screen.line(group.members.join('\n'));
    });
  for (const [verb, summary] of [
    ['add', 'put users into a group; it is made when missing'],
    ['remove', 'take users out of a group'],
  ] as const) {
    command
      .command(`${verb} <group> <users...>`)
      .summary(summary)
      .action(async (name: string, users: string[]) => {
        const client = await context.client();
        let group = { name, members: [] as string[] };
        for (const user of users) group = await client.call(`group.${verb}`, { params: { name, user } });
        context.json
          ? context.screen.json(group)
          : context.screen.line(`${name}: ${group.members.join(', ') || 'nobody'}`);
      });
  }
  examples(command, ['sekisho group add night-shift alice bob'], ['sekisho group list']);
}
