// HTTP/2 towards clients (RFC 9113): one session a conn, every limit that a flood could meet, CONNECT on its streams.
import {
  constants,
  type IncomingHttpHeaders,
  performServerHandshake,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { TLSSocket } from 'node:tls';
import { Fault, toFault } from '../../core/fault.ts';
import type { Conn, Log } from '../../core/parts.ts';
import { makeConn } from '../../net/conn.ts';
import { splice } from '../../net/splice.ts';
import type { Caller } from './caller.ts';
import type { ForwardDeps } from './deps.ts';
import type { AnswerHead, Exchange, Front } from './exchange.ts';
import { forward } from './forward.ts';
import { type Body, type Fields, safeFields, without } from './headers.ts';
import { checkHost } from './hosts.ts';
import { answerFault, sendPage } from './outcome.ts';
import type { Page } from './pages.ts';
import type { ForwardPlan } from './plan.ts';
import { parseAuthority } from './site.ts';
import { type TunnelAsk, tunnel, webSocketFields } from './tunnel.ts';
import { agree } from './websocket.ts';

/** Bytes that a client may send on one stream, and on all, before it must wait for us to have passed them on. */
const streamWindow = 524_288;
const sessionWindow = 4_194_304;
/** RST_STREAM frames: so many at once, then so many a second (CVE-2023-44487). */
const resetBurst = 1000;
const resetRate = 33;

const { NGHTTP2_NO_ERROR, NGHTTP2_INTERNAL_ERROR, NGHTTP2_CONNECT_ERROR, NGHTTP2_FLAG_END_STREAM } = constants;

const readablePath = /^(\*|\/[\x21\x22\x24-\x7e]*)$/;

export interface Http2Options {
  readonly conn: Conn;
  readonly limits: { readonly streams: number; readonly header: number };
  /** Milliseconds without a stream. */
  readonly idle: number;
  /** Advertises RFC 8441. */
  readonly connectProtocol: boolean;
  readonly log: Log;
  readonly enter: (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, ended: boolean, raw: string[]) => void;
}

/** The conn is the session's from here on. */
export function openHttp2({ conn, limits, idle: rests, connectProtocol, log, enter }: Http2Options): Front {
  const options = {
    maxSessionInvalidFrames: 100,
    maxSessionRejectedStreams: 100,
    maxHeaderListPairs: 256,
    maxOutstandingPings: 10,
    maxSettings: 32,
    maxSessionMemory: 64,
    maxSendHeaderBlockLength: 262_144, // what a site answers is bounded by its own parser
    unknownProtocolTimeout: 5000,
    streamResetBurst: resetBurst,
    streamResetRate: resetRate,
    settings: {
      enablePush: false,
      enableConnectProtocol: connectProtocol,
      maxConcurrentStreams: limits.streams,
      maxHeaderListSize: limits.header,
      initialWindowSize: streamWindow,
    },
  };
  const socket = conn.stream as TLSSocket;
  // Node clears this mark for sockets that a tls.Server has made, and waits for ever where it stands.
  (socket as unknown as { secureConnecting: boolean }).secureConnecting = false;
  const session: ServerHttp2Session = performServerHandshake(socket, options);
  session.setLocalWindowSize(sessionWindow);
  session.on('error', error => log.debug({ from: conn.peer, error }, 'an HTTP/2 connection broke off'));
  let live = 0;
  let idle: NodeJS.Timeout | undefined;
  const rest = (): void => {
    idle = setTimeout(() => session.close(), rests).unref();
  };
  rest();
  session.on('close', () => clearTimeout(idle));
  session.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, flags: number, raw: string[]) => {
    stream.on('error', () => {});
    if (live++ === 0) clearTimeout(idle);
    stream.once('close', () => {
      if (--live === 0 && !session.closed) rest();
    });
    enter(stream, headers, (flags & NGHTTP2_FLAG_END_STREAM) !== 0, raw);
  });
  return { drain: () => session.close() };
}

export function serveHttp2(caller: Caller, { limits, timeouts }: ForwardPlan, deps: ForwardDeps): Front {
  return openHttp2({
    ...{ conn: caller.conn, limits, idle: timeouts.idle, log: deps.log },
    connectProtocol: true, // RFC 8441, for WebSockets
    enter: (stream, headers, ended, raw) => enter(stream, headers, ended, raw, caller, deps),
  });
}

function enter(
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  ended: boolean,
  raw: readonly string[],
  caller: Caller,
  deps: ForwardDeps,
): void {
  if (headers[':method'] === 'CONNECT') {
    connect(stream, headers, raw, caller, deps);
    return;
  }
  const exchange = new Http2Exchange(stream, caller.nextId(), headers, raw, ended);
  stream.setTimeout(deps.plan().timeouts.read, () => stream.close(constants.NGHTTP2_CANCEL));
  try {
    const path = String(headers[':path'] ?? '');
    const authority = String(headers[':authority'] ?? headers.host ?? '');
    if (!readablePath.test(path)) throw new Fault('protocol', 'the path of this request cannot be read');
    oneAuthority(headers);
    if (headers[':scheme'] === 'http') {
      forward(exchange, caller, { site: parseAuthority(authority, 80), path }, deps);
      return;
    }
    if (headers[':scheme'] !== 'https') throw new Fault('invalid', 'only http is forwarded as such; use CONNECT');
    if (!deps.isOwnName(parseAuthority(authority, 443).host))
      throw new Fault('invalid', 'https is not forwarded as such; use CONNECT');
    if (!deps.relayOwn(exchange, path, caller)) sendPage(exchange, deps.noPage());
  } catch (error) {
    const fault = toFault(error);
    answerFault(fault, exchange, caller, undefined, deps, () => {}, fault.code === 'invalid' ? 421 : undefined);
  }
}

function connect(
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  raw: Fields,
  caller: Caller,
  deps: ForwardDeps,
): void {
  const authority = String(headers[':authority'] ?? '');
  const protocol = headers[':protocol'];
  if (protocol === 'websocket' && headers[':scheme'] === 'https' && deps.isOwnName(hostOf(authority))) {
    void ownWebSocket(stream, headers, raw, caller, deps);
    return;
  }
  let told: Fields = [];
  void tunnel(
    {
      ...{ id: caller.nextId(), method: 'CONNECT', version: '2.0' },
      ...(protocol === undefined ? plainConnect(headers, authority) : webSocket()),
      accept() {
        return acceptedConn(stream, told, caller);
      },
      refuse(page: Page) {
        if (stream.closed || stream.destroyed) return;
        const fields = {
          ...page.headers,
          'content-type': page.type,
          'content-length': String(Buffer.byteLength(page.text)),
        };
        stream.respond({ ':status': page.status, ...fields });
        stream.end(page.text);
        stream.resume();
      },
      onClose: call => void stream.once('close', call),
    },
    caller,
    deps,
  );

  /** RFC 8441 §4: scheme, path and authority as of a GET; the handshake's key and answer are ours to make. */
  function webSocket(): Pick<TunnelAsk, 'kind' | 'url' | 'site' | 'prepare'> {
    const path = String(headers[':path'] ?? '');
    return {
      kind: 'websocket',
      url: `ws://${authority}${path.split('?')[0]}`,
      site() {
        if (protocol !== 'websocket') throw new Fault('protocol', 'no protocol but websocket is opened by CONNECT');
        if (!readablePath.test(path)) throw new Fault('protocol', 'the path of this request cannot be read');
        if (headers[':scheme'] !== 'http')
          throw new Fault('protocol', 'a WebSocket over TLS goes through this proxy by plain CONNECT');
        const site = parseAuthority(authority, 80);
        if (site.host === checkHost) throw new Fault('missing', 'there is no WebSocket here');
        return site;
      },
      async prepare(far, { site }, signal) {
        const fields = without(webSocketFields(raw, site, '2.0', caller, deps), 'sec-websocket-key');
        told = without(await agree(far, { path, fields }, signal), 'sec-websocket-accept');
      },
    };
  }
}

/** RFC 9113 §8.3.1: one authority, in whichever field. @throws Fault `protocol` */
export function oneAuthority(headers: IncomingHttpHeaders): void {
  const { ':authority': authority, host } = headers;
  if (host !== undefined && authority !== undefined && host !== authority) {
    throw new Fault('protocol', 'a request has exactly one Host');
  }
}

/** Says yes; from then on the stream is the tunnel. */
function acceptedConn(stream: ServerHttp2Stream, told: Fields, { conn: { peer, local, tls } }: Caller): Conn {
  stream.respond({ ':status': 200, ...grouped(told) }, { sendDate: false } as object);
  const conn = makeConn(stream, { peer, ...(local ? { local } : {}), ...(tls ? { tls } : {}) });
  // A broken-off tunnel is no error of HTTP/2: its own code says so (RFC 9113 §8.5).
  const destroy = stream.destroy.bind(stream);
  stream.destroy = (error?: Error) => {
    if (error) breakOff(stream, NGHTTP2_CONNECT_ERROR);
    return destroy();
  };
  return conn;
}

const hostOf = (authority: string): string => {
  try {
    return parseAuthority(authority, 443).host;
  } catch {
    return '';
  }
};

/** The console's own: admitted, counted and ended by the API, which only lacks a connection of HTTP/1.1. */
async function ownWebSocket(
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  fields: Fields,
  caller: Caller,
  deps: ForwardDeps,
): Promise<void> {
  const gone = new AbortController();
  stream.once('close', () => gone.abort());
  try {
    const path = String(headers[':path'] ?? '');
    if (!readablePath.test(path)) throw new Fault('protocol', 'the path of this request cannot be read');
    const patience = AbortSignal.timeout(deps.plan().timeouts.read);
    const asked = { path, authority: String(headers[':authority']), fields };
    const { far, told } = await deps.joinOwn(asked, caller, AbortSignal.any([gone.signal, patience]));
    const near = acceptedConn(stream, told, caller);
    const signal = new AbortController().signal; // the API ends it
    await splice(near, far, { signal, idle: 0, halfClose: true, count: () => {} });
    const farewell = AbortSignal.timeout(5000);
    await Promise.all([near.close(farewell), far.close(farewell)]);
  } catch (error) {
    if (stream.closed || stream.destroyed || stream.headersSent) return void stream.destroy();
    const status = Number(toFault(error).facts['status'] ?? 0);
    stream.respond({ ':status': status >= 400 && status < 600 ? status : 502 }, { endStream: true });
    stream.resume();
  }
}

/** RFC 9113 §8.5: neither scheme nor path. */
function plainConnect(
  headers: IncomingHttpHeaders,
  authority: string,
): Pick<TunnelAsk, 'kind' | 'url' | 'site' | 'fault'> {
  const isPlain = headers[':scheme'] === undefined && headers[':path'] === undefined;
  return {
    ...{ kind: 'tunnel', url: authority, site: () => parseAuthority(authority) },
    ...(isPlain ? {} : { fault: new Fault('protocol', 'this CONNECT is not one of RFC 9113') }),
  };
}

export class Http2Exchange implements Exchange {
  readonly id: string;
  readonly method: string;
  readonly version = '2.0';
  readonly fields: Fields;
  readonly body: Body;
  readonly source: ServerHttp2Stream;
  #trailers: Fields = [];
  #answerTrailers: Fields = [];

  constructor(stream: ServerHttp2Stream, id: string, headers: IncomingHttpHeaders, raw: Fields, ended: boolean) {
    this.id = id;
    this.method = String(headers[':method'] ?? '');
    this.fields = raw;
    const length = headers['content-length'];
    // nghttp2 checks that the body is as long as it says (RFC 9113 §8.1.1).
    this.body = ended || length === '0' ? { kind: 'none' } : length ? { kind: 'length', length } : { kind: 'chunked' };
    this.source = stream;
    if (!ended) {
      stream.on('trailers', (_: object, __: number, fields: string[]) => {
        this.#trailers = fields ?? [];
      });
      if (this.body.kind === 'none') stream.resume();
    }
  }
  get writesAtOnce(): boolean {
    return false;
  }
  get isAnswered(): boolean {
    return this.source.headersSent;
  }
  trailers(): Fields {
    return this.#trailers;
  }
  proceed(): void {
    if (!this.isAnswered && !this.source.closed && !this.source.destroyed)
      this.source.additionalHeaders({ ':status': 100 });
  }
  inform(status: number, fields: Fields): void {
    if (!this.isAnswered && !this.source.closed && !this.source.destroyed && safeFields(fields))
      this.source.additionalHeaders({ ':status': status, ...grouped(fields) });
  }
  answer({ status, fields, hasBody, trailing }: AnswerHead): ServerHttp2Stream {
    const stream = this.source;
    if (stream.closed || stream.destroyed) return stream;
    if (trailing) {
      stream.once('wantTrailers', () => stream.sendTrailers(grouped(this.#answerTrailers)));
    }
    stream.respond({ ':status': status, ...grouped(fields) }, {
      endStream: !hasBody,
      waitForTrailers: trailing && hasBody,
      sendDate: false,
    } as object);
    return stream;
  }
  addTrailers(fields: Fields): void {
    this.#answerTrailers = fields;
  }
  abort(): void {
    breakOff(this.source, NGHTTP2_INTERNAL_ERROR);
  }
  enough(): void {
    const { source } = this;
    const stop = (): void => {
      if (!source.closed) source.close(NGHTTP2_NO_ERROR); // RFC 9113 §8.1: the answer is complete, stop sending
    };
    if (source.writableFinished) stop();
    else source.once('finish', stop);
    source.resume();
  }
  onClose(call: () => void): void {
    this.source.once('close', call);
  }
}

const single = new Set([
  'age',
  'content-encoding',
  'content-language',
  'content-length',
  'content-location',
  'content-range',
  'content-type',
  'date',
  'etag',
  'expires',
  'last-modified',
  'location',
  'max-forwards',
  'retry-after',
  'server',
  'x-content-type-options',
]);

/** RST_STREAM and nothing before it. */
export function breakOff(stream: ServerHttp2Stream, code: number): void {
  if (stream.closed || stream.destroyed) return;
  // Node ends the stream before it resets it, and the client would take the half that it has for the whole.
  stream.end = () => stream;
  stream.close(code);
}

/** Lower-case names, repeats as lists, which HTTP/2 writes as repeats again. */
export function grouped(fields: Fields): Record<string, string | string[]> {
  const out: Record<string, string | string[]> = Object.create(null);
  for (let at = 0; at < fields.length; at += 2) {
    const name = (fields[at] ?? '').toLowerCase();
    const value = fields[at + 1] ?? '';
    const before = out[name];
    if (before === undefined) out[name] = value;
    else if (single.has(name))
      continue; // sent twice by a careless site; HTTP/2 has no room for the second
    else if (typeof before === 'string') out[name] = [before, value];
    else before.push(value);
  }
  return out;
}
