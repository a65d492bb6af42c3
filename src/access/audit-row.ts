// What the audit says: the event handed in, the row it becomes, and the row's way into and out of the table.
import { formatAddress } from '../core/address.ts';
import type { Address, Principal } from '../core/parts.ts';
import type { AuditTable, Value } from '../store/index.ts';
import { canonicalFacts, cleanText, type HashedFields, hashRow } from './canonical.ts';

export type Outcome = 'allowed' | 'denied' | 'ended' | 'done' | 'failed';

export interface AuditEvent {
  /** `<word>.<what happened>`: proxy.opened, cert.issued. */
  readonly event: string;
  readonly session?: string | undefined;
  readonly who: Pick<Principal, 'kind' | 'id' | 'credential'>;
  readonly from?: Address | undefined;
  readonly resource: string;
  readonly rule?: string | undefined;
  readonly outcome: Outcome;
  /** Never secrets. Cut when longer than 16 KiB. */
  readonly facts: Readonly<Record<string, unknown>>;
}

/** One fact, as it is kept, exported and shown. */
export interface AuditRow {
  readonly seq: number;
  /** RFC 3339, UTC, milliseconds. */
  readonly at: string;
  readonly event: string;
  readonly session: string | null;
  readonly who: { readonly kind: string; readonly id: string; readonly credential: string };
  /** `host:port`, or the path of a unix peer. */
  readonly from: string | null;
  readonly resource: string;
  readonly rule: string | null;
  readonly outcome: Outcome;
  readonly facts: Readonly<Record<string, unknown>>;
  /** The hash of the row before; 64 zeros before the first. */
  readonly prev: string;
  readonly hash: string;
}

/** A place in the chain. */
export interface ChainEnd {
  readonly seq: number;
  readonly hash: string;
}

/** A row as the table holds it. */
export type FlatRow = HashedFields & { readonly hash: string };

export const columns = [
  'seq',
  'at',
  'event',
  'session',
  'who_kind',
  'who_id',
  'credential',
  'from',
  'resource',
  'rule',
  'outcome',
  'facts',
  'prev',
  'hash',
] as const satisfies readonly (keyof AuditTable)[];

/** The next row of the chain. */
export function chainRow(event: AuditEvent, at: string, end: ChainEnd): FlatRow {
  const row = {
    seq: end.seq + 1,
    at,
    event: cleanText(event.event),
    session: event.session === undefined ? null : cleanText(event.session),
    whoKind: event.who.kind,
    whoId: cleanText(event.who.id),
    credential: cleanText(event.who.credential),
    from: event.from === undefined ? null : cleanText(formatAddress(event.from)),
    resource: cleanText(event.resource),
    rule: event.rule === undefined ? null : cleanText(event.rule),
    outcome: event.outcome,
    facts: canonicalFacts(event.facts),
    prev: end.hash,
    hash: '',
  };
  row.hash = hashRow(row);
  return row;
}

/** Appends the row's columns to `values`, in the order of `columns`. */
export function pushValues(values: Value[], row: FlatRow): void {
  values.push(row.seq, row.at, row.event, row.session, row.whoKind, row.whoId, row.credential, row.from);
  values.push(row.resource, row.rule, row.outcome, row.facts, row.prev, row.hash);
}

export function fromTable(row: AuditTable): FlatRow {
  const { who_kind, who_id, ...rest } = row;
  return { ...rest, whoKind: who_kind, whoId: who_id };
}

/** @throws SyntaxError where somebody wrote something else into `facts` */
export function toAuditRow(row: FlatRow): AuditRow {
  const { seq, at, event, session, whoKind, whoId, credential, from, resource, rule, facts, prev, hash } = row;
  return {
    seq,
    at,
    event,
    session,
    who: { kind: whoKind, id: whoId, credential },
    from,
    resource,
    rule,
    outcome: row.outcome as Outcome,
    facts: JSON.parse(facts) as Record<string, unknown>,
    prev,
    hash,
  };
}
