// What tunnels are handed, and what they do: the words between this room, api/ and daemon/.
import type { Duplex } from 'node:stream';
import type { Clock } from '../../core/clock.ts';
import type { Address, Gate, Log, Metrics, Principal, Service, Session } from '../../core/parts.ts';
import type { Store } from '../../store/index.ts';
import type { Devices } from './broker.ts';
import type { Door } from './door.ts';
import type { Tag, TunnelView } from './record.ts';
import type { SideName } from './token.ts';

export interface NewTunnel {
  readonly thing?: string | undefined;
  readonly services: readonly string[];
  readonly description?: string | undefined;
  readonly tags?: readonly Tag[];
  /** Milliseconds; default: the configuration's. */
  readonly lifetime?: number | undefined;
}

/** The tokens are here and nowhere else. */
export interface OpenedTunnel {
  readonly tunnel: TunnelView;
  readonly sourceToken: string;
  readonly destinationToken: string;
}
export interface RotatedTokens {
  readonly tunnel: TunnelView;
  readonly sourceToken?: string;
  readonly destinationToken?: string;
}

/** What a device is told (AWS's form). */
export interface Notice {
  readonly clientAccessToken: string;
  readonly clientMode: 'destination';
  readonly region: string;
  readonly services: readonly string[];
}
/** Publishes to devices. @throws Fault `unreachable` */
export interface Notifier {
  publish(topic: string, payload: string): Promise<void>;
}

export interface TunnelDeps {
  readonly store: Store;
  readonly gate: Gate;
  /** Guessing at tokens, counted with every other guess of that address. @throws Fault `limit` */
  readonly guesses?: { check(from: Address): Promise<void>; failed(from: Address): Promise<void> };
  readonly devices?: () => Devices | undefined;
  readonly notifier?: () => Notifier | undefined;
  /** What nobody asked for, into the audit. */
  readonly record?: (event: string, resource: string, facts: Readonly<Record<string, unknown>>) => void;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

export interface TunnelFilter {
  readonly thing?: string | undefined;
  readonly state?: TunnelView['state'] | undefined;
}

export interface TunnelService extends Service {
  readonly door: Door;
  /** @throws Fault `limit`, `invalid` */
  open(wanted: NewTunnel, by: Principal): Promise<OpenedTunnel>;
  /** Newest first; closed ones for three hours. */
  list(filter?: TunnelFilter): TunnelView[];
  /** @throws Fault `missing` */
  get(id: string): TunnelView;
  /** By the ARN that `get` shows, of any region. @throws Fault `missing` */
  byArn(arn: string): TunnelView;
  /** @throws Fault `missing`, `gone` (closed) */
  rotate(
    id: string,
    sides: readonly SideName[],
    destination?: { readonly thing?: string | undefined; readonly services: readonly string[] },
  ): Promise<RotatedTokens>;
  close(id: string, options?: { readonly erase?: boolean }): Promise<void>;
  tag(id: string, tags: readonly Tag[]): Promise<void>;
  untag(id: string, keys: readonly string[]): Promise<void>;
  /** Tells the device again. @throws Fault `missing`, `gone`, `invalid` (no thing, a foreign topic), `unreachable` */
  notify(id: string, topic?: string): Promise<{ readonly topic: string; readonly rotated: boolean }>;
  /** One connection of a service. @throws Fault `missing`, `gone`, `invalid`, `unreachable` */
  connect(id: string, service: string | undefined, session: Session): Promise<Duplex>;
  /** Whether a side's credential still counts. @throws Fault `unknown-caller` */
  standing(who: Principal): Principal;
  drain(deadline: AbortSignal): Promise<void>;
}
