// UDP through the hub's router: one connected socket for each pair of ends, until nothing has passed for a while.
import { Fault } from '../../../core/fault.ts';
import type { Conn, Session } from '../../../core/parts.ts';
import { dialUdp } from '../../../net/udp.ts';
import type { Plug } from '../switch/plug.ts';
import type { Ends, Flow, Flows } from './flows.ts';
import type { Destination } from './tcp-nat.ts';

export interface UdpNatOptions {
  readonly flows: Flows;
  /** Milliseconds. */
  readonly idle: number;
  readonly after: (ms: number, call: () => void) => () => void;
  /** Whether an address is a listener of this gate. */
  readonly isOwn: (host: string, port: number) => boolean;
  /** Whether what one had under way is the other's from now on. */
  readonly adopts: (before: Plug, now: Plug) => boolean;
}

/** One datagram of somebody on the hub, and the way back to him. */
export interface UdpArrival {
  readonly key: string;
  readonly from: Ends['from'];
  readonly to: Destination;
  readonly payload: Uint8Array;
  readonly owner: Plug;
  readonly answer: (payload: Uint8Array) => void;
  /** Nobody listens there. */
  readonly unreachable: () => void;
}

/** Datagrams that wait while a flow is being admitted. */
const ahead = 16;

interface Opening {
  readonly flow: Flow;
  waiting: Uint8Array[];
  conn: Conn | undefined;
  session: Session | undefined;
  /** False: nothing has passed since the last look. */
  isUsed: boolean;
  answer: (payload: Uint8Array) => void;
}

export class UdpNat {
  readonly #options: UdpNatOptions;
  readonly #open = new Map<string, Opening>();
  readonly #running = new Set<Promise<void>>();

  constructor(options: UdpNatOptions) {
    this.#options = options;
  }

  arrive(arrival: UdpArrival): void {
    const known = this.#open.get(arrival.key);
    const { payload, owner } = arrival;
    if (!known) {
      this.#begin(arrival);
      return;
    }
    if (known.flow.owner !== owner) {
      if (!this.#options.adopts(known.flow.owner, owner)) return; // somebody else's ends
      known.flow.owner = owner;
    }
    known.isUsed = true;
    known.answer = arrival.answer;
    if (known.conn && known.session) {
      this.#options.flows.count(known.flow, known.session, 'up', payload.length);
      known.conn.stream.write(payload);
    } else if (known.waiting.length < ahead) known.waiting.push(payload.slice());
  }
  /** Ends what belongs to `owner`; undefined = all. */
  reset(owner?: Plug): void {
    for (const [key, opening] of [...this.#open])
      if (owner === undefined || opening.flow.owner === owner) this.#close(key, opening);
  }
  /** Until the audit has the end of each. */
  async settled(): Promise<void> {
    await Promise.all(this.#running);
  }

  #begin(arrival: UdpArrival): void {
    const { flows } = this.#options;
    const flow = flows.begin({ protocol: 'udp', from: arrival.from, to: arrival.to }, arrival.owner);
    if (!flow) return;
    const opening: Opening = {
      flow,
      waiting: [arrival.payload.slice()],
      conn: undefined,
      session: undefined,
      isUsed: true,
      answer: arrival.answer,
    };
    this.#open.set(arrival.key, opening);
    const carry = this.#carry(arrival, opening).finally(() => this.#running.delete(carry));
    this.#running.add(carry);
  }
  async #carry({ key, to, unreachable }: UdpArrival, opening: Opening): Promise<void> {
    const { flows, idle, after, isOwn } = this.#options;
    const { flow } = opening;
    try {
      await using session = await flows.admit(flow);
      const conn = await dialUdp({ ...to, queue: 256 }, session.signal);
      const { stream } = conn;
      // A forward may lead to a name; only now is it known where that is.
      if ('host' in conn.peer && isOwn(conn.peer.host, conn.peer.port)) {
        stream.destroy();
        throw new Fault('denied', `${to.host}:${to.port} leads to a listener of this gate`);
      }
      const ended = Promise.withResolvers<void>();
      opening.conn = conn;
      opening.session = session;
      flow.state = 'established';
      stream.on('data', (payload: Buffer) => {
        opening.isUsed = true;
        flows.count(flow, session, 'down', payload.length);
        opening.answer(payload);
      });
      stream.once('error', unreachable);
      stream.once('close', ended.resolve);
      const cut = (): void => void stream.destroy();
      session.signal.addEventListener('abort', cut);
      let stop = (): void => {};
      const look = (): void => {
        if (!opening.isUsed) cut();
        opening.isUsed = false;
        stop = after(idle, look);
      };
      stop = after(idle, look);
      if (this.#open.get(key) !== opening || session.signal.aborted) cut();
      for (const payload of opening.waiting.splice(0)) {
        flows.count(flow, session, 'up', payload.length);
        stream.write(payload);
      }
      await ended.promise;
      stop();
      session.signal.removeEventListener('abort', cut);
    } catch (error) {
      flows.report(flow, error);
      unreachable();
    } finally {
      this.#close(key, opening);
    }
  }
  #close(key: string, opening: Opening): void {
    if (this.#open.get(key) === opening) this.#open.delete(key);
    opening.conn?.stream.destroy();
    this.#options.flows.end(opening.flow);
  }
}
