// Joins two streams until both are over. What net/splice.ts does for sockets, for streams whose far end may only be able to
// say "over, both ways": then what it sent before is still delivered, and what comes for it is thrown away.
import type { Duplex } from 'node:stream';
import { reset } from '../../net/reset.ts';

export interface JoinStreamsOptions {
  /** Aborting it breaks both off. */
  readonly signal?: AbortSignal;
  /** Milliseconds that a side may go on after the other one is over, both ways, without taking anything; default 5,000. */
  readonly grace?: number;
  /** Called once, at the end. `up`: near → far. */
  readonly count?: (bytes: { readonly up: number; readonly down: number }) => void;
}

/** `near-reset`, `far-reset`: that side broke off, and the other was told the same way. */
export type JoinEnd = 'ended' | 'near-reset' | 'far-reset' | 'cut';

/**
 * Bytes for a side that is over: a last word, and as much again as it had sent, since an echo that is not taken in takes
 * nothing either. Whoever sends more is ended, as TCP resets who writes to a closed socket; a download for nobody would
 * else run at full speed until the grace is over.
 */
const lastWord = 64 * 1024;
const longestEcho = 16 * 1024 * 1024;

/** Never rejects; resolves when both streams are closed. */
export function joinStreams(near: Duplex, far: Duplex, options: JoinStreamsOptions = {}): Promise<JoinEnd> {
  const { signal, grace = 5000, count } = options;
  return new Promise(resolve => {
    const bytes = { up: 0, down: 0 };
    let end: JoinEnd | undefined;
    let open = 2;
    let timer: NodeJS.Timeout | undefined;

    const breakOff = (cause: JoinEnd): void => {
      end ??= cause;
      for (const stream of [near, far]) if (!stream.destroyed) reset(stream);
    };
    const cut = (): void => breakOff('cut');
    const finish = (): void => {
      end ??= 'ended';
      near.destroy();
      far.destroy();
    };
    const flow = (from: Duplex, to: Duplex, way: 'up' | 'down'): void => {
      /** Bytes that may still come for `to` once it is over; before that there is no such number. */
      let allowance: number | undefined;
      from.on('data', (chunk: Buffer) => {
        if (to.destroyed) return;
        if (allowance !== undefined) {
          allowance -= chunk.length;
          if (allowance < 0) finish();
          return;
        }
        bytes[way] += chunk.length;
        if (!to.write(chunk)) from.pause();
      });
      to.on('drain', () => from.resume());
      from.on('end', () => {
        if (!to.destroyed) to.end();
      });
      const over = (): void => {
        allowance = lastWord + Math.min(bytes[way === 'up' ? 'down' : 'up'], longestEcho);
        from.resume(); // what comes is thrown away, so that its end is seen
        // Once the last bytes of the side that is over are passed on, the other one has a moment to end by itself.
        const taken = (): number => bytes[way === 'up' ? 'down' : 'up'] - from.writableLength;
        const watch = (): void => {
          clearTimeout(timer);
          const before = taken();
          timer = setTimeout(() => (taken() === before ? finish() : watch()), grace);
        };
        watch();
        if (!from.writableFinished) from.once('finish', watch);
      };
      if ((to as { farEnd?: unknown }).farEnd === 'reset') over();
      else to.once('far-reset', over);
      from.once('close', () => {
        // Proper only if both its ways had ended; Node closes a stream by itself then.
        const isProper = from.readableEnded && from.writableFinished && !from.errored;
        if (!isProper && !to.destroyed) breakOff(from === near ? 'near-reset' : 'far-reset');
        if (--open > 0) return;
        clearTimeout(timer);
        signal?.removeEventListener('abort', cut);
        count?.(bytes);
        resolve(end ?? 'ended');
      });
      from.on('error', () => {}); // 'close' follows
    };
    flow(near, far, 'up');
    flow(far, near, 'down');
    if (near.destroyed || far.destroyed) {
      open = [near, far].filter(stream => !stream.closed).length;
      breakOff(near.destroyed ? 'near-reset' : 'far-reset');
      if (open === 0) resolve(end ?? 'ended');
    } else if (signal?.aborted) cut();
    else signal?.addEventListener('abort', cut, { once: true });
  });
}
