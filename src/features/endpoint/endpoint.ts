// What an endpoint is: where it stands, where it leads, whom it lets in, and what became of it.
import type { Principal } from '../../core/parts.ts';

/** `waiting`: for approvals. `open`: listening. `closed`: over, and why stands in `cause`. */
export type EndpointState = 'waiting' | 'open' | 'closed';

/** Why an endpoint is over. `lapsed`, `refused`: it was never opened. `used`: it was good for one connection. */
export type EndpointCause = 'expired' | 'closed' | 'revoked' | 'used' | 'lapsed' | 'refused' | 'failed';

/** `end`: TLS ends at the gate. `pass`: the bytes are the target's own. `none`: plain, on a port only. */
export type EndpointTls = 'none' | 'end' | 'pass';

/** What one endpoint allows, as asked for and granted. */
export interface EndpointLimits {
  /** CIDR, IPv4 and IPv6. */
  readonly sources: readonly string[];
  /** The first address that is let in owns it; an IPv6 /64 is one address. */
  readonly latch: boolean;
  /** One connection, then it is over. */
  readonly once: boolean;
  /** At a time. */
  readonly connections: number;
  /** Milliseconds without a byte until a connection ends; 0 = none. */
  readonly idle: number;
  /** Bytes per second, each way of each connection; 0 = none. */
  readonly rate: number;
  /** New connections per minute; 0 = none. */
  readonly perMinute: number;
  /** A client certificate of a user must be shown; needs `tls: end`. */
  readonly certificate: boolean;
  /** With `certificate` or `signIn`: only these users; empty = with a certificate anybody's, by password the opener. */
  readonly users: readonly string[];
  /** An address is let in only after somebody has signed in from it on the gate's page. */
  readonly signIn: boolean;
  /** At the end connections go on until they end by themselves. */
  readonly drain: boolean;
}

/** Who asked for it, so that it can be judged again later; never a secret. */
export interface Owner {
  readonly kind: Principal['kind'];
  readonly id: string;
  readonly credential: string;
  /** Kept only for the gate's own administrator, whom no directory knows. */
  readonly groups: readonly string[];
  /** `host:port`, or the path of a unix peer. */
  readonly from: string;
}

/** One endpoint, as the store keeps it. Times are milliseconds since 1970. */
export interface Endpoint {
  readonly id: string;
  readonly state: EndpointState;
  readonly created: number;
  readonly opened: number | undefined;
  /** Once open: its end. While it waits: when the request lapses. */
  readonly until: number;
  readonly ended: number | undefined;
  readonly cause: EndpointCause | undefined;
  readonly owner: Owner;
  /** `device://pump-7/ssh`, `tcp://10.0.0.5:22` */
  readonly target: string;
  /** What the policy was asked about: device/pump-7/ssh. */
  readonly resource: string;
  /** Milliseconds that were asked for. */
  readonly wanted: number;
  readonly reason: string;
  readonly tls: EndpointTls;
  /** Whether it was asked for, or which one it has. */
  readonly port: number | 'wanted' | undefined;
  /** Its host name on the gate's own port. */
  readonly name: string | undefined;
  readonly limits: EndpointLimits;
  /** Whose it is by the latch: an address, or an IPv6 /64. */
  readonly latched: string | undefined;
  /** A one-shot endpoint that has had its connection. */
  readonly used: boolean;
  readonly approval: string | undefined;
  /** The session of its opening: its rows in the audit. */
  readonly session: string | undefined;
  /** What a Napter-shaped request said, to be said back. */
  readonly napter: NapterFacts | undefined;
}

export interface NapterFacts {
  readonly imsi?: string;
  readonly simId?: string;
  readonly port: number;
  readonly strategy: 'AIR_PRIORITIZED' | 'ARC_PRIORITIZED' | 'DYNAMIC' | 'IMSI_PRIORITIZED';
}

/** An address that somebody signed in from. */
export interface Unlock {
  readonly endpoint: string;
  /** An address, or an IPv6 /64. */
  readonly address: string;
  readonly who: string;
  readonly at: number;
}
