// HTTP/2 towards a service (gRPC needs it): one session a stay, trailers kept, every stream waiting for its reader.
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type IncomingHttpHeaders,
} from 'node:http2';
import type { Duplex } from 'node:stream';
import { Fault } from '../../../core/fault.ts';
import { answerHasBody, asWritable, type Exchange, type Sink } from '../exchange.ts';
import { trailerFields } from '../headers.ts';
import { grouped } from '../http2.ts';
import { faultOf, inform, type Relayed, type RelayOptions, tooLong } from '../relay.ts';
import { mostInterim } from '../upstream.ts';
import type { SiteStay } from './stay.ts';

/** Bytes that a service may send on one stream, and on all, before it must wait for us to have passed them on. */
const streamWindow = 1_048_576;
const sessionWindow = 8_388_608;

const sessions = new WeakMap<SiteStay, Promise<ClientHttp2Session>>();

/** @throws Fault `unreachable`, `timeout`, `denied` */
function sessionOf(stay: SiteStay): Promise<ClientHttp2Session> {
  const known = sessions.get(stay);
  if (known) return known;
  const opening = open(stay);
  sessions.set(stay, opening);
  const forget = (): void => {
    if (sessions.get(stay) === opening) sessions.delete(stay);
  };
  opening.then(session => session.once('close', forget).once('goaway', forget), forget);
  return opening;
}

async function open(stay: SiteStay): Promise<ClientHttp2Session> {
  const conn = await stay.dial();
  if (conn.tls && conn.tls.alpn !== 'h2') {
    conn.stream.destroy();
    throw new Fault('unreachable', 'this site’s service does not speak HTTP/2; take protocol: h2 away');
  }
  const session = connect(`${stay.site.scheme}://${stay.site.host}`, {
    createConnection: () => conn.stream as Duplex,
    settings: { enablePush: false, initialWindowSize: streamWindow },
    maxSessionMemory: 64,
  });
  session.on('error', () => {}); // each stream is told
  await new Promise<void>((resolve, reject) => {
    session.once('connect', () => resolve());
    session.once('close', () => reject(new Fault('unreachable', 'the site broke the connection off')));
  });
  session.setLocalWindowSize(sessionWindow);
  stay.signal.addEventListener('abort', () => session.destroy(), { once: true });
  return session;
}

const notPassed = new Set(['host', 'connection', 'transfer-encoding', 'keep-alive', 'upgrade']);

/** A request by HTTP/2: the same as `relay`, where the site is a stay. */
export interface Http2RelayOptions extends RelayOptions {
  readonly upstream: SiteStay;
  readonly answer: NonNullable<RelayOptions['answer']>;
}

export function relayHttp2(exchange: Exchange, options: Http2RelayOptions): void {
  new Http2Relay(exchange, options).start();
}

class Http2Relay {
  readonly #exchange: Exchange;
  readonly #options: Http2RelayOptions;
  readonly #leave: () => void;
  #stream: ClientHttp2Stream | undefined;
  #status = 0;
  #up = 0;
  #down = 0;
  #cause: string | undefined;
  #complete = false;
  /** `refused`: a page of ours stands in for the answer, and what still comes of the request breaks nothing off. */
  #state: 'asking' | 'answering' | 'refused' | 'done' = 'asking';

  constructor(exchange: Exchange, options: Http2RelayOptions) {
    this.#exchange = exchange;
    this.#options = options;
    this.#leave = options.upstream.enter(() => this.#abort(String(options.upstream.signal.reason)));
  }

  start(): void {
    this.#exchange.onClose(() => this.#closed());
    const { body } = this.#exchange;
    const { most } = this.#options;
    if (most !== undefined && body.kind === 'length' && Number(body.length) > most) {
      this.#fail(tooLong(most));
      return;
    }
    sessionOf(this.#options.upstream).then(
      session => {
        if (!this.#isOver) this.#ask(session);
      },
      (error: unknown) => this.#fail(faultOf(error)),
    );
  }

  #ask(session: ClientHttp2Session): void {
    const { path, fields, upstream: stay } = this.#options;
    const { method, body, source } = this.#exchange;
    const authority = fields[fields.findIndex((text, at) => at % 2 === 0 && text === 'Host') + 1] ?? stay.site.host;
    const kept = fields.filter((_, at) => !notPassed.has(fields[at - (at % 2)]?.toLowerCase() ?? ''));
    let stream: ClientHttp2Stream;
    try {
      stream = session.request(
        { ':method': method, ':path': path, ':scheme': stay.site.scheme, ':authority': authority, ...grouped(kept) },
        { endStream: body.kind === 'none', waitForTrailers: body.kind === 'chunked' } as object,
      );
    } catch (cause) {
      this.#fail(new Fault('protocol', 'this request cannot be sent on', { cause }));
      return;
    }
    this.#stream = stream;
    const { read } = stay.site.plan.timeouts;
    stream.setTimeout(read, () => stream.destroy(new Fault('timeout', 'the site did not answer in time')));
    stream.on('error', error => this.#failed(error));
    stream.on('close', () => this.#failed(new Fault('unreachable', 'the site broke the request off')));
    let interim = 0;
    stream.on('headers', (headers: IncomingHttpHeaders) => {
      const status = Number(headers[':status']);
      if (++interim > mostInterim) stream.destroy(new Fault('unreachable', 'the site’s interim answers have no end'));
      else if (status === 100) this.#exchange.proceed();
      else if (status === 103) inform(this.#exchange, this.#options, flat(headers));
    });
    stream.on('response', (headers: IncomingHttpHeaders, flags: number) => this.#answered(stream, headers, flags));
    stream.on('wantTrailers', () => stream.sendTrailers(grouped(trailerFields(this.#exchange.trailers()))));
    if (body.kind === 'none') return;
    const { most } = this.#options;
    source.on('data', (chunk: Buffer) => {
      if (this.#isOver) return;
      this.#up += chunk.length;
      if (most !== undefined && this.#up > most) return this.#fail(tooLong(most));
      if (!stream.write(chunk)) source.pause();
    });
    stream.on('drain', () => source.resume());
    source.once('end', () => {
      if (!stream.destroyed) stream.end();
    });
  }

  #answered(stream: ClientHttp2Stream, headers: IncomingHttpHeaders, flags: number): void {
    const status = Number(headers[':status']);
    const isOver = (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0;
    const hasBody = answerHasBody(this.#exchange.method, status) && !isOver;
    const trailing = hasBody && this.#exchange.version !== '1.0';
    this.#status = status;
    let sink: Sink;
    try {
      const made = this.#options.answer(
        { status, reason: '', version: '1.1', fields: flat(headers), keepsAlive: true },
        hasBody,
        trailing,
      );
      sink = this.#exchange.answer({ status, reason: '', fields: made.fields, hasBody, trailing });
      if (made.through) sink = made.through(asWritable(sink), () => this.#abort('far-reset'));
      this.#state = 'answering';
    } catch (cause) {
      this.#fail(new Fault('unreachable', 'the site sent an answer that cannot be passed on', { cause }));
      return;
    }
    stream.on('trailers', (fields: IncomingHttpHeaders) => {
      if (trailing) this.#exchange.addTrailers(trailerFields(flat(fields)));
    });
    stream.on('data', (chunk: Buffer) => {
      this.#down += chunk.length;
      if (hasBody && !sink.write(chunk)) stream.pause();
    });
    sink.on('drain', () => stream.resume());
    stream.once('end', () => {
      if (stream.rstCode !== constants.NGHTTP2_NO_ERROR) return this.#abort('far-reset');
      this.#complete = true;
      sink.end();
      if (this.#exchange.body.kind !== 'none' && !this.#exchange.source.readableEnded) this.#exchange.enough();
    });
    if (!hasBody) sink.end();
  }

  get #isOver(): boolean {
    return this.#state === 'refused' || this.#state === 'done';
  }
  #failed(error: Error): void {
    if (this.#isOver || this.#complete) return;
    if (this.#state === 'answering') this.#abort('far-reset');
    else this.#fail(faultOf(error));
  }
  #fail(fault: Fault): void {
    if (this.#isOver) return;
    if (this.#state === 'answering') {
      this.#abort(fault.code);
      return;
    }
    this.#cause ??= fault.code;
    const stream = this.#stream;
    this.#stream = undefined;
    this.#state = 'refused';
    stream?.close(constants.NGHTTP2_CANCEL);
    this.#options.fail(fault);
  }
  #abort(cause: string): void {
    if (this.#state === 'done') return;
    this.#cause ??= cause;
    this.#exchange.abort();
    this.#stream?.close(constants.NGHTTP2_CANCEL);
  }
  #closed(): void {
    if (this.#state === 'done') return;
    this.#state = 'done';
    this.#leave();
    if (!this.#complete) {
      this.#cause ??= 'near-reset';
      this.#stream?.close(constants.NGHTTP2_CANCEL);
    }
    const end: Relayed = { status: this.#status, up: this.#up, down: this.#down };
    this.#options.done(this.#cause === undefined ? end : { ...end, cause: this.#cause });
  }
}

/** Without pseudo-header fields. */
function flat(headers: IncomingHttpHeaders): string[] {
  const out: string[] = [];
  for (const [name, value] of Object.entries(headers)) {
    if (name.startsWith(':') || value === undefined) continue;
    for (const one of Array.isArray(value) ? value : [value]) out.push(name, String(one));
  }
  return out;
}
