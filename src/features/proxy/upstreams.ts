// The targets of one route and what is known of each: who is next, who failed, who is full.
import { randomInt } from 'node:crypto';
import { isIP } from 'node:net';
import type { Clock } from '../../core/clock.ts';
import type { Log, Metrics } from '../../core/parts.ts';
import {
  consistentHash,
  type Group,
  isFailed,
  leastConnections,
  type Peer,
  type Question,
  randomTwo,
  roundRobin,
} from './balance.ts';
import { createRing, type Ring } from './ring.ts';
import type { Balance, UpstreamPlan } from './route-plan.ts';

export interface UpstreamsOptions {
  readonly upstreams: readonly UpstreamPlan[];
  readonly balance: Balance;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  /** A whole number from 0 to `below` - 1. */
  readonly random?: (below: number) => number;
}

/** What `status` shows of one peer. */
export interface PeerState {
  readonly url: string;
  readonly address: string;
  readonly state: 'up' | 'failed' | 'unhealthy' | 'down';
  readonly backup: boolean;
  readonly live: number;
  readonly fails: number;
}

interface BalancedGroup extends Group {
  readonly ring: Ring | undefined;
}

export class Upstreams {
  readonly #options: UpstreamsOptions;
  readonly #random: (below: number) => number;
  /** Peers by the index of their upstream. */
  readonly #byUpstream: Peer[][];
  #primary!: BalancedGroup;
  #backup!: BalancedGroup;

  constructor(options: UpstreamsOptions) {
    this.#options = options;
    this.#random = options.random ?? randomInt;
    this.#byUpstream = options.upstreams.map(plan => (needsResolving(plan) ? [] : [newPeer(plan, literalHost(plan))]));
    this.#regroup();
  }

  /** Takes the next peer for a connection, and counts it as live; `release` gives it back. Nothing left: undefined. */
  next(key: string, tried?: readonly Peer[]): Peer | undefined {
    const now = this.#options.clock.now().getTime();
    const peer =
      this.#pick({ group: this.#primary, now, tried }, key) ?? this.#pick({ group: this.#backup, now, tried }, key);
    if (peer) peer.live++;
    return peer;
  }

  release(peer: Peer): void {
    peer.live--;
  }

  /** The peer could not be reached. */
  failed(peer: Peer): void {
    const { plan } = peer;
    if (this.#primary.single) return;
    const now = this.#options.clock.now().getTime();
    peer.fails++;
    peer.accessed = now;
    peer.checked = now;
    if (plan.maxFails === 0) return;
    peer.effective = Math.max(0, peer.effective - Math.floor(plan.weight / plan.maxFails));
    if (peer.fails < plan.maxFails) return;
    this.#options.metrics.count('proxy_upstream_disabled_total', { upstream: plan.url });
    this.#options.log.warn(
      { upstream: plan.url, address: peer.host, fails: peer.fails, for: plan.failTimeout },
      'upstream takes no connections for a while',
    );
  }

  /** The peer was reached. */
  connected(peer: Peer): void {
    if (peer.accessed < peer.checked) peer.fails = 0;
  }

  /** What the active check found. */
  setHealth(peer: Peer, healthy: boolean): void {
    if (peer.healthy === healthy) return;
    peer.healthy = healthy;
    const facts = { upstream: peer.plan.url, address: peer.host };
    if (healthy) this.#options.log.info(facts, 'upstream is healthy again');
    else this.#options.log.warn(facts, 'upstream fails its health check');
  }

  /** The upstream's name leads to these addresses now. Peers that stay keep their state; live connections are not touched. */
  setAddresses(upstream: number, hosts: readonly string[]): void {
    const plan = this.#options.upstreams[upstream];
    const known = this.#byUpstream[upstream];
    if (!plan || !known) return;
    if (known.length === hosts.length && known.every(peer => hosts.includes(peer.host))) return;
    this.#byUpstream[upstream] = hosts.map(host => known.find(peer => peer.host === host) ?? newPeer(plan, host));
    this.#regroup();
  }

  peers(): readonly Peer[] {
    return this.#byUpstream.flat();
  }

  state(): PeerState[] {
    const now = this.#options.clock.now().getTime();
    return this.#byUpstream.flatMap((peers, index) => {
      const plan = this.#options.upstreams[index];
      if (peers.length === 0 && plan) {
        const state = plan.down ? 'down' : 'failed'; // its name has no address yet
        return [{ url: plan.url, address: '', state, backup: plan.backup, live: 0, fails: 0 } as const];
      }
      return peers.map(peer => ({
        url: peer.plan.url,
        address: peer.host,
        state: this.#stateOf(peer, now),
        backup: peer.plan.backup,
        live: peer.live,
        fails: peer.fails,
      }));
    });
  }

  #stateOf(peer: Peer, now: number): PeerState['state'] {
    if (peer.plan.down) return 'down';
    if (!peer.healthy) return 'unhealthy';
    return isFailed(peer, now) ? 'failed' : 'up';
  }

  #pick(question: Question & { group: BalancedGroup }, key: string): Peer | undefined {
    const { balance } = this.#options;
    if (balance === 'round-robin') return roundRobin(question);
    if (balance === 'least-connections') return leastConnections(question);
    if (balance === 'random-two') return randomTwo(question, this.#random);
    return question.group.ring ? consistentHash(question, question.group.ring, key) : roundRobin(question);
  }

  #regroup(): void {
    const all = this.peers();
    const hashes = typeof this.#options.balance === 'object';
    const group = (backup: boolean): BalancedGroup => {
      const peers = all.filter(peer => peer.plan.backup === backup);
      return { peers, single: all.length === 1, ring: hashes && peers.length > 1 ? createRing(peers) : undefined };
    };
    this.#primary = group(false);
    this.#backup = group(true);
  }
}

/** Whether the target is a name that DNS must turn into addresses. */
export function needsResolving({ target }: UpstreamPlan): boolean {
  return 'host' in target && isIP(target.host) === 0;
}

function literalHost({ target }: UpstreamPlan): string {
  if (target.kind === 'device') return `${target.device}/${target.service}`;
  return target.kind === 'unix' ? target.path : target.host;
}

function newPeer(plan: UpstreamPlan, host: string): Peer {
  return {
    plan,
    host,
    live: 0,
    fails: 0,
    current: 0,
    effective: plan.weight,
    accessed: 0,
    checked: 0,
    healthy: true,
  };
}
