// What a route needs to open, checked and loaded: plain JSON that travels to workers over IPC, never to disk or log.
import type { ListenAddress } from '../../core/address.ts';
import type { Target } from '../../core/parts.ts';

/** How a listener's bytes are taken: TLS ended here, as they are, sorted by SNI/ALPN unread, or as datagrams. */
export type ListenMode = 'tls' | 'plain' | 'pass' | 'datagrams';

export interface ListenPlan {
  readonly address: ListenAddress;
  readonly mode: ListenMode;
}

/** PEM. The key is decrypted: handle as a secret. */
export interface Identity {
  readonly cert: string;
  readonly key: string;
}

export type TlsVersion = 'TLSv1.2' | 'TLSv1.3';

/** TLS options that both sides share. `ciphers` holds TLS 1.2 ciphers and TLS 1.3 suites alike. */
export interface TlsChoice {
  readonly protocols?: readonly TlsVersion[];
  readonly ciphers?: string;
  readonly curves?: string;
  /** Set: a FIN without close_notify is passed on as an abort. */
  readonly closeNotify?: 'required';
}

export interface ServerTlsPlan extends TlsChoice {
  readonly identities: readonly Identity[];
  readonly preferServerCiphers?: boolean;
  readonly session: {
    readonly tickets: boolean;
    readonly cache: number;
    readonly timeout: number;
    readonly rotate: number;
  };
}

/** Whose client certificates count, as trust makes it and reads it again in the worker (its ClientTrust). */
export interface RouteTrust {
  readonly mode: 'optional' | 'required';
  /** PEM; every CA that TLS may build a chain with. */
  readonly cas: readonly string[];
  /** PEM; which of them issue for this gate's own users. */
  readonly builtin: readonly string[];
  readonly crls: readonly string[];
  /** Milliseconds a list is still believed after its nextUpdate. */
  readonly crlGrace: number;
  readonly depth: number;
}

/** How a `tls://` target is spoken to. */
export interface ClientTlsPlan extends TlsChoice {
  readonly verify:
    | false
    | {
        readonly name: string;
        readonly ca?: readonly string[];
        readonly pins?: readonly string[];
        readonly depth?: number;
        readonly crls?: readonly string[];
      };
  readonly servername?: string;
  readonly identity?: Identity;
  readonly alpn?: readonly string[];
  readonly sessionReuse: boolean;
}

export interface UpstreamPlan {
  /** As it was written; names the upstream in logs, metrics and the consistent hash. */
  readonly url: string;
  readonly target: Target;
  readonly tls?: ClientTlsPlan;
  readonly weight: number;
  readonly backup: boolean;
  readonly down: boolean;
  /** 0 = no limit. */
  readonly maxConnections: number;
  /** 0 = failures are not counted. */
  readonly maxFails: number;
  readonly failTimeout: number;
}

export type Balance =
  | 'round-robin'
  | 'least-connections'
  | 'random-two'
  | { readonly hash: 'source-address' | 'server-name' };

export interface HealthPlan {
  readonly interval: number;
  readonly timeout: number;
  readonly fails: number;
  readonly passes: number;
  readonly port?: number;
  readonly send?: string;
  readonly expect?: string;
}

/** The half of a route that looks towards its targets; it survives a reload as long as it does not change. */
export interface OutwardPlan {
  readonly upstreams: readonly UpstreamPlan[];
  readonly balance: Balance;
  /** `tries` and `timeout` 0 = no limit of their own. */
  readonly nextUpstream: 'off' | { readonly tries: number; readonly timeout: number };
  readonly health?: HealthPlan;
  /** Milliseconds between resolutions; absent = the answer's own time. */
  readonly resolve?: 'off' | number;
  readonly proxyHeader?: 'v1' | 'v2';
  readonly bind?: string;
  /** Milliseconds before the first probe, 0 = the system's; false = off. */
  readonly keepalive: number | false;
  readonly connect: number;
  readonly handshake: number;
}

export type AddressRule = { readonly allow: string } | { readonly deny: string };

export interface RouteLimits {
  readonly connections?: number;
  readonly perAddress?: number;
  readonly queue: number;
  readonly wait: number;
  readonly handshake: number;
  readonly idle: number;
  readonly halfClose: number;
  readonly lifetime?: number;
  readonly upload?: number;
  readonly download?: number;
}

export interface DatagramPlan {
  readonly requests?: number;
  readonly responses?: number;
  readonly sessions: number;
}

export interface RoutePlan {
  readonly name: string;
  readonly listens: readonly ListenPlan[];
  readonly names: readonly string[];
  readonly alpn: readonly string[];
  readonly default: boolean;
  /** Takes what is not TLS on a shared address. */
  readonly plain: boolean;
  readonly tls?: ServerTlsPlan;
  readonly clients?: RouteTrust;
  readonly outward: OutwardPlan;
  /** CIDRs of those who must announce their clients by a PROXY header. */
  readonly proxyFrom?: readonly string[];
  readonly rules?: readonly AddressRule[];
  readonly limits: RouteLimits;
  readonly halfClose: boolean;
  readonly datagrams?: DatagramPlan;
  /** What works and is weak, a sentence each; each starts with its key path. */
  readonly warnings: readonly string[];
}
