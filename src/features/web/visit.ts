// One client connection's stay at one site: one session, its connections upstream, and everything under way in it.
import type { Socket } from 'node:net';
import type { Clock } from '../../core/clock.ts';
import type { Conn, EndReason, Session } from '../../core/parts.ts';
import type { HostEntry } from './hosts.ts';
import type { Site } from './site.ts';
import { Pool } from './upstream.ts';

export interface VisitOptions {
  readonly session: Session;
  readonly site: Site;
  readonly entry: HostEntry;
  /** Connections upstream, at most. */
  readonly upstream: number;
  /** Milliseconds in which nothing moves until one of them is given up. */
  readonly read: number;
  readonly dial: (visit: Visit, signal: AbortSignal) => Promise<Conn>;
}

/**
 * Connections upstream belong to the visit, never to everybody: they are dialled under its session, end with it, and a
 * service that signs people in by connection (NTLM, Negotiate) takes nobody for somebody else.
 */
export class Visit {
  readonly session: Session;
  readonly site: Site;
  readonly entry: HostEntry;
  readonly pool: Pool;
  requests = 0;
  readonly #ends = new Set<() => void>();
  readonly #sockets = new Set<Socket>();
  readonly #cut = new AbortController();
  readonly #onAbort: () => void;
  #state: 'open' | 'closed' = 'open';
  /** Beats without anything under way. */
  #idleBeats = 0;
  #closing: Promise<void> | undefined;
  #cancelEnd: (() => void) | undefined;

  constructor(options: VisitOptions) {
    const { session, site, entry, upstream, read, dial } = options;
    this.session = session;
    this.site = site;
    this.entry = entry;
    this.pool = new Pool({
      most: upstream,
      patience: read,
      dial: () => dial(this, this.signal),
      opened: stream => {
        // An HTTP server that ends its side is done; a pooled socket must not linger half open.
        (stream as Socket).allowHalfOpen = false;
        this.#watch(stream as Socket);
      },
    });
    this.#onAbort = () => this.cut(String(session.signal.reason));
    session.signal.addEventListener('abort', this.#onAbort, { once: true });
    if (session.signal.aborted) this.#onAbort();
  }

  get host(): string {
    return this.site.host;
  }
  get isOpen(): boolean {
    return this.#state === 'open';
  }
  get isIdle(): boolean {
    return this.#ends.size === 0;
  }
  /** Aborts when the visit is cut or closed; the reason is an EndReason. */
  get signal(): AbortSignal {
    return this.#cut.signal;
  }

  /** Something begins; `end` is called if the visit is cut. The returned function says that it is over. */
  enter(end: () => void): () => void {
    this.requests++;
    this.#idleBeats = 0;
    this.#ends.add(end);
    return () => void this.#ends.delete(end);
  }

  /** How many beats in a row nothing has been under way. */
  beat(): number {
    this.#idleBeats = this.isIdle ? this.#idleBeats + 1 : 0;
    return this.#idleBeats;
  }

  /** Ends what is under way, hard, and then the visit. */
  cut(reason: EndReason | string): void {
    if (this.#state === 'closed') return;
    this.session.note('cause', reason);
    this.#cut.abort(reason);
    const ends = [...this.#ends];
    // First: whoever is cut off gets no page that says that the site was unreachable.
    for (const end of ends) end();
    void this.close();
  }

  /** Cuts it then: a sign-in ends although the connection lives. */
  endAt(when: Date, clock: Clock): void {
    this.#cancelEnd?.();
    this.#cancelEnd = clock.after(Math.max(0, when.getTime() - clock.now().getTime()), () => this.cut('expired'));
  }

  /** Writes the closing record. Once, however often it is asked. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#state = 'closed';
    this.#cancelEnd?.();
    this.session.signal.removeEventListener('abort', this.#onAbort);
    if (!this.#cut.signal.aborted) this.#cut.abort('ended');
    for (const socket of this.#sockets) this.#count(socket);
    this.#sockets.clear();
    this.pool.destroy();
    this.session.note('requests', this.requests);
    await this.session[Symbol.asyncDispose]();
  }

  /** Bytes are what the sockets counted: nothing stands in their way. */
  #watch(socket: Socket): void {
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
