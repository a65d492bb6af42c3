// What the API is handed: rooms as the API sees them. daemon/ introduces them.
import type { Clock } from '../core/clock.ts';
import type { Action, Address, Authenticator, Gate, Log, Metrics, Principal } from '../core/parts.ts';
import type { RouteState } from '../features/proxy/index.ts';
import type { Authority, Directory, Role } from '../trust/index.ts';
import type { AnswerOf } from './contract/routes.ts';
import type { HttpLimits } from './http-server.ts';

export interface ApiDeps {
  readonly gate: Gate;
  readonly authenticator: Authenticator;
  readonly authority: Authority;
  readonly directory: Directory;
  readonly audit: Audit;
  readonly sessions: Sessions;
  readonly approvals: Approvals;
  /** What a caller may do through the API, by roles and a token's scope. */
  readonly rights: (who: Principal) => Rights;
  readonly house: House;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly limits?: Partial<HttpLimits>;
}

/** What the API asks of the process that it runs in. */
export interface House {
  readonly version: string;
  readonly since: Date;
  /** Host names and addresses that this gate goes by; the first is its name. */
  names(): readonly string[];
  health(): AnswerOf<'gate.health'>['health'];
  listeners(): AnswerOf<'status.show'>['listeners'];
  /** The proxy's routes, over all workers. */
  routes(): readonly RouteState[] | Promise<readonly RouteState[]>;
  /** What is weak or unwell, in sentences. */
  warnings(): readonly string[];
  check(): Promise<AnswerOf<'gate.check'>>;
  /** Fails without having changed anything. */
  reload(): Promise<AnswerOf<'gate.reload'>>;
  /** The backup's bytes, sealed with the passphrase. */
  backup(passphrase: string): Promise<AsyncIterable<Uint8Array>>;
}

/** What somebody may through the API. */
export interface Rights {
  readonly roles: readonly Role[];
  /** Of a token that may less than its user. */
  readonly scope?: readonly string[];
  readonly until?: Date;
  /** The rule that grants it, `role/admin`; undefined = no. */
  grants(action: Action): string | undefined;
}

type Who = { readonly kind: string; readonly id: string; readonly credential: string };

// --- access ---------------------------------------------------------------------------------------------------------

export interface AuditEvent {
  readonly event: string;
  readonly session?: string | undefined;
  readonly who: Who;
  readonly from?: Address | undefined;
  readonly resource: string;
  readonly rule?: string | undefined;
  readonly outcome: 'allowed' | 'denied' | 'ended' | 'done' | 'failed';
  readonly facts: Readonly<Record<string, unknown>>;
}
export type AuditRow = AnswerOf<'audit.tail'>;
export type SignedHead = AnswerOf<'audit.head'>['head'];
export interface Audit {
  append(event: AuditEvent): Promise<unknown>;
  tail(after?: number, signal?: AbortSignal): AsyncIterable<Readonly<AuditRow>>;
  search(
    filter: Record<string, unknown>,
  ): Promise<{ readonly rows: readonly Readonly<AuditRow>[]; readonly next?: number }>;
  verify(options?: { readonly head?: SignedHead }): Promise<{ readonly ok: boolean }>;
  export(filter: Record<string, unknown>): AsyncIterable<string>;
  head(): SignedHead;
  readonly publicKey: string;
}

export interface SessionView {
  readonly id: string;
  readonly action: string;
  readonly resource: string;
  readonly who: Who;
  readonly from: Address;
  readonly rule: string;
  readonly since: Date;
  readonly until?: Date;
  readonly bytes: { readonly up: number; readonly down: number };
  readonly notes: Readonly<Record<string, string | number>>;
}
export interface Sessions {
  list(): readonly SessionView[];
  get(id: string): SessionView | undefined;
  cut(id: string, reason: 'closed'): boolean;
  on(event: 'opened' | 'ended', call: (session: SessionView) => void): () => void;
}

export interface Approval {
  readonly id: string;
  readonly action: string;
  readonly resource: string;
  readonly who: Who;
  readonly from: string | null;
  readonly rule: string;
  readonly reason?: string;
  readonly created: Date;
  readonly expires: Date;
  readonly state: 'waiting' | 'approved' | 'refused' | 'expired' | 'used';
  readonly by: string;
  readonly count: number;
  readonly votes: readonly { readonly voter: string; readonly at: Date; readonly vote: 'approve' | 'refuse' }[];
}
export interface Approvals {
  list(): Promise<readonly Approval[]>;
  approve(id: string, by: Principal): Promise<Approval>;
  refuse(id: string, by: Principal, reason?: string): Promise<Approval>;
}
