// A stream that stays open is an admitted session like any other: it is listed, it is cut when its token is revoked, its
// end is written down.
import type { Action } from '../core/parts.ts';
import type { Caller } from './caller.ts';
import type { ApiDeps } from './deps.ts';

/** Yields what `source` gives until the client has gone or the session is ended. @throws Fault `denied`, `limit`, `unreachable` before the first item */
export async function watch<T>(
  { gate, clock }: Pick<ApiDeps, 'gate' | 'clock'>,
  call: { readonly caller: Caller; readonly rule: string; readonly signal: AbortSignal },
  action: Action,
  source: (signal: AbortSignal) => AsyncIterable<T>,
): Promise<AsyncIterable<T>> {
  const { who, from, rights } = call.caller;
  const session = await gate.admit({ who, action, resource: 'audit/rows', from, opened: call.rule });
  // A token's own end counts too: the stream was allowed by it.
  const expired = new AbortController();
  const disarm = rights.until
    ? clock.after(rights.until.getTime() - clock.now().getTime(), () => expired.abort())
    : undefined;
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
