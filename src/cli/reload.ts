// sekisho reload: the configuration again, by difference.
import type { Command } from 'commander';
import { type Context, examples } from './command.ts';
import { harmless } from './width.ts';

export function define(command: Command, context: Context): void {
  examples(command, ['sekisho reload', 'what did not change keeps its connections; a bad file changes nothing']);
  command.action(async () => {
    const answer = await (await context.client()).call('gate.reload');
    if (context.json) return context.screen.json(answer);
    for (const warning of answer.warnings) context.screen.note(`! ${harmless(warning)}`);
    const parts = (['added', 'changed', 'removed'] as const)
      .filter(kind => answer[kind].length > 0)
      .map(kind => `${kind} ${answer[kind].map(harmless).join(', ')}`);
    context.screen.line(
      parts.length > 0 ? `reloaded: ${parts.join('; ')}; ${answer.kept.length} kept` : 'reloaded: nothing changed',
    );
  });
}
