// sekisho whoami: who the gate takes this caller for.
import type { Command } from 'commander';
import { type Context, examples } from './command.ts';
import { formatWho, minute } from './format.ts';

export function define(command: Command, context: Context): void {
  examples(command, ['sekisho whoami'], ['sekisho whoami --gate https://gate.example.com']);
  command.action(async () => {
    const client = await context.client();
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
  });
}
