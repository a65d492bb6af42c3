// One open endpoint: its ways in, the conns that are inside, and how both end.
import { Socket } from 'node:net';
import type { Clock } from '../../core/clock.ts';
import { Fault, toFault } from '../../core/fault.ts';
import type {
  AccessRequest,
  Conn,
  EndReason,
  Gate,
  Handler,
  Identify,
  Listener,
  Log,
  Metrics,
  Principal,
  Session,
  Upgrade,
} from '../../core/parts.ts';
import { enter, within } from '../../core/serve.ts';
import type { Beat } from '../../net/idle.ts';
import { splice } from '../../net/splice.ts';
import { normalizeHost } from '../../wire/cidr.ts';
import type { Endpoint } from './endpoint.ts';
import { Guard, type Refusal } from './guard.ts';
import type { CountingGate, Refusals } from './refusals.ts';
import { parseEndpointTarget, type ReachDeps, reach } from './target.ts';
import type { EndpointTls } from './tls.ts';

export interface LiveDeps {
  readonly gate: CountingGate;
  readonly identify: Identify;
  readonly tls: EndpointTls;
  readonly reach: ReachDeps;
  readonly refusals: Refusals;
  /** Milliseconds for TLS and identity. */
  readonly handshake: number;
  readonly beat: Beat;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  /** Latch and use, on the disk before a byte reaches the target. @throws what keeps it from being written */
  readonly claimed: (live: LiveEndpoint) => Promise<void>;
  /** Facts of a conn for the audit that no session row has: whether the target was reached. */
  readonly note: (
    event: 'endpoint.reached' | 'endpoint.unreached',
    request: AccessRequest,
    session: string,
    facts: Readonly<Record<string, unknown>>,
  ) => void;
  /** A one-shot endpoint has had its connection. */
  readonly spent: (live: LiveEndpoint) => void;
}

/** Opens the listeners of an endpoint; each tells `enter` who came. */
export interface Way {
  readonly listener: Listener;
  /** Whether TLS is this endpoint's name or the gate's. */
  readonly kind: 'port' | 'name';
}

/** Conns of one endpoint in their handshake at a time; beyond, the one that has waited longest goes. */
const mostHandshakes = 128;
const farewell = 5000;
const keepAlive = 60_000;

const nobody: Principal = { kind: 'anonymous', id: '', groups: [], attributes: new Map(), credential: '' };

export class LiveEndpoint {
  endpoint: Endpoint;
  readonly guard: Guard;
  readonly #deps: LiveDeps;
  readonly #life = new AbortController();
  readonly #conns = new Set<Conn>();
  /** Not admitted yet, in the order they came. */
  readonly #pending = new Set<Conn>();
  readonly #underName: (() => Promise<Upgrade>) | undefined;
  readonly #handler: Handler;
  #ways: readonly Way[] = [];
  #state: 'open' | 'ending' = 'open';
  #idle: (() => void)[] = [];
  /** Ends it in time. */
  disarm: () => void = () => {};

  constructor(endpoint: Endpoint, unlocked: readonly string[], deps: LiveDeps) {
    this.endpoint = endpoint;
    this.#deps = deps;
    this.guard = new Guard(endpoint, unlocked, deps.clock);
    const { name, tls, limits } = endpoint;
    // A name is told by SNI: without TLS of the target's own it ends here, also where the port is plain.
    if (name !== undefined && tls !== 'pass') this.#underName = deps.tls.underName(name, limits.certificate);
    this.#handler = this.#makeHandler();
  }

  /** Admitted or on the way. */
  get live(): number {
    return this.#conns.size;
  }
  get ways(): readonly Way[] {
    return this.#ways;
  }

  /** Serves these ways in until they close. */
  serve(ways: readonly Way[]): void {
    this.#ways = [...this.#ways, ...ways];
    for (const way of ways) void this.#accept(way);
  }

  /** For the accept path: refuses, and counts whom. */
  readonly permit = (host: string, port: number): boolean => {
    if (host === '') return false; // it was gone before it was accepted
    const refusal = this.#state === 'open' ? this.#judge(host) : 'the endpoint is not open';
    if (refusal === undefined) return true;
    this.#refuse(host, port, refusal);
    return false;
  };

  /** Nobody comes in from here on. */
  async close(): Promise<void> {
    this.#state = 'ending';
    this.disarm();
    for (const conn of this.#pending) conn.stream.destroy();
    await Promise.all(this.#ways.map(({ listener }) => listener[Symbol.asyncDispose]()));
  }

  /** Ends the conns that are inside; the audit says why. */
  cut(reason: EndReason): void {
    this.#life.abort(reason);
  }

  /** Resolves when nobody is inside. */
  whenEmpty(): Promise<void> {
    if (this.#conns.size === 0) return Promise.resolve();
    return new Promise(resolve => this.#idle.push(resolve));
  }

  #judge(host: string): Refusal | undefined {
    if (this.#conns.size >= this.endpoint.limits.connections) return 'too many connections';
    return this.guard.judge(host);
  }

  #refuse(host: string, port: number, refusal: Refusal): void {
    this.#deps.refusals.add(this.endpoint.id, host, port, refusal);
  }

  async #accept({ listener, kind }: Way): Promise<void> {
    for await (const conn of listener) {
      // A port's listener has asked in its accept path already.
      if (kind === 'name' && !this.#permitConn(conn)) conn.stream.destroy();
      else this.#enter(conn, kind);
    }
  }

  #permitConn({ peer }: Conn): boolean {
    return 'host' in peer ? this.permit(peer.host, peer.port) : this.permit('', 0);
  }

  #enter(conn: Conn, kind: Way['kind']): void {
    if (this.#state !== 'open') return void conn.stream.destroy();
    if (conn.stream instanceof Socket && kind === 'port') {
      conn.stream.setNoDelay(true);
      conn.stream.setKeepAlive(true, keepAlive);
    }
    this.#conns.add(conn);
    this.#wait(conn);
    const { gate, handshake, log, metrics } = this.#deps;
    const { id, limits } = this.endpoint;
    let undo: (() => void) | undefined;
    void enter(conn, {
      action: 'endpoint.connect',
      resource: `endpoint/${id}`,
      opened: `endpoint/${id}`,
      limits: { connections: limits.connections },
      upgrade: this.#upgrade(kind),
      identify: async (secured, signal) => {
        const who = await this.#identify(secured, signal);
        undo = this.#claim(secured, who);
        return who;
      },
      gate: admittingOr(gate, () => undo?.()),
      handler: (near, session) => {
        this.#pending.delete(conn);
        return this.#handler(near, session);
      },
      patience: handshake,
      log,
      metrics,
    }).then(() => this.#left(conn));
  }

  #wait(conn: Conn): void {
    this.#pending.add(conn);
    if (this.#pending.size <= mostHandshakes) return;
    const [oldest] = this.#pending;
    if (!oldest) return;
    this.#pending.delete(oldest);
    oldest.stream.destroy();
    const { peer } = oldest;
    if ('host' in peer) this.#refuse(peer.host, peer.port, 'too many handshakes');
  }

  #left(conn: Conn): void {
    this.#pending.delete(conn);
    this.#conns.delete(conn);
    if (this.#conns.size === 0) for (const call of this.#idle.splice(0)) call();
  }

  #upgrade(kind: Way['kind']): Upgrade {
    const { tls, limits } = this.endpoint;
    if (tls === 'pass' || (tls === 'none' && kind === 'port')) return async conn => conn;
    if (kind === 'port') return this.#deps.tls.onPort(limits.certificate);
    return async (conn, signal) => {
      if (!this.#underName) throw new Fault('bug', 'a name without TLS');
      return (await this.#underName())(conn, signal);
    };
  }

  async #identify(conn: Conn, signal: AbortSignal): Promise<Principal> {
    const { certificate, users } = this.endpoint.limits;
    if (!certificate) return nobody;
    const who = await this.#deps.identify(conn, signal);
    if (who.kind === 'user' && (users.length === 0 || users.includes(who.id))) return who;
    const from = conn.peer;
    const reason = `the certificate is not one of ${users.join(', ') || 'a user'}`;
    this.#deps.gate.refuse(this.#request(who, from), reason);
    throw new Fault('denied', 'this endpoint is for somebody else', { facts: { who: who.id } });
  }

  #claim(conn: Conn, who: Principal): () => void {
    const host = 'host' in conn.peer ? normalizeHost(conn.peer.host) : '';
    const claimed = this.guard.claim(host);
    if (typeof claimed === 'function') return claimed;
    this.#deps.gate.refuse(this.#request(who, conn.peer), claimed);
    throw new Fault('denied', claimed);
  }

  #request(who: Principal, from: Conn['peer']): AccessRequest {
    const resource = `endpoint/${this.endpoint.id}`;
    return { who, action: 'endpoint.connect', resource, from, opened: resource };
  }

  #makeHandler(): Handler {
    const { beat, note } = this.#deps;
    return async (near, session) => {
      const { limits, target: url } = this.endpoint;
      const signal = AbortSignal.any([session.signal, this.#life.signal]);
      let cause = 'unreachable';
      let reached = false;
      session.note('target', url);
      noteTls(session, near);
      try {
        await this.#deps.claimed(this);
        const far = await this.#reach(session, signal);
        reached = true;
        note('endpoint.reached', session.request, session.id, { target: url });
        const count = (direction: 'up' | 'down', bytes: number): void => session.count(direction, bytes);
        const rate = limits.rate > 0 ? { upload: limits.rate, download: limits.rate } : {};
        cause = await splice(near, far, { signal, idle: limits.idle, halfClose: true, count, beat, ...rate });
        if (!far.stream.destroyed) await within(farewell, until => far.close(until));
      } catch (error) {
        cause = signal.aborted ? String(signal.reason) : toFault(error).code;
        if (!reached) note('endpoint.unreached', session.request, session.id, { target: url, cause });
        if (signal.aborted) near.stream.destroy();
        else throw error;
      } finally {
        session.note('cause', cause);
        this.#deps.metrics.count('endpoint_connections_total', { cause });
        if (limits.once) this.#spend(reached);
      }
    };
  }

  /** A device that could not be reached takes nobody's only connection away. */
  #spend(reached: boolean): void {
    if (reached) {
      this.#deps.spent(this);
      return;
    }
    this.guard.unuse();
    this.#deps.claimed(this).catch((error: unknown) => this.#deps.log.error({ error }, 'a state could not be kept'));
  }

  /** In bounded time, whoever dials; what comes too late is destroyed. */
  async #reach(session: Session, signal: AbortSignal): Promise<Conn> {
    const { connect } = this.#deps.reach;
    const late = new AbortController();
    const cancel = this.#deps.clock.after(connect, () => late.abort());
    const either = AbortSignal.any([signal, late.signal]);
    const dialled = reach(parseEndpointTarget(this.endpoint.target), session, this.#deps.reach, either);
    try {
      return await Promise.race([dialled, aborted(either)]);
    } catch (error) {
      dialled.then(
        ({ stream }) => stream.destroy(),
        () => {},
      );
      if (late.signal.aborted)
        throw new Fault('timeout', `${this.endpoint.target} did not answer within ${connect} ms`);
      throw error;
    } finally {
      cancel();
    }
  }
}

const aborted = (signal: AbortSignal): Promise<never> =>
  new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    else signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });

/** The gate, undoing what was claimed for whom it does not admit. */
function admittingOr(gate: Gate, undo: () => void): Gate {
  return {
    refuse: (request, reason) => gate.refuse(request, reason),
    async admit(request) {
      try {
        return await gate.admit(request);
      } catch (error) {
        undo();
        throw error;
      }
    },
  };
}

function noteTls(session: Session, { tls }: Conn): void {
  if (tls?.protocol) session.note('tls', tls.protocol);
  if (tls?.cipher) session.note('cipher', tls.cipher);
  if (tls?.sni) session.note('sni', tls.sni);
}
