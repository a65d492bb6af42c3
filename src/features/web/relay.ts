// One request to its site and the answer back: streaming both ways, one waiting for the other, nothing kept whole.
import type { Readable, Writable } from 'node:stream';
import { Fault } from '../../core/fault.ts';
import { answerHasBody, type Exchange } from './exchange.ts';
import { answerFields, type Fields, requestHead, trailerFields, valuesOf } from './headers.ts';
import type { MessageHead } from './llhttp.ts';
import type { Asker, Connection, Pool } from './upstream.ts';

/** Where requests go: a visit, or the gate itself. */
export interface Upstream {
  readonly pool: Pool;
  /** Aborts with the reason why what is under way must end. */
  readonly signal: AbortSignal;
  /** Something begins; `end` breaks it off. The returned function says that it is over. */
  enter(end: () => void): () => void;
}

export interface Relayed {
  readonly status: number;
  /** Why it did not end by itself. */
  readonly cause?: string;
  readonly up: number;
  readonly down: number;
}
export interface RelayOptions {
  readonly upstream: Upstream;
  /** Path and query, as sent. */
  readonly path: string;
  readonly fields: readonly string[];
  /** Called once, at the end, whatever it was. */
  readonly done: (end: Relayed) => void;
  /** Nothing has been answered yet and nothing will come: says so to the client. */
  readonly fail: (fault: Fault) => void;
}

/** Safe to ask twice when a kept connection turns out to be dead (RFC 9110 §9.2.2, RFC 9112 §9.3.1). */
const repeatable = new Set(['GET', 'HEAD', 'OPTIONS']);
/** Bytes that may wait for a slow reader before its source is paused: pausing costs two system calls. */
const ahead = 262_144;

export function relay(exchange: Exchange, options: RelayOptions): void {
  new Relay(exchange, options).start();
}

class Relay implements Asker {
  readonly method: string;
  readonly hasBody: boolean;
  head = '';
  readonly #exchange: Exchange;
  readonly #options: RelayOptions;
  readonly #leave: () => void;
  #connection: Connection | undefined;
  #sink: Writable | undefined;
  #written = 0;
  #read = 0;
  #moved: { up: number; down: number } | undefined;
  #tries = 0;
  #status = 0;
  #cause: string | undefined;
  #isTrailing = false;
  #isCut = false;
  readonly #onWritten = (): void => {
    if (this.#state === 'answering') this.#connection?.resume();
  };
  /** The first piece of a short answer, kept for the turn in which its end may come too: then both are one write. */
  #first: Buffer | undefined;
  #state: 'asking' | 'answering' | 'answered' | 'done' = 'asking';

  constructor(exchange: Exchange, options: RelayOptions) {
    this.#exchange = exchange;
    this.#options = options;
    this.method = exchange.method;
    this.hasBody = exchange.body.kind !== 'none';
    this.#leave = options.upstream.enter(() => this.#abort(String(options.upstream.signal.reason)));
  }

  start(): void {
    this.#exchange.onClose(() => this.#closed());
    try {
      this.head = requestHead(this.method, this.#options.path, this.#options.fields);
    } catch (error) {
      this.#fault(error as Fault);
      return;
    }
    this.#ask();
  }

  #ask(): void {
    this.#tries++;
    this.#options.upstream.pool.ask(this, this.#tries > 1);
  }

  ready(connection: Connection): void {
    this.#connection = connection;
    this.#written = connection.written - this.head.length;
    this.#read = connection.read;
    if (this.#state === 'done') connection.destroy();
    else if (this.hasBody) this.#sendBody(connection);
  }

  #sendBody(connection: Connection): void {
    const { source, body } = this.#exchange;
    if (body.kind === 'chunked') this.#sendChunks(source, connection);
    else if (body.kind === 'length') this.#sendLength(source, connection, Number(body.length));
  }
  #sendLength(source: Readable, connection: Connection, length: number): void {
    let left = length;
    source.on('data', (chunk: Buffer) => {
      left -= chunk.length;
      // The parser of the front has checked it; a longer body would be the next request's beginning.
      if (left < 0) this.#abort('protocol');
      else if (!connection.write(chunk) && connection.stream.writableLength > ahead) source.pause();
      if (left === 0) connection.sent();
    });
  }
  #sendChunks(source: Readable, connection: Connection): void {
    source.on('data', (chunk: Buffer) => {
      if (chunk.length === 0) return;
      const { stream } = connection;
      stream.cork();
      connection.write(`${chunk.length.toString(16)}\r\n`);
      connection.write(chunk);
      connection.write('\r\n');
      stream.uncork();
      if (stream.writableLength > ahead) source.pause();
    });
    source.once('end', () => {
      if (this.#connection !== connection || this.#state === 'done') return;
      const trailers = trailerFields(this.#exchange.trailers());
      let text = '0\r\n';
      for (let at = 0; at < trailers.length; at += 2) text += `${trailers[at]}: ${trailers[at + 1]}\r\n`;
      connection.write(`${text}\r\n`);
      connection.sent();
    });
  }
  drained(): void {
    if (this.hasBody && this.#state !== 'done') this.#exchange.source.resume();
  }

  inform(status: number, fields: Fields): void {
    if (status === 100) this.#exchange.proceed();
    else if (status === 103) this.#exchange.inform(status, fields);
  }

  answer({ status, reason, fields, version }: MessageHead): void {
    this.#state = 'answering';
    this.#status = status;
    const hasBody = answerHasBody(this.method, status);
    this.#isTrailing = hasBody && valuesOf(fields, 'trailer').length > 0;
    try {
      const sink = this.#exchange.answer({
        ...{ status, hasBody, reason, trailing: this.#isTrailing },
        fields: answerFields(fields, version, this.#isTrailing && this.#exchange.version !== '1.0'),
      });
      this.#sink = hasBody ? sink : undefined;
      if (!hasBody) sink.end();
    } catch (cause) {
      // Fields that may not be written: nothing has been sent yet.
      this.#state = 'asking';
      const fault = new Fault('unreachable', 'the site sent an answer that cannot be passed on', { cause });
      this.#connection?.destroy(fault);
    }
  }

  data(chunk: Buffer, shared: boolean): boolean {
    const sink = this.#sink;
    if (!sink) return true;
    if (!shared && this.#first === undefined && chunk.length <= 16_384) {
      this.#first = chunk;
      queueMicrotask(() => this.#flush());
      return true;
    }
    if (this.#first) this.#flush();
    if (shared && this.#exchange.writesAtOnce && sink.writableLength === 0) {
      // The memory may be used again once this is written, so that nothing is read before: no copy, no garbage.
      sink.write(chunk, this.#onWritten);
      return false;
    }
    // A sink that is still writing keeps what it is given, and the memory of this chunk is not ours to give.
    if (sink.write(shared ? Buffer.from(chunk) : chunk) || sink.writableLength <= ahead) return true;
    sink.once('drain', this.#onWritten);
    return false;
  }
  #flush(): void {
    const first = this.#first;
    this.#first = undefined;
    if (first) this.#sink?.write(first);
  }

  end(trailers: Fields): void {
    if (this.#state !== 'answering') return;
    this.#state = 'answered';
    this.#moved = this.#count(); // now: the next request may have the connection in a moment
    if (this.hasBody && !this.#exchange.source.readableEnded) {
      this.#exchange.source.removeAllListeners('data');
      this.#exchange.enough();
    }
    const sink = this.#sink;
    if (!sink) return;
    if (this.#isTrailing) this.#exchange.addTrailers(trailerFields(trailers));
    const first = this.#first;
    this.#first = undefined;
    if (first) sink.end(first.toString('latin1'), 'latin1');
    else sink.end();
  }

  failed(error: Error, connection: Connection | undefined): void {
    if (this.#state === 'done' || this.#state === 'answered' || this.#isCut) return;
    if (this.#state === 'answering') {
      this.#abort('far-reset');
      return;
    }
    const isStale = connection?.isReused === true && connection.read === this.#read && !(error instanceof Fault);
    if (isStale && this.#tries === 1 && !this.hasBody && repeatable.has(this.method)) {
      this.#ask();
      return;
    }
    this.#fault(faultOf(error));
  }
  #fault(fault: Fault): void {
    this.#cause ??= fault.code;
    this.#options.fail(fault);
  }

  /** Breaks off both sides. */
  #abort(cause: string): void {
    if (this.#state === 'done') return;
    this.#cause ??= cause;
    this.#isCut = true;
    this.#exchange.abort();
    if (this.#state !== 'answered') this.#connection?.destroy();
  }

  /** The client's side is over, one way or the other. */
  #closed(): void {
    if (this.#state === 'done') return;
    const isComplete = this.#state === 'answered';
    this.#state = 'done';
    this.#leave();
    if (!isComplete) {
      this.#cause ??= 'near-reset';
      this.#options.upstream.pool.forget(this);
      this.#connection?.destroy();
    }
    this.#options.done({
      status: this.#status,
      ...(this.#moved ?? this.#count()),
      ...(this.#cause === undefined ? {} : { cause: this.#cause }),
    });
  }

  #count(): { up: number; down: number } {
    const connection = this.#connection;
    if (!connection) return { up: 0, down: 0 };
    return { up: connection.written - this.#written, down: connection.read - this.#read };
  }
}

function faultOf(error: Error): Fault {
  // A dial that was called off rejects with the reason of its signal, which may be a word.
  if (typeof error === 'string') return new Fault('denied', 'this is not allowed any more', { facts: { rule: error } });
  if (error instanceof Fault) return error;
  return new Fault('unreachable', 'the site broke the connection off before it answered', { cause: error });
}
