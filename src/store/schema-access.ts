// Tables of access/: the audit chain, its signed heads and checkpoints, and approvals.

export interface AccessTables {
  audit: AuditTable;
  audit_head: AuditHeadTable;
  audit_checkpoint: AuditCheckpointTable;
  audit_open: AuditOpenTable;
  approval: ApprovalTable;
  approval_vote: ApprovalVoteTable;
}

/** One row a fact; never updated. access/README.md says what `hash` covers. */
export interface AuditTable {
  seq: number;
  at: string;
  event: string;
  session: string | null;
  who_kind: string;
  who_id: string;
  credential: string;
  from: string | null;
  resource: string;
  rule: string | null;
  outcome: string;
  /** JSON object, canonical. */
  facts: string;
  prev: string;
  hash: string;
}

/** The chain's end, signed from time to time. */
export interface AuditHeadTable {
  seq: number;
  at: string;
  hash: string;
  key: string;
  signature: string;
}

/** Rows up to and with `seq` were removed on purpose; the chain goes on from `hash`. */
export interface AuditCheckpointTable {
  seq: number;
  at: string;
  hash: string;
  /** Rows older than this were removed. */
  before: string;
  key: string;
  signature: string;
}

/** Sessions that were open at the newest stored head: what a killed gate left without an end gets one from here. */
export interface AuditOpenTable {
  session: string;
  /** Of the opening, whose row may have been pruned since. */
  seq: number;
  at: string;
  event: string;
  who_kind: string;
  who_id: string;
  credential: string;
  from: string | null;
  resource: string;
  rule: string | null;
  /** Of an act of the API, whose opening event does not say it. */
  action: string | null;
  /** The number of the worker process that carries it. */
  worker: string | null;
}

export interface ApprovalTable {
  id: string;
  state: 'waiting' | 'approved' | 'refused' | 'expired' | 'used';
  created: string;
  /** While it waits: when it lapses. Once approved: until when it may be used. */
  expires: string;
  who_kind: string;
  who_id: string;
  credential: string;
  from: string | null;
  action: string;
  resource: string;
  /** JSON: what was asked for (`for`, `from`, `reason`). */
  asks: string;
  rule: string;
  /** The group whose members decide, and how many of them must agree. */
  by: string;
  count: number;
  /** 1 = good for one act, 0 = good until `expires`. */
  once: number;
  /** Milliseconds that an approval is good for. */
  lasts: number;
}

export interface ApprovalVoteTable {
  approval: string;
  /** The user who decided. */
  voter: string;
  credential: string;
  vote: 'approve' | 'refuse';
  reason: string;
  at: string;
}
