// One client connection's stay at a site: one session, its connections to the service, everything under way in it.
import type { Socket } from 'node:net';
import type { Conn, EndReason, Session } from '../../../core/parts.ts';
import type { Site } from './map.ts';
import { Pool } from './upstream.ts';

export interface StayOptions {
  readonly session: Session;
  readonly site: Site;
  readonly dial: (stay: Stay, signal: AbortSignal) => Promise<Conn>;
}

/**
 * Connections to the service belong to the stay, never to everybody: they are dialled under its session, end with it,
 * and a service that signs people in by connection (NTLM, Negotiate) takes nobody for somebody else.
 */
export class Stay {
  readonly session: Session;
  readonly site: Site;
  readonly pool: Pool;
  requests = 0;
  readonly #dial: StayOptions['dial'];
  readonly #ends = new Set<() => void>();
  readonly #sockets = new Set<Socket>();
  readonly #cut = new AbortController();
  readonly #onAbort: () => void;
  #state: 'open' | 'closed' = 'open';
  #idleBeats = 0;
  #closing: Promise<void> | undefined;

  constructor({ session, site, dial }: StayOptions) {
    this.session = session;
    this.site = site;
    this.#dial = dial;
    const { limits, timeouts } = site.plan;
    this.pool = new Pool({
      dial: signal => dial(this, signal),
      most: limits.upstream,
      timeouts,
      watch: socket => this.watch(socket),
      signal: this.#cut.signal,
    });
    this.#onAbort = () => this.cut(String(session.signal.reason));
    session.signal.addEventListener('abort', this.#onAbort, { once: true });
    if (session.signal.aborted) this.#onAbort();
  }

  get isOpen(): boolean {
    return this.#state === 'open';
  }
  /** Aborts when the stay is cut or closed; the reason is an EndReason. */
  get signal(): AbortSignal {
    return this.#cut.signal;
  }

  /** A connection to the service that is not the pool's. @throws what the dial throws */
  async dial(): Promise<Conn> {
    const conn = await this.#dial(this, this.signal);
    this.watch(conn.stream as Socket);
    return conn;
  }

  /** Something begins; `end` is called if the stay is cut. The returned function says that it is over. */
  enter(end: () => void): () => void {
    this.requests++;
    this.#idleBeats = 0;
    this.#ends.add(end);
    return () => void this.#ends.delete(end);
  }

  /** How many looks in a row nothing has been under way. */
  beat(): number {
    this.#idleBeats = this.#ends.size === 0 ? this.#idleBeats + 1 : 0;
    return this.#idleBeats;
  }

  /** Ends what is under way, hard, and then the stay. */
  cut(reason: EndReason | string): void {
    if (this.#state === 'closed') return;
    this.session.note('cause', reason);
    this.#cut.abort(reason);
    const ends = [...this.#ends];
    void this.close();
    for (const end of ends) end();
  }

  /** Writes the closing record. Once, however often it is asked. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#state = 'closed';
    this.session.signal.removeEventListener('abort', this.#onAbort);
    if (!this.#cut.signal.aborted) this.#cut.abort('ended');
    for (const socket of this.#sockets) this.#count(socket);
    this.#sockets.clear();
    this.pool.close();
    this.session.note('requests', this.requests);
    await this.session[Symbol.asyncDispose]();
  }

  /** Bytes are what the sockets counted: nothing stands in their way. */
  watch(socket: Socket): void {
    if (this.#state === 'closed') {
      socket.destroy();
      return;
    }
    this.#sockets.add(socket);
    socket.once('close', () => {
      if (this.#sockets.delete(socket)) this.#count(socket);
    });
  }
  #count(socket: Socket): void {
    this.session.count('up', socket.bytesWritten);
    this.session.count('down', socket.bytesRead);
  }
}
