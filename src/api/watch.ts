// A stream that stays open is an admitted session like any other: it is listed, it is cut when its token is revoked, its
// end is written down.
import type { Action } from '../core/parts.ts';
import { type Caller, tokenOf } from './caller.ts';
import type { ApiDeps } from './deps.ts';

/** Yields what `source` gives until the client has gone or the session is ended. @throws Fault `denied`, `limit`, `unreachable` before the first item */
export async function watch<T>(
  { gate, directory, clock }: Pick<ApiDeps, 'gate' | 'directory' | 'clock'>,
  call: { readonly caller: Caller; readonly signal: AbortSignal },
  action: Action,
  source: (signal: AbortSignal) => AsyncIterable<T>,
): Promise<AsyncIterable<T>> {
  const { who, from } = call.caller;
  const session = await gate.admit({ who, action, resource: 'audit/rows', from });
  // A token's own end counts too: the stream was allowed by it.
  const expired = new AbortController();
  const until = tokenOf(directory, who)?.expires;
  const disarm = until && clock.after(until.getTime() - clock.now().getTime(), () => expired.abort());
  const signal = AbortSignal.any([call.signal, session.signal, expired.signal]);
  return (async function* () {
    try {
      await using _ = session;
      for await (const item of source(signal)) {
        if (signal.aborted) return;
        yield item;
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      disarm?.();
    }
  })();
}
