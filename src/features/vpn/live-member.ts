// A member who is on a hub now, whatever protocol he came by: what lists, policies and administrators see of him. Types only.
import type { Clock } from '../../core/clock.ts';
import type { Address, EndReason, Session } from '../../core/parts.ts';
import type { Attached, Hub, PortPolicy } from './hub.ts';

export type MemberProtocol = 'softether' | 'sstp' | 'openvpn';
export type MemberEnd =
  | EndReason
  | 'timeout'
  | 'auto-disconnected'
  | 'hub closed'
  | 'replaced'
  | 'protocol'
  | 'address lost'
  | 'left';

/** What client and server agreed on; of protocols with one connection only the time-out matters. */
export interface SessionTerms {
  /** Milliseconds of silence that end a connection, and a session without connections. */
  readonly timeout: number;
  readonly connections: number;
  /** Each connection carries frames one way only. */
  readonly half: boolean;
  readonly compress: boolean;
  /** The last connection is kept for small urgent frames. */
  readonly qos: boolean;
}
/** What the client said about itself, for administrators. */
export interface ClientFacts {
  readonly product: string;
  readonly version: number;
  readonly build: number;
  readonly hostname: string;
  readonly os: string;
  readonly uniqueId: Buffer;
  readonly bridge: boolean;
  readonly monitor: boolean;
}

/** What an admitted member is given: to be made into a LiveMember. */
export interface Place {
  readonly name: string;
  readonly connection: string;
  readonly hub: Hub;
  readonly policy: PortPolicy;
  readonly session: Session;
  readonly client: ClientFacts;
  readonly from: Address;
  readonly clock: Clock;
}

export interface LiveMember extends AsyncDisposable {
  readonly name: string;
  readonly protocol: MemberProtocol;
  readonly options: Place & { readonly terms: SessionTerms; readonly certificate: string | undefined };
  readonly since: Date;
  readonly lastFrame: Date;
  /** Connections accepted so far. */
  readonly established: number;
  readonly connections: { readonly all: number; readonly up: number; readonly down: number };
  /** Bytes of frames, as they went through the connections. */
  readonly bytes: { readonly up: number; readonly down: number; readonly dropped: number };
  readonly isOpen: boolean;
  readonly policy: PortPolicy;
  readonly attached: Attached | undefined;
  /** Why it ended, once it has. */
  readonly ended: Promise<MemberEnd>;
  /** From the next frame on; who may not join any more is put out. */
  setPolicy(policy: PortPolicy): void;
  /** Leaves the hub and says goodbye. */
  end(why: MemberEnd): Promise<void>;
  /** Resolves when every connection has said goodbye; to be asked once it has ended. */
  closed(): Promise<void>;
}
