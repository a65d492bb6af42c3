// Records of what has happened already: they must not be lost because the disk is full just now.
import type { Clock } from '../core/clock.ts';
import type { Log, Metrics } from '../core/parts.ts';
import type { Audit } from './audit.ts';
import type { AuditEvent } from './audit-row.ts';

export interface Keeper {
  /** Resolves when the record is on the disk, or kept in memory to be tried again. Never throws. */
  write(event: AuditEvent): Promise<void>;
  /** Waits for what is being written and tries once more what failed; answers how many are still unwritten. */
  flush(): Promise<number>;
  readonly unwritten: number;
}

export interface KeeperOptions {
  readonly audit: Pick<Audit, 'append'>;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  /** How many records are kept at most (default 100,000, about 100 MB); the oldest beyond go to the log, whole. */
  readonly most?: number | undefined;
}

/** Milliseconds that a record waits for the commit of one that somebody is waiting for: half as many commits. */
const patience = 10;
const shortest = 500;
const farthest = 30_000;
const atOnce = 500;

export function createKeeper({ audit, clock, log, metrics, most = 100_000 }: KeeperOptions): Keeper {
  let kept: AuditEvent[] = [];
  let pause = shortest;
  let isArmed = false;
  let flushing: Promise<number> | undefined;
  let retrying = 0;
  const underway = new Set<Promise<void>>();

  const keep = (event: AuditEvent): void => {
    // The row will bear the time at which it is written at last; this is when it happened.
    kept.push(
      'happened' in event.facts ? event : { ...event, facts: { ...event.facts, happened: clock.now().toISOString() } },
    );
    metrics.gauge('audit_unwritten', {}, 1);
    if (kept.length > most) {
      metrics.gauge('audit_unwritten', {}, -1);
      log.error(
        { record: kept.shift() },
        'an audit record could not be written and no more can be kept; this is all there is of it',
      );
    }
    arm();
  };
  const arm = (): void => {
    if (isArmed || kept.length === 0) return;
    isArmed = true;
    clock.after(pause, () => {
      isArmed = false;
      pause = Math.min(farthest, pause * 2);
      void flush();
    });
  };
  const flush = (): Promise<number> => {
    flushing ??= retry().finally(() => {
      flushing = undefined;
    });
    return flushing;
  };
  const retry = async (): Promise<number> => {
    while (kept.length > 0) {
      const some = kept.slice(0, atOnce);
      kept = kept.slice(some.length);
      retrying = some.length;
      const answers = await Promise.allSettled(some.map(event => audit.append(event)));
      retrying = 0;
      const failed = some.filter((_, index) => answers[index]?.status === 'rejected');
      if (failed.length > 0) {
        kept = [...failed, ...kept];
        metrics.gauge('audit_unwritten', {}, failed.length - some.length);
        arm();
        return kept.length;
      }
      metrics.gauge('audit_unwritten', {}, -some.length);
      pause = shortest;
    }
    log.info({}, 'audit records that had been kept back are written');
    return 0;
  };

  const write = async (event: AuditEvent): Promise<void> => {
    try {
      await audit.append(event, patience);
    } catch (error) {
      log.warn({ error, event: event.event, session: event.session }, 'an audit record is kept back and tried again');
      keep(event);
    }
  };

  return {
    write(event) {
      const writing = write(event).finally(() => underway.delete(writing));
      underway.add(writing);
      return writing;
    },
    async flush() {
      await Promise.all(underway);
      return kept.length === 0 && !flushing ? 0 : flush();
    },
    get unwritten() {
      return kept.length + retrying;
    },
  };
}
