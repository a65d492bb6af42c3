// A worker's gate: asks the gate process, which decides once; counts and notes stay here until the end.
import { type Clock, systemClock } from '../core/clock.ts';
import { Fault, type FaultCode, faults } from '../core/fault.ts';
import type { AccessRequest, Gate, Log, Session } from '../core/parts.ts';
import { type Ask, ask, Batch, type Channel, packAddress, packPrincipal, type Tell, tell } from './remote-protocol.ts';
import { RemoteSession } from './remote-session.ts';

export interface RemoteGateOptions {
  readonly log: Log;
  readonly clock?: Clock | undefined;
  /** Milliseconds between counts of live sessions (default 3,000). */
  readonly countEvery?: number | undefined;
  /** How many admissions may wait for an answer (default 10,000); more are refused here. */
  readonly most?: number | undefined;
}

export interface RemoteGate extends Gate {
  /** Sends what is still to be said: call it before the process ends. */
  flush(): void;
  readonly size: number;
}

interface Waiting {
  readonly request: AccessRequest;
  readonly resolve: (session: Session) => void;
  readonly reject: (fault: Fault) => void;
}

export function createRemoteGate(channel: Channel, options: RemoteGateOptions): RemoteGate {
  return new AskingGate(channel, options);
}

class AskingGate implements RemoteGate {
  readonly #channel: Channel;
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #countEvery: number;
  readonly #most: number;
  readonly #batch: Batch<Ask>;
  readonly #doors = new Map<string, number>();
  readonly #waiting = new Map<number, Waiting>();
  readonly #live = new Map<number, RemoteSession>();
  /** Refusals of this turn, so that a flood of them is one item. */
  readonly #refused = new Map<string, { item: Extract<Ask, readonly [4, ...unknown[]]>; times: number }>();
  #next = 1;
  #isCounting = false;

  constructor(channel: Channel, { log, clock, countEvery, most }: RemoteGateOptions) {
    this.#channel = channel;
    this.#log = log;
    this.#clock = clock ?? systemClock;
    this.#countEvery = countEvery ?? 3000;
    this.#most = most ?? 10_000;
    this.#batch = new Batch(items => {
      if (!channel.closed.aborted) channel.send(items);
    });
    channel.receive(message => this.#hear(message as readonly Tell[]));
    channel.closed.addEventListener('abort', () => this.#lose());
  }

  get size(): number {
    return this.#live.size;
  }

  admit(request: AccessRequest): Promise<Session> {
    return new Promise((resolve, reject) => {
      if (this.#channel.closed.aborted) return reject(gone());
      if (this.#waiting.size >= this.#most) return reject(new Fault('limit', 'too many connections wait for the gate'));
      const n = this.#next++;
      this.#waiting.set(n, { request, resolve, reject });
      const { who, from, asks } = request;
      this.#batch.push([ask.admit, n, this.#door(request), packPrincipal(who), packAddress(from), asks ?? null]);
    });
  }

  refuse(request: AccessRequest, reason: string): void {
    try {
      const { who, from } = request;
      const host = 'path' in from ? from.path : from.host;
      const key = JSON.stringify([request.action, request.resource, host, reason, who.credential]);
      const known = this.#refused.get(key);
      if (known) known.times++;
      else if (this.#refused.size < 1000) {
        if (this.#refused.size === 0) setImmediate(() => this.#sendRefused());
        const item = [ask.refused, this.#door(request), packPrincipal(who), packAddress(from), reason, 1] as const;
        this.#refused.set(key, { item, times: 1 });
      }
    } catch (error) {
      this.#log.error({ error }, 'a refusal could not be noted');
    }
  }

  flush(): void {
    this.#sendRefused();
    this.#batch.flush();
  }

  #sendRefused(): void {
    for (const { item, times } of this.#refused.values()) {
      const [kind, door, who, from, reason] = item;
      this.#batch.push([kind, door, who, from, reason, times]);
    }
    this.#refused.clear();
    this.#batch.flush();
  }

  /** What all admissions of one listener share is sent once. Routes are few; a reload adds some. */
  #door({ action, resource, opened, limits }: AccessRequest): number {
    const key = JSON.stringify([action, resource, opened, limits]);
    const known = this.#doors.get(key);
    if (known !== undefined) return known;
    const door = this.#doors.size;
    this.#doors.set(key, door);
    this.#batch.push([ask.door, door, action, resource, opened ?? null, limits ?? null]);
    return door;
  }

  #hear(message: readonly Tell[]): void {
    for (const item of message) {
      if (item[0] === tell.admitted) this.#admitted(item[1], item[2], item[3]);
      else if (item[0] === tell.refused) {
        const waiting = this.#waiting.get(item[1]);
        this.#waiting.delete(item[1]);
        waiting?.reject(new Fault(item[2] in faults ? (item[2] as FaultCode) : 'bug', item[3]));
      } else this.#live.get(item[1])?.cut(item[2]);
    }
  }

  #admitted(n: number, id: string, until: number | undefined): void {
    const waiting = this.#waiting.get(n);
    if (!waiting) return;
    this.#waiting.delete(n);
    const session = new RemoteSession(id, waiting.request, this.#log, ended => this.#end(n, ended));
    this.#live.set(n, session);
    if (until !== undefined) {
      session.until = until;
      if (this.#channel.closed.aborted) this.#endInTime(session);
    }
    this.#armCounts();
    // The brand is core's own; like access/gate.ts, this is a Gate, and mints on the gate's word.
    waiting.resolve(session as unknown as Session);
  }

  #end(n: number, { up, down, notes }: RemoteSession): void {
    this.#live.delete(n);
    this.#batch.push([ask.end, n, up, down, notes ?? null]);
  }

  /** One message for all sessions that have moved; no timer while there are none. */
  #armCounts(): void {
    if (this.#isCounting) return;
    this.#isCounting = true;
    this.#clock.after(this.#countEvery, () => {
      this.#isCounting = false;
      const moved: number[] = [];
      for (const [n, session] of this.#live) if (session.hasMoved()) moved.push(n, session.up, session.down);
      if (moved.length > 0) this.#batch.push([ask.counts, ...moved]);
      if (this.#live.size > 0) this.#armCounts();
    });
  }

  /** The gate process is gone: what lives goes on living, until its time is over, and nobody new comes in. */
  #lose(): void {
    for (const { reject } of this.#waiting.values()) reject(gone());
    this.#waiting.clear();
    for (const session of this.#live.values()) this.#endInTime(session);
  }

  /** What the gate process would have done. */
  #endInTime(session: RemoteSession): void {
    if (session.until === undefined) return;
    this.#clock.after(session.until - this.#clock.now().getTime(), () => session.cut('expired'));
  }
}

const gone = (): Fault => new Fault('unreachable', 'the gate process cannot be reached; nobody is admitted');
