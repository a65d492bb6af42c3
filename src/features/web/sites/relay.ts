// One request to the service of a site and its answer back: streaming both ways, each way waiting for its reader.
import type { Writable } from 'node:stream';
import { Fault } from '../../../core/fault.ts';
import { answerHasBody, type Exchange } from '../exchange.ts';
import { type Fields, tokensOf, trailerFields, valuesOf } from '../headers.ts';
import type { Relayed } from '../relay.ts';
import type { ServiceAnswer } from './answer-parser.ts';
import type { SiteStay } from './stay.ts';
import type { Asker, Upstream } from './upstream.ts';

export interface SiteRelayOptions {
  readonly stay: SiteStay;
  /** Path and query for the service. */
  readonly path: string;
  readonly fields: Fields;
  /** Bytes of the body, at most. */
  readonly body: number | undefined;
  /** The answer's fields for the client, and where its body goes through on the way, if anywhere. */
  readonly answer: (answer: ServiceAnswer, hasBody: boolean) => { fields: string[]; through?: Through };
  /** Called once, at the end, whatever it was. */
  readonly done: (end: Relayed) => void;
  /** Nothing has been answered yet and nothing will come: says so to the client. */
  readonly fail: (fault: Fault) => void;
}

/** Stages of a body's way: what is written into the first comes out into the sink. */
export type Through = (sink: Writable, failed: (error: Error) => void) => Writable;

/** Safe to ask twice when a kept connection turns out to be dead (RFC 9110 §9.2.2, RFC 9112 §9.3.1). */
const repeatable = new Set(['GET', 'HEAD', 'OPTIONS']);
/** Milliseconds until a client that waits for 100 is told to go on although the service is silent. */
const patience = 1000;

export function relaySite(exchange: Exchange, options: SiteRelayOptions): void {
  new SiteRelay(exchange, options).start();
}

class SiteRelay implements Asker {
  readonly #exchange: Exchange;
  readonly #options: SiteRelayOptions;
  readonly #hasBody: boolean;
  readonly #leave: () => void;
  #upstream: Upstream | undefined;
  #sink: Writable | undefined;
  #written = 0;
  #read = 0;
  #moved: { up: number; down: number } | undefined;
  #tries = 0;
  #sentBytes = 0;
  #status = 0;
  #trailing = false;
  #complete = false;
  #cause: string | undefined;
  #proceed: NodeJS.Timeout | undefined;
  #state: 'asking' | 'answering' | 'done' = 'asking';

  constructor(exchange: Exchange, options: SiteRelayOptions) {
    this.#exchange = exchange;
    this.#options = options;
    this.#hasBody = exchange.body.kind !== 'none';
    this.#leave = options.stay.enter(() => this.#abort(String(options.stay.signal.reason)));
  }

  start(): void {
    this.#exchange.onClose(() => this.#closed());
    const { body } = this.#exchange;
    const { body: most } = this.#options;
    if (most !== undefined && body.kind === 'length' && Number(body.length) > most) {
      this.#fail(new Fault('invalid', `a request to this site has at most ${most} bytes`, { facts: { status: 413 } }));
      return;
    }
    this.#ask();
  }

  #ask(): void {
    this.#tries++;
    const { pool } = this.#options.stay;
    const kept = this.#tries === 1 ? pool.takeIdle() : undefined;
    if (kept) this.#send(kept);
    else this.#dial();
  }

  #dial(): void {
    const { pool } = this.#options.stay;
    pool.take(this.#tries > 1).then(
      upstream => {
        if (this.#state !== 'done') this.#send(upstream);
        else if (upstream.isOpen) pool.free(upstream);
      },
      (error: Error) => this.onFail(error),
    );
  }

  #send(upstream: Upstream): void {
    const { path, fields } = this.#options;
    const { method } = this.#exchange;
    this.#upstream = upstream;
    // A connection carries one request at a time: the difference is this request's.
    this.#written = upstream.written;
    this.#read = upstream.read;
    let head = `${method} ${path} HTTP/1.1\r\n`;
    for (let at = 0; at < fields.length; at += 2) head += `${fields[at]}: ${fields[at + 1]}\r\n`;
    upstream.ask(method, `${head}\r\n`, this.#hasBody, this);
    if (this.#hasBody) this.#sendBody(upstream);
  }

  #sendBody(upstream: Upstream): void {
    const { source, body, fields } = this.#exchange;
    const isChunked = body.kind === 'chunked';
    if (tokensOf(valuesOf(fields, 'expect')).includes('100-continue')) {
      this.#proceed = setTimeout(() => this.#exchange.proceed(), patience).unref();
    }
    source.on('data', (chunk: Buffer) => {
      if (this.#state === 'done' || chunk.length === 0) return;
      this.#sentBytes += chunk.length;
      const { body: most } = this.#options;
      if (most !== undefined && this.#sentBytes > most) {
        this.#fail(
          new Fault('invalid', `a request to this site has at most ${most} bytes`, { facts: { status: 413 } }),
        );
        return;
      }
      let more: boolean;
      if (isChunked) {
        upstream.socket.cork();
        upstream.send(`${chunk.length.toString(16)}\r\n`);
        upstream.send(chunk);
        more = upstream.send('\r\n');
        upstream.socket.uncork();
      } else more = upstream.send(chunk);
      if (!more) source.pause();
    });
    source.once('end', () => {
      if (this.#state === 'done') return;
      if (isChunked) upstream.send(lastChunk(trailerFields(this.#exchange.trailers())));
      upstream.sent();
    });
  }

  // --- as the asker of a connection
  onDrain(): void {
    if (this.#hasBody) this.#exchange.source.resume();
  }
  onInterim({ status, fields }: ServiceAnswer): void {
    if (this.#state !== 'asking') return;
    if (status === 100) {
      clearTimeout(this.#proceed);
      this.#exchange.proceed();
    } else if (status === 103) this.#exchange.inform(status, fields);
  }
  onHead(answer: ServiceAnswer): void {
    clearTimeout(this.#proceed);
    this.#state = 'answering';
    this.#status = answer.status;
    const hasBody = answerHasBody(this.#exchange.method, answer.status);
    this.#trailing = hasBody && answer.framing === 'chunked' && this.#exchange.version !== '1.0';
    let sink: Writable;
    let through: Through | undefined;
    try {
      const made = this.#options.answer(answer, hasBody);
      ({ through } = made);
      sink = this.#exchange.answer({
        ...{ status: answer.status, reason: answer.reason, fields: made.fields, hasBody },
        trailing: this.#trailing,
      });
    } catch (cause) {
      // Fields that may not be written: nothing has been sent yet.
      this.#state = 'asking';
      throw new Fault('unreachable', 'the site sent an answer that cannot be passed on', { cause });
    }
    // Head and what came with it go out together.
    sink.cork();
    process.nextTick(() => sink.uncork());
    this.#sink = through ? through(sink, () => this.#abort('far-reset')) : sink;
    this.#sink.on('drain', () => this.#upstream?.resume());
    if (!hasBody) this.#sink.end();
  }
  onData(chunk: Buffer): void {
    const sink = this.#sink;
    if (!sink || sink.writableEnded) return;
    if (!sink.write(chunk)) this.#upstream?.pause();
  }
  onEnd(trailers: string[]): void {
    this.#complete = true;
    this.#moved = this.#count(); // now: the next request may have the connection in a moment
    this.#upstream = undefined;
    if (this.#trailing && trailers.length > 0) this.#exchange.addTrailers(trailerFields(trailers));
    this.#sink?.end();
    if (this.#hasBody && !this.#exchange.source.readableEnded) this.#exchange.enough();
  }
  onFail(error: Error): void {
    if (this.#state === 'done') return;
    if (this.#state === 'answering') {
      this.#abort('far-reset');
      return;
    }
    const upstream = this.#upstream;
    const isStale = upstream !== undefined && upstream.used > 0 && upstream.read === this.#read;
    const isMine = error instanceof Fault && error.code === 'timeout';
    if (isStale && !isMine && this.#tries === 1 && !this.#hasBody && repeatable.has(this.#exchange.method)) {
      this.#upstream = undefined;
      this.#ask();
      return;
    }
    this.#fail(faultOf(error));
  }
  onSwitch(): void {
    // Nobody asked for another protocol here.
    this.#upstream?.destroy();
    this.#fail(new Fault('unreachable', 'the site changed the protocol without being asked'));
  }

  #fail(fault: Fault): void {
    if (this.#state === 'answering') {
      this.#abort(fault.code);
      return;
    }
    if (this.#state === 'done') return;
    this.#cause ??= fault.code;
    this.#moved ??= this.#count();
    const upstream = this.#upstream;
    this.#upstream = undefined;
    upstream?.leave();
    this.#options.fail(fault);
  }

  /** Breaks off both sides. */
  #abort(cause: string): void {
    if (this.#state === 'done') return;
    this.#cause ??= cause;
    this.#exchange.abort();
    this.#upstream?.leave();
  }

  /** The client's side is over, one way or the other. */
  #closed(): void {
    if (this.#state === 'done') return;
    const complete = this.#state === 'answering' && this.#complete;
    this.#state = 'done';
    clearTimeout(this.#proceed);
    this.#leave();
    this.#moved ??= this.#count();
    if (!complete) {
      this.#cause ??= 'near-reset';
      this.#upstream?.leave();
      if (this.#sink && !this.#sink.destroyed) this.#sink.destroy();
    }
    this.#options.done({
      status: this.#status,
      ...this.#moved,
      ...(this.#cause === undefined ? {} : { cause: this.#cause }),
    });
  }

  #count(): { up: number; down: number } {
    const upstream = this.#upstream;
    return upstream ? { up: upstream.written - this.#written, down: upstream.read - this.#read } : { up: 0, down: 0 };
  }
}

export function lastChunk(trailers: Fields): string {
  let text = '0\r\n';
  for (let at = 0; at < trailers.length; at += 2) text += `${trailers[at]}: ${trailers[at + 1]}\r\n`;
  return `${text}\r\n`;
}

export function faultOf(error: unknown): Fault {
  // A dial that was called off rejects with the reason of its signal, which may be a word.
  if (typeof error === 'string') return new Fault('denied', 'this is not allowed any more', { facts: { rule: error } });
  if (error instanceof Fault) return error;
  return new Fault('unreachable', 'the site broke the connection off before it answered', { cause: error });
}
