// Active health checks: every target is dialled now and then, told `send`, and must answer `expect`.
import { randomInt } from 'node:crypto';
import type { Clock } from '../../core/clock.ts';
import { Fault } from '../../core/fault.ts';
import type { Conn, Gate, Log, Principal, Session } from '../../core/parts.ts';
import type { Peer } from './balance.ts';
import type { Dial } from './dial.ts';
import type { HealthPlan } from './route-plan.ts';
import type { Upstreams } from './upstreams.ts';

export interface HealthDeps {
  readonly gate: Gate;
  readonly upstreams: Upstreams;
  readonly dial: Dial;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** The gate itself, when it looks after a route. */
const prober: Principal = { kind: 'node', id: '', groups: [], attributes: new Map(), credential: '' };
/** How much of an answer is read while looking for `expect`. */
const longestAnswer = 16 * 1024;

/**
 * Checks all peers until `signal` aborts; resolves when the last check has ended. All checks of a route are one session
 * of the gate's own (nobody dials without one), so that the audit has one record of them and an operator can cut it.
 */
export async function watchHealth(route: string, plan: HealthPlan, deps: HealthDeps): Promise<void> {
  const { gate, log, signal } = deps;
  const resource = `proxy/${route}`;
  try {
    await using session = await gate.admit({
      who: prober,
      action: 'proxy.check',
      resource,
      from: { path: 'gate' },
      opened: resource,
    });
    const end = AbortSignal.any([signal, session.signal]);
    const counts = new WeakMap<Peer, { passes: number; fails: number }>();
    while (!end.aborted) {
      await Promise.all(
        deps.upstreams.peers().map(peer => check(peer, plan, { ...deps, signal: end }, session, counts)),
      );
      // Jitter: many gates, or many routes of one, do not knock at the same moment.
      await wait(plan.interval * (0.9 + randomInt(200) / 1000), deps.clock, end);
    }
  } catch (error) {
    log.warn({ error }, 'health checks stopped; every target counts as healthy');
  }
  for (const peer of deps.upstreams.peers()) deps.upstreams.setHealth(peer, true);
}

async function check(
  peer: Peer,
  plan: HealthPlan,
  { upstreams, dial, signal, log }: HealthDeps,
  session: Session,
  counts: WeakMap<Peer, { passes: number; fails: number }>,
): Promise<void> {
  if (peer.plan.down) return;
  const count = counts.get(peer) ?? { passes: 0, fails: 0 };
  counts.set(peer, count);
  try {
    await probe(peer, plan, dial, session, AbortSignal.any([signal, AbortSignal.timeout(plan.timeout)]));
    count.passes++;
    count.fails = 0;
    if (count.passes >= plan.passes) upstreams.setHealth(peer, true);
  } catch (error) {
    if (signal.aborted) return;
    count.fails++;
    count.passes = 0;
    log.debug({ upstream: peer.plan.url, error }, 'health check failed');
    if (count.fails >= plan.fails) upstreams.setHealth(peer, false);
  }
}

async function probe(peer: Peer, plan: HealthPlan, dial: Dial, session: Session, signal: AbortSignal): Promise<void> {
  const conn = await dial(peer, { peer: { path: 'gate' } }, session, signal, plan.port);
  try {
    if (plan.send !== undefined) conn.stream.write(plan.send);
    if (plan.expect !== undefined) await awaitAnswer(conn, plan.expect, signal);
  } finally {
    await conn.close(AbortSignal.timeout(1000));
  }
}

/** Reads until `expect` stands somewhere in the answer. @throws Fault `protocol`, or the signal's reason */
function awaitAnswer({ stream }: Conn, expect: string, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    let seen = Buffer.alloc(0);
    const settle = (error?: unknown): void => {
      stream.off('data', read).off('end', ended).off('error', settle).off('close', ended);
      signal.removeEventListener('abort', aborted);
      if (error === undefined) resolve();
      else reject(error);
    };
    const read = (chunk: Buffer): void => {
      seen = Buffer.concat([seen, chunk]);
      if (seen.includes(expect)) settle();
      else if (seen.length > longestAnswer) settle(new Fault('protocol', 'the answer does not hold what is expected'));
    };
    const ended = (): void => settle(new Fault('protocol', 'the answer ended without what is expected'));
    const aborted = (): void => settle(signal.reason);
    if (signal.aborted) return reject(signal.reason);
    signal.addEventListener('abort', aborted);
    stream.on('data', read).on('end', ended).on('error', settle).on('close', ended);
  });
}

function wait(ms: number, clock: Clock, signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    const done = (): void => {
      cancel();
      signal.removeEventListener('abort', done);
      resolve();
    };
    const cancel = clock.after(ms, done);
    signal.addEventListener('abort', done);
    if (signal.aborted) done();
  });
}
