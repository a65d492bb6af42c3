// Which streams a tunnel's messages mean: the current lane of each service and the connections in it, the dialect that the
// peer speaks, and what is stale.
//
// A *lane* is what the protocol calls the stream of a service: at most one is current, and its connections are our streams.
import { Fault } from '../../core/fault.ts';
import type { Log } from '../../core/parts.ts';
import type { OutgoingMessage, TunnelMessage } from '../../wire/tunnel-frame.ts';
import type { TunnelStream } from './stream.ts';

/** What a peer's messages carry: V1 neither names services nor numbers connections, V2 names, V3 does both. */
export type Dialect = 'V1' | 'V2' | 'V3';

export interface LanesOptions {
  readonly role: 'opener' | 'acceptor';
  readonly place: 'service' | 'end';
  readonly services: readonly string[] | undefined;
  readonly dialect: Dialect;
  readonly log: Log;
}

export interface Lane {
  readonly service: string;
  readonly streamId: number;
  /** Whether its messages carry the service's name and the connection's number. */
  readonly named: boolean;
  readonly numbered: boolean;
  readonly streams: Map<number, TunnelStream>;
}

/** How messages about a connection call it. */
export const callOf = (lane: Lane, connectionId: number): Omit<OutgoingMessage, 'type'> => ({
  streamId: lane.streamId,
  ...(lane.named ? { serviceId: lane.service } : {}),
  ...(lane.numbered ? { connectionId } : {}),
});

export class Lanes {
  readonly #role: LanesOptions['role'];
  readonly #place: LanesOptions['place'];
  readonly #log: Log;
  /** The current lane of each service. */
  readonly #lanes = new Map<string, Lane>();
  readonly #laneOf = new Map<TunnelStream, Lane>();
  /** Services whose stream was started at some time on this socket. */
  readonly #started = new Set<string>();
  #dialect: Dialect;
  /** Known from the start in the middle; at an end they come with SERVICE_IDS. */
  services: readonly string[] | undefined;

  constructor({ role, place, services, dialect, log }: LanesOptions) {
    this.#role = role;
    this.#place = place;
    this.#log = log;
    this.#dialect = dialect;
    this.services = services;
  }

  get dialect(): Dialect {
    return this.#dialect;
  }
  get size(): number {
    return this.#laneOf.size;
  }
  get streams(): readonly TunnelStream[] {
    return [...this.#laneOf.keys()];
  }
  /** A V2 destination knows one connection a service; a V1 one knows one at all, for nothing names another. */
  get isBusy(): boolean {
    return [...this.#lanes.values()].some(lane => lane.streams.size > 0);
  }

  current(service: string): Lane | undefined {
    return this.#lanes.get(service);
  }
  of(stream: TunnelStream): Lane | undefined {
    return this.#laneOf.get(stream);
  }

  /** A new current lane of its service. */
  begin(lane: Omit<Lane, 'streams'>): Lane {
    const begun = { ...lane, streams: new Map<number, TunnelStream>() };
    this.#lanes.set(lane.service, begun);
    this.#started.add(lane.service);
    return begun;
  }
  end(lane: Lane): void {
    if (this.#lanes.get(lane.service) === lane) this.#lanes.delete(lane.service);
  }
  enter(lane: Lane, stream: TunnelStream): void {
    lane.streams.set(stream.connectionId, stream);
    this.#laneOf.set(stream, lane);
  }
  leave(stream: TunnelStream): void {
    const lane = this.#laneOf.get(stream);
    this.#laneOf.delete(stream);
    if (!lane) return;
    if (lane.streams.get(stream.connectionId) === stream) lane.streams.delete(stream.connectionId);
    // A lane without numbers ended with its only stream; its successor has a new id.
    if (this.#role === 'opener' && (!lane.numbered || this.#dialect !== 'V3')) this.end(lane);
  }
  clear(): void {
    this.#laneOf.clear();
    this.#lanes.clear();
  }

  /** Which service a starting message means. @throws Fault `protocol` */
  serviceOf(serviceId: string): string {
    const services = this.services ?? [];
    if (serviceId !== '') {
      if (services.includes(serviceId) || (services.length === 0 && this.#place === 'end')) return serviceId;
      throw wrong(`this tunnel has no service "${serviceId}"`);
    }
    if (services.length <= 1) return services[0] ?? '';
    if (this.#place === 'end') return services[0] ?? '';
    throw wrong(
      'this tunnel has several services, and the message names none (a V1 client reaches tunnels of one service)',
    );
  }

  /** The lane that a message means, current or none. @throws Fault `protocol` */
  laneFor({ serviceId, streamId }: TunnelMessage): Lane | undefined {
    if (streamId === 0) throw wrong('a message without a stream id');
    const [role, place] = [this.#role, this.#place];
    if (serviceId === '') {
      // A V1 peer: an acceptor knows its lane by having been started so, an opener by the id, which is unique.
      const lanes = [...this.#lanes.values()];
      const lane = role === 'opener' ? lanes.find(one => one.streamId === streamId) : lanes.find(one => !one.named);
      if (!lane && place === 'service' && this.#started.size === 0)
        throw wrong('data for a stream that was never started');
      // `localproxy -y V1` leaves out the name that it was started with, and keeps the number.
      if (lane?.named && role === 'opener') this.#learn('V1');
      return lane;
    }
    if (place === 'service' && !(this.services ?? []).includes(serviceId)) {
      throw wrong(`this tunnel has no service "${serviceId}"`);
    }
    const lane = this.#lanes.get(serviceId);
    if (lane && !lane.named && role === 'acceptor') {
      throw wrong('a stream that was started without a service is spoken of with one');
    }
    if (!lane && place === 'service' && !this.#started.has(serviceId)) {
      throw wrong('data for a service that was never started');
    }
    return lane;
  }

  /** The stream that a message is about. What is stale, by its ids, is none, and passes without a word. @throws Fault `protocol` */
  find(message: TunnelMessage): TunnelStream | undefined {
    const lane = this.laneFor(message);
    if (!lane || lane.streamId !== message.streamId) return undefined;
    const { connectionId } = message;
    if (!lane.numbered || connectionId !== 0) {
      return lane.streams.get(connectionId) ?? (lane.numbered ? undefined : [...lane.streams.values()][0]);
    }
    if (this.#role !== 'opener') return undefined;
    this.#learn(lane.named ? 'V2' : 'V1');
    return lane.streams.size === 1 ? [...lane.streams.values()][0] : undefined;
  }

  /** A destination that answers without a name or a number: later connections are opened as it speaks. */
  #learn(dialect: Dialect): void {
    if (this.#place !== 'service' || this.#dialect === dialect || this.#dialect === 'V1') return;
    this.#log.debug({ dialect }, 'a destination speaks an older dialect');
    this.#dialect = dialect;
  }
}

export const wrong = (text: string): Fault => new Fault('protocol', text);
