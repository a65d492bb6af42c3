// One request to its site and the answer back: streaming both ways, one waiting for the other, nothing kept whole.
import type { Writable } from 'node:stream';
import { Fault } from '../../core/fault.ts';
import { answerHasBody, asWritable, type BodySource, type Exchange, type Sink } from './exchange.ts';
import { answerFields, type Fields, fieldLines, requestHead, tokensOf, trailerFields, valuesOf } from './headers.ts';
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
  readonly fields: Fields;
  /** Bytes of the request's body, at most. */
  readonly most?: number | undefined;
  /** The answer as the client gets it; without it, as the site sent it. */
  readonly answer?: (head: MessageHead, hasBody: boolean, isTrailing: boolean) => Passed;
  /** One `Link` of early hints as the client gets it. */
  readonly hint?: (link: string) => string;
  /** Called once, at the end, whatever it was. */
  readonly done: (end: Relayed) => void;
  /** Nothing has been answered yet and nothing will come: says so to the client. */
  readonly fail: (fault: Fault) => void;
}

/** An answer's fields for the client, and where its body goes through on the way, if anywhere. */
export interface Passed {
  readonly fields: Fields;
  readonly through?: Through;
}
/** Stages of a body's way: what is written into the first comes out into the sink. */
export type Through = (sink: Writable, failed: (error: Error) => void) => Writable;

/** Safe to ask twice when a kept connection turns out to be dead (RFC 9110 §9.2.2, RFC 9112 §9.3.1). */
const repeatable = new Set(['GET', 'HEAD', 'OPTIONS']);
/** Bytes that may wait for a slow reader before its source is paused: pausing costs two system calls. */
const ahead = 262_144;
/** Milliseconds until a client that waits for 100 is told to go on although the site is silent. */
const patience = 1000;

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
  #sink: Sink | undefined;
  #written = 0;
  #read = 0;
  #moved: { up: number; down: number } | undefined;
  #tries = 0;
  #status = 0;
  #cause: string | undefined;
  #isTrailing = false;
  #isCut = false;
  /** Whether the sink is the client's own, and done with what it is given when `write` returns. */
  #isDirect = false;
  #proceed: NodeJS.Timeout | undefined;
  #hasGoneOn = false;
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
    const { body } = this.#exchange;
    if (body.kind === 'length' && this.#isTooLong(Number(body.length))) return;
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
    const { source, body, fields } = this.#exchange;
    if (tokensOf(valuesOf(fields, 'expect')).includes('100-continue')) {
      this.#proceed = setTimeout(() => this.#goOn(), patience).unref();
    }
    if (body.kind === 'length') this.#sendLength(source, connection, Number(body.length));
    else this.#sendChunks(source, connection);
  }
  #sendLength(source: BodySource, connection: Connection, length: number): void {
    let left = length;
    source.on('data', (chunk: Buffer) => {
      if (this.#isCut) return;
      left -= chunk.length;
      // The parser of the front has checked it; a longer body would be the next request's beginning.
      if (left < 0) this.#abort('protocol');
      else if (!connection.write(chunk) && connection.stream.writableLength > ahead) source.pause();
      if (left === 0) connection.sent();
    });
  }
  #sendChunks(source: BodySource, connection: Connection): void {
    let sent = 0;
    source.on('data', (chunk: Buffer) => {
      sent += chunk.length;
      if (chunk.length === 0 || this.#isCut || this.#isTooLong(sent)) return;
      const { stream } = connection;
      stream.cork();
      connection.write(`${chunk.length.toString(16)}\r\n`);
      connection.write(chunk);
      connection.write('\r\n');
      stream.uncork();
      if (stream.writableLength > ahead) source.pause();
    });
    source.once('end', () => {
      if (this.#isCut || this.#state === 'done') return;
      connection.write(`0\r\n${fieldLines(trailerFields(this.#exchange.trailers()))}\r\n`);
      connection.sent();
    });
  }
  #isTooLong(bytes: number): boolean {
    const { most } = this.#options;
    if (most === undefined || bytes <= most) return false;
    this.#fault(tooLong(most));
    return true;
  }
  drained(): void {
    if (this.hasBody && this.#state !== 'done') this.#exchange.source.resume();
  }

  inform(status: number, fields: Fields): void {
    if (status === 100) this.#goOn();
    else if (status === 103) inform(this.#exchange, this.#options, fields);
  }

  /** Once, whoever says it first. */
  #goOn(): void {
    clearTimeout(this.#proceed);
    if (this.#hasGoneOn) return;
    this.#hasGoneOn = true;
    this.#exchange.proceed();
  }

  answer(head: MessageHead): void {
    const { status, reason } = head;
    clearTimeout(this.#proceed);
    this.#state = 'answering';
    this.#status = status;
    const hasBody = answerHasBody(this.method, status);
    // Announced or not: gRPC-Web and the like announce nothing.
    const trailing =
      hasBody && this.#exchange.version !== '1.0' && valuesOf(head.fields, 'transfer-encoding').length > 0;
    this.#isTrailing = trailing;
    try {
      const { answer = passed } = this.#options;
      const { fields, through } = answer(head, hasBody, trailing);
      const sink = this.#exchange.answer({ status, reason, fields, hasBody, trailing });
      this.#isDirect = this.#exchange.writesAtOnce && !through;
      if (!hasBody) sink.end();
      else this.#sink = through ? through(asWritable(sink), () => this.#abort('far-reset')) : sink;
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
    if (shared && this.#isDirect && sink.writableLength === 0) {
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
    if (this.#state === 'answering') {
      this.#abort(fault.code);
      return;
    }
    this.#cause ??= fault.code;
    this.#moved ??= this.#count();
    this.#isCut = true;
    this.#connection?.destroy();
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
    clearTimeout(this.#proceed);
    this.#leave();
    if (!isComplete) {
      this.#cause ??= 'near-reset';
      this.#options.upstream.pool.forget(this);
      this.#connection?.destroy();
      this.#sink?.destroy();
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

/** Early hints: what they link to. A service may write anything beside it, and nobody waits for it. */
export function inform(exchange: Exchange, { hint }: Pick<RelayOptions, 'hint'>, fields: Fields): void {
  const links = valuesOf(fields, 'link').flatMap(link => ['Link', hint ? hint(link) : link]);
  if (links.length > 0) exchange.inform(103, links);
}

const passed = ({ fields, version }: MessageHead, _: boolean, isTrailing: boolean): Passed => ({
  fields: answerFields(fields, version, isTrailing),
});

export const tooLong = (most: number): Fault =>
  new Fault('invalid', `a request to this site has at most ${most} bytes`, { facts: { status: 413 } });

export function faultOf(error: unknown): Fault {
  // A dial that was called off rejects with the reason of its signal, which may be a word.
  if (typeof error === 'string') return new Fault('denied', 'this is not allowed any more', { facts: { rule: error } });
  if (error instanceof Fault) return error;
  return new Fault('unreachable', 'the site broke the connection off before it answered', { cause: error });
}
