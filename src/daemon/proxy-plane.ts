// All proxy routes as one service, whichever process carries them: opened, reloaded and drained together.
import type { LiveGate } from '../access/index.ts';
import type { ListenAddress } from '../core/address.ts';
import type { AccessLine } from '../features/proxy/index.ts';
import {
  type Identity,
  newMasterKey,
  openRoutes,
  type PeerState,
  type ProxyDeps,
  type RoutePlan,
  type RouteState,
} from '../features/proxy/index.ts';
import { keyOf, type Placement, placeRoutes } from './placement.ts';
import { listenAt } from './sockets.ts';
import type { WorkerLog } from './worker.ts';
import { startWorkers, type Workers } from './workers.ts';

export interface ProxyPlaneOptions
  extends Pick<ProxyDeps, 'identify' | 'gateListener' | 'dialers' | 'clock' | 'log' | 'metrics'> {
  readonly gate: LiveGate;
  /** Worker processes; 0 = the gate process carries everything. */
  readonly workers: number;
  /** How workers log. */
  readonly workerLog: () => WorkerLog;
  readonly accessLog?: (line: AccessLine) => void;
  /** A descriptor that systemd opened for this address; the gate process carries such routes itself. */
  readonly inherited?: (address: ListenAddress) => number | undefined;
}

export interface ProxyPlane extends AsyncDisposable {
  /** All of it or nothing. @throws Fault saying which route could not be opened */
  reload(plans: readonly RoutePlan[]): Promise<void>;
  challenge(name: string, identity: Identity | undefined): void;
  /** Of all processes, added up. */
  states(): Promise<readonly RouteState[]>;
  health(): 'ok' | 'degraded' | 'down';
  workers(): Workers | undefined;
  /** Stops listening and waits for what is carried; what is left at the deadline is cut. */
  drain(deadline: AbortSignal): Promise<void>;
}

/** @throws Fault; then nothing is open. */
export async function openProxyPlane(plans: readonly RoutePlan[], options: ProxyPlaneOptions): Promise<ProxyPlane> {
  const { inherited = () => undefined } = options;
  const masterKey = newMasterKey();
  const stays = (address: ListenAddress): boolean => options.workers === 0 || inherited(address) !== undefined;
  let placed = placeRoutes(plans, stays);
  const service = await openRoutes(placed.gate, { ...options, masterKey, inherited });
  let workers: Workers | undefined;

  const start = (mine: readonly RoutePlan[]): Promise<Workers> => {
    const setup = { masterKey, log: options.workerLog() };
    return startWorkers(mine, { ...options, count: options.workers, setup });
  };
  try {
    await probeAddresses(placed.workers, [], options);
    if (placed.workers.length > 0) workers = await start(placed.workers);
  } catch (error) {
    await service[Symbol.asyncDispose]();
    throw error;
  }
  return {
    async reload(next) {
      const after = placeRoutes(next, stays, placed.gate);
      const before = placed;
      await probeAddresses(after.workers, plansOf(before), options);
      // Workers first: a route that moves to the gate process has to let go of its address before it can be bound there.
      if (workers) await workers.reload(after.workers);
      else if (after.workers.length > 0) workers = await start(after.workers);
      try {
        await service.reload(after.gate);
      } catch (error) {
        await workers?.reload(before.workers);
        throw error;
      }
      placed = after;
    },
    challenge(name, identity) {
      service.challenge(name, identity);
      void workers?.challenge(name, identity).catch(error => {
        options.log.warn({ name, error }, 'a worker was not told of an ACME challenge');
      });
    },
    states: async () => mergeStates([service.state(), ...((await workers?.states()) ?? [])]),
    health: () => service.health(),
    workers: () => workers,
    async drain(deadline) {
      await Promise.all([service.drain(deadline), workers?.drain(deadline)]);
    },
    async [Symbol.asyncDispose]() {
      await service[Symbol.asyncDispose]();
      await workers?.[Symbol.asyncDispose]();
    },
  };
}

/**
 * Binds and lets go what the workers are about to open. A worker must not be the one to find out that an address is
 * taken: under SCHED_NONE, Node's cluster keeps the failed handle and ends the worker by an assertion when the same
 * address is tried again (lib/internal/cluster/child.js, `shared`). @throws Fault as listening would
 */
async function probeAddresses(
  plans: readonly RoutePlan[],
  held: readonly RoutePlan[],
  { log, metrics }: Pick<ProxyPlaneOptions, 'log' | 'metrics'>,
): Promise<void> {
  const known = new Set(held.flatMap(({ listens }) => listens.map(({ address }) => keyOf(address))));
  for (const { name, listens } of plans) {
    for (const { address } of listens) {
      if (!('port' in address) || address.port === 0 || known.has(keyOf(address))) continue;
      known.add(keyOf(address));
      const listener = await listenAt(`proxy.${name}.listen`, address, { fd: undefined, log, metrics });
      await listener[Symbol.asyncDispose]();
    }
  }
}

const plansOf = ({ gate, workers }: Placement<RoutePlan>): readonly RoutePlan[] => [...gate, ...workers];

/** The same route in several processes is one route: counts add up, and of two judgements on a target the worse is shown. */
export function mergeStates(states: readonly (readonly RouteState[])[]): RouteState[] {
  const merged = new Map<string, RouteState>();
  for (const state of states.flat()) {
    const known = merged.get(state.name);
    merged.set(
      state.name,
      known
        ? {
            ...known,
            live: known.live + state.live,
            draining: known.draining + state.draining,
            upstreams: mergePeers(known.upstreams, state.upstreams),
          }
        : state,
    );
  }
  return [...merged.values()];
}

const badness: readonly PeerState['state'][] = ['up', 'failed', 'unhealthy', 'down'];

function mergePeers(one: readonly PeerState[], other: readonly PeerState[]): PeerState[] {
  const keyOf = ({ url, address }: PeerState): string => `${url} ${address}`;
  const peers = new Map(one.map(peer => [keyOf(peer), peer]));
  for (const peer of other) {
    const known = peers.get(keyOf(peer));
    if (!known) peers.set(keyOf(peer), peer);
    else {
      const worse = badness.indexOf(peer.state) > badness.indexOf(known.state) ? peer.state : known.state;
      const sum = { live: known.live + peer.live, fails: known.fails + peer.fails };
      peers.set(keyOf(peer), { ...known, ...sum, state: worse });
    }
  }
  return [...peers.values()];
}
