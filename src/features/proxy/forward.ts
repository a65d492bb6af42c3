// The handler of every route: reach a target for whoever was admitted, join the two, and say how it went.

import { formatAddress } from '../../core/address.ts';
import type { Clock } from '../../core/clock.ts';
import { toFault } from '../../core/fault.ts';
import type { Address, Conn, Handler, Principal, Session, TlsFacts } from '../../core/parts.ts';
import { splice } from '../../net/splice.ts';
import type { AccessLine } from './access-line.ts';
import type { Peer } from './balance.ts';
import type { Outward, Reached } from './outward.ts';
import type { RoutePlan } from './route-plan.ts';

export interface ForwardDeps {
  readonly plan: RoutePlan;
  readonly outward: Outward;
  readonly clock: Clock;
  readonly accessLog: (line: AccessLine) => void;
  /** Aborts when all conns of the route are cut; its reason is why. */
  readonly cut: AbortSignal;
  /** Ends a target's conn properly, in bounded time. */
  readonly farewell: (conn: Conn) => Promise<void>;
}

export function createForward(deps: ForwardDeps): Handler {
  const { plan, outward, clock } = deps;
  const { limits, halfClose, datagrams } = plan;
  const shape = {
    idle: limits.idle,
    halfClose,
    halfCloseIdle: limits.halfClose,
    ...(limits.upload ? { upload: limits.upload } : {}),
    ...(limits.download ? { download: limits.download } : {}),
    ...(datagrams?.requests === undefined ? {} : { requests: datagrams.requests }),
    ...(datagrams?.responses === undefined ? {} : { responses: datagrams.responses }),
  };

  return async (near, session) => {
    const started = clock.now();
    const bytes = { up: 0, down: 0 };
    let cause = 'unreachable';
    let reached: Reached | undefined;
    try {
      noteTls(session, 'tls', near.tls);
      if (near.tls?.sni) session.note('sni', near.tls.sni);
      reached = await outward.connect(near, hashKey(plan, near), session);
      const { conn, peer } = reached;
      session.note('target', targetText(peer));
      noteTls(session, 'target-tls', conn.tls);
      const count = (direction: 'up' | 'down', more: number): void => {
        bytes[direction] += more;
        session.count(direction, more);
      };
      using life = lifetime(session, limits.lifetime, clock);
      cause = await splice(near, conn, { ...shape, signal: life.signal, count });
      if (deps.cut.aborted) cause = String(deps.cut.reason);
      // Both ends said, or half-close is off and whoever wanted to go on has lost: nothing is left to wait for.
      const { stream } = conn;
      if (!halfClose || (stream.readableEnded && stream.writableFinished)) stream.destroy();
      if (!stream.destroyed) await deps.farewell(conn);
    } catch (error) {
      cause = session.signal.aborted ? String(session.signal.reason) : toFault(error).code;
      if (!session.signal.aborted) throw error; // cut while dialling: that is no fault of anybody's
    } finally {
      reached?.release();
      session.note('cause', cause);
      const time = clock.now();
      deps.accessLog({
        time,
        route: plan.name,
        client: near.peer,
        session: session.id,
        ...(near.tls ? { tls: near.tls } : {}),
        ...nameOf(session.request.who),
        ...(reached ? { target: targetText(reached.peer) } : {}),
        ...bytes,
        seconds: (time.getTime() - started.getTime()) / 1000,
        cause,
      });
    }
  };
}

function noteTls(session: Session, key: string, tls: TlsFacts | undefined): void {
  if (tls?.cipher) session.note(key, `${tls.protocol} ${tls.cipher}`);
}

/** The session's signal, which a lifetime, where one is set, aborts as well. */
function lifetime(session: Session, ms: number | undefined, clock: Clock): { signal: AbortSignal } & Disposable {
  if (ms === undefined) return { signal: session.signal, [Symbol.dispose]: () => {} };
  const end = new AbortController();
  const cancel = clock.after(ms, () => end.abort('expired'));
  return { signal: AbortSignal.any([session.signal, end.signal]), [Symbol.dispose]: cancel };
}

function hashKey({ outward: { balance } }: RoutePlan, near: Conn): string {
  if (typeof balance === 'string') return '';
  if (balance.hash === 'server-name') return near.tls?.sni ?? '';
  return hostOf(near.peer);
}

/** The client without its port; nginx too calls every unix peer the same. */
export const hostOf = (address: Address): string => ('host' in address ? address.host : 'unix:');

function targetText({ plan: { target }, host }: Peer): string {
  return 'host' in target ? formatAddress({ host, port: target.port }) : host;
}

/** The user's name; of a certificate that is only its attributes, its CN. */
function nameOf({ id, attributes }: Principal): { who?: string } {
  const who = id || attributes.get('cn')?.[0];
  return who ? { who } : {};
}
