// sekisho whoami: who the gate takes this caller for.
import type { Command } from 'commander';
import { type Context, examples } from './command.ts';
import { formatWho, left, minute } from './format.ts';

export function define(command: Command, context: Context): void {
  command.option('--sign-ins', 'list where you are signed in, instead');
  examples(
    command,
    ['sekisho whoami'],
    ['sekisho whoami --gate https://gate.example.com'],
    ['sekisho whoami --sign-ins', 'end one with: sekisho logout --id ID'],
  );
  command.action(async options => {
    const client = await context.client();
    if (options.signIns) {
      const { signIns } = await client.call('auth.list');
      if (context.json) return context.screen.json({ signIns });
      return context.screen.table(
        [{ title: 'id', shrinks: true }, 'from', 'by', 'since', 'ends', ''],
        signIns.map(one => [
          ...[one.id, one.address, one.how, minute(one.since), left(one.until)],
          one.current ? { text: 'this one', tone: 'green' as const } : '',
        ]),
      );
    }
    const me = await client.call('auth.whoami');
    if (context.json) return context.screen.json({ gate: client.place.label, ...me });
    context.screen.facts([
      ['gate', client.place.label],
      ['who', formatWho(me)],
      ['roles', me.roles.join(', ') || 'none'],
      ['groups', me.groups.join(', ') || undefined],
      ['scope', me.scope?.join(', ')],
      ['until', me.until && minute(me.until)],
    ]);
    if (me.secondFactor)
      context.screen.note('your roles want a second factor; set one up in the console, then sign in again');
  });
}
