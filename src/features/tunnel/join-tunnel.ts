// Joins one tunnel from this machine, as AWS's localproxy does, and stays in it until the tunnel ends.
import type { Duplex } from 'node:stream';
import type { Address, Log } from '../../core/parts.ts';

/** Where connections of one service come from (source) or go to (destination) on this machine. */
export type LocalService =
  | { readonly host: string; readonly port: number }
  | { readonly path: string }
  /** A source's only connection of this service: stdin and stdout, for ssh's ProxyCommand. */
  | { readonly stream: Duplex };

export interface JoinOptions {
  /** `gate.example.com`, `gate.example.com:8443` or `https://gate.example.com`; or `region`: AWS's own endpoint. */
  readonly endpoint?: string;
  readonly region?: string;
  readonly token: string;
  /** 32 to 128 of A-Z a-z 0-9 -; default: a random one, so that a lost connection can come back. */
  readonly clientToken?: string;
  readonly mode: 'source' | 'destination';
  /**
   * By service. A source listens there (port 0 = a free one) and without this on a free port of 127.0.0.1 for each
   * service of the tunnel; a destination dials there, and refuses services that are not named. The key `*` is the
   * service of a tunnel that has none or only one.
   */
  readonly services?: Readonly<Record<string, LocalService>>;
  /** PEM of the CAs that the endpoint's certificate must come from; default: Node's own list and NODE_EXTRA_CA_CERTS. */
  readonly ca?: string | readonly string[];
  /** `http://user:password@proxy:3128`; see proxyFor() for what the environment says. */
  readonly proxy?: string;
  /** Ends it: local connections are closed, and `ended` resolves. */
  readonly signal: AbortSignal;
  readonly log: Log;
  /** Told with every change; `away` says why and in how many milliseconds the next try is. */
  readonly onState?: (state: TunnelState) => void;
}

export type TunnelState =
  | { readonly state: 'joined'; readonly services: readonly string[] }
  | { readonly state: 'away'; readonly reason: string; readonly retry: number };

/** `closed`: the tunnel is over, as the far side said. `refused`: the token does not count (any more). `aborted`: by `signal`. */
export interface TunnelEnd {
  readonly cause: 'closed' | 'refused' | 'aborted';
  readonly text: string;
}

export interface JoinedTunnel {
  /** Of the tunnel, as the service named them; none for a tunnel that was opened without. */
  readonly services: readonly string[];
  /** Where a source listens. */
  readonly listening: Readonly<Record<string, Address>>;
  /** Never rejects. */
  readonly ended: Promise<TunnelEnd>;
  close(): Promise<void>;
}

/**
 * Resolves when the endpoint has let us in and, as a source, the listeners are open. After that it comes back by itself
 * (back-off with jitter) until the tunnel ends.
 * @throws Fault `denied` (the token, in the endpoint's own words), `invalid` (options), `conflict` (a port in use),
 * `unreachable` (a certificate that does not pass); what may pass is tried again until `signal` aborts
 */
export async function joinTunnel(options: JoinOptions): Promise<JoinedTunnel> {
  throw new Error(`not yet: ${options.mode}`);
}
