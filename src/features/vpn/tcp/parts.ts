// The words of a connection in user space: its states, and what is around it.
import type { TcpOptions } from '../../../wire/tcp.ts';
import type { FramePool } from '../frame-pool.ts';
import type { TcpConnection } from './connection.ts';

export type TcpState =
  | 'syn-sent'
  | 'syn-received'
  | 'established'
  | 'fin-wait-1'
  | 'fin-wait-2'
  | 'close-wait'
  | 'closing'
  | 'last-ack'
  | 'time-wait'
  | 'closed';

/** Data and a FIN may go out. */
export const canSend: ReadonlySet<TcpState> = new Set([
  'established',
  'close-wait',
  'fin-wait-1',
  'closing',
  'last-ack',
]);
/** Data and a FIN may still come in. */
export const canReceive: ReadonlySet<TcpState> = new Set(['established', 'fin-wait-1', 'fin-wait-2']);

/** What a connection needs around it; a TcpStack gives it. */
export interface TcpHost {
  readonly pool: FramePool;
  /** Milliseconds. */
  now(): number;
  emit(frame: Uint8Array): void;
  /** Has `endTurn` called when the turn ends. */
  wake(connection: TcpConnection): void;
  /** Has `tick` called when `due` is past; 0 = not. */
  schedule(connection: TcpConnection): void;
  closed(connection: TcpConnection): void;
  /** Bytes that may wait in one connection, each way; less when its owner, or all together, hold much already. */
  limit(account: Account): number;
  /** Bytes of an account that are held more (positive) or less (negative), each way. */
  held(account: Account, bytes: number): void;
}

/** What all connections of one owner hold: received and not read, or written and not acknowledged. */
export interface Account {
  bytes: number;
  connections: number;
}

/** What a SYN says of its sender. */
export interface Syn {
  readonly sequence: number;
  readonly window: number;
  readonly options: TcpOptions;
}
