// One request to its site and the answer back: streaming both ways, one waiting for the other, nothing kept whole.
import { type Agent, type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import { Fault } from '../../core/fault.ts';
import { answerHasBody, type Exchange } from './exchange.ts';
import { answerFields, type Fields, trailerFields, valuesOf } from './headers.ts';

/** Where requests go: a visit, or the gate itself. */
export interface Upstream {
  readonly agent: Agent;
  readonly host: string;
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

export function relay(exchange: Exchange, options: RelayOptions): void {
  new Relay(exchange, options).start();
}

class Relay {
  readonly #exchange: Exchange;
  readonly #options: RelayOptions;
  readonly #hasBody: boolean;
  readonly #leave: () => void;
  #request: ClientRequest | undefined;
  #answer: IncomingMessage | undefined;
  #written = 0;
  #read = 0;
  #moved: { up: number; down: number } | undefined;
  #tries = 0;
  #status = 0;
  #cause: string | undefined;
  #state: 'asking' | 'answering' | 'done' = 'asking';

  constructor(exchange: Exchange, options: RelayOptions) {
    this.#exchange = exchange;
    this.#options = options;
    this.#hasBody = exchange.body.kind !== 'none';
    this.#leave = options.upstream.enter(() => this.#abort(String(options.upstream.signal.reason)));
  }

  start(): void {
    this.#exchange.onClose(() => this.#closed());
    this.#ask();
  }

  #ask(): void {
    const { upstream, path, fields } = this.#options;
    const { method } = this.#exchange;
    this.#tries++;
    let asked: ClientRequest;
    try {
      asked = httpRequest({
        agent: upstream.agent,
        host: upstream.host,
        method,
        path,
        headers: fields,
        setHost: false,
      });
    } catch (cause) {
      this.#failed(new Fault('protocol', 'this request cannot be sent on', { cause }));
      return;
    }
    this.#request = asked;
    asked.on('response', answer => this.#answered(answer));
    asked.on('error', error => this.#failed(error));
    asked.on('timeout', () => asked.destroy(new Fault('timeout', 'the site did not answer in time')));
    asked.on('continue', () => this.#exchange.proceed());
    asked.on('information', ({ statusCode, rawHeaders }) => {
      if (statusCode === 103) this.#exchange.inform(statusCode, rawHeaders);
    });
    asked.on('socket', socket => {
      // A socket carries one request at a time: the difference is this request's.
      this.#written = socket.bytesWritten;
      this.#read = socket.bytesRead;
    });
    if (this.#hasBody) this.#sendBody(asked);
    else asked.end();
  }

  #sendBody(asked: ClientRequest): void {
    const { source } = this.#exchange;
    source.once('end', () => {
      // Before pipe's own listener ends the request.
      if (this.#exchange.body.kind !== 'chunked') return;
      const trailers = pairs(trailerFields(this.#exchange.trailers()));
      if (trailers.length > 0) asked.addTrailers(trailers);
    });
    source.pipe(asked);
  }

  #answered(answer: IncomingMessage): void {
    if (this.#state !== 'asking') return void answer.destroy();
    this.#answer = answer;
    this.#state = 'answering';
    const { method, version } = this.#exchange;
    const status = answer.statusCode ?? 502;
    this.#status = status;
    const hasBody = answerHasBody(method, status);
    const trailing = hasBody && valuesOf(answer.rawHeaders, 'trailer').length > 0;
    let sink: ReturnType<Exchange['answer']>;
    try {
      sink = this.#exchange.answer({
        ...{ status, hasBody, trailing },
        reason: answer.statusMessage ?? '',
        fields: answerFields(answer.rawHeaders, answer.httpVersion, trailing && version !== '1.0'),
      });
    } catch (cause) {
      // Fields that may not be written: nothing has been sent yet.
      this.#state = 'asking';
      this.#failed(new Fault('unreachable', 'the site sent an answer that cannot be passed on', { cause }));
      return;
    }
    answer.on('error', () => this.#abort('far-reset'));
    answer.once('close', () => {
      if (!answer.complete) this.#abort('far-reset');
    });
    answer.once('end', () => {
      if (!answer.complete) return;
      this.#moved = this.#count(); // now: the next request may have the socket in a moment
      if (trailing) this.#exchange.addTrailers(trailerFields(answer.rawTrailers));
      if (this.#hasBody && !this.#exchange.source.readableEnded) {
        this.#exchange.source.unpipe();
        this.#exchange.enough();
      }
    });
    answer.pipe(sink);
  }

  #failed(error: Error): void {
    if (this.#state === 'done') return;
    // After the answer has begun, its own end says whether all of it came.
    if (this.#state === 'answering') return;
    const asked = this.#request;
    const isStale = asked?.reusedSocket === true && (error as NodeJS.ErrnoException).code === 'ECONNRESET';
    if (isStale && this.#tries === 1 && !this.#hasBody && repeatable.has(this.#exchange.method)) {
      this.#ask();
      return;
    }
    const fault = faultOf(error);
    this.#cause = this.#cause ?? fault.code;
    asked?.destroy();
    this.#options.fail(fault);
  }

  /** Breaks off both sides. */
  #abort(cause: string): void {
    if (this.#state === 'done') return;
    this.#cause ??= cause;
    this.#exchange.abort();
    this.#request?.destroy();
  }

  /** The client's side is over, one way or the other. */
  #closed(): void {
    if (this.#state === 'done') return;
    const complete = this.#state === 'answering' && this.#answer?.complete === true;
    this.#state = 'done';
    this.#leave();
    if (!complete) {
      this.#cause ??= 'near-reset';
      this.#request?.destroy();
    }
    this.#options.done({
      status: this.#status,
      ...(this.#moved ?? this.#count()),
      ...(this.#cause === undefined ? {} : { cause: this.#cause }),
    });
  }

  #count(): { up: number; down: number } {
    const socket = this.#request?.socket;
    if (!socket) return { up: 0, down: 0 };
    return { up: socket.bytesWritten - this.#written, down: socket.bytesRead - this.#read };
  }
}

const pairs = (fields: Fields): [string, string][] => {
  const list: [string, string][] = [];
  for (let at = 0; at < fields.length; at += 2) list.push([fields[at] ?? '', fields[at + 1] ?? '']);
  return list;
};

function faultOf(error: Error): Fault {
  // A dial that was called off rejects with the reason of its signal, which may be a word.
  if (typeof error === 'string') return new Fault('denied', 'this is not allowed any more', { facts: { rule: error } });
  if (error instanceof Fault) return error;
  const code = (error as NodeJS.ErrnoException).code ?? '';
  if (code.startsWith('HPE_')) {
    return new Fault('unreachable', 'the site sent an answer that is not HTTP as it should be', { cause: error });
  }
  return new Fault('unreachable', 'the site broke the connection off before it answered', { cause: error });
}
