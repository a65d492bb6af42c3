// sekisho approval: what waits for a yes.
import type { Command } from 'commander';
import type { ApprovalAnswer } from '../api/contract/approval.ts';
import { type Context, examples } from './command.ts';
import { ago, formatWho } from './format.ts';
import type { Tone } from './screen.ts';

const tones: Record<ApprovalAnswer['state'], Tone> = {
  waiting: 'yellow',
  approved: 'green',
  used: 'dim',
  refused: 'red',
  expired: 'dim',
};

export function define(command: Command, context: Context): void {
  command
    .command('list')
    .summary('requests that wait, or with --state others')
    .option('--state <state>', 'waiting, approved, refused, expired, used or all', 'waiting')
    .action(async ({ state }) => {
      const query = state === 'all' ? {} : { state };
      const { approvals } = await (await context.client()).call('approval.list', { query });
      if (context.json) return context.screen.json({ approvals });
      context.screen.table(
        [
          { title: 'id', shrinks: true },
          'who',
          'wants',
          'to',
          'from',
          'asked',
          'yes',
          'state',
          { title: 'reason', shrinks: true },
        ],
        approvals.map(one => [
          one.id,
          formatWho(one.who),
          one.action,
          one.resource,
          one.from,
          ago(one.asked),
          `${yeses(one)} of ${one.needed} from ${one.group}`,
          { text: one.state, tone: tones[one.state] },
          typeof one.asks['reason'] === 'string' ? one.asks['reason'] : '',
        ]),
        'nothing waits',
      );
    });
  command
    .command('approve <id>')
    .summary('say yes; nobody approves a request of their own')
    .action(async id => {
      const answer = await (await context.client()).call('approval.approve', { params: { id } });
      if (context.json) return context.screen.json(answer);
      const missing = answer.needed - yeses(answer);
      context.screen.line(missing > 0 ? `${id}: noted; ${missing} more needed` : `${id} is ${answer.state}`);
    });
  command
    .command('refuse <id>')
    .summary('say no')
    .option('--reason <text>', 'for the audit')
    .action(async (id, { reason }) => {
      const answer = await (await context.client()).call('approval.refuse', {
        params: { id },
        body: reason === undefined ? {} : { reason },
      });
      context.json ? context.screen.json(answer) : context.screen.line(`${id} is ${answer.state}`);
    });
  examples(
    command,
    ['sekisho approval list'],
    ['sekisho approval approve 01J9ZK'],
    ['sekisho approval refuse 01J9ZK --reason "not tonight"'],
  );
}

const yeses = ({ votes }: ApprovalAnswer): number => votes.filter(({ vote }) => vote === 'approve').length;
