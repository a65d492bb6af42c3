// sekisho token: API tokens with a scope and an end.
import type { Command } from 'commander';
import { type Context, examples } from './command.ts';
import { left } from './format.ts';

const several = (value: string, before: string[] = []): string[] => [...before, ...value.split(',')];

export function define(command: Command, context: Context): void {
  command
    .command('create <user>')
    .summary('make an API token; it is shown this once')
    .requiredOption('--scope <actions>', 'what it may: session.list, cert.*, … (repeatable, or with commas)', several)
    .option('--for <duration>', 'how long: 8h, 90d', '90d')
    .option('--note <text>', 'what it is for')
    .action(async (user, options) => {
      const made = await (await context.client()).call('token.create', { body: { user, ...options } });
      if (context.json) return context.screen.json(made);
      await context.screen.write(`${made.token}\n`);
      context.screen.note(`token ${made.id} of ${made.user}, until ${made.until ?? 'revoked'}; it is shown this once`);
    });
  command
    .command('list')
    .summary('API tokens')
    .option('--user <name>', 'only of this user')
    .action(async options => {
      const { tokens } = await (await context.client()).call('token.list', { query: options });
      if (context.json) return context.screen.json({ tokens });
      context.screen.table(
        [{ title: 'id', shrinks: true }, 'user', 'scope', 'ends', 'state', { title: 'note', shrinks: true }],
        tokens.map(token => [
          token.id,
          token.user,
          token.scope.join(', '),
          token.state === 'active' ? left(token.until) : token.until?.slice(0, 10),
          { text: token.state, tone: token.state === 'active' ? 'green' : 'dim' },
          token.note,
        ]),
        'no tokens yet; try: sekisho token create USER --scope "session.*" --for 30d',
      );
    });
  command
    .command('revoke <id>')
    .summary('revoke a token; what it holds open ends')
    .action(async id => {
      const answer = await (await context.client()).call('token.revoke', { params: { id } });
      context.json ? context.screen.json(answer) : context.screen.line(`token ${answer.id} is revoked`);
    });
  examples(
    command,
    ['sekisho token create ci --scope "cert.*,session.list" --for 30d > token.txt'],
    ['SEKISHO_TOKEN=$(cat token.txt) sekisho session list --gate https://gate.example.com'],
    ['sekisho token revoke 01J9ZK'],
  );
}
