// What the API is handed: rooms as the API sees them. daemon/ introduces them.
import type { Approvals, Audit, Sessions } from '../access/index.ts';
import type { Clock } from '../core/clock.ts';
import type { Authenticator, Gate, Log, Metrics, Policy, Principal } from '../core/parts.ts';
import type { EndpointService } from '../features/endpoint/index.ts';
import type { RouteState } from '../features/proxy/index.ts';
import type { TunnelService } from '../features/tunnel/index.ts';
import type { VpnService } from '../features/vpn/index.ts';
import type { SitesService, WebService } from '../features/web/index.ts';
import type { Authority, Directory, Enrolments, Oidc, Passkeys, Totp, TrustConfig } from '../trust/index.ts';
import type { AnswerOf } from './contract/routes.ts';
import type { DeviceHouse } from './device.ts';
import type { HttpDoor, HttpLimits } from './http-server.ts';

export interface ApiDeps {
  readonly gate: Gate;
  readonly authenticator: Authenticator;
  readonly authority: Authority;
  readonly directory: Directory;
  readonly enrolments: Enrolments;
  /** The second factor of people, where it is kept. */
  readonly totp?: Totp;
  readonly passkeys?: Passkeys;
  /** Whether EST is spoken; default no. */
  readonly est?: () => boolean;
  /** People of an OpenID provider, where one is configured. */
  readonly oidc?: () => Promise<Oidc | undefined>;
  /** How long sign-ins last, and whose roles want a second factor; default: the configuration's defaults. */
  readonly signIn?: () => Pick<TrustConfig, 'sign-in' | 'second-factor'>;
  readonly audit: Audit;
  readonly sessions: Sessions;
  readonly approvals: Approvals;
  /** For reads, which are decided without an audit row; the gate decides what changes something. */
  readonly policy: () => Policy;
  /** The caller as they stand now, with groups and roles. @throws Fault `unknown-caller` */
  readonly standing: (who: Principal) => Principal;
  readonly house: House;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly limits?: Partial<HttpLimits>;
  /** Protocols of other rooms on the API's origin: AWS's verbs, WebSockets, files. */
  readonly doors?: () => readonly HttpDoor[];
}

/** What the API asks of the process that it runs in. */
export interface House {
  readonly version: string;
  readonly since: Date;
  /** Host names and addresses that this gate goes by; the first is its name. */
  names(): readonly string[];
  /** `https://gate.example.com:8443`, where people open the console. */
  origin(): string;
  health(): AnswerOf<'gate.health'>['health'];
  listeners(): AnswerOf<'status.show'>['listeners'];
  /** The proxy's routes, over all workers. */
  routes(): readonly RouteState[] | Promise<readonly RouteState[]>;
  /** The web gate, where there is one. */
  web?(): WebService | undefined;
  /** Devices, where there is a port that they can reach. */
  devices?(): DeviceHouse | undefined;
  /** Timed endpoints, and where people find them. */
  endpoints?(): EndpointHouse | undefined;
  /** Tunnels to devices. */
  tunnels?(): TunnelService | undefined;
  /** Hubs and their members. */
  vpn?(): VpnService | undefined;
  /** Renamed sites, where there are some. */
  sites?(): SitesService | undefined;
  /** What is weak or unwell, in sentences. */
  warnings(): readonly string[];
  check(): Promise<AnswerOf<'gate.check'>>;
  /** Fails without having changed anything. */
  reload(): Promise<AnswerOf<'gate.reload'>>;
  /** The backup's bytes, sealed with the passphrase. */
  backup(passphrase: string): Promise<AsyncIterable<Uint8Array>>;
}

export interface EndpointHouse {
  readonly service: EndpointService;
  /** The gate's own name, as people type it, and the port of host names. */
  host(): string;
  namePort(): number;
  /** Where one signs in. */
  page(id: string): string;
  /** A one-time link of this user's for this endpoint. */
  link(id: string, user: string): Promise<{ readonly link: string; readonly until: Date }>;
  /** One signed JSON document. */
  evidence(id: string): Promise<string>;
}
