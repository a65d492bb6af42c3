// The words of the house: what flows, what features are made of, who may do what, what runs. Types only.
import type { Duplex } from 'node:stream';
import type { Duration } from './duration.ts';

// --- What flows -----------------------------------------------------------------------------------------------------

/** One accepted or dialled byte stream, with what is known about its far end. */
export interface Conn {
  /** Datagram conns are in object mode: one chunk is one datagram, dropped when the queue is full. */
  readonly stream: Duplex;
  readonly peer: Address;
  /** The address of ours that the far end reached, where the transport knows it. */
  readonly local?: Address;
  readonly tls?: TlsFacts;
  /** Ends the conn properly (TLS: close_notify), then destroys it; at the latest when `deadline` aborts. Never throws. */
  close(deadline: AbortSignal): Promise<void>;
}

export type Address = { readonly host: string; readonly port: number } | { readonly path: string };

/** What the TLS handshake told. `leaf` is DER, present only when the peer's certificate was asked for and verified. */
export interface TlsFacts {
  readonly sni?: string;
  readonly alpn?: string;
  readonly leaf?: Uint8Array;
  /** What is wrong with a certificate that was shown where one is only requested: then there is no `leaf`. */
  readonly refused?: string;
  /** The verified chain above the leaf, DER, nearest issuer first; absent on a resumed session. */
  readonly chain?: readonly Uint8Array[];
  readonly protocol?: string;
  readonly cipher?: string;
  readonly resumed?: boolean;
}

/** A socket on the virtual switch: a VPN client, a TAP, the DHCP server, the NAT. `send` may drop. */
export interface Port extends AsyncDisposable {
  readonly name: string;
  send(frame: Uint8Array): boolean;
  receive(deliver: (frame: Uint8Array) => void): void;
}

// --- The parts every feature is made of -----------------------------------------------------------------------------

/** Yields conns until it is disposed. Disposing stops accepting; conns already yielded live on. */
export interface Listener extends AsyncIterable<Conn>, AsyncDisposable {
  readonly address: Address;
}

/** Reaches a target for somebody who was admitted: without a `Session` nothing can be dialled. */
export interface Dialer {
  dial(target: Target, session: Session): Promise<Conn>;
}

/** A tunnel: many streams inside one Conn. */
export interface Mux extends Listener, Dialer {}

/** Makes a conn clearer (TLS, a PROXY header). Throws a `protocol` or `timeout` Fault; the caller destroys the conn. */
export type Upgrade = (conn: Conn, signal: AbortSignal) => Promise<Conn>;
/** Says who is at the far end. Throws an `unknown-caller` Fault. */
export type Identify = (conn: Conn, signal: AbortSignal) => Promise<Principal>;
/** Acts on an admitted conn; resolves when the conn is done. */
export type Handler = (conn: Conn, session: Session) => Promise<void>;

export type Target =
  | { readonly kind: 'tcp' | 'tls' | 'udp'; readonly host: string; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'device'; readonly device: string; readonly service: string };

// --- Who may do what ------------------------------------------------------------------------------------------------

export interface Principal {
  readonly kind: 'anonymous' | 'user' | 'device' | 'token' | 'node';
  /** The name of the user or device; `''` for anonymous and for a certificate that is only its attributes. */
  readonly id: string;
  readonly groups: readonly string[];
  /** cn, ou, o, san, issuer: parsed from the certificate, never from a printed name. */
  readonly attributes: ReadonlyMap<string, readonly string[]>;
  /** Certificate fingerprint, key, token or password id: revocation cuts by it. `''` for anonymous. */
  readonly credential: string;
}

/** Proof that arrives inside a protocol. trust implements it; features are handed it. */
export interface Authenticator {
  /** @throws Fault `unknown-caller` (wrong or unknown; never says which) or `limit` (too many tries). */
  prove(claim: Claim, signal: AbortSignal): Promise<Principal>;
}

/** What somebody shows to prove who they are. `from` feeds the rate limiter. */
export type Claim =
  | {
      readonly kind: 'certificate';
      readonly leaf: Uint8Array;
      readonly chain?: readonly Uint8Array[];
      readonly from: Address;
    }
  | { readonly kind: 'password'; readonly user: string; readonly password: string; readonly from: Address }
  | { readonly kind: 'token'; readonly token: string; readonly from: Address }
  /** An access key whose secret signs (SigV4): `verify` is called with the secret and answers whether it fits. */
  | {
      readonly kind: 'access-key';
      readonly accessKeyId: string;
      readonly verify: (secretAccessKey: string) => boolean;
      readonly from: Address;
    }
  /** A one-time code, bound to a purpose; it is spent by being proven. */
  | { readonly kind: 'code'; readonly purpose: string; readonly code: string; readonly from: Address }
  /** What a browser answered to a challenge (WebAuthn), as JSON; the challenge was made for this purpose. */
  | { readonly kind: 'passkey'; readonly purpose: string; readonly response: unknown; readonly from: Address };

export type Word =
  | 'proxy'
  | 'tunnel'
  | 'endpoint'
  | 'web'
  | 'vpn'
  | 'device'
  | 'cert'
  | 'user'
  | 'audit'
  | 'session'
  | 'api';
/** `proxy.connect`, `cert.issue`, …; `api.` only for what has no word of its own. */
export type Action = `${Word}.${string}`;

export interface AccessRequest {
  readonly who: Principal;
  readonly action: Action;
  /** `<word>/<name>`: proxy/db, device/pump-7, web/server1:8081. */
  readonly resource: string;
  readonly from: Address;
  readonly asks?: { readonly for?: Duration; readonly from?: readonly string[]; readonly reason?: string };
  /**
   * Set by a handler whose configuration is itself the rule (PRODUCT, decisions): a proxy route without `clients:`
   * admits whom its listener and rules admit. The value is that rule's name, e.g. `proxy/db`.
   */
  readonly opened?: string;
  /** Limits that must hold exactly, whatever process carries the bytes; counted over live sessions. */
  readonly limits?: SessionLimits;
}

export interface SessionLimits {
  /** Live sessions of this action and resource. */
  readonly connections?: number;
  /** Live sessions of this action and resource from one client address (IPv6: one /64). */
  readonly perAddress?: number;
  /** How many may wait for a free place when `connections` is reached, and how long each; default none. */
  readonly queue?: number;
  readonly wait?: Duration;
}

export type Decision =
  | { readonly allow: true; readonly rule: string; readonly until?: Date }
  | {
      readonly allow: 'after-approval';
      readonly rule: string;
      readonly by: string;
      readonly count: number;
      readonly until?: Date;
    }
  | { readonly allow: false; readonly rule: string; readonly reason: string };

/** Pure: the same request at the same time gives the same decision. */
export interface Policy {
  decide(request: AccessRequest, now: Date): Decision;
}

export interface Gate {
  /** Decides, writes the opening to the audit, and mints the session. @throws Fault `denied`, `limit` or `unreachable` (audit cannot be written). */
  admit(request: AccessRequest): Promise<Session>;
  /** Writes a denial that was decided before the gate was asked (an address rule, a failed handshake). Repeats are coalesced. */
  refuse(request: AccessRequest, reason: string): void;
}

declare const minted: unique symbol; // not exported: nobody outside can write a Session down

/** Why a session's signal aborted. */
export type EndReason = 'expired' | 'revoked' | 'closed' | 'drain' | 'idle';

/** Proof of one admitted access. Only a Gate mints it; disposing it writes the closing audit record. */
export interface Session extends AsyncDisposable {
  readonly [minted]: true;
  readonly id: string;
  readonly request: AccessRequest;
  /** Aborts with an EndReason as its reason; the handler ends its protocol accordingly. */
  readonly signal: AbortSignal;
  readonly log: Log;
  /** Bytes of the payload, added up; cheap enough to be called per connection, not per chunk. */
  count(direction: 'up' | 'down', bytes: number): void;
  /** A fact for the closing record (target, cause, cipher). Later values win. */
  note(key: string, value: string | number): void;
}

// --- What runs ------------------------------------------------------------------------------------------------------

export interface Service extends AsyncDisposable {
  readonly name: string;
  health(): 'ok' | 'degraded' | 'down';
}
/** The shape of each feature's front door. */
export type Feature<Config, Deps, S extends Service = Service> = (config: Config, deps: Deps) => Promise<S>;

/** Facts first, then the sentence. A closed socket is not an error. */
export interface Log {
  child(facts: object): Log;
  debug(facts: object, text: string): void;
  info(facts: object, text: string): void;
  warn(facts: object, text: string): void;
  error(facts: object, text: string): void;
}

/** Counters handed in, never global; `name` without the `sekisho_` prefix, labels few and bounded. */
export interface Metrics {
  count(name: string, labels?: Readonly<Record<string, string>>, by?: number): void;
  /** Adds to a gauge (negative to take away). */
  gauge(name: string, labels: Readonly<Record<string, string>>, by: number): void;
  observe(name: string, labels: Readonly<Record<string, string>>, seconds: number): void;
}
