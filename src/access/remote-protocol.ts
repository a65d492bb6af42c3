// What worker and gate say to each other: small arrays, many in one message. JSON or structured clone may carry it.
//
//   worker → gate                                     gate → worker
//   [0, door, action, resource, opened, limits]       [0, n, id, until]     admitted as session `id`, until (ms) if at all
//   [1, n, door, who, from, asks]        admit        [1, n, code, text]    not admitted
//   [2, n, up, down, notes]              end          [2, n, reason]        end it
//   [3, n, up, down, n, up, down, …]     counts
//   [4, door, who, from, reason, times]  refused
//
// `door` numbers what all admissions of one listener share, so that it is sent once; `n` numbers an admission. Both are
// the worker's. A message is a list of these, all that one turn of the event loop has brought together.
import type { AccessRequest, Action, Address, EndReason, Principal, SessionLimits } from '../core/parts.ts';

/** One message of a channel: both ends hold one. */
export interface Channel {
  send(message: unknown): void;
  /** One receiver. */
  receive(deliver: (message: unknown) => void): void;
  /** Aborts when the other side is gone. */
  readonly closed: AbortSignal;
}

export const ask = { door: 0, admit: 1, end: 2, counts: 3, refused: 4 } as const;
export const tell = { admitted: 0, refused: 1, cut: 2 } as const;

/** `0` is anonymous, the most frequent of all. */
export type WirePrincipal =
  | 0
  | readonly [
      kind: Principal['kind'],
      id: string,
      groups: readonly string[],
      attributes: readonly (readonly [string, readonly string[]])[],
      credential: string,
    ];
/** Host and port, or the path of a unix peer. */
export type WireAddress = readonly [host: string, port: number] | readonly [path: string];

export type Ask =
  | readonly [0, door: number, action: Action, resource: string, opened: string | null, limits: SessionLimits | null]
  | readonly [1, n: number, door: number, who: WirePrincipal, from: WireAddress, asks: AccessRequest['asks'] | null]
  | readonly [2, n: number, up: number, down: number, notes: Readonly<Record<string, string | number>> | null]
  | readonly [3, ...triples: number[]]
  | readonly [4, door: number, who: WirePrincipal, from: WireAddress, reason: string, times: number];
export type Tell =
  | readonly [0, n: number, id: string, until?: number]
  | readonly [1, n: number, code: string, text: string]
  | readonly [2, n: number, reason: EndReason];

const anonymous: Principal = { kind: 'anonymous', id: '', groups: [], attributes: new Map(), credential: '' };

export function packPrincipal({ kind, id, groups, attributes, credential }: Principal): WirePrincipal {
  if (kind === 'anonymous' && attributes.size === 0) return 0;
  return [kind, id, groups, [...attributes], credential];
}

export function unpackPrincipal(wire: WirePrincipal): Principal {
  if (wire === 0) return anonymous;
  const [kind, id, groups, attributes, credential] = wire;
  return { kind, id, groups, attributes: new Map(attributes), credential };
}

export const packAddress = (address: Address): WireAddress =>
  'path' in address ? [address.path] : [address.host, address.port];

export const unpackAddress = ([host, port]: WireAddress): Address =>
  port === undefined ? { path: host } : { host, port };

/** Collects what one turn of the event loop brings and sends it as one message. */
export class Batch<T> {
  readonly #send: (items: readonly T[]) => void;
  #items: T[] = [];

  constructor(send: (items: readonly T[]) => void) {
    this.#send = send;
  }

  push(item: T): void {
    if (this.#items.length === 0) setImmediate(() => this.flush());
    this.#items.push(item);
  }

  flush(): void {
    if (this.#items.length === 0) return;
    const items = this.#items;
    this.#items = [];
    this.#send(items);
  }
}
