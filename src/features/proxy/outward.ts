// A route's side towards its targets, running: names resolved, health watched, the next peer tried when one fails.
import type { Clock } from '../../core/clock.ts';
import { Fault, isWeather } from '../../core/fault.ts';
import type { Conn, Dialer, Gate, Log, Metrics, Session } from '../../core/parts.ts';
import { followAddresses, type Resolver } from './addresses.ts';
import type { Peer } from './balance.ts';
import { createDial, type Dial, type Forwarded } from './dial.ts';
import { watchHealth } from './health.ts';
import type { OutwardPlan } from './route-plan.ts';
import { type PeerState, Upstreams } from './upstreams.ts';

export interface OutwardDeps {
  readonly gate: Gate;
  readonly resolver: Resolver;
  readonly device?: Dialer | undefined;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly random?: (below: number) => number;
}

/** A conn to a peer. `release` gives the peer's place back; call it when the conn is done. */
export interface Reached {
  readonly conn: Conn;
  readonly peer: Peer;
  release(): void;
}

export interface Outward extends AsyncDisposable {
  /** Tries peers until one stands. `key` is what the consistent hash goes by. @throws Fault `unreachable`, `timeout`, … of the last try. */
  connect(whom: Forwarded, key: string, session: Session): Promise<Reached>;
  state(): PeerState[];
}

export async function openOutward(route: string, plan: OutwardPlan, deps: OutwardDeps): Promise<Outward> {
  const { clock, log, metrics, random } = deps;
  const { upstreams: plans, balance } = plan;
  const upstreams = new Upstreams({ upstreams: plans, balance, clock, log, metrics, ...(random ? { random } : {}) });
  const dial = createDial(plan, { device: deps.device });
  const life = new AbortController();
  const { signal } = life;
  await followAddresses(plan, upstreams, { resolver: deps.resolver, clock, log, signal });
  const watching = plan.health
    ? watchHealth(route, plan.health, { gate: deps.gate, upstreams, dial, clock, log, signal })
    : Promise.resolve();
  return {
    connect: (whom, key, session) => connect(plan, upstreams, dial, { whom, key, session, clock, metrics }),
    state: () => upstreams.state(),
    async [Symbol.asyncDispose]() {
      life.abort('closed');
      await watching;
    },
  };
}

interface Search {
  readonly whom: Forwarded;
  readonly key: string;
  readonly session: Session;
  readonly clock: Clock;
  readonly metrics: Metrics;
}

async function connect(plan: OutwardPlan, upstreams: Upstreams, dial: Dial, search: Search): Promise<Reached> {
  const { whom, key, session, clock, metrics } = search;
  const { tries, timeout } = plan.nextUpstream === 'off' ? { tries: 1, timeout: 0 } : plan.nextUpstream;
  const giveUp = timeout > 0 ? clock.now().getTime() + timeout : Number.POSITIVE_INFINITY;
  let tried: Peer[] | undefined;
  let last: unknown;
  for (;;) {
    const peer = upstreams.next(key, tried);
    if (!peer) throw last ?? new Fault('unreachable', 'no target takes connections now: all are down, failed or full');
    try {
      const conn = await dial(peer, whom, session, session.signal);
      upstreams.connected(peer);
      return { conn, peer, release: () => upstreams.release(peer) };
    } catch (error) {
      upstreams.release(peer);
      if (session.signal.aborted || !isPeersFault(error)) throw error;
      upstreams.failed(peer);
      metrics.count('proxy_upstream_failures_total', { upstream: peer.plan.url });
      last = error;
      tried = tried ? [...tried, peer] : [peer];
      if ((tries > 0 && tried.length >= tries) || clock.now().getTime() >= giveUp) throw error;
    }
  }
}

/** Whether another peer may do better. A mistake of ours would only be repeated. */
function isPeersFault(error: unknown): boolean {
  if (!(error instanceof Fault)) return isWeather(error);
  return error.code === 'unreachable' || error.code === 'timeout' || error.code === 'protocol';
}
