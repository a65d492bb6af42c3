// Does again what must be done in time: at its hour, and after a failure with growing waits and jitter.
import { randomInt } from 'node:crypto';
import type { Clock } from '../core/clock.ts';
import { toFault } from '../core/fault.ts';
import type { Log } from '../core/parts.ts';

export interface RenewalOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** What it is, for the log. */
  readonly what: string;
  /** When it is due; asked again after each success. */
  readonly due: () => Date;
  readonly renew: (signal: AbortSignal) => Promise<void>;
}

export interface Renewal extends AsyncDisposable {
  /** Now instead of later; what is already running counts. Never throws: failures are logged and tried again. */
  now(): Promise<void>;
}

const minute = 60_000;
/** The first wait after a failure, and the longest: a CA that is down is asked four times a day. */
const shortest = minute;
const longest = 6 * 60 * minute;

export function startRenewal({ clock, log, what, due, renew }: RenewalOptions): Renewal {
  const end = new AbortController();
  let cancel = (): void => {};
  let running: Promise<void> | undefined;
  let failures = 0;

  const arm = (ms: number): void => {
    cancel();
    if (!end.signal.aborted) cancel = clock.after(Math.max(0, ms), () => void now());
  };
  const armNext = (): void => arm(due().getTime() - clock.now().getTime());
  const now = (): Promise<void> => {
    running ??= attempt().finally(() => {
      running = undefined;
    });
    return running;
  };
  const attempt = async (): Promise<void> => {
    cancel();
    if (end.signal.aborted) return;
    try {
      await renew(end.signal);
      failures = 0;
      armNext();
    } catch (error) {
      if (end.signal.aborted) return;
      const wait = spread(Math.min(shortest * 2 ** failures, longest));
      failures += 1;
      const fault = toFault(error);
      log.warn(
        { what, failures, retryInSeconds: Math.round(wait / 1000), code: fault.code, cause: fault.cause },
        fault.message,
      );
      arm(wait);
    }
  };
  armNext();
  return {
    now,
    async [Symbol.asyncDispose]() {
      end.abort();
      cancel();
      await running;
    },
  };
}

/** ±20 %, so that many gates do not come back at the same moment. */
export const spread = (ms: number): number => Math.round((ms * randomInt(800, 1201)) / 1000);
