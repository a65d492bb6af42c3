// A stream that stays open is an admitted session like any other: it is listed, it is cut when its token is revoked, its
// end is written down.
import type { Action } from '../core/parts.ts';
import { tokenOf } from './caller.ts';
import type { ApiDeps } from './deps.ts';
import type { Call } from './verbs.ts';

export interface WatchOptions {
  readonly action: Action;
  /** Aborts when the API stops: streams would otherwise keep it waiting. */
  readonly draining: AbortSignal;
}
export type WatchCall = Pick<Call<'gate.events'>, 'caller' | 'signal' | 'endOn'>;

/**
 * Yields what `source` gives until the client has gone or the session is ended; `drop` ends it because the client does
 * not keep up. @throws Fault `denied`, `limit`, `unreachable` before the first item
 */
export async function watch<T>(
  { gate, directory, clock }: Pick<ApiDeps, 'gate' | 'directory' | 'clock'>,
  { caller: { who, from }, signal: gone, endOn }: WatchCall,
  { action, draining }: WatchOptions,
  source: (signal: AbortSignal, drop: () => void) => AsyncIterable<T>,
): Promise<AsyncIterable<T>> {
  const session = await gate.admit({ who, action, resource: 'audit/rows', from });
  // A token's own end counts too: the stream was allowed by it.
  const expired = new AbortController();
  const until = tokenOf(directory, who)?.expires;
  const disarm = until && clock.after(until.getTime() - clock.now().getTime(), () => expired.abort());
  const slow = new AbortController();
  const signal = AbortSignal.any([gone, session.signal, expired.signal, draining]);
  endOn(AbortSignal.any([signal, slow.signal]));
  // A generator that nobody ever asked runs no `finally`: the client may be gone before the first item is pulled.
  const over = (): void => {
    disarm?.();
    void session[Symbol.asyncDispose]();
  };
  gone.addEventListener('abort', over, { once: true });
  if (gone.aborted) over();
  return (async function* () {
    try {
      await using _ = session;
      for await (const item of source(signal, () => slow.abort())) yield item;
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      disarm?.();
    }
  })();
}
