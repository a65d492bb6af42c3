// All routes of a process: opened together or not at all, reloaded by difference, drained at the end.
import { formatUrl, type ListenAddress } from '../../core/address.ts';
import type { Clock } from '../../core/clock.ts';
import { Fault } from '../../core/fault.ts';
import type { Address, Dialer, Gate, Identify, Service } from '../../core/parts.ts';
import { createResolver } from '../../net/resolve.ts';
import type { AccessLine } from './access-line.ts';
import type { Resolver } from './addresses.ts';
import { differsInTlsOnly, frontKey, hasChanged, hasSameTargets, isSame } from './difference.ts';
import { type Challenge, type Entry, Front } from './front.ts';
import { type ListenDeps, openListener } from './listeners.ts';
import { type Outward, openOutward } from './outward.ts';
import { Route } from './route.ts';
import type { RoutePlan, RouteTrust } from './route-plan.ts';
import { newMasterKey } from './tickets.ts';
import type { PeerState } from './upstreams.ts';

export interface ProxyDeps extends ListenDeps {
  readonly gate: Gate;
  /** Says who is behind a client certificate, under the trust that the plan carries. */
  readonly identify: (trust: RouteTrust) => Identify;
  readonly dialers?: { readonly device?: Dialer };
  /** 32 bytes or more, the same in all workers: TLS ticket keys are derived from it. Default: a key of this process. */
  readonly masterKey?: Uint8Array;
  readonly resolver?: Resolver;
  readonly accessLog?: (line: AccessLine) => void;
  readonly clock: Clock;
  /** A whole number from 0 to `below` - 1, for `balance: random-two`. */
  readonly random?: (below: number) => number;
}

export interface RouteState {
  readonly name: string;
  /** Where it listens really (a port 0 is filled in). */
  readonly listens: readonly { readonly written: string; readonly address: Address }[];
  readonly live: number;
  /** Conns of earlier versions of this route that still run. */
  readonly draining: number;
  readonly upstreams: readonly PeerState[];
  readonly warnings: readonly string[];
}

export interface ProxyService extends Service {
  /**
   * Moves to other plans by difference: what did not change keeps its conns, changed certificates are swapped in place,
   * a changed route keeps live conns on the target they have, a removed one stops listening.
   * @throws Fault when something cannot be opened; then nothing has changed.
   */
  reload(plans: readonly RoutePlan[]): Promise<void>;
  /** Stops listening and waits for the conns; those left when `deadline` aborts are cut. */
  drain(deadline: AbortSignal): Promise<void>;
  /** Shows this certificate to who asks for `name` by ALPN acme-tls/1 on a TLS listener; undefined takes it back. */
  challenge(name: string, identity: Challenge['identity'] | undefined): void;
  state(): RouteState[];
}

/** @throws Fault saying which route or address could not be opened; then nothing is open. */
export async function openRoutes(plans: readonly RoutePlan[], deps: ProxyDeps): Promise<ProxyService> {
  const service = new Routes(deps);
  await service.reload(plans);
  return service;
}

interface OpenRoute {
  readonly route: Route;
  /** Shared by versions of a route whose targets stay the same; closed with the last of them. */
  readonly outward: { readonly value: Outward; users: number };
}

class Routes implements ProxyService {
  readonly name = 'proxy';
  readonly #deps: ProxyDeps;
  readonly #masterKey: Uint8Array;
  readonly #resolver: Resolver;
  readonly #challenges = new Map<string, Challenge>();
  #routes = new Map<string, OpenRoute>();
  /** Replaced and removed routes that still have conns. */
  readonly #retired = new Set<OpenRoute>();
  #fronts = new Map<string, Front>();
  #state: 'open' | 'draining' | 'closed' = 'open';
  #turn: Promise<unknown> = Promise.resolve();
  #drained: Promise<void> | undefined;

  constructor(deps: ProxyDeps) {
    this.#deps = deps;
    this.#masterKey = deps.masterKey ?? newMasterKey();
    this.#resolver = deps.resolver ?? createResolver({});
  }

  reload(plans: readonly RoutePlan[]): Promise<void> {
    const turn = this.#turn.then(() => this.#reload(plans));
    this.#turn = turn.catch(() => {}); // one after the other; a failed one is its caller's matter
    return turn;
  }

  async #reload(plans: readonly RoutePlan[]): Promise<void> {
    if (this.#state !== 'open') throw new Fault('gone', 'the proxy is closing');
    await using fresh = new AsyncDisposableStack();
    const routes = new Map<string, OpenRoute>();
    const swaps: (() => void)[] = [];
    for (const plan of plans) {
      const old = this.#routes.get(plan.name);
      const inPlace = old && (isSame(old.route.plan, plan) || differsInTlsOnly(old.route.plan, plan));
      if (inPlace) {
        if (plan.tls) old.route.tls?.try(plan);
        swaps.push(() => old.route.accept(plan));
      }
      routes.set(plan.name, inPlace ? old : await this.#openRoute(plan, old, fresh));
    }
    const fronts = await this.#openFronts(plans, fresh);

    // Nothing can fail from here on.
    fresh.move();
    for (const swap of swaps) swap();
    const before = { routes: this.#routes, fronts: this.#fronts };
    this.#routes = routes;
    this.#fronts = fronts;
    const handedOver = [
      ...this.#plug(before.fronts),
      ...[...before.fronts].map(([key, front]) => (fronts.get(key) === front ? Promise.resolve() : front.close())),
    ];
    for (const [name, old] of before.routes) if (routes.get(name) !== old) void this.#retire(old, handedOver);
  }

  async #openRoute(plan: RoutePlan, old: OpenRoute | undefined, fresh: AsyncDisposableStack): Promise<OpenRoute> {
    const { gate, identify, clock, metrics, random, dialers, accessLog = () => {} } = this.#deps;
    const log = this.#deps.log.child({ room: 'proxy', route: plan.name });
    let outward = old && hasSameTargets(old.route.plan, plan) ? old.outward : undefined;
    if (!outward) {
      const value = await openOutward(plan.name, plan.outward, {
        gate,
        resolver: this.#resolver,
        device: dialers?.device,
        clock,
        log,
        metrics,
        ...(random ? { random } : {}),
      });
      fresh.use(value);
      outward = { value, users: 0 };
    }
    const shared = outward;
    const route = new Route(plan, shared.value, {
      gate,
      identify,
      masterKey: this.#masterKey,
      accessLog,
      clock,
      log,
      metrics,
    });
    fresh.use(route);
    shared.users++;
    fresh.defer(() => void shared.users--);
    return { route, outward: shared };
  }

  async #openFronts(plans: readonly RoutePlan[], fresh: AsyncDisposableStack): Promise<Map<string, Front>> {
    const fronts = new Map<string, Front>();
    for (const plan of plans) {
      for (const [index, { address }] of plan.listens.entries()) {
        const key = frontKey(plan, index);
        if (fronts.has(key)) continue;
        const known = this.#fronts.get(key);
        fronts.set(key, known ?? (await this.#openFront(plan, address, fresh)));
      }
    }
    return fronts;
  }

  async #openFront(plan: RoutePlan, address: ListenAddress, fresh: AsyncDisposableStack): Promise<Front> {
    const { metrics } = this.#deps;
    const log = this.#deps.log.child({ room: 'proxy', listen: formatUrl(address) });
    const listener = await openListener(plan, address, { ...this.#deps, log });
    fresh.use(listener);
    return new Front(listener, { log, metrics });
  }

  /** Tells every front its routes; those that are not in `known` start accepting. Resolves when none is on its way to an old route. */
  #plug(known: ReadonlyMap<string, Front>): Promise<void>[] {
    const handedOver: Promise<void>[] = [];
    const entries = new Map<Front, Entry[]>();
    for (const { route } of this.#routes.values()) {
      for (const [index, { mode }] of route.plan.listens.entries()) {
        const front = this.#fronts.get(frontKey(route.plan, index));
        if (front) entries.set(front, [...(entries.get(front) ?? []), { route, mode }]);
      }
    }
    const challenges = [...this.#challenges.values()];
    for (const [key, front] of this.#fronts) {
      const here = entries.get(front) ?? [];
      const asked = here.some(({ mode }) => mode === 'tls') ? challenges : [];
      const isNew = known.get(key) !== front;
      if (isNew || hasChanged(front, here, asked)) handedOver.push(front.plug(here, asked, key.startsWith('gate ')));
      if (isNew) void front.run();
    }
    return handedOver;
  }

  /** Lets a replaced route's conns come to their end. */
  async #retire(old: OpenRoute, handedOver: readonly Promise<void>[]): Promise<void> {
    this.#retired.add(old);
    await Promise.all(handedOver);
    await old.route.whenIdle();
    this.#retired.delete(old);
    await this.#closeRoute(old);
  }

  async #closeRoute({ route, outward }: OpenRoute): Promise<void> {
    route[Symbol.dispose]();
    outward.users--;
    if (outward.users === 0) await outward.value[Symbol.asyncDispose]();
  }

  async drain(deadline: AbortSignal): Promise<void> {
    const cut = (): void => {
      for (const front of this.#fronts.values()) front.cut();
      for (const { route } of [...this.#routes.values(), ...this.#retired]) route.cut('drain');
    };
    this.#drained ??= this.#drain();
    if (deadline.aborted) cut();
    deadline.addEventListener('abort', cut);
    await this.#drained;
    deadline.removeEventListener('abort', cut);
  }

  async #drain(): Promise<void> {
    this.#state = 'draining';
    await this.#turn;
    await Promise.all([...this.#fronts.values()].map(front => front.close()));
    await Promise.all([...this.#routes.values(), ...this.#retired].map(({ route }) => route.whenIdle()));
    await Promise.all([...this.#routes.values()].map(one => this.#closeRoute(one)));
    this.#state = 'closed';
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.drain(AbortSignal.abort('closed'));
  }

  challenge(name: string, identity: Challenge['identity'] | undefined): void {
    if (identity) this.#challenges.set(name, { name, identity });
    else this.#challenges.delete(name);
    if (this.#state === 'open') this.#plug(this.#fronts);
  }

  state(): RouteState[] {
    return [...this.#routes.values()].map(({ route, outward }) => {
      const { plan } = route;
      const draining = [...this.#retired].filter(one => one.route.plan.name === plan.name);
      return {
        name: plan.name,
        listens: plan.listens.map(({ address }, index) => ({
          written: formatUrl(address),
          address: this.#fronts.get(frontKey(plan, index))?.address ?? { path: '' },
        })),
        live: route.live,
        draining: draining.reduce((sum, one) => sum + one.route.live, 0),
        upstreams: outward.value.state(),
        warnings: plan.warnings,
      };
    });
  }

  /** Degraded: some route has no target that takes connections. */
  health(): 'ok' | 'degraded' | 'down' {
    if (this.#state !== 'open') return 'down';
    const lost = [...this.#routes.values()].some(({ outward }) =>
      outward.value.state().every(peer => peer.state !== 'up'),
    );
    return lost ? 'degraded' : 'ok';
  }
}
