// sekisho cert rotate: the CA's next root, step by step; without a step it says what each would do.
import type { Command } from 'commander';
import { type RotationAnswer, rotationStep } from '../api/contract/rotation.ts';
import { Fault } from '../core/fault.ts';
import type { Context } from './command.ts';
import { day } from './format.ts';

export function defineRotate(command: Command, context: Context): void {
  command
    .command('rotate [step]')
    .summary(`the CA's next root: ${rotationStep.options.join(', ')}; without a step, what each would do`)
    .option('--dry-run', 'say what the step would do, and do nothing')
    .option('--force', 'although something speaks against it')
    .action(async (step: string | undefined, { dryRun, force }: { dryRun?: true; force?: true }) => {
      const client = await context.client();
      const wanted = step === undefined ? undefined : rotationStep.safeParse(step);
      if (wanted && !wanted.success)
        throw new Fault('invalid', `"${step}" is no step; they are ${rotationStep.options.join(', ')}`);
      const acts = wanted !== undefined && !dryRun;
      const answer = acts
        ? await client.call('cert.rotate', { body: { step: wanted.data, force: force === true } })
        : await client.call('cert.rotation');
      if (context.json) return context.screen.json(answer);
      show(answer, context, wanted?.data);
    });
}

function show({ stage, roots, devices, former, next }: RotationAnswer, { screen }: Context, wanted?: string): void {
  screen.table(
    ['role', { title: 'sha-256', shrinks: true }, 'until'],
    roots.map(root => [root.role, root.fingerprint, day(root.notAfter)]),
  );
  screen.facts([
    ['stage', stage],
    [
      'devices',
      roots.length > 1 ? `${devices.total - devices.waitingCount} of ${devices.total} know both roots` : undefined,
    ],
    ['waiting', devices.waiting.join(', ') || undefined],
    ['former', former.total > 0 ? `${former.total} certificates: ${former.names.join(', ')}` : undefined],
  ]);
  for (const { step, would, against } of next) {
    if (wanted !== undefined && next.some(one => one.step === wanted) && step !== wanted) continue;
    screen.line(`\nsekisho cert rotate ${step}`);
    for (const sentence of would) screen.line(`  ${sentence}`);
    for (const sentence of against) screen.line(`  refused without --force: ${sentence}`);
  }
}
