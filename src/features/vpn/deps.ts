// What the room is handed by whoever composes the gate.
import type { Clock } from '../../core/clock.ts';
import type { Address, Authenticator, Gate, Log, Metrics, Principal } from '../../core/parts.ts';
import type { Store } from '../../store/index.ts';
import type { CreateHub } from './hub.ts';

export interface VpnDeps {
  readonly gate: Gate;
  readonly store: Pick<Store, 'db'>;
  /** Proves the gate's own passwords and certificates. */
  readonly authenticator: Authenticator;
  /** The one rate limiter of everything that can be guessed. */
  readonly attempts: Attempts;
  /** Encrypts what a protocol forces us to keep, with a key outside the database. */
  readonly sealer: {
    seal(text: string, context: string): string;
    unseal(sealed: string, context: string): string;
    derive(context: string, length: number): Buffer;
  };
  /** argon2id. */
  readonly passwords: {
    hash(password: string): Promise<string>;
    /** Takes as long for `undefined`. */
    verify(password: string, stored: string | undefined): Promise<boolean>;
  };
  readonly people: People;
  readonly createHub: CreateHub;
  /** Whether this address is a listener of this gate: no hub leads to it. */
  readonly isOwn: (host: string, port: number) => boolean;
  /** The gate's certificate, PEM, as administrators may see it. */
  readonly certificate: () => string | undefined;
  /** The gate's own CA, PEM. */
  readonly root: () => string;
  /** Ports on which SoftEther is spoken. */
  readonly ports: () => readonly number[];
  readonly facts: { readonly version: string; readonly name: () => string };
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/** The users of the gate, of whom members are made. */
export interface People {
  find(name: string): { readonly name: string; readonly state: 'active' | 'disabled' } | undefined;
  /** Made with the role `member` when missing. @throws Fault `invalid` for a name that cannot be one */
  ensure(user: { readonly name: string }): Promise<unknown>;
  /** The room's credentials (`vpn:…`) from now on: whether one counts, whose are which, and that a user is gone. */
  vouch(
    kind: string,
    voucher: {
      counts(id: string, who: Principal): boolean;
      of(user: string): readonly string[];
      forget(user: string): void;
    },
  ): void;
  /** Ends every session that was opened with this credential. */
  ended(credential: string): void;
}

export interface Attempts {
  begin(guess: { readonly from: Address; readonly subject?: string }): Promise<void>;
  succeeded(guess: { readonly from: Address; readonly subject?: string }): Promise<void>;
}
