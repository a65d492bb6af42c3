// sekisho status: what is open right now, to whom, until when, and why.
import type { Command } from 'commander';
import type { AnswerOf } from '../api/contract/routes.ts';
import { type Context, examples } from './command.ts';
import { formatSpan } from './format.ts';
import { showRoutes } from './proxy.ts';
import type { Screen, Tone } from './screen.ts';
import { showSessions } from './session.ts';
import { showTunnels } from './tunnel-table.ts';
import { harmless } from './width.ts';

export function define(command: Command, context: Context): void {
  examples(command, ['sekisho status'], ['sekisho status --json'], ['sekisho status --data /var/lib/sekisho']);
  command.action(async () => {
    const client = await context.client();
    const status = await client.call('status.show');
    if (status.health === 'down') context.status = 1;
    context.json ? context.screen.json(status) : show(context.screen, status);
  });
}

const newestOf = (all: number, shown: number): string => `${all}${all > shown ? `, the newest ${shown} are` : ''}`;

export const healthTone: Record<string, Tone> = { ok: 'green', degraded: 'yellow', down: 'red' };

function show(screen: Screen, status: AnswerOf<'status.show'>): void {
  const age = formatSpan(Date.parse(status.now) - Date.parse(status.since));
  const health = screen.tone(healthTone[status.health] ?? 'dim', status.health);
  screen.line(
    `${screen.tone('bold', harmless(status.name))}  ${health}  up ${age}  sekisho ${harmless(status.version)}`,
  );
  for (const warning of status.warnings) screen.line(screen.tone('yellow', `! ${harmless(warning)}`));
  screen.line();
  screen.heading('Listening');
  screen.table(
    ['name', 'address', ''],
    status.listeners.map(({ name, listen, note }) => [name, listen, note]),
    'nothing but the unix socket',
  );
  if (status.routes.length > 0) {
    screen.line();
    screen.heading('Routes');
    showRoutes(screen, status.routes);
  }
  screen.line();
  screen.heading(`Open now: ${newestOf(status.live, status.sessions.length)}`);
  showSessions(screen, status.sessions, status.now);
  if (status.openTunnels > 0) {
    screen.line();
    screen.heading(`Tunnels: ${newestOf(status.openTunnels, status.tunnels.length)}`);
    showTunnels(screen, status.tunnels, status.now);
  }
  if (status.approvals > 0) {
    screen.line();
    screen.line(`${status.approvals} waiting for a yes: sekisho approval list`);
  }
}
