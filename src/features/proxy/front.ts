// One address that is listened on, and the routes behind it. The socket stays while routes come and go.
import { Fault, isWeather, toFault } from '../../core/fault.ts';
import type { Address, Conn, Listener, Log, Metrics } from '../../core/parts.ts';
import { expectProxyHeader } from '../../net/proxy-header.ts';
import { ConnQueue } from '../../net/queue.ts';
import { type Branch, split } from '../../net/split.ts';
import { upgradeTls } from '../../net/tls.ts';
import { parseCidr } from '../../wire/cidr.ts';
import type { Route } from './route.ts';
import type { Identity, ListenMode } from './route-plan.ts';

/** A route on this address, and what it does with the bytes here. */
export interface Entry {
  readonly route: Route;
  readonly mode: ListenMode;
}

export interface FrontDeps {
  readonly log: Log;
  readonly metrics: Metrics;
}

/** The answer to a tls-alpn-01 challenge (RFC 8737): who asks for `name` by ALPN acme-tls/1 is shown this certificate. */
export interface Challenge {
  readonly name: string;
  readonly identity: Identity;
}

/** Conns that may wait while their first bytes are looked at. */
const inletQueue = 511;

export class Front {
  readonly address: Address;
  readonly #listener: Listener;
  readonly #deps: FrontDeps;
  #accept: (conn: Conn) => void = conn => void conn.stream.destroy();
  #unplug: () => void = () => {};
  /** Conns on their way to a route: those being looked at, or announced. */
  #underway = new Set<Promise<unknown>>();
  #challenges: readonly Challenge[] = [];
  #entries: readonly Entry[] = [];

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

  /** Accepts until the front is closed. */
  async run(): Promise<void> {
    for await (const conn of this.#listener) this.#accept(conn);
  }

  /**
   * From now on newcomers go to these routes; resolves when nobody is on the way to the routes before. `presorted`: the
   * listener has told conns apart already (the gate's port).
   */
  async plug(entries: readonly Entry[], challenges: readonly Challenge[], presorted = false): Promise<void> {
    const unplug = this.#unplug;
    const underway = this.#underway;
    this.#unplug = () => {};
    this.#underway = new Set();
    this.#entries = entries;
    this.#challenges = challenges;
    const [only] = entries;
    const alone = entries.length === 1 && challenges.length === 0 && only && (presorted || isForEverybody(only));
    const enter = alone ? (conn: Conn): void => only.route.enter(conn, only.mode) : this.#sort(entries, challenges);
    const from = only?.route.plan.proxyFrom;
    this.#accept = from ? this.#announced(from, only.route.patience, enter) : enter;
    unplug();
    await Promise.all(underway);
  }

  /** Stops listening; conns that were accepted live on. */
  async close(): Promise<void> {
    await this.#listener[Symbol.asyncDispose]();
    this.#unplug();
    await Promise.all(this.#underway);
  }

  /** Tells conns apart by their first bytes. */
  #sort(entries: readonly Entry[], challenges: readonly Challenge[]): (conn: Conn) => void {
    const inlet = new ConnQueue(inletQueue);
    const source: Listener = {
      address: this.address,
      [Symbol.asyncIterator]: () => inlet[Symbol.asyncIterator](),
      [Symbol.asyncDispose]: async () => inlet.close(),
    };
    const patience = Math.max(...entries.map(({ route }) => route.patience));
    const branches: Branch[] = [
      ...challenges.map(({ name }) => ({ name: `acme ${name}`, names: [name], alpn: ['acme-tls/1'] })),
      ...entries.map(entry => branchOf(entry, entries)),
    ];
    const sorted = split(source, branches, { patience, log: this.#deps.log, metrics: this.#deps.metrics });
    for (const { route, mode } of entries) this.#track(pour(sorted[route.plan.name], conn => route.enter(conn, mode)));
    for (const challenge of challenges) {
      this.#track(pour(sorted[`acme ${challenge.name}`], conn => void this.#answer(challenge, conn)));
    }
    this.#unplug = () => inlet.close();
    return conn => {
      if (inlet.push(conn)) return;
      conn.stream.destroy();
      this.#deps.metrics.count('proxy_accepts_refused_total', { reason: 'full' });
    };
  }

  /** The PROXY header comes before anything else, TLS included. */
  #announced(from: readonly string[], patience: number, enter: (conn: Conn) => void): (conn: Conn) => void {
    const upgrade = expectProxyHeader({ from: from.map(parseCidr) });
    return raw => {
      this.#track(upgrade(raw, AbortSignal.timeout(patience)).then(enter, error => this.#unannounced(raw, error)));
    };
  }

  #unannounced(raw: Conn, error: unknown): void {
    raw.stream.destroy();
    if (isWeather(error)) return;
    const fault = error instanceof Fault ? error : new Fault('timeout', 'no PROXY header came', { cause: error });
    this.#deps.metrics.count('faults_total', { code: fault.code, resource: 'proxy' });
    this.#deps.log.info({ from: raw.peer, code: fault.code }, fault.message);
  }

  #track(step: Promise<void>): void {
    const underway = this.#underway;
    underway.add(step);
    void step.finally(() => underway.delete(step));
  }

  async #answer({ identity }: Challenge, conn: Conn): Promise<void> {
    const patience = AbortSignal.timeout(10_000);
    using upgrade = upgradeTls({
      identities: [identity],
      alpn: ['acme-tls/1'],
      session: { tickets: false, cache: 0, timeout: 1000 },
      context: 'acme-tls/1',
      handshake: 10_000,
    });
    try {
      const tls = await upgrade(conn, patience);
      await tls.close(patience);
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

function branchOf(entry: Entry, entries: readonly Entry[]): Branch {
  const { name, names, alpn, plain } = entry.route.plan;
  // A route that ends TLS answers a wrong ALPN itself, with the alert; it is a mark of its own only between routes that
  // share a name, and where TLS is passed through.
  const byAlpn =
    alpn.length > 0 && (entry.mode === 'pass' || entries.some(other => other !== entry && shareName(entry, other)));
  const everybody = names.length === 0 && !byAlpn && !plain;
  return {
    name,
    ...(names.length > 0 ? { names } : {}),
    ...(byAlpn ? { alpn } : {}),
    ...(plain ? { plain } : {}),
    ...(entry.route.plan.default || everybody ? { default: true } : {}),
  };
}

function shareName({ route: { plan: one } }: Entry, { route: { plan: other } }: Entry): boolean {
  if (one.names.length === 0 || other.names.length === 0) return one.names.length === other.names.length;
  return one.names.some(name => other.names.includes(name));
}

async function pour(listener: Listener | undefined, take: (conn: Conn) => void): Promise<void> {
  if (listener) for await (const conn of listener) take(conn);
}
