// One client connection's stay at one site: one session, its connections to the service, everything under way in it.
import type { Socket } from 'node:net';
import type { Clock } from '../../core/clock.ts';
import type { EndReason, Session } from '../../core/parts.ts';

/**
 * Connections to the service belong to the stay, never to everybody: they are dialled under its session, end with it,
 * and a service that signs people in by connection (NTLM, Negotiate) takes nobody for somebody else.
 */
export abstract class Stay {
  readonly session: Session;
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

  constructor(session: Session) {
    this.session = session;
    this.#onAbort = () => this.cut(String(session.signal.reason));
  }

  /** Gives up the connections to the service. */
  protected abstract release(): void;

  /** To be called once the stay is whole: its session may have ended while it was made. */
  protected begin(): void {
    const { signal } = this.session;
    signal.addEventListener('abort', this.#onAbort, { once: true });
    if (signal.aborted) this.#onAbort();
  }

  get isOpen(): boolean {
    return this.#state === 'open';
  }
  get isIdle(): boolean {
    return this.#ends.size === 0;
  }
  /** Aborts when the stay is cut or closed; the reason is an EndReason. */
  get signal(): AbortSignal {
    return this.#cut.signal;
  }

  /** Something begins; `end` is called if the stay is cut. The returned function says that it is over. */
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

  /** Ends what is under way, hard, and then the stay. */
  cut(reason: EndReason | string): void {
    if (this.#state === 'closed') return;
    this.session.note('cause', reason);
    this.#cut.abort(reason);
    // First: whoever is cut off gets no page that says that the site was unreachable.
    for (const end of [...this.#ends]) end();
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
    this.release();
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
