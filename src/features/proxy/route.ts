// One route, running: its door (rules, TLS, identity, gate), its conns, and how it changes without dropping them.
import { Socket } from 'node:net';
import type { Clock } from '../../core/clock.ts';
import { Fault, isWeather, toFault } from '../../core/fault.ts';
import type { Conn, Gate, Identify, Log, Metrics, Principal, Upgrade } from '../../core/parts.ts';
import { type Door, enter, within } from '../../core/serve.ts';
import { compileRules } from '../../wire/cidr.ts';
import type { AccessLine } from './access-line.ts';
import { defined } from './defined.ts';
import { createForward } from './forward.ts';
import { boundHandshakes } from './handshakes.ts';
import type { Outward } from './outward.ts';
import type { ListenMode, RoutePlan, RouteTrust } from './route-plan.ts';
import { RouteTls, type RouteTlsDeps } from './route-tls.ts';

export interface RouteDeps extends RouteTlsDeps {
  readonly gate: Gate;
  readonly identify: (trust: RouteTrust) => Identify;
  readonly accessLog: (line: AccessLine) => void;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/** Conns of one route that may be in their handshake at once. */
const mostHandshakes = 4096;
/** Milliseconds for the proper end towards a target. */
const farewell = 5000;

const nobody: Principal = { kind: 'anonymous', id: '', groups: [], attributes: new Map(), credential: '' };
const identifyNobody: Identify = async () => nobody;

export class Route implements Disposable {
  readonly tls: RouteTls | undefined;
  readonly #deps: RouteDeps;
  readonly #door: Door;
  readonly #tlsDoor: Door;
  readonly #labels: { readonly route: string };
  readonly #live = new Set<Conn>();
  /** Conns to targets that have been told the end and have not answered it. */
  readonly #leaving = new Set<Conn>();
  readonly #cut = new AbortController();
  #plan: RoutePlan;
  #idle: (() => void)[] = [];

  /** @throws Fault `invalid` when the TLS material or the trust cannot be used */
  constructor(plan: RoutePlan, outward: Outward, deps: RouteDeps) {
    this.#plan = plan;
    this.#deps = deps;
    this.#labels = { route: plan.name };
    const permit = this.#makePermit(plan);
    this.#door = this.#makeDoor(plan, outward, permit);
    this.tls = plan.tls ? new RouteTls(plan, deps) : undefined;
    this.#tlsDoor = { ...this.#door, upgrade: this.#withTls(permit) };
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
    if (this.#cut.signal.aborted) return void conn.stream.destroy();
    const { metrics } = this.#deps;
    this.#live.add(conn);
    metrics.gauge('proxy_connections', this.#labels, 1);
    void enter(conn, mode === 'tls' ? this.#tlsDoor : this.#door).then(() => {
      metrics.gauge('proxy_connections', this.#labels, -1);
      this.#live.delete(conn);
      if (this.#live.size === 0) for (const call of this.#idle.splice(0)) call();
    });
  }

  /** A plan that differs in nothing that the door or the targets see: other warnings, other TLS material. */
  accept(plan: RoutePlan): void {
    const isOther = JSON.stringify(plan.tls) !== JSON.stringify(this.#plan.tls);
    this.#plan = plan;
    if (isOther) this.tls?.replace(plan);
  }

  /** Resolves when no conn is left. */
  whenIdle(): Promise<void> {
    if (this.#live.size === 0) return Promise.resolve();
    return new Promise(resolve => this.#idle.push(resolve));
  }
  /** Ends all conns now; the audit says why. */
  cut(because: string): void {
    this.#cut.abort(because);
    for (const conn of [...this.#live, ...this.#leaving]) conn.stream.destroy();
  }
  /** No conn comes any more and none is left. */
  [Symbol.dispose](): void {
    this.tls?.[Symbol.dispose]();
  }

  #makeDoor(plan: RoutePlan, outward: Outward, permit: (conn: Conn) => void): Door {
    const { clock, identify, log, metrics } = this.#deps;
    const resource = `proxy/${plan.name}`;
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
      gate: this.#reportingGate(),
      handler: createForward({
        plan,
        outward,
        clock,
        accessLog: this.#accessLog,
        cut: this.#cut.signal,
        farewell: conn => this.#farewell(conn),
      }),
      patience: plan.limits.handshake,
      log,
      metrics,
    };
  }

  /** @throws Fault `denied` when the rules refuse the address */
  #makePermit({ rules }: RoutePlan): (conn: Conn) => void {
    const permits = compileRules(rules ?? []);
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
      metrics.count('proxy_handshakes_dropped_total', this.#labels),
    );
    return async (conn, signal) => {
      permit(conn);
      if (!this.tls) throw new Fault('bug', 'a TLS listener without TLS options');
      handshakes.add(conn);
      try {
        return await this.tls.upgrade(conn, signal);
      } catch (error) {
        if (!isWeather(error) && hasSpoken(conn))
          this.#turnAway(conn, 'handshake', `TLS handshake: ${reasonOf(error)}`);
        throw error;
      } finally {
        handshakes.delete(conn);
      }
    };
  }

  async #farewell(conn: Conn): Promise<void> {
    this.#leaving.add(conn);
    await within(farewell, signal => conn.close(signal));
    this.#leaving.delete(conn);
  }

  /** The gate, with an access line for whom it turns away. */
  #reportingGate(): Gate {
    const { gate } = this.#deps;
    return {
      refuse: (request, reason) => gate.refuse(request, reason),
      admit: async request => {
        try {
          return await gate.admit(request);
        } catch (error) {
          this.#emptyLine({ peer: request.from }, toFault(error).code);
          throw error;
        }
      },
    };
  }

  #turnAway(conn: Conn, cause: string, reason: string): void {
    const resource = `proxy/${this.#plan.name}`;
    this.#deps.gate.refuse({ who: nobody, action: 'proxy.connect', resource, from: conn.peer }, reason);
    this.#emptyLine(conn, cause);
  }

  #emptyLine({ peer }: Pick<Conn, 'peer'>, cause: string): void {
    const time = this.#deps.clock.now();
    this.#accessLog({ time, route: this.#plan.name, client: peer, up: 0, down: 0, seconds: 0, cause });
  }

  readonly #accessLog = (line: AccessLine): void => {
    const { route, cause, up, down } = line;
    const { metrics } = this.#deps;
    metrics.count('proxy_connections_total', { route, cause });
    if (up > 0) metrics.count('proxy_bytes_total', { route, direction: 'up' }, up);
    if (down > 0) metrics.count('proxy_bytes_total', { route, direction: 'down' }, down);
    this.#deps.accessLog(line);
  };
}

/** Whoever left without a byte (a balancer that looks whether somebody is there, a scanner) asked for nothing. */
const hasSpoken = ({ stream }: Conn): boolean => !(stream instanceof Socket) || stream.bytesRead > 0;

const reasonOf = (error: unknown): string =>
  error instanceof DOMException && error.name === 'TimeoutError' ? 'took too long' : toFault(error).message;
