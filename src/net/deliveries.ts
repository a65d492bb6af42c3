// A line of messages to somebody elsewhere: in order, bounded, tried again with backoff and jitter, in nobody's way.
import { randomUUID } from 'node:crypto';
import type { Clock } from '../core/clock.ts';
import type { Log, Metrics } from '../core/parts.ts';

export interface Delivery<T> {
  readonly id: string;
  readonly message: T;
}

export interface Deliveries<T> extends AsyncDisposable {
  /** Never waits, never throws. */
  send(message: T): void;
}

export interface DeliveriesOptions<T> {
  /** For the log: `webhook`, `mail`. */
  readonly what: string;
  /** The counter that says how many were sent and lost. */
  readonly counter: string;
  readonly deliver: (delivery: Delivery<T>, signal: AbortSignal) => Promise<void>;
  /** Called once for what was given up. */
  readonly onLost?: (delivery: Delivery<T>, cause: string) => void;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/** What may wait; the oldest beyond go, and the log says so. */
const mostWaiting = 1000;
const mostTries = 6;
const firstPause = 1000;

export function createDeliveries<T>(options: DeliveriesOptions<T>): Deliveries<T> {
  const { what, counter, deliver, onLost, clock, log, metrics } = options;
  const waiting: Delivery<T>[] = [];
  const life = new AbortController();
  let busy = false;

  /** One at a time, in order: a receiver sees `requested` before `opened`. */
  const run = async (): Promise<void> => {
    if (busy) return;
    busy = true;
    for (let next = waiting.shift(); next && !life.signal.aborted; next = waiting.shift()) await attempt(next);
    busy = false;
  };
  const attempt = async (delivery: Delivery<T>): Promise<void> => {
    let cause = '';
    for (let tries = 0; tries < mostTries && !life.signal.aborted; tries++) {
      try {
        await deliver(delivery, life.signal);
        metrics.count(counter, { result: 'sent' });
        return;
      } catch (error) {
        cause = error instanceof Error ? error.message : String(error);
        log.warn({ delivery: delivery.id, tries: tries + 1, error }, `a ${what} could not be delivered`);
        await pause(firstPause * 2 ** tries * (0.75 + Math.random() / 2));
      }
    }
    if (!life.signal.aborted) lose(delivery, cause);
  };
  const lose = (delivery: Delivery<T>, cause: string): void => {
    metrics.count(counter, { result: 'lost' });
    log.error({ delivery: delivery.id, cause }, `a ${what} was given up`);
    onLost?.(delivery, cause);
  };
  const pause = (ms: number): Promise<void> =>
    new Promise(resolve => {
      const stop = (): void => {
        cancel();
        life.signal.removeEventListener('abort', stop);
        resolve();
      };
      const cancel = clock.after(ms, stop);
      life.signal.addEventListener('abort', stop);
    });

  return {
    send(message) {
      const oldest = waiting.length >= mostWaiting ? waiting.shift() : undefined;
      if (oldest) lose(oldest, 'too many wait');
      waiting.push({ id: randomUUID(), message });
      void run();
    },
    async [Symbol.asyncDispose]() {
      life.abort();
    },
  };
}
