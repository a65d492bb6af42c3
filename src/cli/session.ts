// sekisho session: live sessions.
import type { Command } from 'commander';
import type { SessionAnswer } from '../api/contract/session.ts';
import { type Context, examples } from './command.ts';
import { formatBytes, formatSpan, formatWho, left, second } from './format.ts';
import type { Screen } from './screen.ts';

export function define(command: Command, context: Context): void {
  command
    .command('list')
    .summary('live sessions, newest first')
    .option('--resource <pattern>', 'only on this, for example proxy/db or "proxy/*"')
    .option('--action <action>', 'only this action, for example proxy.connect')
    .option('--user <name>', 'only of this user')
    .option('--limit <count>', 'how many at most', '100')
    .action(async options => {
      const found = await (await context.client()).call('session.list', { query: options });
      if (context.json) return context.screen.json(found);
      showSessions(context.screen, found.sessions);
      if (found.total > found.sessions.length) context.screen.note(`… of ${found.total}; see --limit`);
    });
  command
    .command('show <id>')
    .summary('one live session, with its notes')
    .action(async id => {
      const session = await (await context.client()).call('session.show', { params: { id } });
      context.json ? context.screen.json(session) : showSession(context.screen, session);
    });
  command
    .command('cut <id>')
    .summary('end one live session now')
    .option('--reason <text>', 'for the audit')
    .action(async (id, { reason }) => {
      const answer = await (await context.client()).call('session.cut', {
        params: { id },
        body: reason === undefined ? {} : { reason },
      });
      context.json ? context.screen.json(answer) : context.screen.line(`session ${answer.id} is cut`);
    });
  examples(
    command,
    ['sekisho session list'],
    ['sekisho session list --resource "proxy/*" --user staff01'],
    ['sekisho session cut 01J9ZK --reason "laptop lost"', 'written into the audit'],
  );
}

export function showSessions(screen: Screen, sessions: readonly SessionAnswer[], now?: string): void {
  const at = now === undefined ? Date.now() : Date.parse(now);
  screen.table(
    [
      { title: 'id', shrinks: true },
      'who',
      'from',
      'to',
      'since',
      'until',
      { title: 'up', right: true },
      { title: 'down', right: true },
      { title: 'why', shrinks: true },
    ],
    sessions.map(session => [
      session.id,
      formatWho(session.who),
      session.from,
      session.resource,
      formatSpan(at - Date.parse(session.since)),
      left(session.until, at),
      formatBytes(session.bytes.up),
      formatBytes(session.bytes.down),
      session.rule,
    ]),
    'nobody is in',
  );
}

function showSession(screen: Screen, session: SessionAnswer): void {
  screen.facts([
    ['id', session.id],
    ['who', formatWho(session.who)],
    ['credential', session.who.credential || undefined],
    ['from', session.from],
    ['action', session.action],
    ['to', session.resource],
    ['why', session.rule],
    ['since', second(session.since)],
    ['until', session.until === undefined ? undefined : second(session.until)],
    ['bytes up', session.bytes.up],
    ['bytes down', session.bytes.down],
    ...Object.entries(session.notes).map(([name, value]) => [name, value] as const),
  ]);
}
