// sekisho proxy: the routes and how their upstreams are.
import type { Command } from 'commander';
import type { RouteAnswer } from '../api/contract/proxy.ts';
import { type Context, examples } from './command.ts';
import type { Cell, Screen, Tone } from './screen.ts';
import { harmless } from './width.ts';

export function define(command: Command, context: Context): void {
  command
    .command('list')
    .summary('routes, their upstreams and what is weak about them')
    .action(async () => {
      const { routes } = await (await context.client()).call('proxy.list');
      if (context.json) return context.screen.json({ routes });
      showRoutes(context.screen, routes);
      for (const warning of routes.flatMap(route => route.warnings)) {
        context.screen.line(context.screen.tone('yellow', `! ${harmless(warning)}`));
      }
    });
  examples(command, ['sekisho proxy list'], ['sekisho proxy list --json']);
}

const tones: Record<string, Tone> = { up: 'green', failed: 'red', unhealthy: 'red', down: 'dim' };

/** One line a target; a route's own cells stand on its first line only. */
export function showRoutes(screen: Screen, routes: readonly RouteAnswer[]): void {
  screen.table(
    [
      'name',
      'listen',
      { title: 'live', right: true },
      'to',
      'state',
      { title: 'live', right: true },
      { title: 'fails', right: true },
    ],
    routes.flatMap(route => {
      const live = route.draining > 0 ? `${route.live} + ${route.draining} draining` : route.live;
      const rows = route.upstreams.map(({ url, state, backup, live: own, fails }): Cell[] => [
        url,
        { text: backup ? `${state}, backup` : state, tone: tones[state] ?? 'dim' },
        own,
        fails,
      ]);
      const height = Math.max(1, rows.length, route.listens.length);
      return Array.from({ length: height }, (_, at): Cell[] => [
        at === 0 ? route.name : '',
        route.listens[at],
        at === 0 ? live : '',
        ...(rows[at] ?? []),
      ]);
    }),
    'no routes; write some under proxy: in the configuration',
  );
}
