// A tunnel as it is kept: what was asked for, until when, and the state of its two sides.
import type { SideName, TokenState } from './token.ts';

export interface Tag {
  readonly key: string;
  readonly value: string;
}

export interface SideRecord extends TokenState {
  /** Of the access token that counts now. */
  readonly hash: string;
  readonly state: 'connected' | 'disconnected';
  readonly changed: Date | undefined;
  /** Host of who is, or was, connected. */
  readonly from: string | undefined;
}

export interface TunnelRecord {
  readonly id: string;
  readonly thing: string | undefined;
  readonly services: readonly string[];
  readonly description: string | undefined;
  readonly tags: readonly Tag[];
  /** Milliseconds. */
  readonly lifetime: number;
  readonly opener: { readonly kind: string; readonly id: string };
  readonly created: Date;
  readonly updated: Date;
  readonly expires: Date;
  readonly closed: Date | undefined;
  readonly sides: Readonly<Record<SideName, SideRecord>>;
}

/** Where people see tunnels: `/v1/tunnels`, the command line, AWS's verbs. No token is in it. */
export interface TunnelView {
  readonly id: string;
  readonly arn: string;
  readonly state: 'open' | 'closed';
  readonly thing: string | undefined;
  readonly services: readonly string[];
  readonly description: string | undefined;
  readonly tags: readonly Tag[];
  readonly lifetime: number;
  readonly opener: string;
  readonly created: Date;
  readonly updated: Date;
  readonly expires: Date;
  readonly closed: Date | undefined;
  readonly source: SideView;
  readonly destination: SideView;
  /** Live ones within it. */
  readonly connections: number;
}
export interface SideView {
  readonly state: 'connected' | 'disconnected';
  readonly changed: Date | undefined;
}

/** `arn:aws:iot:<region>:000000000000:tunnel/<id>`: AWS's tools want one, and it says that no account of AWS is meant. */
export const arnOf = (region: string, id: string): string => `arn:aws:iot:${region}:000000000000:tunnel/${id}`;
/** The id in an ARN of any region; undefined when it is no tunnel's. */
export const idOfArn = (arn: string): string | undefined =>
  /^arn:[a-z-]+:iot:[a-z0-9-]*:\d{12}:tunnel\/(.+)$/.exec(arn)?.[1];
