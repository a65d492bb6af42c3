// AWS's tunneling protocol on one WebSocket ⇄ streams by service and connection. One class for all four ends: the gate
// towards a source or a destination, and our own source or destination. V1, V2 and V3 are spoken as the peer speaks them.
//
//   opener    says STREAM_START / CONNECTION_START: a source, or the gate towards a destination
//   acceptor  hears them: a destination, or the gate towards a source
//
// A *lane* is what the protocol calls the stream of a service: at most one is current, and its connections are our streams.
import { Fault, toFault } from '../../core/fault.ts';
import type { Log } from '../../core/parts.ts';
import type { MessagePipe } from '../../net/websocket.ts';
import {
  encodeFrame,
  FrameReader,
  longestPayload,
  messageTypes,
  type OutgoingMessage,
  type TunnelMessage,
} from '../../wire/tunnel-frame.ts';
import { type Pace, Sender } from './sender.ts';
import { TunnelStream } from './stream.ts';

/** What a peer's messages carry: V1 neither names services nor numbers connections, V2 names, V3 does both. */
export type Dialect = 'V1' | 'V2' | 'V3';

export interface MuxOptions {
  readonly pipe: MessagePipe;
  readonly role: 'opener' | 'acceptor';
  /** The gate in the middle, which alone may say SERVICE_IDS; or an end of the tunnel. */
  readonly place: 'service' | 'end';
  /** In the middle: the tunnel's services. At an end they come with SERVICE_IDS. */
  readonly services?: readonly string[];
  /** An opener's; it goes down when the peer answers in a lesser one. Default V3. */
  readonly dialect?: Dialect;
  /** Both sides agreed on `sekisho.tunnel-1`: half-close and windows per stream. */
  readonly extended?: boolean;
  readonly pace?: Pace;
  /** Bytes received and not yet read: of one stream, and of all, before the socket is no longer read. */
  readonly limits?: { readonly stream: number; readonly all: number; readonly streams: number };
  /** An acceptor's. The stream is open; end or destroy it. */
  readonly onStream?: (stream: TunnelStream) => void;
  /**
   * The far side may be `localproxy -y V1` as a destination. Once it has ended a stream by itself it waits for nothing any
   * more, and with the next message it stops reading for good: it must begin anew. Called then.
   */
  readonly onDeaf?: () => void;
  /** At an end: once, with the first message. */
  readonly onServices?: (services: readonly string[]) => void;
  readonly log: Log;
}

export const defaultLimits = { stream: 4 * 1024 * 1024, all: 16 * 1024 * 1024, streams: 4096 };
/** Windows start at that; the reader gives back what it has read in halves of it. */
const window = 2 * 1024 * 1024;
/** With windows no stream holds up another; only what all of them hold together is bounded by not reading. */
const mostWithWindows = 64 * 1024 * 1024;
/** Milliseconds that an application at a `localproxy -y V1` has to end by itself before it is told: the two must not cross. */
const crossing = 300;
/** Streams that may wait for their turn with a destination that knows one at a time. */
const mostPending = 64;

interface Lane {
  readonly service: string;
  readonly streamId: number;
  /** Whether its messages carry the service's name and the connection's number. */
  readonly named: boolean;
  readonly numbered: boolean;
  readonly streams: Map<number, TunnelStream>;
}

export class TunnelMux {
  readonly #options: MuxOptions;
  readonly #pipe: MessagePipe;
  readonly #sender: Sender<TunnelStream>;
  readonly #reader = new FrameReader();
  /** The current lane of each service. */
  readonly #lanes = new Map<string, Lane>();
  readonly #laneOf = new Map<TunnelStream, Lane>();
  /** Services whose stream was started at some time on this socket. */
  readonly #started = new Set<string>();
  /** Openers that wait until a V1 or V2 destination has ended the one before. */
  readonly #pending: {
    readonly stream: TunnelStream;
    writes: { chunk: Buffer; done: () => void }[];
    ended: boolean;
  }[] = [];
  readonly #blocked = new Set<TunnelStream>();
  readonly #limits: NonNullable<MuxOptions['limits']>;
  #services: readonly string[] | undefined;
  #dialect: Dialect;
  #queued = 0;
  #lastStream = 0;
  #lastConnection = 0;
  #isDeaf = false;
  #state: 'open' | 'over' = 'open';

  constructor(options: MuxOptions) {
    this.#options = options;
    this.#pipe = options.pipe;
    this.#limits = options.limits ?? defaultLimits;
    this.#dialect = options.dialect ?? 'V3';
    this.#sender = new Sender(options.pipe, options.pace);
    if (options.place === 'service') {
      this.#services = options.services ?? [];
      // At once, once, alone in its WebSocket message (facts: localproxy listens only then, and drops what follows).
      this.#say({ type: messageTypes.serviceIds, availableServiceIds: this.#services });
    }
    void options.pipe.ended.then(() => this.#breakOff());
    options.pipe.receive(bytes => this.#receive(bytes));
  }

  get streams(): number {
    return this.#laneOf.size + this.#pending.length;
  }
  get dialect(): Dialect {
    return this.#dialect;
  }
  /** Bytes received that nobody has read yet. */
  get queued(): number {
    return this.#queued;
  }

  get isOver(): boolean {
    return this.#state === 'over';
  }

  /** The socket is not read, because somebody behind it does not read. */
  get isBlocked(): boolean {
    return this.#blocked.size > 0;
  }

  /** Opens a connection to a service; `''` where the tunnel has none. @throws Fault `gone`, `limit` */
  open(service: string): TunnelStream {
    if (this.#state === 'over') throw new Fault('gone', 'this side of the tunnel is not connected');
    if (this.streams >= this.#limits.streams) {
      throw new Fault('limit', `this tunnel carries ${this.streams} connections already; close some`);
    }
    const connectionId = this.#nextConnection();
    const stream = new TunnelStream(this, { service, connectionId, credit: this.#credit() });
    const lane = this.#lanes.get(service);
    if (this.#dialect !== 'V3' && this.#isBusy()) {
      if (this.#pending.length >= mostPending) {
        throw new Fault('limit', 'the destination takes one connection at a time, and too many wait for their turn');
      }
      this.#pending.push({ stream, writes: [], ended: false });
    } else if (this.#dialect === 'V3' && lane?.numbered) {
      this.#enter(lane, stream, connectionId);
      this.#say({ ...callOf(lane, connectionId), type: messageTypes.connectionStart });
      stream.begin();
    } else this.#start(stream);
    return stream;
  }

  /** Properly: the far side learns that the tunnel is over, or was taken over. */
  close(code: number, reason: string): void {
    this.#pipe.close(code, reason);
    this.#breakOff();
  }
  /** Without a word; the far side comes back. */
  destroy(): void {
    this.#pipe.destroy();
    this.#breakOff();
  }

  // --- What streams ask of it ---

  write(stream: TunnelStream, chunk: Buffer, done: (error?: Error | null) => void): void {
    const pending = this.#pending.find(one => one.stream === stream);
    if (pending) pending.writes.push({ chunk, done });
    else this.#writePiece(stream, chunk, 0, done);
  }

  /** Our end of a stream. True when it is only half: the far side may still send. */
  sayEnd(stream: TunnelStream): boolean {
    const pending = this.#pending.find(one => one.stream === stream);
    if (pending) {
      pending.ended = true;
      return true;
    }
    const lane = this.#laneOf.get(stream);
    if (!lane) return false;
    if (this.#options.extended) {
      this.#say({ ...callOf(lane, stream.connectionId), type: messageTypes.connectionEnd });
      if (stream.farEnd === 'end') this.#leave(stream);
      return true;
    }
    if (this.#options.onDeaf && this.#dialect === 'V1') {
      setTimeout(() => this.#sayLate(stream), crossing);
      return true;
    }
    this.#sayReset(lane, stream.connectionId);
    this.#leave(stream);
    return false;
  }
  #sayLate(stream: TunnelStream): void {
    const lane = this.#laneOf.get(stream);
    if (!lane) return;
    this.#sayReset(lane, stream.connectionId);
    this.#endFar(stream, 'reset');
  }

  /** A stream is destroyed. */
  forget(stream: TunnelStream, tell: boolean): void {
    const at = this.#pending.findIndex(one => one.stream === stream);
    if (at >= 0) {
      for (const { done } of this.#pending.splice(at, 1)[0]?.writes ?? []) done();
      return;
    }
    this.#sender.drop(stream);
    this.#consumedAll(stream);
    const lane = this.#laneOf.get(stream);
    if (!lane) return;
    if (tell) this.#sayReset(lane, stream.connectionId);
    this.#leave(stream);
  }

  /** A stream's reader took bytes. */
  consumed(stream: TunnelStream, bytes: number): void {
    this.#queued -= bytes;
    if (this.#options.extended) {
      stream.consumed += bytes;
      const lane = this.#laneOf.get(stream);
      if (lane && stream.consumed >= window / 2 && stream.farEnd === undefined) {
        const count = Buffer.allocUnsafe(4);
        count.writeUInt32BE(stream.consumed);
        stream.consumed = 0;
        this.#say({ ...callOf(lane, stream.connectionId), type: messageTypes.window, payload: count });
      }
    }
    if (this.#blocked.size > 0 && stream.queued <= this.#limits.stream / 2) this.#unblock(stream);
  }

  // --- Sending ---

  #say(message: OutgoingMessage): void {
    if (this.#state === 'open') this.#sender.control(encodeFrame(message));
  }

  #sayReset(lane: Lane, connectionId: number): void {
    // V3 peers keep their stream and lose one connection (after a STREAM_RESET localproxy would stop reading); others know
    // only the stream. Ids are said only where the opening message said them.
    const single = lane.numbered && (this.#options.role === 'acceptor' || this.#dialect === 'V3');
    const type = single ? messageTypes.connectionReset : messageTypes.streamReset;
    this.#say({ ...callOf(lane, connectionId), type });
  }

  #writePiece(stream: TunnelStream, chunk: Buffer, at: number, done: () => void): void {
    const lane = this.#laneOf.get(stream);
    if (!lane || this.#state === 'over') {
      done();
      return;
    }
    if (this.#options.extended && stream.credit <= 0) {
      this.#starved.set(stream, () => this.#writePiece(stream, chunk, at, done));
      return;
    }
    const most = this.#options.extended ? Math.min(longestPayload, stream.credit) : longestPayload;
    const piece = at === 0 && chunk.length <= most ? chunk : chunk.subarray(at, at + most);
    stream.credit -= piece.length;
    const frame = (): Uint8Array =>
      encodeFrame({ ...callOf(lane, stream.connectionId), type: messageTypes.data, payload: piece });
    this.#sender.data(stream, piece.length, frame, () => {
      if (at + piece.length >= chunk.length) done();
      else this.#writePiece(stream, chunk, at + piece.length, done);
    });
  }
  /** Writers that wait for the far reader. */
  readonly #starved = new Map<TunnelStream, () => void>();

  // --- Lanes ---

  #start(stream: TunnelStream): void {
    const { service } = stream;
    const lane: Lane = {
      service,
      streamId: ++this.#lastStream,
      named: service !== '' && this.#dialect !== 'V1',
      numbered: this.#dialect === 'V3',
      streams: new Map(),
    };
    this.#lanes.set(service, lane);
    this.#started.add(service);
    this.#enter(lane, stream, stream.connectionId);
    this.#say({ ...callOf(lane, stream.connectionId), type: messageTypes.streamStart });
    stream.begin();
  }

  #enter(lane: Lane, stream: TunnelStream, connectionId: number): void {
    lane.streams.set(connectionId, stream);
    this.#laneOf.set(stream, lane);
  }

  #leave(stream: TunnelStream): void {
    const lane = this.#laneOf.get(stream);
    this.#laneOf.delete(stream);
    this.#unblock(stream);
    const go = this.#starved.get(stream);
    this.#starved.delete(stream);
    go?.(); // its write is done with
    if (!lane) return;
    if (lane.streams.get(stream.connectionId) === stream) lane.streams.delete(stream.connectionId);
    // A lane without numbers ended with its only stream; its successor has a new id.
    const isShort = !lane.numbered || this.#dialect !== 'V3';
    if (isShort && this.#options.role === 'opener' && this.#lanes.get(lane.service) === lane) {
      this.#lanes.delete(lane.service);
    }
    this.#startPending();
  }

  /** A V2 destination knows one connection a service; a V1 one knows one at all, for nothing names another. */
  #isBusy(): boolean {
    return [...this.#lanes.values()].some(lane => lane.streams.size > 0);
  }
  #startPending(): void {
    if (this.#pending.length === 0 || this.#state === 'over' || this.#isDeaf || this.#isBusy()) return;
    const next = this.#pending.shift();
    if (!next) return;
    this.#start(next.stream);
    for (const { chunk, done } of next.writes) this.write(next.stream, chunk, done);
    if (next.ended && !this.sayEnd(next.stream)) next.stream.endFar('reset');
  }

  // --- Receiving ---

  #receive(bytes: Buffer): void {
    if (this.#state === 'over') return;
    try {
      this.#reader.read(bytes, message => {
        if (this.#state === 'open') this.#hear(message);
      });
    } catch (error) {
      const fault = toFault(error);
      const { log } = this.#options;
      if (fault.code === 'protocol') log.info({ ...fault.facts }, `a tunnel peer spoke wrongly: ${fault.message}`);
      else log.error({ error }, 'a tunnel message could not be taken');
      this.close(fault.code === 'protocol' ? 1008 : 1011, fault.message);
    }
  }

  #hear(message: TunnelMessage): void {
    const { type } = message;
    const known = this.#hearing[type];
    if (known) known(message);
    else if (!message.ignorable) throw wrong(`messages of type ${type} are not known here`);
  }

  readonly #hearing: Readonly<Record<number, ((message: TunnelMessage) => void) | undefined>> = {
    [messageTypes.data]: message => this.#hearData(message),
    [messageTypes.streamStart]: message => this.#hearStart(message),
    [messageTypes.connectionStart]: message => this.#hearStart(message),
    [messageTypes.streamReset]: message => this.#hearStreamReset(message),
    [messageTypes.connectionReset]: message => this.#hearConnectionReset(message),
    [messageTypes.connectionEnd]: message => this.#hearEnd(message),
    [messageTypes.window]: message => this.#hearWindow(message),
    [messageTypes.sessionReset]: () => {
      if (this.#options.place === 'service') throw wrong('only the service says SESSION_RESET');
      for (const stream of [...this.#laneOf.keys()]) this.#endFar(stream, 'reset');
    },
    [messageTypes.serviceIds]: message => {
      if (this.#options.place === 'service') throw wrong('only the service says SERVICE_IDS');
      if (this.#services) return; // localproxy ignores a second one too
      this.#services = message.availableServiceIds;
      this.#options.onServices?.(message.availableServiceIds);
    },
  };

  #hearStart(message: TunnelMessage): void {
    const { type, streamId, serviceId, connectionId } = message;
    if (this.#options.role === 'opener') throw wrong('only a source starts streams');
    if (streamId === 0) throw wrong('a stream is started without an id');
    if (type === messageTypes.connectionStart && connectionId === 0)
      throw wrong('a connection is started without an id');
    const service = this.#serviceOf(serviceId);
    const before = this.#lanes.get(service);
    let lane = before;
    if (type === messageTypes.streamStart || !before || before.streamId !== streamId) {
      // A new stream of a service ends the one before: a V2 source says so in no other way.
      for (const stream of before ? [...before.streams.values()] : []) this.#endFar(stream, 'reset');
      lane = { service, streamId, named: serviceId !== '', numbered: connectionId !== 0, streams: new Map() };
      this.#lanes.set(service, lane);
      this.#started.add(service);
    }
    if (!lane) return;
    const twin = lane.streams.get(connectionId);
    if (twin) this.#endFar(twin, 'reset');
    if (this.#laneOf.size >= this.#limits.streams) {
      this.#sayReset(lane, connectionId);
      return;
    }
    const stream = new TunnelStream(this, { service, connectionId, credit: this.#credit() });
    this.#enter(lane, stream, connectionId);
    stream.begin();
    this.#options.onStream?.(stream);
  }

  /** Which service a starting message means. */
  #serviceOf(serviceId: string): string {
    const services = this.#services ?? [];
    if (serviceId !== '') {
      if (services.includes(serviceId) || (services.length === 0 && this.#options.place === 'end')) return serviceId;
      throw wrong(`this tunnel has no service "${serviceId}"`);
    }
    if (services.length <= 1) return services[0] ?? '';
    if (this.#options.place === 'end') return services[0] ?? '';
    throw wrong(
      'this tunnel has several services, and the message names none (a V1 client reaches tunnels of one service)',
    );
  }

  #hearData(message: TunnelMessage): void {
    const stream = this.#find(message);
    if (!stream || message.payload.length === 0) return;
    if (stream.farEnd !== undefined || stream.destroyed) return;
    if (this.#options.extended && stream.queued + message.payload.length > window + longestPayload) {
      throw wrong('more was sent than the window allows');
    }
    this.#queued += message.payload.length;
    stream.deliver(message.payload);
    if (stream.queued > stream.most && !this.#options.extended) {
      // Nobody has taken it up yet: it must not hold up its neighbours.
      stream.destroy(new Fault('limit', 'too much was sent before the destination had taken the connection'));
      return;
    }
    const isFull = this.#options.extended
      ? this.#queued > mostWithWindows
      : stream.queued > this.#limits.stream || this.#queued > this.#limits.all;
    if (isFull) this.#block(stream);
  }

  #hearConnectionReset(message: TunnelMessage): void {
    const stream = this.#find(message);
    if (stream) this.#endFar(stream, 'reset');
  }
  #hearStreamReset(message: TunnelMessage): void {
    const lane = this.#laneFor(message);
    if (!lane || lane.streamId !== message.streamId) return;
    this.#isDeaf = this.#options.onDeaf !== undefined && this.#dialect === 'V1';
    for (const stream of [...lane.streams.values()]) this.#endFar(stream, 'reset');
    if (this.#lanes.get(lane.service) === lane) this.#lanes.delete(lane.service);
    if (this.#isDeaf) this.#options.onDeaf?.();
  }
  #hearEnd(message: TunnelMessage): void {
    if (!this.#options.extended) throw wrong('half-close was not agreed on');
    const stream = this.#find(message);
    if (stream) this.#endFar(stream, 'end');
  }
  #hearWindow(message: TunnelMessage): void {
    if (!this.#options.extended || message.payload.length !== 4) throw wrong('windows were not agreed on');
    const stream = this.#find(message);
    if (!stream) return;
    stream.credit += Buffer.from(message.payload).readUInt32BE();
    if (stream.credit > 64 * window) throw wrong('a window grew beyond all bounds');
    const go = this.#starved.get(stream);
    this.#starved.delete(stream);
    go?.();
  }

  #endFar(stream: TunnelStream, how: 'end' | 'reset'): void {
    if (how === 'reset' || stream.writableFinished) this.#leave(stream);
    // What waits to be sent has nobody to go to.
    if (how === 'reset') this.#sender.drop(stream);
    // Where ends have a message of their own, a reset before the end is a torn transfer, and must not pass for a whole one.
    if (how === 'reset' && this.#options.extended && stream.farEnd === undefined) stream.breakOff();
    else stream.endFar(how);
  }

  /** The lane that a message means, current or none. */
  #laneFor({ serviceId, streamId }: TunnelMessage): Lane | undefined {
    if (streamId === 0) throw wrong('a message without a stream id');
    const { role, place } = this.#options;
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
    if (place === 'service' && !(this.#services ?? []).includes(serviceId)) {
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

  /** The stream that a message is about. What is stale, by its ids, is none, and passes without a word. */
  #find(message: TunnelMessage): TunnelStream | undefined {
    const lane = this.#laneFor(message);
    if (!lane || lane.streamId !== message.streamId) return undefined;
    const { connectionId } = message;
    if (!lane.numbered || connectionId !== 0) {
      return lane.streams.get(connectionId) ?? (lane.numbered ? undefined : [...lane.streams.values()][0]);
    }
    if (this.#options.role !== 'opener') return undefined;
    this.#learn(lane.named ? 'V2' : 'V1');
    return lane.streams.size === 1 ? [...lane.streams.values()][0] : undefined;
  }

  /** A destination that answers without a name or a number: later connections are opened as it speaks. */
  #learn(dialect: Dialect): void {
    if (this.#options.place !== 'service' || this.#dialect === dialect || this.#dialect === 'V1') return;
    this.#options.log.debug({ dialect }, 'a destination speaks an older dialect');
    this.#dialect = dialect;
  }

  // --- Bounds ---

  #credit(): number {
    return this.#options.extended ? window : Number.POSITIVE_INFINITY;
  }
  #nextConnection(): number {
    this.#lastConnection = this.#lastConnection >= 0xffffffff ? 1 : this.#lastConnection + 1;
    return this.#lastConnection;
  }
  #block(stream: TunnelStream): void {
    if (this.#blocked.size === 0) this.#pipe.pause();
    this.#blocked.add(stream);
  }
  #unblock(stream: TunnelStream): void {
    if (!this.#blocked.delete(stream)) return;
    if (this.#blocked.size === 0 && this.#state === 'open') this.#pipe.resume();
  }
  #consumedAll(stream: TunnelStream): void {
    this.#queued -= stream.queued;
    this.#unblock(stream);
  }

  #breakOff(): void {
    if (this.#state === 'over') return;
    this.#state = 'over';
    this.#sender.stop();
    const streams = [...this.#laneOf.keys(), ...this.#pending.map(({ stream }) => stream)];
    this.#laneOf.clear();
    this.#lanes.clear();
    this.#pending.length = 0;
    for (const stream of streams) stream.breakOff();
  }
}

/** How messages about a connection call it. */
const callOf = (lane: Lane, connectionId: number): Omit<OutgoingMessage, 'type'> => ({
  streamId: lane.streamId,
  ...(lane.named ? { serviceId: lane.service } : {}),
  ...(lane.numbered ? { connectionId } : {}),
});

const wrong = (text: string): Fault => new Fault('protocol', text);
