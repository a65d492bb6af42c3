// CONNECT and WebSockets, by either HTTP: admitted like a request, then bytes both ways until somebody ends it.
import { type Fault, toFault } from '../../core/fault.ts';
import type { Conn } from '../../core/parts.ts';
import { splice } from '../../net/splice.ts';
import type { Caller } from './caller.ts';
import type { ForwardDeps } from './deps.ts';
import { type Fields, requestFields } from './headers.ts';
import { known, lineOf, noteUnreached, refusal, reportFault, statusOf } from './outcome.ts';
import type { Page } from './pages.ts';
import { reach } from './reach.ts';
import { hostHeader, type Site } from './site.ts';
import type { Visit } from './visit.ts';

/** A CONNECT, by either HTTP, or a WebSocket. */
export interface TunnelAsk {
  readonly id: string;
  readonly kind: 'tunnel' | 'websocket';
  /** As it was asked for, for pages and the access log. */
  readonly method: string;
  readonly url: string;
  /** @throws Fault `protocol`, `invalid` */
  readonly site: () => Site;
  readonly version: string;
  /** What was wrong with it before it came here. */
  readonly fault?: Fault;
  /** What must be said to the site first. */
  readonly prepare?: (far: Conn, visit: Visit, signal: AbortSignal) => Promise<void>;
  /** Says yes; from then on the conn is the tunnel. */
  accept(): Conn;
  refuse(page: Page): void;
  onClose(call: () => void): void;
}

/** The fields of a WebSocket's opening request, and what `openWebSocket` needs besides. */
export function webSocketFields(
  fields: Fields,
  site: Site,
  version: string,
  caller: Caller,
  deps: ForwardDeps,
): Fields {
  return requestFields(fields, {
    ...{ host: hostHeader(site), body: { kind: 'none' }, method: 'GET', version },
    extra: deps.identity(caller, site),
  });
}

/** CONNECT, from asking to its end. Never throws. */
export async function tunnel(ask: TunnelAsk, caller: Caller, deps: ForwardDeps): Promise<void> {
  const started = deps.clock.now();
  const bytes = { up: 0, down: 0 };
  let status = 200;
  let cause: string | undefined;
  let session: string | undefined;
  let site: Site | undefined;
  const gone = new AbortController();
  ask.onClose(() => gone.abort());
  try {
    if (ask.fault) throw ask.fault;
    site = ask.site();
    const entry = deps.hosts().match(site);
    await caller.identify();
    const visit = await caller.visit(site, known(entry, site, caller, deps), deps.plan());
    session = visit.session.id;
    const leave = visit.enter(() => {});
    try {
      const { timeouts } = deps.plan();
      const far = await reach(
        site,
        visit.entry,
        visit.session,
        deps.reach(),
        AbortSignal.any([visit.signal, gone.signal]),
        !ask.prepare, // what the site says first is for nobody to read, but where a WebSocket is agreed on
      );
      if (ask.prepare) {
        try {
          await ask.prepare(
            far,
            visit,
            AbortSignal.any([visit.signal, gone.signal, AbortSignal.timeout(timeouts.read)]),
          );
        } catch (error) {
          far.stream.destroy();
          throw error;
        }
      }
      const near = ask.accept();
      cause = await splice(near, far, {
        signal: visit.signal,
        idle: timeouts.tunnel,
        halfClose: true,
        count: (direction, more) => {
          bytes[direction] += more;
          visit.session.count(direction, more);
        },
      });
      const farewell = AbortSignal.timeout(5000);
      await Promise.all([near.close(farewell), far.close(farewell)]);
    } finally {
      leave();
    }
  } catch (error) {
    const fault = gone.signal.aborted ? undefined : toFault(error);
    cause = fault?.code ?? 'near-reset';
    if (fault) {
      if (site) noteUnreached(fault, caller, site, deps);
      const theirs = Number(fault.facts['status'] ?? 0);
      status = theirs >= 400 && theirs < 600 ? theirs : statusOf(fault);
      reportFault(fault, caller, deps);
      ask.refuse(refusal(fault, status, ask.url.slice(0, 300), caller, ask.id, false, deps));
    }
  }
  deps.metrics.count('web_requests_total', { kind: ask.kind, status: String(status) });
  deps.accessLog(
    lineOf({
      ask,
      caller,
      deps,
      session,
      status,
      ...bytes,
      started,
      cause,
      method: ask.method,
      url: ask.url.slice(0, 300),
    }),
  );
}
