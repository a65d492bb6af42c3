// The middle of one tunnel: whoever is connected on each side, and each connection of the source joined to a destination —
// an AWS client that came with its token, or else our own agent on its link.

import type { Duplex } from 'node:stream';
import type { Clock } from '../../core/clock.ts';
import { Fault, toFault } from '../../core/fault.ts';
import type { Dialer, EndReason, Log, Metrics, Session } from '../../core/parts.ts';
import type { MessagePipe } from '../../net/websocket.ts';
import { type JoinEnd, joinStreams } from './join-streams.ts';
import type { TunnelMux } from './mux.ts';
import type { TunnelStream } from './stream.ts';
import type { SideName } from './token.ts';

/** The device registry, as far as tunnels know it; daemon/ introduces it. */
export interface Devices {
  isOnline(name: string): boolean;
  readonly dialer: Dialer;
}

/** Who is connected on one side. */
export interface Peer {
  readonly mux: TunnelMux;
  readonly pipe: MessagePipe;
  readonly session: Session;
}

export interface BrokerOptions {
  readonly id: string;
  /** The device that the tunnel leads to, by its own link. */
  readonly thing: () => string | undefined;
  readonly devices: () => Devices | undefined;
  /** Milliseconds that a connection waits for a destination. */
  readonly wait: number;
  readonly onState: (side: SideName, state: 'connected' | 'disconnected') => void;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/** Close codes of our own (RFC 6455 §7.4.2). localproxy prints code and reason, and ends. */
export const closeCodes = { over: 1000, replaced: 4001, cut: 4002, silent: 4003 } as const;

const glance = 500;
/** What may wait for a connection that no destination has taken yet. */
const untaken = 256 * 1024;

export class Broker {
  readonly #options: BrokerOptions;
  readonly #peers = new Map<SideName, Peer>();
  readonly #waiting = new Set<() => void>();
  #connections = 0;
  #state: 'open' | 'draining' | 'closed' = 'open';
  #onIdle: (() => void) | undefined;

  constructor(options: BrokerOptions) {
    this.#options = options;
  }

  get connections(): number {
    return this.#connections;
  }
  isConnected(side: SideName): boolean {
    return this.#peers.has(side);
  }

  /** One live socket a side: a new one takes the place of the old, whose connections end. Resolves when it is gone. */
  async attach(side: SideName, peer: Peer): Promise<void> {
    const { session, mux, pipe } = peer;
    const before = this.#peers.get(side);
    this.#peers.set(side, peer);
    // With a word, or two clients with one token would push each other out for ever.
    before?.mux.close(closeCodes.replaced, 'another connection with the same token has taken over');
    if (!before) this.#options.onState(side, 'connected');
    const cut = (): void => endPeer(peer, session.signal.reason as EndReason);
    session.signal.addEventListener('abort', cut, { once: true });
    if (session.signal.aborted) cut();
    if (side === 'destination') for (const go of [...this.#waiting]) go();
    const { code } = await pipe.ended;
    mux.destroy();
    session.signal.removeEventListener('abort', cut);
    session.note('close', code);
    if (this.#peers.get(side) !== peer) return;
    this.#peers.delete(side);
    // At a drain it stays what it was: who was in may come back to the next gate.
    if (session.signal.reason !== 'drain' && this.#state !== 'draining') this.#options.onState(side, 'disconnected');
  }

  /** A connection that the source has opened. Never throws. */
  async carry(near: TunnelStream, session: Session): Promise<void> {
    this.#count(1);
    near.most = untaken;
    try {
      const isGone = (): boolean => near.destroyed || near.farEnd === 'reset';
      let far = await this.#reach(near.service, session, isGone);
      // A destination that takes one connection at a time lets it wait for its turn, and may go away meanwhile.
      while (!(await hasBegun(near, far))) {
        if (near.destroyed) return;
        far = await this.#reach(near.service, session, isGone);
      }
      near.most = Number.POSITIVE_INFINITY;
      await this.join(near, far, session);
    } catch (error) {
      const fault = toFault(error);
      this.#options.metrics.count('tunnel_refused_total', { code: fault.code });
      if (fault.code === 'bug') session.log.error({ error }, 'a connection could not be carried');
      else session.log.info({ service: near.service, code: fault.code }, fault.message);
      near.destroy();
    } finally {
      this.#count(-1);
    }
  }

  /** A connection of a service for somebody who is admitted, without a source's socket. @throws Fault `unreachable` */
  reach(service: string, session: Session): Promise<Duplex> {
    return this.#reach(service, session, () => session.signal.aborted);
  }

  async join(near: Duplex, far: Duplex, session: Session): Promise<JoinEnd> {
    this.#options.metrics.count('tunnel_connections_total');
    const destination = this.#peers.get('destination')?.session;
    return joinStreams(near, far, {
      signal: session.signal,
      count: ({ up, down }) => {
        session.count('up', up);
        session.count('down', down);
        destination?.count('up', down);
        destination?.count('down', up);
      },
    });
  }

  /** The tunnel is over: both sides are told. */
  close(reason: string): void {
    this.#state = 'closed';
    for (const { mux } of this.#peers.values()) mux.close(closeCodes.over, reason);
    for (const go of [...this.#waiting]) go();
  }
  /** A side's token was replaced and the new one is to be used: nothing changes for who is in. */
  drop(side: SideName, reason: string): void {
    this.#peers.get(side)?.mux.close(closeCodes.cut, reason);
  }
  /** Without a word, so that clients come back; when nothing is carried, or at the deadline. */
  async drain(deadline: AbortSignal): Promise<void> {
    if (this.#connections > 0 && !deadline.aborted) {
      await new Promise<void>(resolve => {
        this.#onIdle = resolve;
        deadline.addEventListener('abort', () => resolve(), { once: true });
      });
    }
    if (this.#state === 'open') this.#state = 'draining';
    for (const { mux } of this.#peers.values()) mux.destroy();
  }

  async #reach(service: string, session: Session, isGone: () => boolean): Promise<Duplex> {
    const { id, thing, devices, wait, clock } = this.#options;
    const end = clock.now().getTime() + wait;
    for (;;) {
      const peer = this.#peers.get('destination');
      if (peer && !peer.mux.isOver) return peer.mux.open(service);
      const device = thing();
      const link = devices();
      if (device !== undefined && service !== '' && link?.isOnline(device)) {
        return (await link.dialer.dial({ kind: 'device', device, service }, session)).stream;
      }
      const left = end - clock.now().getTime();
      if (left <= 0 || isGone() || this.#state !== 'open') {
        throw new Fault('unreachable', `nobody is at the far end of tunnel ${id}; is the device on, and was it told?`);
      }
      // A device's link tells nobody when it is back, so it is looked for now and then.
      await this.#arrival(Math.min(left, glance), session.signal);
    }
  }

  /** Until a destination is here, the tunnel ends, or it took too long. */
  #arrival(wait: number, signal: AbortSignal): Promise<void> {
    return new Promise(resolve => {
      const go = (): void => {
        cancel();
        signal.removeEventListener('abort', go);
        this.#waiting.delete(go);
        resolve();
      };
      const cancel = this.#options.clock.after(wait, go);
      this.#waiting.add(go);
      signal.addEventListener('abort', go, { once: true });
    });
  }

  #count(by: 1 | -1): void {
    this.#connections += by;
    this.#options.metrics.gauge('tunnel_connections', {}, by);
    if (this.#connections === 0) this.#onIdle?.();
  }
}

/** Resolves when the far side knows of the connection; false when it, or who wanted it, is gone before. */
async function hasBegun(near: Duplex, far: Duplex): Promise<boolean> {
  if ((far as Partial<TunnelStream>).isBegun !== false) return true;
  const gone = (): void => void far.destroy();
  near.once('close', gone);
  if (near.destroyed) gone();
  try {
    return await new Promise<boolean>(resolve => {
      far.once('begun', () => resolve(true)).once('close', () => resolve(false));
    });
  } finally {
    near.off('close', gone);
  }
}

/** `drain`: the far side must come back. Everything else is an end that it is told of. */
function endPeer({ mux }: Peer, reason: EndReason): void {
  if (reason === 'drain') mux.destroy();
  else mux.close(closeCodes.cut, endTexts[reason]);
}
const endTexts: Readonly<Record<Exclude<EndReason, 'drain'>, string>> = {
  expired: 'the time of this tunnel is over',
  revoked: 'this side is not allowed any more',
  closed: 'an administrator ended this connection',
  idle: 'nothing was heard for too long',
};
