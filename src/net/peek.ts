// Looks at a stream's first bytes without keeping them: bounded in bytes, and in time by the signal.
import type { Duplex } from 'node:stream';
import { Fault } from '../core/fault.ts';

/**
 * Calls `judge` with all bytes so far until it no longer says `more`, then puts back everything after the first
 * `used(result)` bytes. @throws what `judge` throws; Fault `protocol` at `limit` bytes or when the stream ends first;
 * the signal's reason. The stream is left as it is then, for the caller to destroy.
 */
export function peek<T>(
  stream: Duplex,
  judge: (bytes: Buffer) => T | 'more',
  options: { readonly limit: number; readonly signal: AbortSignal; readonly used?: (result: T) => number },
): Promise<T> {
  const { limit, signal, used } = options;
  return new Promise((resolve, reject) => {
    let bytes: Buffer = Buffer.alloc(0);
    const settle = (): void => {
      signal.removeEventListener('abort', abort);
      stream.off('readable', look).off('end', ended).off('close', ended).off('error', fail);
    };
    const fail = (reason: unknown): void => {
      settle();
      reject(reason);
    };
    const abort = (): void => fail(signal.reason);
    const ended = (): void => fail(new Fault('protocol', 'the peer left before it had said what it wants'));
    const look = (): void => {
      for (let chunk = stream.read() as Buffer | null; chunk !== null; chunk = stream.read() as Buffer | null) {
        bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk]);
      }
      if (bytes.length === 0) return;
      try {
        const result = judge(bytes);
        if (result !== 'more') {
          settle();
          const rest = bytes.subarray(used?.(result as T) ?? 0);
          if (rest.length > 0) stream.unshift(rest);
          resolve(result as T);
        } else if (bytes.length >= limit)
          fail(new Fault('protocol', `the first ${limit} bytes do not say what is wanted`));
      } catch (error) {
        fail(error);
      }
    };
    if (signal.aborted) return abort();
    if (stream.destroyed) return ended();
    signal.addEventListener('abort', abort);
    stream.on('readable', look).on('end', ended).on('close', ended).on('error', fail);
    look();
  });
}
