// Audit rows older than `audit.retention` are pruned; a signed checkpoint stands for them.
import type { Audit } from '../access/index.ts';
import type { Clock } from '../core/clock.ts';
import type { Log } from '../core/parts.ts';

export interface RetentionOptions {
  readonly audit: Pick<Audit, 'prune'>;
  /** Milliseconds, asked at every look, since a reload may change it; undefined = for ever. */
  readonly keep: () => number | undefined;
  readonly clock: Clock;
  readonly log: Log;
}

const hour = 3_600_000;

/** Failing is logged and tried again; a gate that cannot prune still guards. */
export function keepRetention({ audit, keep, clock, log }: RetentionOptions): AsyncDisposable {
  return hourly(clock, async () => {
    const age = keep();
    try {
      if (age === undefined) return;
      const { removed, seq, hash } = await audit.prune(new Date(clock.now().getTime() - age));
      if (removed > 0) log.info({ removed, seq, hash }, 'old audit rows were pruned; a checkpoint stands for them');
    } catch (error) {
      log.warn({ error }, 'old audit rows could not be pruned; trying again in an hour');
    }
  });
}

/** At once and each hour, until it is disposed. What it does must not throw. */
export function hourly(clock: Clock, look: () => Promise<void>): AsyncDisposable {
  let state: 'open' | 'closed' = 'open';
  let stop = (): void => {};
  let work: Promise<void>;
  const again = (): void => {
    work = look().then(() => {
      if (state === 'open') stop = clock.after(hour, again);
    });
  };
  again();
  return {
    async [Symbol.asyncDispose]() {
      state = 'closed';
      stop();
      await work;
    },
  };
}
