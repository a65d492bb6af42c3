// What happens to endpoints, as it is told to whoever listens: the webhook, and tests.
import type { Endpoint } from './endpoint.ts';

export type NoticeKind =
  | 'endpoint.requested'
  | 'endpoint.approved'
  | 'endpoint.refused'
  | 'endpoint.lapsed'
  | 'endpoint.opened'
  | 'endpoint.extended'
  | 'endpoint.closed'
  | 'endpoint.expired';

export interface Notice {
  readonly event: NoticeKind;
  readonly at: Date;
  readonly endpoint: Endpoint;
  /** Approvals so far, and how many are needed. */
  readonly approval?: { readonly id: string; readonly group: string; readonly needed: number; readonly votes: number };
}
