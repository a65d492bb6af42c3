// Connections to a service on behalf of one visit: kept between requests, bounded, never used again after an error.
import type { Socket } from 'node:net';
import { Fault } from '../../../core/fault.ts';
import type { Conn } from '../../../core/parts.ts';
import { AnswerParser, type AnswerSink, type ServiceAnswer } from './answer-parser.ts';

/** Whoever has a request under way on a connection. */
export interface Asker extends AnswerSink {
  /** The connection takes more of the body. */
  onDrain(): void;
  /** No answer will come, or no more of it. */
  onFail(error: Error): void;
  /** A 101 came: the connection is the asker's from here on. `rest`: what came with it. */
  onSwitch(answer: ServiceAnswer, conn: Conn, rest: Buffer | undefined): void;
}

/** One connection, one request at a time. */
export class Upstream {
  readonly conn: Conn;
  readonly socket: Socket;
  readonly #pool: Pool;
  readonly #parser = new AnswerParser();
  #asker: Asker | undefined;
  #answer: ServiceAnswer | undefined;
  /** Requests that were answered here before. */
  used = 0;
  #state: 'open' | 'switched' | 'closed' = 'open';
  #sent = false;
  /** A limit of time passed while the client kept both sides waiting: it has to be set anew. */
  #lapsed = false;

  constructor(conn: Conn, pool: Pool) {
    this.conn = conn;
    this.socket = conn.stream as Socket;
    this.#pool = pool;
    // An HTTP server that ends its side is done; a pooled socket must not linger half open.
    this.socket.allowHalfOpen = false;
    this.socket.setTimeout(pool.timeouts.read);
    this.socket.on('data', this.#onData);
    this.socket.on('end', this.#onEnd);
    this.socket.on('drain', this.#onDrain);
    this.socket.on('timeout', this.#onTimeout);
    this.socket.on('error', this.#onError);
    this.socket.on('close', this.#onClose);
  }

  get isOpen(): boolean {
    return this.#state === 'open' && !this.socket.destroyed;
  }

  /** Bytes that this connection has carried since it was made. */
  get written(): number {
    return this.socket.bytesWritten;
  }
  get read(): number {
    return this.socket.bytesRead;
  }

  ask(method: string, head: string, hasBody: boolean, asker: Asker): void {
    this.#asker = asker;
    this.#answer = undefined;
    this.#sent = !hasBody;
    this.#parser.expect(method, this);
    if (hasBody) this.socket.setTimeout(this.#pool.timeouts.send);
    this.socket.write(head, 'latin1');
  }

  /** Answers whether more may follow at once. */
  send(chunk: Buffer | string): boolean {
    this.#rearm();
    return this.socket.write(chunk as Buffer);
  }
  sent(): void {
    if (this.#sent) return;
    this.#sent = true;
    this.socket.setTimeout(this.#pool.timeouts.read);
  }

  /** The asker has no room. */
  pause(): void {
    this.socket.pause();
  }
  resume(): void {
    this.#rearm();
    this.socket.resume();
  }
  #rearm(): void {
    if (!this.#lapsed) return;
    this.#lapsed = false;
    this.socket.setTimeout(this.#sent ? this.#pool.timeouts.read : this.#pool.timeouts.send);
  }

  /** Nobody waits for the answer any more. */
  leave(): void {
    this.#asker = undefined;
    this.destroy();
  }

  destroy(): void {
    if (this.#state === 'switched') return;
    this.#state = 'closed';
    this.socket.destroy();
    this.#pool.lost(this);
  }

  // --- as the parser's sink
  onInterim(answer: ServiceAnswer): void {
    this.#asker?.onInterim(answer);
  }
  onHead(answer: ServiceAnswer): void {
    this.#answer = answer;
    if (answer.status !== 101) this.#asker?.onHead(answer);
  }
  onData(chunk: Buffer): void {
    this.#asker?.onData(chunk);
  }
  onEnd(trailers: string[]): void {
    const asker = this.#asker;
    const keeps = this.#answer?.keeps === true && this.#sent;
    this.#asker = undefined;
    this.used++;
    asker?.onEnd(trailers);
    if (!keeps) this.destroy();
    else if (this.#state === 'open') {
      if (this.socket.isPaused()) this.socket.resume();
      this.#pool.free(this);
    }
  }

  readonly #onData = (chunk: Buffer): void => {
    try {
      const rest = this.#parser.push(chunk);
      if (this.#answer?.status === 101 && this.#asker) this.#switch(this.#answer, rest);
      // Bytes that nobody asked for: whatever they are, the next request must not take them for its answer.
      else if (rest) this.destroy();
    } catch (error) {
      this.#fail(error as Error);
    }
  };
  #switch(answer: ServiceAnswer, rest: Buffer | undefined): void {
    const asker = this.#asker;
    this.#asker = undefined;
    this.#state = 'switched';
    this.socket.setTimeout(0);
    this.socket.off('data', this.#onData).off('end', this.#onEnd).off('drain', this.#onDrain);
    this.socket.off('timeout', this.#onTimeout).off('error', this.#onError).off('close', this.#onClose);
    this.socket.pause();
    this.socket.allowHalfOpen = true;
    this.#pool.lost(this);
    asker?.onSwitch(answer, this.conn, rest);
  }
  readonly #onEnd = (): void => {
    try {
      this.#parser.end();
      this.destroy();
    } catch (error) {
      this.#fail(error as Error);
    }
  };
  readonly #onDrain = (): void => {
    this.#asker?.onDrain();
  };
  readonly #onTimeout = (): void => {
    if (!this.#asker) {
      this.destroy();
      return;
    }
    // Whoever waits for the client is not late: only a service that neither reads nor answers is.
    if ((!this.#sent && !this.socket.writableNeedDrain) || this.socket.isPaused()) this.#lapsed = true;
    else this.#fail(new Fault('timeout', 'the site did not answer in time'));
  };
  readonly #onError = (cause: Error): void => {
    this.#fail(cause);
  };
  readonly #onClose = (): void => {
    this.#fail(new Fault('unreachable', 'the site broke the connection off before it answered'));
  };
  #fail(error: Error): void {
    const asker = this.#asker;
    this.#asker = undefined;
    this.destroy();
    asker?.onFail(error);
  }
}

export interface PoolOptions {
  readonly dial: (signal: AbortSignal) => Promise<Conn>;
  /** Connections at a time. */
  readonly most: number;
  /** Milliseconds. */
  readonly timeouts: { readonly send: number; readonly read: number };
  /** A connection was made: its bytes count. */
  readonly watch: (socket: Socket) => void;
  readonly signal: AbortSignal;
}

/** Requests that may wait for a connection. */
const mostWaiting = 1000;

interface Waiter {
  readonly ready: (upstream: Upstream) => void;
  readonly fail: (error: Error) => void;
}

export class Pool {
  readonly timeouts: PoolOptions['timeouts'];
  readonly #options: PoolOptions;
  readonly #idle: Upstream[] = [];
  readonly #all = new Set<Upstream>();
  readonly #waiting: Waiter[] = [];
  #dialling = 0;

  constructor(options: PoolOptions) {
    this.#options = options;
    this.timeouts = options.timeouts;
  }

  /** A kept connection: the newest, which is the likeliest to be alive. */
  takeIdle(): Upstream | undefined {
    for (let one = this.#idle.pop(); one; one = this.#idle.pop()) if (one.isOpen) return one;
    return undefined;
  }

  /** @throws Fault `limit`, and what the dial throws */
  take(fresh = false): Promise<Upstream> {
    const kept = fresh ? undefined : this.takeIdle();
    if (kept) return Promise.resolve(kept);
    return new Promise((ready, fail) => {
      if (this.#waiting.length >= mostWaiting) return fail(new Fault('limit', 'too many requests wait for this site'));
      this.#waiting.push({ ready, fail });
      this.#more();
    });
  }

  /** Back from a request. */
  free(upstream: Upstream): void {
    const next = this.#waiting.shift();
    if (next) next.ready(upstream);
    else this.#idle.push(upstream);
  }

  lost(upstream: Upstream): void {
    if (!this.#all.delete(upstream)) return;
    const at = this.#idle.indexOf(upstream);
    if (at >= 0) this.#idle.splice(at, 1);
    this.#more();
  }

  close(): void {
    for (const one of [...this.#all]) one.destroy();
    for (const { fail } of this.#waiting.splice(0))
      fail(new Fault('denied', 'this is not allowed any more', { facts: { rule: 'ended' } }));
  }

  #more(): void {
    const { dial, signal, most, watch } = this.#options;
    while (this.#waiting.length > this.#dialling && this.#all.size + this.#dialling < most && !signal.aborted) {
      this.#dialling++;
      dial(signal).then(
        conn => {
          this.#dialling--;
          if (signal.aborted) return void conn.stream.destroy();
          const upstream = new Upstream(conn, this);
          this.#all.add(upstream);
          watch(upstream.socket);
          this.free(upstream);
        },
        error => {
          this.#dialling--;
          this.#waiting.shift()?.fail(error as Error);
          this.#more();
        },
      );
    }
  }
}
