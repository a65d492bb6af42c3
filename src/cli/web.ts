// sekisho web: the internal web services behind the gate, what browsers are told, and why somebody reaches one or not.
import { writeFile } from 'node:fs/promises';
import { type Command, Option } from 'commander';
import type { WebAnswer, WebCheckAnswer } from '../api/contract/web.ts';
import { webForm } from '../api/contract/web.ts';
import { type Context, examples } from './command.ts';
import { harmless } from './width.ts';

export function define(command: Command, context: Context): void {
  command
    .command('list')
    .summary('what may be reached: through the proxy, with its PAC file, and as renamed sites')
    .action(async () => {
      const answer = await (await context.client()).call('web.list');
      if (context.json) return context.screen.json(answer);
      const { forward, sites } = answer;
      if (sites) showSites(context, sites);
      if (sites && forward) context.screen.line();
      if (!forward) {
        if (!sites) context.screen.line('nothing; write web.forward or web.sites in the configuration');
        return;
      }
      context.screen.facts([
        ['proxy', `HTTPS ${forward.proxy}`],
        ['PAC file', `${forward.pac.url}${forward.pac.public ? '' : '  (not public: its path is the secret)'}`],
        ['connections', forward.connections],
      ]);
      context.screen.line();
      context.screen.table(
        ['host', 'ports', { title: 'to', shrinks: true }],
        forward.hosts.map(({ key, ports, to }) => [key, ports, to]),
      );
      for (const warning of forward.warnings)
        context.screen.line(context.screen.tone('yellow', `! ${harmless(warning)}`));
    });
  command
    .command('pac')
    .summary('the PAC file, or the same as a policy, a profile or an example')
    .addOption(new Option('--for <form>', 'which form').choices(webForm.options).default('pac'))
    .option('--out <file>', 'write it there instead of to stdout')
    .action(async (options: { for: (typeof webForm.options)[number]; out?: string }) => {
      const form = await (await context.client()).call('web.pac', { query: { for: options.for } });
      if (context.json) return context.screen.json(form);
      if (options.out === undefined) await context.screen.write(form.text);
      else await writeFile(options.out, form.text);
      context.screen.note(form.note);
    });
  command
    .command('check <url>')
    .summary('would this address be reached, and why not')
    .option('--as <user>', 'as this user, with the certificate they have')
    .option('--from <address>', 'from this address')
    .action(async (url: string, options: { as?: string; from?: string }) => {
      const query = { url, ...(options.as ? { as: options.as } : {}), ...(options.from ? { from: options.from } : {}) };
      const answer = await (await context.client()).call('web.check', { query });
      if (!['reached', 'own-page', 'after-approval'].includes(answer.verdict)) context.status = 3;
      context.json ? context.screen.json(answer) : showCheck(context, answer);
    });
  examples(
    command,
    ['sekisho web list'],
    ['sekisho web pac --for chrome --out sekisho.json'],
    ['sekisho web check http://server1:8081/ --as staff01 --from 203.0.113.7'],
    ['sekisho web check https://server1-8081.example.com/ --as staff01'],
  );
}

function showSites({ screen }: Context, { sites, connections, warnings }: NonNullable<WebAnswer['sites']>): void {
  screen.facts([['connections to sites', connections]]);
  screen.line();
  screen.table(
    ['site', { title: 'to', shrinks: true }, 'certificate', 'health'],
    sites.map(({ url, to, clients, health }) => [url, to, clients, health]),
  );
  for (const warning of warnings) screen.line(screen.tone('yellow', `! ${harmless(warning)}`));
}

function showCheck(
  { screen }: Context,
  { site, as, from, verdict, text, line, rule, addresses }: WebCheckAnswer,
): void {
  const good = verdict === 'reached' || verdict === 'own-page';
  screen.facts([
    ['site', site],
    ['as', `${as} from ${from}`],
    ['line', line ? `${line.key}: ${line.to}` : undefined],
    ['rule', rule],
    [
      'addresses',
      addresses.length === 0
        ? undefined
        : addresses.map(one => `${one.address}${one.fault ? ` (${one.fault})` : ''}`).join(', '),
    ],
    [
      'verdict',
      { text: `${verdict}: ${text}`, tone: good ? 'green' : verdict === 'after-approval' ? 'yellow' : 'red' },
    ],
  ]);
}
