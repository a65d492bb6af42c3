// The endpoints of a gate: opened for who may, kept over restarts, ended in time.
import { Fault, toFault } from '../../core/fault.ts';
import type { AccessRequest, Address, EndReason, Principal, Session } from '../../core/parts.ts';
import { Beat } from '../../net/idle.ts';
import { addressKey } from '../../wire/cidr.ts';
import type { EndpointConfig } from './config.ts';
import type { ApprovalFacts, Asker, EndpointDeps, EndpointService, OpenRequest } from './deps.ts';
import { draftEndpoint } from './draft.ts';
import type { Endpoint, EndpointCause } from './endpoint.ts';
import { endOf, extendedEnd } from './lifetime.ts';
import { LiveEndpoint, type Way } from './live.ts';
import type { NoticeKind } from './notice.ts';
import { PortPool } from './pool.ts';
import { Refusals } from './refusals.ts';
import { checkTarget, parseEndpointTarget, type ReachDeps } from './target.ts';
import { createEndpointTls } from './tls.ts';
import { Ways } from './ways.ts';

/** Addresses that may be unlocked for one endpoint. */
const mostUnlocked = 64;
/** Milliseconds until a port that was taken at the start is tried again; it doubles. */
const firstRetry = 2000;
const longestRetry = 60_000;
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
  readonly #beat: Beat;
  readonly #refusals: Refusals;
  readonly #live = new Map<string, LiveEndpoint>();
  readonly #waiting = new Map<string, { endpoint: Endpoint; disarm: () => void }>();
  /** Closed to newcomers, with conns inside that may go on. */
  readonly #draining = new Set<LiveEndpoint>();
  readonly #tls: ReturnType<typeof createEndpointTls>;
  readonly #settling = new Map<string, Promise<void>>();
  /** Ports of open endpoints. */
  readonly #lent = new Set<number>();
  readonly #retries = new Map<string, () => void>();
  #opening = 0;
  #state: 'open' | 'draining' | 'closed' = 'open';
  #stopPruning: () => void = () => {};

  constructor(config: EndpointConfig, deps: EndpointDeps) {
    this.config = config;
    this.#deps = deps;
    this.#pool = new PortPool(config.ports, config.cooling, deps.clock);
    this.#ways = new Ways(deps, this.#pool);
    this.#beat = new Beat(1000, deps.clock);
    this.#tls = createEndpointTls({ ...deps.tls, handshake: config.limits.handshake });
    this.#refusals = new Refusals(deps.gate, deps.clock, (id, host, port) => ({
      who: nobody,
      action: 'endpoint.connect',
      resource: `endpoint/${id}`,
      from: { host, port },
      opened: `endpoint/${id}`,
    }));
  }

  health(): 'ok' | 'degraded' | 'down' {
    if (this.#state !== 'open') return 'down';
    return this.#retries.size > 0 ? 'degraded' : 'ok';
  }

  // --- Opening ------------------------------------------------------------------------------------------------------

  async open(request: OpenRequest, asker: Asker): Promise<Endpoint> {
    this.#checkOpen();
    const { who, from } = asker;
    const draft = draftEndpoint(request, asker, { ...this.#deps, config: this.config, now: this.#time() });
    const access = this.#accessRequest(draft, who, from);
    try {
      return await this.#launch(draft, access, who);
    } catch (error) {
      const approval = error instanceof Fault && error.code === 'denied' ? error.facts['approval'] : undefined;
      if (typeof approval !== 'string') throw error;
      return this.#wait(draft, approval, error as Fault);
    }
  }

  #accessRequest({ resource, wanted, limits, reason }: Endpoint, who: Principal, from: Address): AccessRequest {
    const asks = { for: wanted, from: limits.sources, ...(reason === '' ? {} : { reason }) };
    return { who, action: 'endpoint.open', resource, from, asks };
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
    if (this.#live.size + this.#opening >= open) {
      throw new Fault('limit', `${open} endpoints are open, which is the most (endpoint.limits.open)`);
    }
    let own = 0;
    for (const { endpoint } of this.#live.values()) if (endpoint.owner.id === owner) own++;
    if (own >= perUser) {
      throw new Fault('limit', `you have ${own} endpoints open, which is the most (endpoint.limits.per-user)`);
    }
  }

  async #start(draft: Endpoint, access: AccessRequest, session: Session): Promise<Endpoint> {
    const now = this.#time(); // before the policy looks at the clock: what was asked for is had in full
    const decision = this.#deps.decide(access);
    if (decision.allow === false) throw new Fault('denied', 'this is not allowed any more');
    let live = this.#make({
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
        live = this.#make({ ...live.endpoint, port });
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
    this.#adopt(live, ways);
    noteOpening(session, live.endpoint);
    this.#tell('endpoint.opened', live.endpoint);
    return live.endpoint;
  }

  #make(endpoint: Endpoint, unlocked: readonly string[] = []): LiveEndpoint {
    const { gate, identify, clock, metrics } = this.#deps;
    return new LiveEndpoint(endpoint, unlocked, {
      ...{ gate, identify, clock, metrics, tls: this.#tls, refusals: this.#refusals, beat: this.#beat },
      log: this.#deps.log.child({ endpoint: endpoint.id }),
      handshake: this.config.limits.handshake,
      reach: { ...this.#deps.reach, connect: this.config.limits.connect },
      claimed: live => this.#keepClaim(live),
      spent: live => void this.#end(live, 'used').catch(error => this.#cry(error)),
      note: (event, { who, resource, from }, session, facts) => {
        const outcome = event === 'endpoint.reached' ? 'done' : 'failed';
        const row = { event, who, from, resource, outcome, facts, session } as const;
        this.#deps.record(row).catch(error => this.#cry(error));
      },
    });
  }

  #adopt(live: LiveEndpoint, ways: readonly Way[]): void {
    this.#add(live);
    this.#arm(live);
    live.serve(ways);
  }

  #add(live: LiveEndpoint): void {
    const { id, port } = live.endpoint;
    this.#live.set(id, live);
    if (typeof port === 'number') this.#lent.add(port);
    this.#deps.metrics.gauge('endpoint_open', {}, 1);
  }

  #arm(live: LiveEndpoint): void {
    live.disarm();
    live.disarm = this.#deps.clock.after(live.endpoint.until - this.#time(), () => {
      this.#end(live, 'expired').catch(error => this.#cry(error));
    });
  }

  /** On the disk before a byte reaches the target; who comes while it is written waits as well. */
  #keepClaim(live: LiveEndpoint): Promise<void> {
    const { latched, used } = live.guard;
    if (live.endpoint.latched === latched && live.endpoint.used === used) {
      return live.saved.catch(() => this.#save(live));
    }
    live.endpoint = { ...live.endpoint, latched, used };
    return this.#save(live);
  }

  /** One write after the other, each of what is so by then: an older one must not undo a newer one. */
  #save(live: LiveEndpoint): Promise<void> {
    const write = async (): Promise<void> => {
      if (this.#live.get(live.endpoint.id) !== live) throw new Fault('gone', 'the endpoint is over');
      await this.#deps.store.change(live.endpoint);
    };
    live.saved = live.saved.then(write, write);
    return live.saved;
  }

  // --- Waiting for approvals ----------------------------------------------------------------------------------------

  async #wait(draft: Endpoint, approval: string, fault: Fault): Promise<Endpoint> {
    const request = await this.#deps.approval(approval);
    if (request.state !== 'waiting') throw fault;
    for (const { endpoint } of this.#waiting.values()) if (endpoint.approval === approval) return endpoint;
    const endpoint = { ...draft, approval, until: request.until.getTime() };
    await this.#deps.store.add(endpoint);
    this.#hold(endpoint);
    this.#tell('endpoint.requested', endpoint, request);
    return endpoint;
  }

  #hold(endpoint: Endpoint): void {
    const lapse = (): void => {
      // Looking at it is what makes it lapse, and the answer comes by `decided`.
      this.#deps.approval(endpoint.approval ?? '').then(
        request => this.decided(request),
        error => this.#cry(error),
      );
    };
    const disarm = this.#deps.clock.after(endpoint.until - this.#time(), lapse);
    this.#waiting.set(endpoint.id, { endpoint, disarm });
  }

  decided(request: ApprovalFacts): void {
    for (const { endpoint } of [...this.#waiting.values()]) {
      if (endpoint.approval !== request.id) continue;
      if (request.state === 'waiting') {
        if (request.votes.length > 0) this.#tell('endpoint.approved', endpoint, request);
        continue;
      }
      const settling = this.#settle(endpoint, request)
        .catch(error => this.#cry(error))
        .finally(() => this.#settling.delete(endpoint.id));
      this.#settling.set(endpoint.id, settling);
    }
  }

  async settled(id: string): Promise<Endpoint> {
    await this.#settling.get(id);
    return this.get(id);
  }

  isLent(port: number): boolean {
    return this.#lent.has(port);
  }

  async #settle(endpoint: Endpoint, request: ApprovalFacts): Promise<void> {
    const held = this.#waiting.get(endpoint.id);
    if (!held || this.#state !== 'open') return;
    held.disarm();
    this.#waiting.delete(endpoint.id);
    if (request.state !== 'approved') {
      const cause = request.state === 'refused' ? 'refused' : 'lapsed';
      await this.#finish(endpoint, cause);
      return this.#tell(`endpoint.${cause}`, endpoint, request);
    }
    this.#tell('endpoint.approved', endpoint, request);
    const { owner } = endpoint;
    const who = { ...nobody, kind: owner.kind, id: owner.id, credential: owner.credential, groups: owner.groups };
    const from = addressOf(owner.from);
    try {
      await this.#launch(endpoint, this.#accessRequest(endpoint, who, from), who);
    } catch (error) {
      this.#deps.log.warn({ endpoint: endpoint.id, error }, 'an endpoint was approved and could not be opened');
      await this.#finish(endpoint, 'failed', toFault(error).message);
    }
  }

  async #finish(endpoint: Endpoint, cause: EndpointCause, text?: string): Promise<Endpoint> {
    const over: Endpoint = { ...endpoint, state: 'closed', ended: this.#time(), cause };
    await this.#deps.store.change(over);
    if (cause === 'failed') {
      const facts = { cause, ...(text === undefined ? {} : { text }) };
      await this.#deps.record({ ...ourselves(over), event: 'endpoint.failed', outcome: 'failed', facts });
    }
    return over;
  }

  // --- Its life -----------------------------------------------------------------------------------------------------

  async extend(given: string, more = this.config.lifetime.default): Promise<Endpoint> {
    const live = this.#liveOf(given);
    const { endpoint } = live;
    const { opened = endpoint.created, until, resource } = endpoint;
    const now = this.#time();
    const who = this.#deps.owner(endpoint.owner);
    if (!who) throw new Fault('denied', 'who opened this endpoint is not there any more');
    const from = addressOf(endpoint.owner.from);
    const wanted = until - now + more;
    const asks = { for: wanted, from: endpoint.limits.sources };
    const decision = this.#deps.decide({ who, action: 'endpoint.open', resource, from, asks });
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
      await this.#save(live);
    } catch (error) {
      live.endpoint = { ...live.endpoint, until };
      throw error;
    }
    if (this.#live.get(endpoint.id) === live) this.#arm(live);
    this.#tell('endpoint.extended', live.endpoint);
    return live.endpoint;
  }

  async close(given: string, { drain }: { readonly drain?: boolean | undefined } = {}): Promise<Endpoint> {
    const waiting = this.#find(given, this.#waiting);
    if (waiting) {
      waiting.disarm();
      this.#waiting.delete(waiting.endpoint.id);
      const over = await this.#finish(waiting.endpoint, 'closed');
      this.#tell('endpoint.closed', over);
      return over;
    }
    return this.#end(this.#liveOf(given), 'closed', drain);
  }

  /** First the ways in, then who is inside, then the record of it. */
  async #end(live: LiveEndpoint, cause: EndpointCause, drain?: boolean): Promise<Endpoint> {
    const { id } = live.endpoint;
    if (this.#live.get(id) !== live) return live.endpoint;
    this.#live.delete(id);
    this.#retries.get(id)?.();
    this.#retries.delete(id);
    this.#deps.metrics.gauge('endpoint_open', {}, -1);
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
      this.#pool.give(port, owner.id);
    }
    await live.saved.catch(() => {}); // what was being written must not come after this
    live.endpoint = await this.#finish(live.endpoint, cause);
    // What somebody closed is written down by the gate, as an act of theirs.
    if (cause !== 'closed') {
      const event = cause === 'expired' ? 'endpoint.expired' : 'endpoint.ended';
      const facts = { cause, target: live.endpoint.target, until: new Date(live.endpoint.until) };
      await this.#deps.record({ ...ourselves(live.endpoint), event, outcome: 'ended', facts });
    }
    this.#tell(cause === 'expired' ? 'endpoint.expired' : 'endpoint.closed', live.endpoint);
    return live.endpoint;
  }

  async unlock(given: string, who: string, from: Address): Promise<Endpoint> {
    const live = this.#liveOf(given);
    const { endpoint, guard } = live;
    if (!endpoint.limits.signIn) throw new Fault('invalid', 'this endpoint asks nobody to sign in');
    if (!('host' in from)) throw new Fault('invalid', 'a unix socket has no address that could be let in');
    if (guard.unlocked >= mostUnlocked) {
      throw new Fault('limit', `${mostUnlocked} addresses are let in already, which is the most`);
    }
    const address = addressKey(from.host);
    await this.#deps.store.unlock({ endpoint: endpoint.id, address, who, at: this.#time() });
    guard.unlock(address);
    return endpoint;
  }

  // --- Reading ------------------------------------------------------------------------------------------------------

  async get(given: string): Promise<Endpoint> {
    const known = this.#find(given, this.#live) ?? this.#find(given, this.#waiting);
    const endpoint = known?.endpoint ?? (await this.#deps.store.get(given));
    if (!endpoint) throw missing(given);
    return endpoint;
  }

  async list({ owner, ended = 0 }: { readonly owner?: string; readonly ended?: number } = {}): Promise<Endpoint[]> {
    const all = [...this.#waiting.values(), ...this.#live.values()].map(({ endpoint }) => endpoint);
    const mine = owner === undefined ? all : all.filter(each => each.owner.id === owner);
    mine.sort((a, b) => a.created - b.created || (a.id < b.id ? -1 : 1));
    if (ended === 0) return mine;
    return [...mine, ...(await this.#deps.store.ended({ limit: ended, ...(owner === undefined ? {} : { owner }) }))];
  }

  now(): Endpoint[] {
    return [...this.#live.values()].map(({ endpoint }) => endpoint);
  }
  connections(id: string): number {
    return this.#live.get(id)?.live ?? 0;
  }
  unlocked(id: string): number {
    return this.#live.get(id)?.guard.unlocked ?? 0;
  }

  #find<T extends { readonly endpoint: Endpoint }>(given: string, among: ReadonlyMap<string, T>): T | undefined {
    const exact = among.get(given);
    if (exact || given.length < 4) return exact;
    let found: T | undefined;
    for (const [id, one] of among) {
      if (!id.startsWith(given)) continue;
      if (found) return undefined;
      found = one;
    }
    return found;
  }

  #liveOf(given: string): LiveEndpoint {
    const live = this.#find(given, this.#live);
    if (live) return live;
    if (this.#find(given, this.#waiting)) throw new Fault('conflict', `the endpoint ${given} waits for approval`);
    throw missing(given);
  }

  // --- Over restarts and reloads ------------------------------------------------------------------------------------

  async restore(): Promise<void> {
    const { store, clock } = this.#deps;
    const now = this.#time();
    for (const { port, owner, ended } of await store.portsSince(now - this.config.cooling)) {
      this.#pool.give(port, owner, ended);
    }
    const unlocks = Map.groupBy(await store.unlocks(), ({ endpoint }) => endpoint);
    for (const endpoint of await store.live()) {
      if (endpoint.state === 'waiting') await this.#resumeWaiting(endpoint);
      else
        await this.#resume(
          endpoint,
          (unlocks.get(endpoint.id) ?? []).map(({ address }) => address),
        );
    }
    const prune = (): void => {
      store.prune(this.#time() - this.config.keep).catch(error => this.#cry(error));
      this.#stopPruning = clock.after(pruneEvery, prune);
    };
    prune();
  }

  async #resumeWaiting(endpoint: Endpoint): Promise<void> {
    this.#hold(endpoint);
    const request = await this.#deps.approval(endpoint.approval ?? '').catch(() => undefined);
    if (!request) {
      this.#waiting.delete(endpoint.id);
      await this.#finish(endpoint, 'lapsed');
    } else if (request.state !== 'waiting') await this.#settle(endpoint, request);
  }

  async #resume(endpoint: Endpoint, unlocked: readonly string[]): Promise<void> {
    const live = this.#make(endpoint, unlocked);
    if (typeof endpoint.port === 'number') this.#pool.claim(endpoint.port);
    this.#add(live);
    if (endpoint.until <= this.#time()) return void (await this.#end(live, 'expired'));
    // Its only connection ended with the process that carried it.
    if (endpoint.used) return void (await this.#end(live, 'used'));
    this.#arm(live);
    if (endpoint.name !== undefined && this.#deps.branch) live.serve([this.#ways.nameWay(endpoint.name)]);
    if (typeof endpoint.port === 'number') await this.#reopenPort(live, endpoint.port, firstRetry);
  }

  /** The same port as before; a stranger who has it meanwhile may go away again. */
  async #reopenPort(live: LiveEndpoint, port: number, pause: number): Promise<void> {
    const { id } = live.endpoint;
    try {
      const listeners = await this.#ways.listen(port, { by: live.permit });
      this.#retries.delete(id);
      if (this.#live.get(id) !== live) {
        await Promise.all(listeners.map(listener => listener[Symbol.asyncDispose]()));
        return;
      }
      live.serve(listeners.map(listener => ({ listener, kind: 'port' })));
    } catch (error) {
      if (this.#live.get(id) !== live) return;
      this.#deps.log.warn({ endpoint: id, port, error }, 'an endpoint’s port is taken; it is tried again');
      const again = this.#deps.clock.after(pause * (0.75 + Math.random() / 2), () => {
        void this.#reopenPort(live, port, Math.min(longestRetry, pause * 2));
      });
      this.#retries.set(id, again);
    }
  }

  async recheck(): Promise<void> {
    for (const live of [...this.#live.values()]) {
      const { owner, resource, wanted, limits } = live.endpoint;
      const who = this.#deps.owner(owner);
      const asks = { for: wanted, from: limits.sources };
      const isGood =
        who &&
        this.#deps.decide({ who, action: 'endpoint.open', resource, from: addressOf(owner.from), asks }).allow !==
          false;
      if (!isGood) await this.#end(live, 'revoked');
    }
    for (const { endpoint, disarm } of [...this.#waiting.values()]) {
      if (this.#deps.owner(endpoint.owner)) continue;
      disarm();
      this.#waiting.delete(endpoint.id);
      await this.#finish(endpoint, 'revoked');
    }
  }

  async drain(deadline: AbortSignal): Promise<void> {
    if (this.#state !== 'open') return;
    this.#state = 'draining';
    this.#stopPruning();
    for (const { disarm } of this.#waiting.values()) disarm();
    for (const cancel of this.#retries.values()) cancel();
    const all = [...this.#live.values(), ...this.#draining];
    await Promise.all(all.map(live => live.close()));
    const cut = (): void => {
      for (const live of all) live.cut('drain' satisfies EndReason);
    };
    if (deadline.aborted) cut();
    else deadline.addEventListener('abort', cut, { once: true });
    await Promise.all(all.map(live => live.whenEmpty()));
    deadline.removeEventListener('abort', cut);
    this.#refusals.flush();
    this.#state = 'closed';
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.drain(AbortSignal.abort('drain'));
  }

  #tell(event: NoticeKind, endpoint: Endpoint, request?: ApprovalFacts): void {
    this.#deps.notify?.({
      event,
      at: this.#deps.clock.now(),
      endpoint,
      ...(request
        ? { approval: { id: request.id, group: request.group, needed: request.count, votes: request.votes.length } }
        : {}),
    });
  }

  #checkOpen(): void {
    if (this.#state !== 'open') throw new Fault('unreachable', 'the gate is shutting down; try again in a moment');
  }
  #time(): number {
    return this.#deps.clock.now().getTime();
  }
  #cry(error: unknown): void {
    this.#deps.log.error({ error }, 'an endpoint could not be brought to the state it should have');
  }
}

const nobody: Principal = { kind: 'anonymous', id: '', groups: [], attributes: new Map(), credential: '' };
const missing = (id: string): Fault =>
  new Fault('missing', `there is no endpoint ${id}; sekisho endpoint list shows them`);

const ourselves = ({ id }: Endpoint) =>
  ({ who: { kind: 'node', id: 'gate', credential: '' }, resource: `endpoint/${id}` }) as const;

function checkLiteral(target: { readonly host: string; readonly port: number }, deps: ReachDeps): void {
  if (/^[\d.]+$/.test(target.host) || target.host.includes(':')) checkTarget(target, true, deps);
}

function noteOpening(session: Session, endpoint: Endpoint): void {
  const { id, target, port, name, tls, until, limits } = endpoint;
  const facts = {
    endpoint: id,
    target,
    tls,
    port: typeof port === 'number' ? port : undefined,
    name,
    until: new Date(until).toISOString(),
    sources: limits.sources.join(', '),
    approval: endpoint.approval,
  };
  for (const [key, value] of Object.entries(facts)) if (value !== undefined) session.note(key, value);
}

/** `host:port` as it was written down → an address again. */
function addressOf(text: string): Address {
  const parts = /^(?:\[([^\]]+)\]|([^:]+)):(\d+)$/.exec(text);
  const host = parts?.[1] ?? parts?.[2];
  return host === undefined ? { path: text } : { host, port: Number(parts?.[3]) };
}
