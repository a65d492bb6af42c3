// The front door of access: policy, gate, live sessions, audit, approvals, and the seam to workers.
export {
  type ApprovalState,
  type Approvals,
  type ApprovalView,
  type ApprovalVote,
  createApprovals,
} from './approvals.ts';
export { type Audit, type AuditOptions, openAudit } from './audit.ts';
export type { ExportEnd, ExportScope } from './audit-export.ts';
export type { Checkpoint, SignedHead } from './audit-key.ts';
export type { AuditFilter } from './audit-read.ts';
export type { AuditEvent, AuditRow, Outcome } from './audit-row.ts';
export type { VerifyOptions } from './audit-verify.ts';
export type { Problem, VerifyReport } from './chain-check.ts';
export { type AccessConfig, type AccessRule, accessConfig } from './config.ts';
export { type EventNames, eventNames, isStream } from './events.ts';
export { createGate, type GateDeps, type LiveGate, type Standing } from './gate.ts';
export { type AccessPolicy, createPolicy, type Miss, type RuleDecision } from './policy.ts';
export { createRemoteGate, type RemoteGate, type RemoteGateOptions } from './remote-gate.ts';
export type { Channel } from './remote-protocol.ts';
export { type Role, roleFor, roleGrants } from './roles.ts';
export { type ServeGateOptions, serveGate } from './serve-gate.ts';
export {
  createSessions,
  type SessionEvent,
  type SessionFilter,
  type SessionRegister,
  type Sessions,
  type SessionView,
} from './sessions.ts';
export { verifyExport } from './verify-export.ts';
