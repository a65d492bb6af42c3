// The endpoints that stand open: made, armed, written down, ended, and taken up again after a restart.
import { Fault } from '../../core/fault.ts';
import { Beat } from '../../net/idle.ts';
import type { Chronicle } from './chronicle.ts';
import { findByBeginning, nobody } from './chronicle.ts';
import type { EndpointConfig } from './config.ts';
import type { EndpointDeps } from './deps.ts';
import type { Endpoint, EndpointCause } from './endpoint.ts';
import { LiveEndpoint, type Way } from './live.ts';
import type { PortPool } from './pool.ts';
import { Refusals } from './refusals.ts';
import { createEndpointTls } from './tls.ts';
import type { Ways } from './ways.ts';

/** Milliseconds until a port that was taken at the start is tried again; it doubles. */
const firstRetry = 2000;
const longestRetry = 60_000;

interface Parts {
  readonly deps: EndpointDeps;
  readonly config: () => EndpointConfig;
  readonly pool: PortPool;
  readonly ways: Ways;
  readonly chronicle: Chronicle;
}

export class OpenEndpoints {
  readonly #parts: Parts;
  readonly #beat: Beat;
  readonly #refusals: Refusals;
  readonly #tls: ReturnType<typeof createEndpointTls>;
  readonly #live = new Map<string, LiveEndpoint>();
  /** Closed to newcomers, with conns inside that may go on. */
  readonly #draining = new Set<LiveEndpoint>();
  /** Ports of open endpoints. */
  readonly #lent = new Set<number>();
  readonly #retries = new Map<string, () => void>();

  constructor(parts: Parts) {
    const { deps, config } = parts;
    this.#parts = parts;
    this.#beat = new Beat(1000, deps.clock);
    this.#tls = createEndpointTls({ ...deps.tls, handshake: config().limits.handshake });
    this.#refusals = new Refusals(deps.gate, deps.clock, (id, host, port) => ({
      who: nobody,
      action: 'endpoint.connect',
      resource: `endpoint/${id}`,
      from: { host, port },
      opened: `endpoint/${id}`,
    }));
  }

  get size(): number {
    return this.#live.size;
  }
  /** Some port that an endpoint had before the restart is still somebody else's. */
  get lacksPorts(): boolean {
    return this.#retries.size > 0;
  }
  all(): LiveEndpoint[] {
    return [...this.#live.values()];
  }
  get(id: string): LiveEndpoint | undefined {
    return this.#live.get(id);
  }
  find(given: string): LiveEndpoint | undefined {
    return findByBeginning(given, this.#live);
  }
  isLent(port: number): boolean {
    return this.#lent.has(port);
  }

  make(endpoint: Endpoint, unlocked: readonly string[] = []): LiveEndpoint {
    const { deps, config, chronicle } = this.#parts;
    const { gate, identify, clock, metrics } = deps;
    const { handshake, connect } = config().limits;
    return new LiveEndpoint(endpoint, unlocked, {
      ...{ gate, identify, clock, metrics, tls: this.#tls, refusals: this.#refusals, beat: this.#beat },
      log: deps.log.child({ endpoint: endpoint.id }),
      handshake,
      reach: { ...deps.reach, connect },
      claimed: live => this.#keepClaim(live),
      spent: live => void this.end(live, 'used').catch(error => chronicle.cry(error)),
      note: (event, { who, resource, from }, session, facts) => {
        const outcome = event === 'endpoint.reached' ? 'done' : 'failed';
        const row = { event, who, from, resource, outcome, facts, session } as const;
        deps.record(row).catch(error => chronicle.cry(error));
      },
    });
  }

  adopt(live: LiveEndpoint, ways: readonly Way[]): void {
    this.#add(live);
    this.arm(live);
    live.serve(ways);
  }

  #add(live: LiveEndpoint): void {
    const { id, port } = live.endpoint;
    this.#live.set(id, live);
    if (typeof port === 'number') this.#lent.add(port);
    this.#parts.deps.metrics.gauge('endpoint_open', {}, 1);
  }

  /** Its end by time, again after it was made longer; nothing where it has ended meanwhile. */
  arm(live: LiveEndpoint): void {
    const { deps, chronicle } = this.#parts;
    if (this.#live.get(live.endpoint.id) !== live) return;
    live.disarm();
    live.disarm = deps.clock.after(live.endpoint.until - chronicle.now(), () => {
      this.end(live, 'expired').catch(error => chronicle.cry(error));
    });
  }

  /** On the disk before a byte reaches the target; who comes while it is written waits as well. */
  #keepClaim(live: LiveEndpoint): Promise<void> {
    const { latched, used } = live.guard;
    if (live.endpoint.latched === latched && live.endpoint.used === used) {
      return live.saved.catch(() => this.save(live));
    }
    live.endpoint = { ...live.endpoint, latched, used };
    return this.save(live);
  }

  /** One write after the other, each of what is so by then: an older one must not undo a newer one. @throws Fault `gone` */
  save(live: LiveEndpoint): Promise<void> {
    const write = async (): Promise<void> => {
      if (this.#live.get(live.endpoint.id) !== live) throw new Fault('gone', 'the endpoint is over');
      await this.#parts.deps.store.change(live.endpoint);
    };
    live.saved = live.saved.then(write, write);
    return live.saved;
  }

  /** First the ways in, then who is inside, then the record of it. */
  async end(live: LiveEndpoint, cause: EndpointCause, drain?: boolean): Promise<Endpoint> {
    const { deps, pool, chronicle } = this.#parts;
    const { id } = live.endpoint;
    if (this.#live.get(id) !== live) return live.endpoint;
    this.#live.delete(id);
    this.#retries.get(id)?.();
    this.#retries.delete(id);
    deps.metrics.gauge('endpoint_open', {}, -1);
    await live.close();
    const mayGoOn = (drain ?? live.endpoint.limits.drain) && cause !== 'revoked';
    if (!mayGoOn) live.cut(cause === 'expired' || cause === 'revoked' ? cause : 'closed');
    if (live.live > 0) {
      this.#draining.add(live);
      void live.whenEmpty().then(() => this.#draining.delete(live));
    }
    const { port, owner } = live.endpoint;
    if (typeof port === 'number') {
      this.#lent.delete(port);
      pool.give(port, owner.id);
    }
    await live.saved.catch(() => {}); // what was being written must not come after this
    live.endpoint = await chronicle.finish(live.endpoint, cause);
    await chronicle.ended(live.endpoint, cause);
    chronicle.tell(cause === 'expired' ? 'endpoint.expired' : 'endpoint.closed', live.endpoint);
    return live.endpoint;
  }

  /** As it was before the restart. */
  async resume(endpoint: Endpoint, unlocked: readonly string[]): Promise<void> {
    const { deps, pool, ways, chronicle } = this.#parts;
    const live = this.make(endpoint, unlocked);
    if (typeof endpoint.port === 'number') pool.claim(endpoint.port);
    this.#add(live);
    if (endpoint.until <= chronicle.now()) return void (await this.end(live, 'expired'));
    // Its only connection ended with the process that carried it.
    if (endpoint.used) return void (await this.end(live, 'used'));
    this.arm(live);
    if (endpoint.name !== undefined && deps.branch) live.serve([ways.nameWay(endpoint.name)]);
    if (typeof endpoint.port === 'number') await this.#reopenPort(live, endpoint.port, firstRetry);
  }

  /** The same port as before; a stranger who has it meanwhile may go away again. */
  async #reopenPort(live: LiveEndpoint, port: number, pause: number): Promise<void> {
    const { deps, ways } = this.#parts;
    const { id } = live.endpoint;
    try {
      const listeners = await ways.listen(port, { by: live.permit });
      this.#retries.delete(id);
      if (this.#live.get(id) !== live) {
        await Promise.all(listeners.map(listener => listener[Symbol.asyncDispose]()));
        return;
      }
      live.serve(listeners.map(listener => ({ listener, kind: 'port' })));
    } catch (error) {
      if (this.#live.get(id) !== live) return;
      deps.log.warn({ endpoint: id, port, error }, 'an endpoint’s port is taken; it is tried again');
      const again = deps.clock.after(pause * (0.75 + Math.random() / 2), () => {
        void this.#reopenPort(live, port, Math.min(longestRetry, pause * 2));
      });
      this.#retries.set(id, again);
    }
  }

  /** Nobody new; who is inside may stay until the deadline. They stay open in the store, for the next start. */
  async drain(deadline: AbortSignal): Promise<void> {
    for (const cancel of this.#retries.values()) cancel();
    const all = [...this.#live.values(), ...this.#draining];
    await Promise.all(all.map(live => live.close()));
    const cut = (): void => {
      for (const live of all) live.cut('drain');
    };
    if (deadline.aborted) cut();
    else deadline.addEventListener('abort', cut, { once: true });
    await Promise.all(all.map(live => live.whenEmpty()));
    deadline.removeEventListener('abort', cut);
    this.#refusals.flush();
  }
}
