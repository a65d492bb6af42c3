// Which peer comes next: the balancing methods, each a pure function over a group of peers, as nginx chooses.
import type { Ring } from './ring.ts';
import type { UpstreamPlan } from './route-plan.ts';

/** One address of one upstream, with what is remembered about it. Times in milliseconds. */
export interface Peer {
  readonly plan: UpstreamPlan;
  /** The IP address (or name, before it is resolved; or path, or device) that is dialled. */
  readonly host: string;
  /** Connections that it carries now. */
  live: number;
  fails: number;
  /** Smooth weighted round-robin: what it has saved up, and its weight lowered after failures. */
  current: number;
  effective: number;
  /** When it last failed, and when it was last given the benefit of the doubt. */
  accessed: number;
  checked: number;
  /** What the active check says. */
  healthy: boolean;
}

/** Peers that are chosen among: the primaries, or the backups. */
export interface Group {
  readonly peers: readonly Peer[];
  /** One peer and no other group: its failures are not counted, since there is nowhere else to go. */
  readonly single: boolean;
}

export interface Question {
  readonly group: Group;
  readonly now: number;
  /** Peers that this connection has tried already. */
  readonly tried?: readonly Peer[] | undefined;
}

/** Whether a peer may be given a connection now (nginx: not down, not failed within fail_timeout, below max_conns). */
export function isUsable(peer: Peer, { group, now, tried }: Question): boolean {
  const { plan } = peer;
  if (plan.down || !peer.healthy || tried?.includes(peer)) return false;
  if (plan.maxConnections > 0 && peer.live >= plan.maxConnections) return false;
  return group.single || !isFailed(peer, now);
}

/** Failed `max-fails` times and not yet due for another try. */
export function isFailed({ plan, fails, checked }: Peer, now: number): boolean {
  return plan.maxFails > 0 && fails >= plan.maxFails && now - checked <= plan.failTimeout;
}

/** Smooth weighted round-robin: 5,1,1 gives a a b a c a a, never aaaaabc. */
export function roundRobin(question: Question): Peer | undefined {
  return choose(question.group.peers, question);
}

/** Fewest connections per weight; among equals, weighted round-robin. */
export function leastConnections(question: Question): Peer | undefined {
  let least: Peer | undefined;
  let equals: Peer[] | undefined;
  for (const peer of question.group.peers) {
    if (!isUsable(peer, question)) continue;
    const difference = least === undefined ? -1 : load(peer, least) - load(least, peer);
    if (difference < 0) {
      least = peer;
      equals = undefined;
    } else if (difference === 0 && least) {
      equals ??= [least];
      equals.push(peer);
    }
  }
  return equals ? choose(equals, question) : least && take(least, question.now);
}

/** Two at random by weight, then the one with fewer connections; round-robin where two cannot be found. */
export function randomTwo(question: Question, random: (below: number) => number): Peer | undefined {
  const { peers } = question.group;
  const total = peers.reduce((sum, peer) => sum + peer.plan.weight, 0);
  let first: Peer | undefined;
  for (let tries = 0; tries < 20 && total > 0; tries++) {
    const peer = byWeight(peers, random(total));
    if (!peer || peer === first || !isUsable(peer, question)) continue;
    if (first) return take(load(peer, first) > load(first, peer) ? first : peer, question.now);
    first = peer;
  }
  return roundRobin(question);
}

/** The peer that a key leads to, and the next on the ring when that one is not usable. */
export function consistentHash(question: Question, ring: Ring, key: string): Peer | undefined {
  if (question.group.single || key === '' || ring.size === 0) return roundRobin(question);
  const start = ring.find(key);
  for (let step = 0; step <= 20; step++) {
    const best = choose(ring.peersAt(start + step), question);
    if (best) return best;
  }
  return roundRobin(question);
}

function choose(peers: readonly Peer[], question: Question): Peer | undefined {
  let best: Peer | undefined;
  let total = 0;
  for (const peer of peers) {
    if (!isUsable(peer, question)) continue;
    peer.current += peer.effective;
    total += peer.effective;
    if (peer.effective < peer.plan.weight) peer.effective++;
    if (!best || peer.current > best.current) best = peer;
  }
  if (!best) return undefined;
  best.current -= total;
  return take(best, question.now);
}

/** A peer that failed long ago gets one connection now, and no second one before that one has told how it went. */
function take(peer: Peer, now: number): Peer {
  if (now - peer.checked > peer.plan.failTimeout) peer.checked = now;
  return peer;
}

/** `a.live / a.weight < b.live / b.weight` without dividing. */
const load = (a: Peer, b: Peer): number => a.live * b.plan.weight;

function byWeight(peers: readonly Peer[], at: number): Peer | undefined {
  let left = at;
  return peers.find(peer => {
    left -= peer.plan.weight;
    return left < 0;
  });
}
