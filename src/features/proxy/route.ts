// One route, running: its door (rules, TLS, identity, gate), its conns, and how it changes without dropping them.
import { Socket } from 'node:net';
import type { Clock } from '../../core/clock.ts';
import { Fault, isWeather, toFault } from '../../core/fault.ts';
import type { Conn, Gate, Identify, Log, Metrics, Principal, Upgrade } from '../../core/parts.ts';
import { type Door, enter } from '../../core/serve.ts';
import { type ServerTlsOptions, upgradeTls } from '../../net/tls.ts';
import { compileRules } from '../../wire/cidr.ts';
import type { AccessLine } from './access-line.ts';
import { defined } from './defined.ts';
import { createForward } from './forward.ts';
import { boundHandshakes } from './handshakes.ts';
import type { Outward } from './outward.ts';
import type { ListenMode, RoutePlan, RouteTrust } from './route-plan.ts';
import { periodOf, sessionContext, ticketKey, untilNextPeriod } from './tickets.ts';

export interface RouteDeps {
  readonly gate: Gate;
  readonly identify: (trust: RouteTrust) => Identify;
  readonly masterKey: Uint8Array;
  readonly accessLog: (line: AccessLine) => void;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/** Conns of one route that may be in their handshake at once. */
const mostHandshakes = 4096;

const nobody: Principal = { kind: 'anonymous', id: '', groups: [], attributes: new Map(), credential: '' };
const identifyNobody: Identify = async () => nobody;

export class Route {
  readonly outward: Outward;
  readonly #deps: RouteDeps;
  readonly #door: Door;
  readonly #tlsDoor: Door;
  readonly #tls: ReturnType<typeof upgradeTls> | undefined;
  readonly #live = new Set<Conn>();
  readonly #labels: { readonly route: string };
  readonly #cut = new AbortController();
  #plan: RoutePlan;
  #cancelRotation: () => void = () => {};
  #idle: (() => void)[] = [];

  constructor(plan: RoutePlan, outward: Outward, deps: RouteDeps) {
    this.#plan = plan;
    this.#deps = deps;
    this.#labels = { route: plan.name };
    this.outward = outward;
    this.#tls = plan.tls ? upgradeTls(this.#tlsOptions(plan)) : undefined;
    const permit = this.#makePermit();
    this.#door = this.#makeDoor(permit);
    this.#tlsDoor = { ...this.#door, upgrade: this.#withTls(permit) };
    this.#armRotation();
  }

  get plan(): RoutePlan {
    return this.#plan;
  }
  get live(): number {
    return this.#live.size;
  }
  /** Milliseconds that a newcomer has until it must be through the handshake. */
  get patience(): number {
    return this.#door.patience;
  }

  /** Takes a conn in, as its listener says to. It is the route's from here on. */
  enter(conn: Conn, mode: ListenMode): void {
    const { metrics } = this.#deps;
    this.#live.add(conn);
    metrics.gauge('proxy_connections', this.#labels, 1);
    void enter(conn, mode === 'tls' ? this.#tlsDoor : this.#door).then(() => {
      metrics.gauge('proxy_connections', this.#labels, -1);
      this.#live.delete(conn);
      if (this.#live.size === 0) for (const call of this.#idle.splice(0)) call();
    });
  }

  /** The same plan, judged on another day. */
  replaceWarnings({ warnings }: RoutePlan): void {
    this.#plan = { ...this.#plan, warnings };
  }
  /** Whether a plan differs from this one in nothing but certificates and TLS options. */
  differsInTlsOnly(plan: RoutePlan): boolean {
    const bare = (one: RoutePlan): string => JSON.stringify({ ...one, tls: one.tls !== undefined, warnings: [] });
    return this.#tls !== undefined && bare(plan) === bare(this.#plan);
  }
  /** Builds a plan's TLS and throws it away: what cannot be used shows before anything changes. @throws Fault `invalid` */
  tryTls(plan: RoutePlan): void {
    upgradeTls(this.#tlsOptions(plan))[Symbol.dispose]();
  }
  /** New handshakes use the plan's TLS; conns that stand stay as they are. */
  replaceTls(plan: RoutePlan): void {
    this.#plan = plan;
    this.#tls?.replace(this.#tlsOptions(plan));
    this.#armRotation();
  }

  /** Resolves when no conn is left. */
  whenIdle(): Promise<void> {
    if (this.#live.size === 0) return Promise.resolve();
    return new Promise(resolve => this.#idle.push(resolve));
  }
  /** Ends all conns now; the audit says why. */
  cut(because: string): void {
    this.#cut.abort(because);
    for (const conn of this.#live) conn.stream.destroy();
  }
  /** No conn comes any more and none is left. */
  dispose(): void {
    this.#cancelRotation();
    this.#tls?.[Symbol.dispose]();
  }

  readonly #accessLog = (line: AccessLine): void => {
    const { route, cause, up, down } = line;
    const { metrics } = this.#deps;
    metrics.count('proxy_connections_total', { route, cause });
    if (up > 0) metrics.count('proxy_bytes_total', { route, direction: 'up' }, up);
    if (down > 0) metrics.count('proxy_bytes_total', { route, direction: 'down' }, down);
    this.#deps.accessLog(line);
  };

  #makeDoor(permit: (conn: Conn) => void): Door {
    const { plan } = this;
    const { gate, clock, identify, metrics } = this.#deps;
    const resource = `proxy/${plan.name}`;
    const accessLog = this.#accessLog;
    const { connections, perAddress, queue, wait } = plan.limits;
    return {
      action: 'proxy.connect',
      resource,
      // Without a client certificate that must be there, the route itself is the rule.
      ...(plan.clients?.mode === 'required' ? {} : { opened: resource }),
      ...(connections || perAddress ? { limits: defined({ connections, perAddress, queue, wait }) } : {}),
      upgrade: async conn => {
        permit(conn);
        return conn;
      },
      identify: plan.clients ? identify(plan.clients) : identifyNobody,
      gate: reportingGate(gate, plan.name, clock, accessLog),
      handler: createForward({ plan, outward: this.outward, clock, accessLog, cut: this.#cut.signal }),
      patience: plan.limits.handshake,
      log: this.#deps.log,
      metrics,
    };
  }

  /** @throws Fault `denied` when the rules refuse the address */
  #makePermit(): (conn: Conn) => void {
    const permits = compileRules(this.plan.rules ?? []);
    return conn => {
      if (permits('host' in conn.peer ? conn.peer.host : undefined)) return;
      this.#turnAway(conn, 'denied', 'address not allowed by the rules of the route');
      throw new Fault('denied', 'not allowed');
    };
  }

  /** TLS after the rules: whom they refuse costs no handshake. */
  #withTls(permit: (conn: Conn) => void): Upgrade {
    const { metrics } = this.#deps;
    const handshakes = boundHandshakes(mostHandshakes, () =>
      metrics.count('proxy_handshakes_dropped_total', { route: this.plan.name }),
    );
    return async (conn, signal) => {
      permit(conn);
      if (!this.#tls) throw new Fault('bug', 'a TLS listener without TLS options');
      handshakes.add(conn);
      try {
        return await this.#tls(conn, signal);
      } catch (error) {
        if (!isWeather(error) && hasSpoken(conn))
          this.#turnAway(conn, 'handshake', `TLS handshake: ${reasonOf(error)}`);
        throw error;
      } finally {
        handshakes.delete(conn);
      }
    };
  }

  #turnAway(conn: Conn, cause: string, reason: string): void {
    const { gate, clock } = this.#deps;
    const resource = `proxy/${this.plan.name}`;
    gate.refuse({ who: nobody, action: 'proxy.connect', resource, from: conn.peer }, reason);
    this.#accessLog(emptyLine(conn, this.plan.name, clock, cause));
  }

  #tlsOptions(plan: RoutePlan): ServerTlsOptions {
    const { tls, clients, alpn } = plan;
    if (!tls) throw new Fault('bug', 'no TLS options in the plan');
    const { identities, session, preferServerCiphers, protocols, ciphers, curves } = tls;
    const context = sessionContext(plan);
    const { masterKey, clock } = this.#deps;
    const keys = ticketKey(masterKey, context, periodOf(clock.now(), session.rotate));
    return {
      identities,
      ...defined({ protocols, ciphers, curves, preferServerCiphers }),
      ...(alpn.length > 0 ? { alpn } : {}),
      ...(clients ? { clients: { mode: clients.mode, ca: clients.cas, depth: clients.depth } } : {}),
      session: { tickets: session.tickets, cache: session.cache, timeout: session.timeout, keys },
      context,
      handshake: 0, // the door's patience counts
    };
  }

  #armRotation(): void {
    this.#cancelRotation();
    const session = this.#plan.tls?.session;
    if (!session?.tickets) return;
    const { clock } = this.#deps;
    this.#cancelRotation = clock.after(untilNextPeriod(clock.now(), session.rotate), () => {
      this.#tls?.replace(this.#tlsOptions(this.#plan));
      this.#armRotation();
    });
  }
}

/** Whoever left without a byte (a balancer that looks whether somebody is there, a scanner) asked for nothing. */
const hasSpoken = ({ stream }: Conn): boolean => !(stream instanceof Socket) || stream.bytesRead > 0;

const reasonOf = (error: unknown): string =>
  error instanceof DOMException && error.name === 'TimeoutError' ? 'took too long' : toFault(error).message;

/** The gate, with an access line for whom it turns away. */
function reportingGate(gate: Gate, route: string, clock: Clock, accessLog: (line: AccessLine) => void): Gate {
  return {
    refuse: (request, reason) => gate.refuse(request, reason),
    async admit(request) {
      try {
        return await gate.admit(request);
      } catch (error) {
        accessLog(emptyLine({ peer: request.from }, route, clock, toFault(error).code));
        throw error;
      }
    },
  };
}

function emptyLine({ peer }: Pick<Conn, 'peer'>, route: string, clock: Clock, cause: string): AccessLine {
  return { time: clock.now(), route, client: peer, up: 0, down: 0, seconds: 0, cause };
}
