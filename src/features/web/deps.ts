// What the web gate is handed, what it gives, and what its parts work with.
import type { Clock } from '../../core/clock.ts';
import type { Address, Conn, Decision, Gate, Identify, Log, Metrics, Principal, Service } from '../../core/parts.ts';
import type { NameResolver } from '../../net/resolve.ts';
import type { WebLine } from './access-line.ts';
import type { Caller } from './caller.ts';
import type { ExplainOptions, Explanation } from './check.ts';
import type { Exchange } from './exchange.ts';
import type { Form, FormName } from './forms.ts';
import type { Fields } from './headers.ts';
import type { Hosts } from './hosts.ts';
import type { IdentitySigner } from './identity.ts';
import type { Page } from './pages.ts';
import type { ForwardPlan } from './plan.ts';
import type { ReachDeps } from './reach.ts';
import type { SignIns } from './sign-ins.ts';
import type { Site } from './site.ts';

export interface WebDeps {
  readonly gate: Gate;
  /** Says who stands behind a conn under the trust of now; asked again while the conn lives. */
  readonly identify: Identify;
  /** What the rules say, without writing it down. */
  readonly decide: (who: Principal, resource: string, from: Address) => Decision;
  /** The proxy's name and port as browsers reach it. */
  readonly proxy: () => { readonly host: string; readonly port: number };
  /** `https://gate.example.com`, where the PAC file and /check are. */
  readonly origin: () => string;
  /** Names under which HTTP/2 requests are for the gate itself. */
  readonly names: () => readonly string[];
  /** Where this gate listens. */
  readonly listeners: () => readonly Address[];
  /** The random part of a PAC path that is not public; the same at each start. */
  readonly pacToken: string;
  /** CN of each CA whose client certificates count. */
  readonly issuers: () => readonly string[];
  /** PEM of the CA that signed the proxy's certificate, unless browsers know it. */
  readonly ca?: () => string | undefined;
  /** Sign-ins on top of certificates; without them no line that wants one is reached. */
  readonly signIns?: SignIns;
  /** Signs identities; without it only plain fields are told. */
  readonly signer?: IdentitySigner;
  /** Serves what is asked of the gate itself, HTTP/1.1. */
  readonly own?: (conn: Conn) => Promise<void>;
  readonly accessLog?: (line: WebLine) => void;
  /** Instead of the system's or the plan's name servers. */
  readonly resolver?: NameResolver;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/** What the parts of the proxy work with; getters, since the plan may be replaced. */
export interface ForwardDeps extends Pick<WebDeps, 'gate' | 'issuers' | 'clock' | 'log' | 'metrics'> {
  readonly plan: () => ForwardPlan;
  readonly hosts: () => Hosts;
  readonly reach: () => ReachDeps;
  readonly accessLog: (line: WebLine) => void;
  readonly isOwnName: (host: string) => boolean;
  readonly checkPage: (caller: Caller, proxy: 'on' | 'off', version: string, fields: Fields) => Page;
  /** A page of the web gate on the gate's own origin. */
  readonly ownPage: (method: string, url: string, fields: Fields, conn: Conn, version: string) => Page | undefined;
  readonly noPage: () => Page;
  /** Fields that tell a service who is there, as the plan wants it. */
  readonly identity: (caller: Caller, site: Site) => Fields;
  readonly signInUrl: () => string;
  /** Passes it to the gate itself; false where there is nothing to pass it to. */
  readonly relayOwn: (exchange: Exchange, path: string, caller: Caller) => boolean;
  /** Opens a WebSocket to the gate itself. @throws Fault `missing`, or `unreachable` with a `status` */
  readonly joinOwn: (
    asked: { readonly path: string; readonly authority: string; readonly fields: Fields },
    caller: Caller,
    signal: AbortSignal,
  ) => Promise<{ readonly far: Conn; readonly told: Fields }>;
}

export interface WebState {
  readonly proxy: string;
  readonly pac: { readonly url: string; readonly public: boolean };
  readonly hosts: readonly { readonly key: string; readonly ports: string; readonly to: string }[];
  readonly connections: number;
  readonly warnings: readonly string[];
}

export interface WebService extends Service {
  /** Serves proxy requests on a TLS conn until it ends: HTTP/2 where ALPN said so, HTTP/1.1 otherwise. Never throws. */
  handle(conn: Conn): Promise<void>;
  /** The PAC file and /check, for whoever serves the gate's own origin; undefined when the path is neither. */
  page(
    request: { readonly method: string; readonly url: string; readonly fields: Fields; readonly version: string },
    conn: Conn,
  ): Promise<Page | undefined>;
  /** Another plan: visits that it does not cover as before end, connections stay. */
  replace(plan: ForwardPlan): void;
  /** No new conns; requests under way finish until `deadline`. */
  drain(deadline: AbortSignal): Promise<void>;
  state(): WebState;
  /** Whether an address is in the map, so that a sign-in may lead back to it. */
  serves(url: URL): boolean;
  /** Where people sign in on top of their certificate. */
  signInUrl(): string;
  form(name: FormName): Form;
  /** @throws Fault `invalid` */
  explain(options: ExplainOptions, signal: AbortSignal): Promise<Explanation>;
}
