// One address that is listened on, and the routes behind it. The socket stays while routes come and go.
import { Fault, isWeather, toFault } from '../../core/fault.ts';
import type { Address, Conn, Listener, Log, Metrics } from '../../core/parts.ts';
import { expectProxyHeader } from '../../net/proxy-header.ts';
import { upgradeTls } from '../../net/tls.ts';
import { parseCidr } from '../../wire/cidr.ts';
import { boundHandshakes } from './handshakes.ts';
import type { Route } from './route.ts';
import type { Identity, ListenMode } from './route-plan.ts';
import { sortConn, type Way, type Ways } from './sort.ts';

/** A route on this address, and what it does with the bytes here. */
export interface Entry {
  readonly route: Route;
  readonly mode: ListenMode;
}

/** The answer to a tls-alpn-01 challenge (RFC 8737): who asks for `name` by ALPN acme-tls/1 is shown this certificate. */
export interface Challenge {
  readonly name: string;
  readonly identity: Identity;
}

export interface FrontDeps {
  readonly log: Log;
  readonly metrics: Metrics;
}

/** Conns that may be looked at together; beyond, the one that has told nothing for longest goes. */
const mostLookedAt = 10_000;
const challengePatience = 10_000;

export class Front {
  readonly address: Address;
  readonly #listener: Listener;
  readonly #deps: FrontDeps;
  #accept: (conn: Conn) => void = conn => void conn.stream.destroy();
  #entries: readonly Entry[] = [];
  #challenges: readonly Challenge[] = [];
  readonly #looking = new Set<Conn>();
  /** Conns on their way to a route. */
  #underway = new Set<Promise<void>>();

  constructor(listener: Listener, deps: FrontDeps) {
    this.#listener = listener;
    this.#deps = deps;
    this.address = listener.address;
  }

  get entries(): readonly Entry[] {
    return this.#entries;
  }
  get challenges(): readonly Challenge[] {
    return this.#challenges;
  }

  /** Accepts until the front is closed. Never throws: this is an edge. */
  async run(): Promise<void> {
    try {
      for await (const conn of this.#listener) this.#accept(conn);
    } catch (error) {
      this.#deps.log.error({ error }, 'listening failed');
    }
  }

  /**
   * From now on newcomers go to these routes; resolves when nobody is on the way to the routes before. `presorted`: the
   * listener has told conns apart already (the gate's port).
   */
  async plug(entries: readonly Entry[], challenges: readonly Challenge[], presorted = false): Promise<void> {
    const underway = this.#underway;
    this.#underway = new Set();
    this.#entries = entries;
    this.#challenges = challenges;
    const [only] = entries;
    if (!only) this.#accept = conn => conn.stream.destroy();
    else if (entries.length === 1 && challenges.length === 0 && (presorted || isForEverybody(only))) this.#only(only);
    else this.#sort(entries, challenges);
    await Promise.all(underway);
  }

  /** Stops listening; conns that were accepted live on. Resolves when each of them has reached its route. */
  async close(): Promise<void> {
    await this.#listener[Symbol.asyncDispose]();
    await Promise.all(this.#underway);
  }

  /** Ends conns that have not reached a route yet. */
  cut(): void {
    for (const conn of this.#looking) conn.stream.destroy();
  }

  #only({ route, mode }: Entry): void {
    const take = (conn: Conn): void => route.enter(conn, mode);
    if (!route.plan.proxyFrom) this.#accept = take;
    else this.#look({ branches: [], only: { name: route.plan.name, take }, challenges: new Map() }, route);
  }

  #sort(entries: readonly Entry[], challenges: readonly Challenge[]): void {
    const answers = challenges.map(one => [one.name, (conn: Conn) => void this.#answer(one, conn)] as const);
    const branches = entries.map(entry => wayOf(entry, entries));
    const patient = entries.reduce((a, b) => (a.route.patience > b.route.patience ? a : b));
    this.#look({ branches, challenges: new Map(answers) }, patient.route);
  }

  #look(ways: Ways, { patience, plan }: Route): void {
    const { metrics } = this.#deps;
    const before = plan.proxyFrom && expectProxyHeader({ from: plan.proxyFrom.map(parseCidr) });
    const bound = boundHandshakes(mostLookedAt, () => metrics.count('proxy_handshakes_dropped_total', { route: '' }));
    this.#accept = conn => {
      const underway = this.#underway;
      bound.add(conn);
      this.#looking.add(conn);
      const step = sortConn(conn, ways, before, AbortSignal.timeout(patience))
        .catch(error => this.#turnAway(conn, error))
        .finally(() => {
          bound.delete(conn);
          this.#looking.delete(conn);
          underway.delete(step);
        });
      underway.add(step);
    };
  }

  #turnAway(conn: Conn, error: unknown): void {
    // An alert on its way out is let go first; whoever does not read it is cut off.
    if (conn.stream.writableEnded) void conn.close(AbortSignal.timeout(1000));
    else conn.stream.destroy();
    if (isWeather(error)) return;
    const late = error instanceof DOMException;
    const fault = late ? new Fault('timeout', 'the first bytes did not come in time') : toFault(error);
    this.#deps.metrics.count('faults_total', { code: fault.code, resource: 'proxy' });
    const level = fault.code === 'bug' ? 'error' : 'info';
    this.#deps.log[level]({ from: conn.peer, code: fault.code, ...fault.facts, cause: fault.cause }, fault.message);
  }

  async #answer({ identity }: Challenge, conn: Conn): Promise<void> {
    const signal = AbortSignal.timeout(challengePatience);
    try {
      using upgrade = upgradeTls({
        identities: [identity],
        alpn: ['acme-tls/1'],
        session: { tickets: false, cache: 0, timeout: 1000 },
        context: 'acme-tls/1',
        handshake: 0,
      });
      const tls = await upgrade(conn, signal);
      await tls.close(signal);
    } catch (error) {
      this.#deps.log.debug({ error: toFault(error).message }, 'a challenge was not taken');
      conn.stream.destroy();
    }
  }
}

/** Whether there is nothing to tell apart: no names, or names with a default, and TLS itself sees to the ALPN. */
function isForEverybody({ route: { plan }, mode }: Entry): boolean {
  return mode === 'tls' ? plan.names.length === 0 || plan.default : mode !== 'pass';
}

function wayOf(entry: Entry, entries: readonly Entry[]): Way {
  const { route, mode } = entry;
  const { name, names, alpn, plain } = route.plan;
  // A route that ends TLS answers a wrong ALPN itself, with the alert; it is a mark of its own only between routes that
  // share a name, and where TLS is passed through.
  const byAlpn =
    alpn.length > 0 && (mode === 'pass' || entries.some(other => other !== entry && shareName(entry, other)));
  const everybody = names.length === 0 && !byAlpn && !plain;
  return {
    name,
    ...(names.length > 0 ? { names } : {}),
    ...(byAlpn ? { alpn } : {}),
    ...(plain ? { plain } : {}),
    ...(route.plan.default || everybody ? { default: true } : {}),
    take: conn => route.enter(conn, mode),
  };
}

function shareName({ route: { plan: one } }: Entry, { route: { plan: other } }: Entry): boolean {
  if (one.names.length === 0 || other.names.length === 0) return one.names.length === other.names.length;
  return one.names.some(name => other.names.includes(name));
}
