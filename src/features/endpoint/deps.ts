// What endpoints are handed, and what they do: the words between this room and daemon/.
import type { Clock } from '../../core/clock.ts';
import type {
  AccessRequest,
  Address,
  Decision,
  Identify,
  Listener,
  Log,
  Metrics,
  Principal,
  Service,
} from '../../core/parts.ts';
import type { EndpointConfig } from './config.ts';
import type { Endpoint, EndpointLimits, EndpointTls as EndpointTlsKind, NapterFacts, Owner } from './endpoint.ts';
import type { Notice } from './notice.ts';
import type { CountingGate } from './refusals.ts';
import type { EndpointStore } from './store.ts';
import type { DeviceFacts, ReachDeps } from './target.ts';
import type { EndpointTlsDeps } from './tls.ts';

/** What somebody asks for. What is not said is the usual. */
export interface OpenRequest {
  readonly target: string;
  /** Milliseconds. */
  readonly for?: number | undefined;
  /** CIDR; default: the asker's own address. */
  readonly from?: readonly string[] | undefined;
  readonly tls?: EndpointTlsKind | undefined;
  /** A port of the pool; default yes. */
  readonly port?: boolean | undefined;
  /** A host name on the gate's own port; default where TLS is spoken and the gate has such a port. */
  readonly name?: boolean | undefined;
  readonly limits?: Partial<Omit<EndpointLimits, 'sources'>> | undefined;
  readonly reason?: string | undefined;
  readonly napter?: NapterFacts | undefined;
}

export interface Asker {
  readonly who: Principal;
  readonly from: Address;
}

/** A request for approval, as access/ shows it. */
export interface ApprovalFacts {
  readonly id: string;
  readonly state: 'waiting' | 'approved' | 'refused' | 'expired' | 'used';
  readonly group: string;
  readonly count: number;
  readonly until: Date;
  readonly votes: readonly unknown[];
}

export interface EndpointDeps {
  readonly store: EndpointStore;
  readonly gate: CountingGate;
  /** The policy alone, for what a decision grants; the gate is asked all the same. */
  readonly decide: (request: AccessRequest) => Decision;
  /** Who an owner is now; undefined when the user is gone or disabled. */
  readonly owner: (owner: Owner) => Principal | undefined;
  readonly identify: Identify;
  readonly approval: (id: string) => Promise<ApprovalFacts>;
  readonly tls: Omit<EndpointTlsDeps, 'handshake'>;
  readonly reach: Omit<ReachDeps, 'connect'>;
  readonly findDevice: (nameOrAlias: string) => DeviceFacts | undefined;
  /** Addresses that pool ports are bound to. */
  readonly hosts: () => readonly string[];
  /** The domain of host names; undefined without a gate port. */
  readonly domain: () => string | undefined;
  readonly branch?:
    | ((branch: { name: string; names: readonly string[]; alpn: readonly string[] }) => Listener)
    | undefined;
  /** A row of our own in the audit; never waited for by a conn. */
  readonly record: (event: RecordedEvent) => Promise<void>;
  readonly notify?: ((notice: Notice) => void) | undefined;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

export interface RecordedEvent {
  readonly event: string;
  readonly who: Pick<Principal, 'kind' | 'id' | 'credential'>;
  readonly from?: Address | undefined;
  readonly session?: string | undefined;
  readonly resource: string;
  readonly outcome: 'done' | 'failed' | 'ended';
  readonly facts: Readonly<Record<string, unknown>>;
}

export interface EndpointService extends Service {
  /** @throws Fault `invalid`, `denied`, `missing`, `limit`, `conflict`, `unreachable` */
  open(request: OpenRequest, asker: Asker): Promise<Endpoint>;
  /** Longer, within the policy of who opened it. @throws Fault `missing`, `gone`, `limit`, `denied` */
  extend(id: string, more: number | undefined): Promise<Endpoint>;
  /** Over at once. `drain` instead of what was said at its opening. @throws Fault `missing`, `gone` */
  close(id: string, how?: { readonly drain?: boolean | undefined }): Promise<Endpoint>;
  /** A unique beginning of an id is enough. @throws Fault `missing` */
  get(id: string): Promise<Endpoint>;
  /** Those that wait or are open, oldest first; and with `ended` also newest of the rest. */
  list(filter?: { readonly owner?: string; readonly ended?: number }): Promise<Endpoint[]>;
  /** Those that are open, oldest first. */
  now(): Endpoint[];
  /** Live conns of one. */
  connections(id: string): number;
  /** Addresses that have been unlocked. */
  unlocked(id: string): number;
  /** Lets an address in to an endpoint that asks for a sign-in. @throws Fault `missing`, `gone`, `limit` */
  unlock(id: string, who: string, from: Address): Promise<Endpoint>;
  /** A vote was cast on, or time ran out for, a request of ours. */
  decided(approval: ApprovalFacts): void;
  /** As it is once what was decided about it is done. */
  settled(id: string): Promise<Endpoint>;
  /** Whether an endpoint stands on this port. */
  isLent(port: number): boolean;
  /** Ends what the policy, or the directory, of now would not open. */
  recheck(): Promise<void>;
  /** Nobody new; ends those inside at the deadline. What is open stays open in the store, for the next start. */
  drain(deadline: AbortSignal): Promise<void>;
  /** Another one after a reload; `ports` and `listen` count for endpoints that open from then on. */
  config: EndpointConfig;
}
