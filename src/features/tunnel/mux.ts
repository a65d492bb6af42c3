// AWS's tunneling protocol on one WebSocket ⇄ streams by service and connection. One class for all four ends: the gate
// towards a source or a destination, and our own source or destination. V1, V2 and V3 are spoken as the peer speaks them.
//
//   opener    says STREAM_START / CONNECTION_START: a source, or the gate towards a destination
//   acceptor  hears them: a destination, or the gate towards a source
import { Fault, toFault } from '../../core/fault.ts';
import type { Log } from '../../core/parts.ts';
import type { MessagePipe } from '../../net/websocket.ts';
import {
  encodeFrame,
  FrameReader,
  messageTypes,
  type OutgoingMessage,
  type TunnelMessage,
} from '../../wire/tunnel-frame.ts';
import { Bounds, defaultLimits, type Limits } from './bounds.ts';
import { callOf, type Dialect, type Lane, Lanes, wrong } from './lanes.ts';
import { type Pace, Sender } from './sender.ts';
import { TunnelStream } from './stream.ts';

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
  readonly limits?: Limits;
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

/** Milliseconds that an application at a `localproxy -y V1` has to end by itself before it is told: the two must not cross. */
const crossing = 300;
/** Streams that may wait for their turn with a destination that knows one at a time. */
const mostPending = 64;

export class TunnelMux {
  readonly #options: MuxOptions;
  readonly #pipe: MessagePipe;
  readonly #sender: Sender<TunnelStream>;
  readonly #reader = new FrameReader();
  readonly #lanes: Lanes;
  /** Openers that wait until a V1 or V2 destination has ended the one before. */
  readonly #pending: {
    readonly stream: TunnelStream;
    writes: { chunk: Buffer; done: () => void }[];
    ended: boolean;
  }[] = [];
  readonly #limits: Limits;
  readonly #bounds: Bounds;
  #lastStream = 0;
  #lastConnection = 0;
  #isDeaf = false;
  #state: 'open' | 'over' = 'open';

  constructor(options: MuxOptions) {
    this.#options = options;
    this.#pipe = options.pipe;
    this.#limits = options.limits ?? defaultLimits;
    this.#bounds = new Bounds(options.pipe, this.#limits, options.extended === true);
    this.#sender = new Sender(options.pipe, options.pace);
    const { role, place, dialect = 'V3', log } = options;
    const services = place === 'service' ? (options.services ?? []) : undefined;
    this.#lanes = new Lanes({ role, place, services, dialect, log });
    if (services) {
      // At once, once, alone in its WebSocket message (facts: localproxy listens only then, and drops what follows).
      this.#say({ type: messageTypes.serviceIds, availableServiceIds: services ?? [] });
    }
    void options.pipe.ended.then(() => this.#breakOff());
    options.pipe.receive(bytes => this.#receive(bytes));
  }

  get streams(): number {
    return this.#lanes.size + this.#pending.length;
  }
  get dialect(): Dialect {
    return this.#lanes.dialect;
  }
  /** Bytes received that nobody has read yet. */
  get queued(): number {
    return this.#bounds.queued;
  }

  get isOver(): boolean {
    return this.#state === 'over';
  }

  /** The socket is not read, because somebody behind it does not read. */
  get isBlocked(): boolean {
    return this.#bounds.isBlocked;
  }

  /** Opens a connection to a service; `''` where the tunnel has none. @throws Fault `gone`, `limit` */
  open(service: string): TunnelStream {
    if (this.#state === 'over') throw new Fault('gone', 'this side of the tunnel is not connected');
    if (this.streams >= this.#limits.streams) {
      throw new Fault('limit', `this tunnel carries ${this.streams} connections already; close some`);
    }
    const connectionId = this.#nextConnection();
    const stream = new TunnelStream(this, { service, connectionId, credit: this.#bounds.credit });
    const lane = this.#lanes.current(service);
    if (this.#lanes.dialect !== 'V3' && this.#lanes.isBusy) {
      if (this.#pending.length >= mostPending) {
        throw new Fault('limit', 'the destination takes one connection at a time, and too many wait for their turn');
      }
      this.#pending.push({ stream, writes: [], ended: false });
    } else if (this.#lanes.dialect === 'V3' && lane?.numbered) {
      this.#lanes.enter(lane, stream);
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
    const lane = this.#lanes.of(stream);
    if (!lane) return false;
    if (this.#options.extended) {
      this.#say({ ...callOf(lane, stream.connectionId), type: messageTypes.connectionEnd });
      if (stream.farEnd === 'end') this.#leave(stream);
      return true;
    }
    if (this.#options.onDeaf && this.#lanes.dialect === 'V1') {
      setTimeout(() => this.#sayLate(stream), crossing);
      return true;
    }
    this.#sayReset(lane, stream.connectionId);
    this.#leave(stream);
    return false;
  }
  #sayLate(stream: TunnelStream): void {
    const lane = this.#lanes.of(stream);
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
    this.#bounds.discard(stream);
    const lane = this.#lanes.of(stream);
    if (!lane) return;
    if (tell) this.#sayReset(lane, stream.connectionId);
    this.#leave(stream);
  }

  /** A stream's reader took bytes. */
  consumed(stream: TunnelStream, bytes: number): void {
    const back = this.#bounds.consumed(stream, bytes);
    const lane = back > 0 && stream.farEnd === undefined ? this.#lanes.of(stream) : undefined;
    if (!lane) return;
    const count = Buffer.allocUnsafe(4);
    count.writeUInt32BE(back);
    stream.consumed = 0;
    this.#say({ ...callOf(lane, stream.connectionId), type: messageTypes.window, payload: count });
  }

  // --- Sending ---

  #say(message: OutgoingMessage): void {
    if (this.#state === 'open') this.#sender.control(encodeFrame(message));
  }

  #sayReset(lane: Lane, connectionId: number): void {
    // V3 peers keep their stream and lose one connection (after a STREAM_RESET localproxy would stop reading); others know
    // only the stream. Ids are said only where the opening message said them.
    const single = lane.numbered && (this.#options.role === 'acceptor' || this.#lanes.dialect === 'V3');
    const type = single ? messageTypes.connectionReset : messageTypes.streamReset;
    this.#say({ ...callOf(lane, connectionId), type });
  }

  #writePiece(stream: TunnelStream, chunk: Buffer, at: number, done: () => void): void {
    const lane = this.#lanes.of(stream);
    if (!lane || this.#state === 'over') {
      done();
      return;
    }
    const most = this.#bounds.most(stream);
    if (most <= 0) {
      this.#bounds.starve(stream, () => this.#writePiece(stream, chunk, at, done));
      return;
    }
    const piece = at === 0 && chunk.length <= most ? chunk : chunk.subarray(at, at + most);
    stream.credit -= piece.length;
    const frame = (): Uint8Array =>
      encodeFrame({ ...callOf(lane, stream.connectionId), type: messageTypes.data, payload: piece });
    this.#sender.data(stream, piece.length, frame, () => {
      if (at + piece.length >= chunk.length) done();
      else this.#writePiece(stream, chunk, at + piece.length, done);
    });
  }

  // --- Lanes ---

  #start(stream: TunnelStream): void {
    const { service } = stream;
    const lane = this.#lanes.begin({
      service,
      streamId: ++this.#lastStream,
      named: service !== '' && this.#lanes.dialect !== 'V1',
      numbered: this.#lanes.dialect === 'V3',
    });
    this.#lanes.enter(lane, stream);
    this.#say({ ...callOf(lane, stream.connectionId), type: messageTypes.streamStart });
    stream.begin();
  }

  #leave(stream: TunnelStream): void {
    const isKnown = this.#lanes.of(stream) !== undefined;
    this.#lanes.leave(stream);
    this.#bounds.forget(stream);
    if (isKnown) this.#startPending();
  }
  #startPending(): void {
    if (this.#pending.length === 0 || this.#state === 'over' || this.#isDeaf || this.#lanes.isBusy) return;
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
      for (const stream of this.#lanes.streams) this.#endFar(stream, 'reset');
    },
    [messageTypes.serviceIds]: message => {
      if (this.#options.place === 'service') throw wrong('only the service says SERVICE_IDS');
      if (this.#lanes.services) return; // localproxy ignores a second one too
      this.#lanes.services = message.availableServiceIds;
      this.#options.onServices?.(message.availableServiceIds);
    },
  };

  #hearStart(message: TunnelMessage): void {
    const { type, streamId, serviceId, connectionId } = message;
    if (this.#options.role === 'opener') throw wrong('only a source starts streams');
    if (streamId === 0) throw wrong('a stream is started without an id');
    if (type === messageTypes.connectionStart && connectionId === 0)
      throw wrong('a connection is started without an id');
    const service = this.#lanes.serviceOf(serviceId);
    const before = this.#lanes.current(service);
    let lane = before;
    if (type === messageTypes.streamStart || !before || before.streamId !== streamId) {
      // A new stream of a service ends the one before: a V2 source says so in no other way.
      for (const stream of before ? [...before.streams.values()] : []) this.#endFar(stream, 'reset');
      lane = this.#lanes.begin({ service, streamId, named: serviceId !== '', numbered: connectionId !== 0 });
    }
    if (!lane) return;
    const twin = lane.streams.get(connectionId);
    if (twin) this.#endFar(twin, 'reset');
    if (this.#lanes.size >= this.#limits.streams) {
      this.#sayReset(lane, connectionId);
      return;
    }
    const stream = new TunnelStream(this, { service, connectionId, credit: this.#bounds.credit });
    this.#lanes.enter(lane, stream);
    stream.begin();
    this.#options.onStream?.(stream);
  }

  #hearData(message: TunnelMessage): void {
    const stream = this.#lanes.find(message);
    if (!stream || message.payload.length === 0) return;
    if (stream.farEnd !== undefined || stream.destroyed) return;
    this.#bounds.check(stream, message.payload.length);
    this.#bounds.received(message.payload.length);
    stream.deliver(message.payload);
    if (stream.queued > stream.most && !this.#options.extended) {
      // Nobody has taken it up yet: it must not hold up its neighbours.
      stream.destroy(new Fault('limit', 'too much was sent before the destination had taken the connection'));
      return;
    }
    this.#bounds.hold(stream);
  }

  #hearConnectionReset(message: TunnelMessage): void {
    const stream = this.#lanes.find(message);
    if (stream) this.#endFar(stream, 'reset');
  }
  #hearStreamReset(message: TunnelMessage): void {
    const lane = this.#lanes.laneFor(message);
    if (!lane || lane.streamId !== message.streamId) return;
    this.#isDeaf = this.#options.onDeaf !== undefined && this.#lanes.dialect === 'V1';
    for (const stream of [...lane.streams.values()]) this.#endFar(stream, 'reset');
    this.#lanes.end(lane);
    if (this.#isDeaf) this.#options.onDeaf?.();
  }
  #hearEnd(message: TunnelMessage): void {
    if (!this.#options.extended) throw wrong('half-close was not agreed on');
    const stream = this.#lanes.find(message);
    if (stream) this.#endFar(stream, 'end');
  }
  #hearWindow(message: TunnelMessage): void {
    if (!this.#options.extended || message.payload.length !== 4) throw wrong('windows were not agreed on');
    const stream = this.#lanes.find(message);
    if (stream) this.#bounds.feed(stream, Buffer.from(message.payload).readUInt32BE());
  }

  #endFar(stream: TunnelStream, how: 'end' | 'reset'): void {
    if (how === 'reset' || stream.writableFinished) this.#leave(stream);
    // What waits to be sent has nobody to go to.
    if (how === 'reset') this.#sender.drop(stream);
    // Where ends have a message of their own, a reset before the end is a torn transfer, and must not pass for a whole one.
    if (how === 'reset' && this.#options.extended && stream.farEnd === undefined) stream.breakOff();
    else stream.endFar(how);
  }

  #nextConnection(): number {
    this.#lastConnection = this.#lastConnection >= 0xffffffff ? 1 : this.#lastConnection + 1;
    return this.#lastConnection;
  }
  #breakOff(): void {
    if (this.#state === 'over') return;
    this.#state = 'over';
    this.#sender.stop();
    this.#bounds.stop();
    const streams = [...this.#lanes.streams, ...this.#pending.map(({ stream }) => stream)];
    this.#lanes.clear();
    this.#pending.length = 0;
    for (const stream of streams) stream.breakOff();
  }
}
