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
      for (const { name, warnings } of routes) {
        for (const warning of warnings)
          context.screen.line(context.screen.tone('yellow', `! ${harmless(name)}: ${harmless(warning)}`));
      }
    });
  examples(command, ['sekisho proxy list'], ['sekisho proxy list --json']);
}

const tones: Record<string, Tone> = {
  open: 'green',
  up: 'green',
  draining: 'yellow',
  unknown: 'dim',
  backup: 'dim',
  failed: 'red',
  down: 'red',
};
const toned = (text: string): Cell => ({ text, tone: tones[text] ?? 'dim' });

/** One line a route and upstream; a route's own cells stand on its first line only. */
export function showRoutes(screen: Screen, routes: readonly RouteAnswer[]): void {
  screen.table(
    [
      'name',
      'listen',
      'tls',
      'state',
      { title: 'live', right: true },
      'to',
      'upstream',
      { title: 'live', right: true },
      { title: 'failed', right: true },
    ],
    routes.flatMap(route => {
      const head: Cell[] = [route.name, route.listen, route.tls, toned(route.state), route.live];
      const ups = route.upstreams.map(up => [up.url, toned(up.state), up.live, up.failed] as Cell[]);
      if (ups.length === 0) return [head];
      return ups.map((up, at) => (at === 0 ? [...head, ...up] : ['', '', '', '', '', ...up]));
    }),
    'no routes; write some under proxy: in the configuration',
  );
}
