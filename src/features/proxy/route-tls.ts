// The TLS of one route: options for net/tls.ts out of the plan, ticket keys that rotate, material that is swapped.
import type { Clock } from '../../core/clock.ts';
import { Fault } from '../../core/fault.ts';
import type { Conn } from '../../core/parts.ts';
import { type ServerTls, type ServerTlsOptions, upgradeTls } from '../../net/tls.ts';
import { defined } from './defined.ts';
import type { RoutePlan } from './route-plan.ts';
import { newMasterKey, periodOf, sessionContext, ticketKey, untilNextPeriod } from './tickets.ts';

/** Of this process alone. */
const ownMaster = newMasterKey();

export interface RouteTlsDeps {
  readonly masterKey: Uint8Array;
  readonly clock: Clock;
}

export class RouteTls implements Disposable {
  readonly #deps: RouteTlsDeps;
  readonly #server: ServerTls;
  #plan: RoutePlan;
  #cancelRotation: () => void = () => {};

  /** @throws Fault `invalid` when OpenSSL does not take the material */
  constructor(plan: RoutePlan, deps: RouteTlsDeps) {
    this.#plan = plan;
    this.#deps = deps;
    this.#server = upgradeTls(this.#options(plan));
    this.#armRotation();
  }

  upgrade(conn: Conn, signal: AbortSignal): Promise<Conn> {
    return this.#server(conn, signal);
  }

  /** Builds a plan's TLS and throws it away: what cannot be used shows before anything changes. @throws Fault `invalid` */
  try(plan: RoutePlan): void {
    upgradeTls(this.#options(plan))[Symbol.dispose]();
  }

  /** New handshakes use the plan's material; conns that stand stay as they are. */
  replace(plan: RoutePlan): void {
    this.#plan = plan;
    this.#server.replace(this.#options(plan));
    this.#armRotation();
  }

  [Symbol.dispose](): void {
    this.#cancelRotation();
    this.#server[Symbol.dispose]();
  }

  #options(plan: RoutePlan): ServerTlsOptions {
    const { tls, clients, alpn } = plan;
    if (!tls) throw new Fault('bug', 'a TLS listener without TLS options');
    const { identities, session, preferServerCiphers, protocols, ciphers, curves, closeNotify } = tls;
    const context = sessionContext(plan);
    const { masterKey, clock } = this.#deps;
    // OpenSSL hands tickets out before a client's chain is judged, and a resumed session brings no chain: such sessions
    // are resumed only by the process that made them and knows what it saw.
    const keys = ticketKey(clients ? ownMaster : masterKey, context, periodOf(clock.now(), session.rotate));
    return {
      identities,
      ...defined({ protocols, ciphers, curves, preferServerCiphers, closeNotify }),
      ...(alpn.length > 0 ? { alpn } : {}),
      ...(clients ? { clients: { mode: clients.mode, ca: clients.cas, depth: clients.depth } } : {}),
      session: { tickets: session.tickets, cache: session.cache, timeout: session.timeout, keys },
      context,
      handshake: 0, // the door's patience counts
    };
  }

  #armRotation(): void {
    this.#cancelRotation();
    const { session } = this.#plan.tls ?? {};
    if (!session?.tickets) return;
    const { clock } = this.#deps;
    this.#cancelRotation = clock.after(untilNextPeriod(clock.now(), session.rotate), () => {
      this.#server.replace(this.#options(this.#plan));
      this.#armRotation();
    });
  }
}
