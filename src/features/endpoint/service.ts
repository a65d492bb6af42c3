// The endpoints of a gate: opened for who may, kept over restarts, ended in time.
import { Fault, toFault } from '../../core/fault.ts';
import type { AccessRequest, Address, Principal, Session } from '../../core/parts.ts';
import { addressKey } from '../../wire/cidr.ts';
import { addressOf, Chronicle, missing, noteOpening } from './chronicle.ts';
import type { EndpointConfig } from './config.ts';
import type { ApprovalFacts, Asker, EndpointDeps, EndpointService, OpenRequest } from './deps.ts';
import { draftEndpoint } from './draft.ts';
import type { Endpoint } from './endpoint.ts';
import { endOf, extendedEnd } from './lifetime.ts';
import type { LiveEndpoint, Way } from './live.ts';
import { OpenEndpoints } from './open-endpoints.ts';
import { PortPool } from './pool.ts';
import { checkTarget, parseEndpointTarget, type ReachDeps } from './target.ts';
import { openingOf, WaitingEndpoints } from './waiting.ts';
import { Ways } from './ways.ts';

/** Addresses that may be unlocked for one endpoint. */
const mostUnlocked = 64;
const pruneEvery = 3_600_000;

/** Opens what a restart left open. @throws Fault when the store cannot be read */
export async function openEndpoints(config: EndpointConfig, deps: EndpointDeps): Promise<EndpointService> {
  const service = new Endpoints(config, deps);
  await service.restore();
  return service;
}

class Endpoints implements EndpointService {
  readonly name = 'endpoint';
  config: EndpointConfig;
  readonly #deps: EndpointDeps;
  readonly #pool: PortPool;
  readonly #ways: Ways;
  readonly #chronicle: Chronicle;
  readonly #open: OpenEndpoints;
  readonly #waiting: WaitingEndpoints;
  #opening = 0;
  #state: 'open' | 'draining' | 'closed' = 'open';
  #stopPruning: () => void = () => {};

  constructor(config: EndpointConfig, deps: EndpointDeps) {
    this.config = config;
    this.#deps = deps;
    const pool = new PortPool(config.ports, config.cooling, deps.clock);
    const ways = new Ways(deps, pool);
    const chronicle = new Chronicle(deps);
    this.#pool = pool;
    this.#ways = ways;
    this.#chronicle = chronicle;
    this.#open = new OpenEndpoints({ deps, pool, ways, chronicle, config: () => this.config });
    this.#waiting = new WaitingEndpoints(deps, chronicle, (draft, access, who) => this.#launch(draft, access, who));
  }

  health(): 'ok' | 'degraded' | 'down' {
    if (this.#state !== 'open') return 'down';
    return this.#open.lacksPorts ? 'degraded' : 'ok';
  }

  // --- Opening ------------------------------------------------------------------------------------------------------

  async open(request: OpenRequest, asker: Asker): Promise<Endpoint> {
    this.#checkOpen();
    const { who, from } = asker;
    const draft = draftEndpoint(request, asker, { ...this.#deps, config: this.config, now: this.#chronicle.now() });
    try {
      return await this.#launch(draft, openingOf(draft, who, from), who);
    } catch (error) {
      const approval = error instanceof Fault && error.code === 'denied' ? error.facts['approval'] : undefined;
      if (typeof approval !== 'string') throw error;
      return this.#waiting.wait(draft, approval, error as Fault);
    }
  }

  /** Asks the gate, then opens; the gate's rows say who, why, and what came of it. */
  async #launch(draft: Endpoint, access: AccessRequest, who: Principal): Promise<Endpoint> {
    await using session = await this.#deps.gate.admit(access);
    try {
      this.#checkOpen();
      this.#checkThere(draft);
      this.#checkRoom(who.id);
      this.#opening++;
      try {
        return await this.#start(draft, access, session);
      } finally {
        this.#opening--;
      }
    } catch (error) {
      session.note('fault', toFault(error).code);
      throw error;
    }
  }

  /** Only who may open it learns whether it is there. @throws Fault `missing`, `denied` */
  #checkThere({ target: url }: Endpoint): void {
    const target = parseEndpointTarget(url);
    if (target.kind !== 'device') {
      checkLiteral(target, { ...this.#deps.reach, connect: 0 });
      return;
    }
    const device = this.#deps.findDevice(target.device);
    if (!device) throw new Fault('missing', `there is no device ${target.device}; sekisho device list shows them`);
    if (device.service(target.service) === undefined) {
      throw new Fault('missing', `${device.name} has no service ${target.service}; sekisho device show ${device.name}`);
    }
  }

  #checkRoom(owner: string): void {
    const { open, 'per-user': perUser } = this.config.limits;
    if (this.#open.size + this.#opening >= open) {
      throw new Fault('limit', `${open} endpoints are open, which is the most (endpoint.limits.open)`);
    }
    const own = this.now().filter(endpoint => endpoint.owner.id === owner).length;
    if (own >= perUser) {
      throw new Fault('limit', `you have ${own} endpoints open, which is the most (endpoint.limits.per-user)`);
    }
  }

  async #start(draft: Endpoint, access: AccessRequest, session: Session): Promise<Endpoint> {
    const now = this.#chronicle.now(); // before the policy looks at the clock: what was asked for is had in full
    const decision = this.#deps.decide(access);
    if (decision.allow === false) throw new Fault('denied', 'this is not allowed any more');
    let live = this.#open.make({
      ...draft,
      state: 'open',
      opened: now,
      until: endOf(now, draft.wanted, decision.until),
      session: session.id,
    });
    const ways: Way[] = [];
    try {
      if (draft.port !== undefined) {
        const { port, listeners, permit } = await this.#ways.lend(draft.owner.id);
        ways.push(...listeners.map(listener => ({ listener, kind: 'port' as const })));
        live = this.#open.make({ ...live.endpoint, port });
        permit.by = live.permit;
      }
      if (draft.name !== undefined) ways.push(this.#ways.nameWay(draft.name));
      const { endpoint } = live;
      await (draft.approval === undefined ? this.#deps.store.add(endpoint) : this.#deps.store.change(endpoint));
    } catch (error) {
      await Promise.all(ways.map(({ listener }) => listener[Symbol.asyncDispose]()));
      const { port } = live.endpoint;
      if (typeof port === 'number') this.#pool.give(port, draft.owner.id);
      throw error;
    }
    this.#open.adopt(live, ways);
    noteOpening(session, live.endpoint);
    this.#chronicle.tell('endpoint.opened', live.endpoint);
    return live.endpoint;
  }

  // --- Its life -----------------------------------------------------------------------------------------------------

  async extend(given: string, more = this.config.lifetime.default): Promise<Endpoint> {
    const live = this.#liveOf(given);
    const { opened = live.endpoint.created, until } = live.endpoint;
    const now = this.#chronicle.now();
    const decision = this.#judge(live, until - now + more);
    if (decision === undefined) throw new Fault('denied', 'who opened this endpoint is not there any more');
    if (decision.allow === false) throw new Fault('denied', 'this endpoint would not be opened any more');
    if (decision.allow === 'after-approval') {
      throw new Fault('conflict', 'what was approved holds until its end; ask for a new endpoint to go on');
    }
    const end = extendedEnd(
      { now, opened, until, more, granted: decision.until },
      { usual: this.config.lifetime.default, most: this.config.lifetime.max },
    );
    live.endpoint = { ...live.endpoint, until: end };
    try {
      await this.#open.save(live);
    } catch (error) {
      live.endpoint = { ...live.endpoint, until };
      throw error;
    }
    this.#open.arm(live);
    this.#chronicle.tell('endpoint.extended', live.endpoint);
    return live.endpoint;
  }

  /** What the policy of now says to its owner; undefined where they are gone. */
  #judge({ endpoint }: LiveEndpoint, wanted: number) {
    const { owner, resource, limits } = endpoint;
    const who = this.#deps.owner(owner);
    const asks = { for: wanted, from: limits.sources };
    return who && this.#deps.decide({ who, action: 'endpoint.open', resource, from: addressOf(owner.from), asks });
  }

  async close(given: string, { drain }: { readonly drain?: boolean | undefined } = {}): Promise<Endpoint> {
    const waiting = this.#waiting.find(given);
    return waiting ? this.#waiting.close(waiting) : this.#open.end(this.#liveOf(given), 'closed', drain);
  }

  async unlock(given: string, who: string, from: Address): Promise<Endpoint> {
    const { endpoint, guard } = this.#liveOf(given);
    if (!endpoint.limits.signIn) throw new Fault('invalid', 'this endpoint asks nobody to sign in');
    if (!('host' in from)) throw new Fault('invalid', 'a unix socket has no address that could be let in');
    if (guard.unlocked >= mostUnlocked) {
      throw new Fault('limit', `${mostUnlocked} addresses are let in already, which is the most`);
    }
    const address = addressKey(from.host);
    await this.#deps.store.unlock({ endpoint: endpoint.id, address, who, at: this.#chronicle.now() });
    guard.unlock(address);
    return endpoint;
  }

  decided(request: ApprovalFacts): void {
    this.#waiting.decided(request);
  }

  async settled(id: string): Promise<Endpoint> {
    await this.#waiting.settled(id);
    return this.get(id);
  }

  // --- Reading ------------------------------------------------------------------------------------------------------

  async get(given: string): Promise<Endpoint> {
    const known = this.#open.find(given)?.endpoint ?? this.#waiting.find(given);
    const endpoint = known ?? (await this.#deps.store.get(given));
    if (!endpoint) throw missing(given);
    return endpoint;
  }

  async list({ owner, ended = 0 }: { readonly owner?: string; readonly ended?: number } = {}): Promise<Endpoint[]> {
    const all = [...this.#waiting.all(), ...this.now()];
    const mine = owner === undefined ? all : all.filter(each => each.owner.id === owner);
    mine.sort((a, b) => a.created - b.created || (a.id < b.id ? -1 : 1));
    if (ended === 0) return mine;
    return [...mine, ...(await this.#deps.store.ended({ limit: ended, ...(owner === undefined ? {} : { owner }) }))];
  }

  now(): Endpoint[] {
    return this.#open.all().map(({ endpoint }) => endpoint);
  }
  connections(id: string): number {
    return this.#open.get(id)?.live ?? 0;
  }
  unlocked(id: string): number {
    return this.#open.get(id)?.guard.unlocked ?? 0;
  }
  isLent(port: number): boolean {
    return this.#open.isLent(port);
  }

  #liveOf(given: string): LiveEndpoint {
    const live = this.#open.find(given);
    if (live) return live;
    if (this.#waiting.find(given)) throw new Fault('conflict', `the endpoint ${given} waits for approval`);
    throw missing(given);
  }

  // --- Over restarts and reloads ------------------------------------------------------------------------------------

  async restore(): Promise<void> {
    const { store, clock } = this.#deps;
    for (const { port, owner, ended } of await store.portsSince(this.#chronicle.now() - this.config.cooling)) {
      this.#pool.give(port, owner, ended);
    }
    const unlocks = Map.groupBy(await store.unlocks(), ({ endpoint }) => endpoint);
    for (const endpoint of await store.live()) {
      const unlocked = (unlocks.get(endpoint.id) ?? []).map(({ address }) => address);
      await (endpoint.state === 'waiting' ? this.#waiting.resume(endpoint) : this.#open.resume(endpoint, unlocked));
    }
    const prune = (): void => {
      store.prune(this.#chronicle.now() - this.config.keep).catch(error => this.#chronicle.cry(error));
      this.#stopPruning = clock.after(pruneEvery, prune);
    };
    prune();
  }

  async recheck(): Promise<void> {
    for (const live of this.#open.all()) {
      const { allow } = this.#judge(live, live.endpoint.wanted) ?? { allow: false };
      if (allow === false) await this.#open.end(live, 'revoked');
    }
    await this.#waiting.recheck();
  }

  async drain(deadline: AbortSignal): Promise<void> {
    if (this.#state !== 'open') return;
    this.#state = 'draining';
    this.#stopPruning();
    this.#waiting.drain();
    await this.#open.drain(deadline);
    this.#state = 'closed';
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.drain(AbortSignal.abort('drain'));
  }

  #checkOpen(): void {
    if (this.#state !== 'open') throw new Fault('unreachable', 'the gate is shutting down; try again in a moment');
  }
}

function checkLiteral(target: { readonly host: string; readonly port: number }, deps: ReachDeps): void {
  if (/^[\d.]+$/.test(target.host) || target.host.includes(':')) checkTarget(target, true, deps);
}
