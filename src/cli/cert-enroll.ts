// sekisho cert enroll, renew, links, unlink: one-time links with which people fetch a certificate of their own.
import type { Command } from 'commander';
import type { EnrolmentAnswer } from '../api/contract/enrolment.ts';
import { Fault } from '../core/fault.ts';
import type { Context } from './command.ts';
import { left, minute } from './format.ts';
import type { Cell } from './screen.ts';

const several = (value: string, before: string[] = []): string[] => [...before, value];

interface Wish {
  readonly cn?: string;
  readonly ou?: string[];
  readonly o?: string;
  readonly days?: string;
  readonly for?: string;
}

export function defineEnroll(command: Command, context: Context): void {
  command
    .command('enroll <name>')
    .alias('enrol')
    .summary('make a one-time link with which a person fetches a client certificate')
    .option('--cn <text>', 'common name (default: NAME)')
    .option('--ou <text>', 'organisational unit (repeatable)', several)
    .option('--o <text>', 'organisation')
    .option('--days <count>', 'how long the certificate is valid')
    .option('--for <duration>', 'how long the link works, 1m to 7d', '15m')
    .action(async (name: string, { days, ...wish }: Wish) => {
      const body = { name, ...wish, ...(days === undefined ? {} : { days: daysOf(days) }) };
      const answer = await (await context.client()).call('cert.enroll', { body });
      if (context.json) return context.screen.json(answer);
      context.screen.line(answer.link);
      context.screen.note(
        `works once, until ${minute(answer.until)}; whoever opens it gets the certificate of ${name}`,
      );
    });
  command
    .command('renew <serial>')
    .summary('make a one-time link with which a person renews a client certificate: the same subject, a new key')
    .option('--days <count>', 'how long the new one is valid (default: as long as the present one was to be)')
    .option('--for <duration>', 'how long the link works, 1m to 7d', '15m')
    .action(async (serial: string, { days, ...wish }: Pick<Wish, 'days' | 'for'>) => {
      const body = { ...wish, ...(days === undefined ? {} : { days: daysOf(days) }) };
      const answer = await (await context.client()).call('cert.renew', { params: { serial }, body });
      if (context.json) return context.screen.json(answer);
      context.screen.line(answer.link);
      context.screen.note(`works once, until ${minute(answer.until)}; it renews ${answer.subject}`);
    });
  command
    .command('links')
    .summary('enrolment links of the last 30 days, newest first')
    .option('--state <state>', 'open, used, revoked or expired')
    .option('--user <name>', 'only of this user')
    .option('--limit <count>', 'how many at most', '100')
    .action(async options => {
      const { enrolments, total } = await (await context.client()).call('cert.enrolments', { query: options });
      if (context.json) return context.screen.json({ enrolments, total });
      context.screen.table(
        ['id', 'user', { title: 'subject', shrinks: true }, 'made', 'state'],
        enrolments.map(link => [link.id, link.user, link.subject, minute(link.created), stateCell(link)]),
        'no enrolment links; try: sekisho cert enroll NAME',
      );
      if (total > enrolments.length) context.screen.note(`… of ${total}; see --limit`);
    });
  command
    .command('unlink <id>')
    .summary('revoke an enrolment link that was not used')
    .action(async id => {
      const answer = await (await context.client()).call('cert.unlink', { params: { id } });
      context.json ? context.screen.json(answer) : context.screen.line(`the link of ${answer.user} works no more`);
    });
}

function daysOf(text: string): number {
  const days = Number(text);
  if (Number.isInteger(days)) return days;
  throw new Fault('invalid', `--days ${text} is not a number of days`);
}

function stateCell({ state, until }: EnrolmentAnswer): Cell {
  if (state === 'open') {
    const rest = left(until);
    return typeof rest === 'string' ? { text: `open, ends ${rest}`, tone: 'green' } : rest;
  }
  return { text: state, tone: state === 'used' ? 'green' : 'dim' };
}
