// HTTP/1.1 and 1.0 towards clients: Node's server without a port, its parser strict, its limits all here.
import { createServer, type IncomingMessage, type Server, type ServerResponse, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import { Fault, toFault } from '../../core/fault.ts';
import type { Metrics } from '../../core/parts.ts';
import { makeConn } from '../../net/conn.ts';
import type { Caller } from './caller.ts';
import type { ForwardDeps } from './deps.ts';
import type { AnswerHead, Exchange } from './exchange.ts';
import { forward } from './forward.ts';
import {
  type Body,
  checkHostField,
  earlyHints,
  type Fields,
  requestBody,
  safeFields,
  valuesOf,
  without,
} from './headers.ts';
import { checkHost } from './hosts.ts';
import { answerFault, sendPage } from './outcome.ts';
import type { ForwardPlan } from './plan.ts';
import { type AbsoluteTarget, parseAbsolute, parseAuthority } from './site.ts';
import { type TunnelAsk, tunnel, webSocketFields } from './tunnel.ts';
import { agree, asksWebSocket } from './websocket.ts';

export interface Http1Deps {
  readonly deps: ForwardDeps;
  /** Whose socket this is. */
  readonly callerOf: (socket: Duplex) => Caller | undefined;
  readonly isDraining: () => boolean;
}

/** Milliseconds for a header block. */
const headerTime = 20_000;

export interface StrictServerOptions {
  /** Bytes of a header block. */
  readonly header: number;
  /** Milliseconds between two requests, and in which nothing moves. */
  readonly idle: number;
  readonly still: number;
  readonly metrics: Metrics;
  /** Requests whose Upgrade is taken up; the others are served as if it were not there. */
  readonly upgrades?: (request: IncomingMessage) => boolean;
}

/** Node's server as every way of the web gate wants it: it never listens, conns are handed to it. */
export function strictServer({ header, idle, still, metrics, upgrades }: StrictServerOptions): Server {
  const options = {
    maxHeaderSize: header,
    headersTimeout: headerTime,
    requestTimeout: 0, // an upload takes as long as it takes; what stands still is given up
    keepAliveTimeout: idle,
    connectionsCheckingInterval: 2000,
    insecureHTTPParser: false,
    requireHostHeader: false, // checked below, for CONNECT too
    joinDuplicateHeaders: false,
    ...(upgrades ? { shouldUpgradeCallback: upgrades } : {}),
  };
  const server = createServer(options);
  server.maxHeadersCount = 0; // the bytes are bounded; a cut list would be another request than was sent
  server.timeout = still;
  // Node starts its check of header times when a server listens, which this one never does.
  server.emit('listening');
  server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => {
    response.shouldKeepAlive = false;
    response.writeHead(417, { 'content-length': '0' }).end();
    request.resume();
  });
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Duplex) => {
    // Nothing that the parser refused is answered within a request, and nothing more is read from there.
    if (error.code !== 'ECONNRESET' && socket.writable) {
      metrics.count('faults_total', { code: 'protocol', resource: 'web' });
      const line = refusals[error.code ?? ''] ?? '400 Bad Request';
      socket.write(`HTTP/1.1 ${line}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`);
    }
    socket.destroy();
  });
  return server;
}

/** Of each socket the newest answer, which the next request waits for. */
const newest = new WeakMap<Duplex, ServerResponse>();
const spoilt = new WeakSet<Duplex>();

/** After a request that can be read in two ways nothing on its connection can be trusted, least of all what came with it. */
export function spoil({ socket }: IncomingMessage, response: ServerResponse): void {
  response.shouldKeepAlive = false;
  spoilt.add(socket);
}

/**
 * One request after the other: Node hands over all that came in one packet at once, and what changes something must not
 * overtake what was asked before it (RFC 9112 §9.3.2), nor follow what was refused.
 */
export function inOrder(
  enter: (request: IncomingMessage, response: ServerResponse) => void,
): (request: IncomingMessage, response: ServerResponse) => void {
  return (request, response) => {
    const { socket } = request;
    const before = newest.get(socket);
    newest.set(socket, response);
    // Node gives an answer its socket when its turn has come.
    if (response.socket !== null || !before) enter(request, response);
    else before.once('finish', () => spoilt.has(socket) || enter(request, response));
  };
}

/** Whether something was asked before that is still to be answered: then the connection cannot become something else. */
export const isAnswering = (socket: Duplex): boolean => newest.get(socket)?.writableFinished === false;

export function createHttp1(plan: ForwardPlan, { deps, callerOf, isDraining }: Http1Deps): Server {
  const { limits, timeouts } = plan;
  const { metrics } = deps;
  const server = strictServer({
    ...{ header: limits.header, idle: timeouts.idle, still: timeouts.read, metrics },
    upgrades: ({ method = '', rawHeaders }) => asksWebSocket(method, rawHeaders),
  });

  const enter = inOrder((request, response) => {
    const caller = callerOf(request.socket);
    if (!caller) return void request.socket.destroy();
    response.sendDate = false;
    if (isDraining()) response.shouldKeepAlive = false;
    serve(request, response, caller, deps);
  });
  server.on('request', enter);
  server.on('checkContinue', enter);
  server.on('connect', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    const caller = callerOf(socket);
    if (!caller || isAnswering(socket)) return void socket.destroy();
    connect(request, socket, head, caller, deps);
  });
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    const caller = callerOf(socket);
    if (!caller || isAnswering(socket)) return void socket.destroy();
    upgrade(request, socket, head, caller, deps);
  });
  return server;
}

const refusals: Record<string, string> = {
  ERR_HTTP_REQUEST_TIMEOUT: '408 Request Timeout',
  HPE_HEADER_OVERFLOW: '431 Request Header Fields Too Large',
};

function serve(request: IncomingMessage, response: ServerResponse, caller: Caller, deps: ForwardDeps): void {
  const url = request.url ?? '';
  let exchange: Http1Exchange | undefined;
  try {
    const { rawHeaders, httpVersion } = request;
    if (httpVersion !== '1.1' && httpVersion !== '1.0')
      throw new Fault('protocol', 'only HTTP/1.0, 1.1 and 2 are spoken');
    checkHostField(rawHeaders, httpVersion);
    exchange = new Http1Exchange(request, response, caller.nextId(), requestBody(rawHeaders, httpVersion));
    if (url.startsWith('/') || url === '*') {
      own(exchange, url, caller, deps);
      return;
    }
    const target = parseAbsolute(url, request.method ?? '');
    forward(exchange, caller, target, deps);
  } catch (error) {
    const fault = toFault(error);
    spoil(request, response);
    exchange ??= new Http1Exchange(request, response, caller.nextId(), { kind: 'none' });
    answerFault(fault, exchange, caller, undefined, deps, () => {}, fault.code === 'invalid' ? 501 : undefined);
  }
}

/** An ordinary request that came the short way. False: it is not one. */
export function serveLane(exchange: Exchange, url: string, caller: Caller, deps: ForwardDeps): boolean {
  if (url.startsWith('/') || url === '*') return false;
  let target: AbsoluteTarget;
  try {
    target = parseAbsolute(url, exchange.method);
  } catch {
    return false;
  }
  forward(exchange, caller, target, deps);
  return true;
}

/** A request to the gate itself, on a connection that is the proxy's. */
function own(exchange: Http1Exchange, url: string, caller: Caller, deps: ForwardDeps): void {
  // The form of the sign-in is the API's door, whatever name the proxy has.
  if (/^\/sign-in(\?|$)/.test(url) && deps.relayOwn(exchange, url, caller)) return;
  const page = deps.ownPage(exchange.method, url, exchange.fields, caller.conn, exchange.version);
  sendPage(exchange, page ?? deps.noPage());
  if (exchange.body.kind !== 'none') exchange.enough();
}

function connect(request: IncomingMessage, socket: Duplex, head: Buffer, caller: Caller, deps: ForwardDeps): void {
  const { rawHeaders, httpVersion, url = '' } = request;
  const fault = faultOf(() => {
    checkHostField(rawHeaders, httpVersion);
    // RFC 9110 §9.3.6: a body has no meaning here, and whoever sends one means something else.
    if (valuesOf(rawHeaders, 'transfer-encoding').length > 0 || !isZero(valuesOf(rawHeaders, 'content-length'))) {
      throw new Fault('protocol', 'CONNECT has no body');
    }
  });
  void tunnel(
    {
      ...takeOver(socket, head, caller, () => 'HTTP/1.1 200 Connection established\r\n\r\n'),
      ...{ kind: 'tunnel', method: 'CONNECT', url, site: () => parseAuthority(url) },
      ...{ id: caller.nextId(), version: httpVersion },
      ...(fault ? { fault } : {}),
    },
    caller,
    deps,
  );
}

/** A WebSocket in absolute form, as programs ask for it that know proxies but not CONNECT. */
function upgrade(request: IncomingMessage, socket: Duplex, head: Buffer, caller: Caller, deps: ForwardDeps): void {
  const { rawHeaders, httpVersion, url = '', method = '' } = request;
  let told: Fields = [];
  let target: AbsoluteTarget | undefined;
  const fault = faultOf(() => {
    checkHostField(rawHeaders, httpVersion);
    if (requestBody(rawHeaders, httpVersion).kind !== 'none' || httpVersion !== '1.1')
      throw new Fault('protocol', 'this is no opening of a WebSocket');
    if (url.startsWith('/')) throw new Fault('missing', 'there is no WebSocket here');
    target = parseAbsolute(url.replace(/^ws:/i, 'http:'), method);
  });
  void tunnel(
    {
      ...takeOver(socket, head, caller, () => {
        const lines: string[] = [];
        for (let at = 0; at < told.length; at += 2) lines.push(`${told[at]}: ${told[at + 1]}\r\n`);
        return `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n${lines.join('')}\r\n`;
      }),
      ...{ kind: 'websocket', method, url: url.split('?')[0] ?? '' },
      ...{ id: caller.nextId(), version: httpVersion },
      ...(fault ? { fault } : {}),
      site: () => {
        if (!target || target.site.host === checkHost) throw new Fault('missing', 'there is no WebSocket here');
        return target.site;
      },
      async prepare(far, { site }, signal) {
        const fields = webSocketFields(rawHeaders, site, httpVersion, caller, deps);
        const [key = ''] = valuesOf(rawHeaders, 'sec-websocket-key');
        told = await agree(
          far,
          { path: target?.path ?? '/', fields: without(fields, 'sec-websocket-key'), key },
          signal,
        );
      },
    },
    caller,
    deps,
  );
}

function faultOf(check: () => void): Fault | undefined {
  try {
    check();
    return undefined;
  } catch (error) {
    return toFault(error);
  }
}

/** A connection that is no longer HTTP's, or is about to end. */
function takeOver(
  socket: Duplex,
  head: Buffer,
  caller: Caller,
  yes: () => string,
): Pick<TunnelAsk, 'accept' | 'refuse' | 'onClose'> {
  socket.on('error', () => {});
  if (head.length > 0) socket.unshift(head);
  const { peer, local, tls } = caller.conn;
  return {
    accept() {
      socket.write(yes(), 'latin1');
      return makeConn(socket, { peer, ...(local ? { local } : {}), ...(tls ? { tls } : {}) });
    },
    refuse({ status, type, text, headers }) {
      if (!socket.writable) return;
      const fields = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
      socket.end(
        `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'Refused'}\r\ncontent-type: ${type}\r\ncontent-length: ${Buffer.byteLength(text)}\r\n${fields.join('')}connection: close\r\n\r\n${text}`,
      );
      socket.resume();
      void caller.conn.close(AbortSignal.timeout(5000));
    },
    onClose: call => void socket.once('close', call),
  };
}

const isZero = (lengths: readonly string[]): boolean => lengths.every(length => length === '0');

/**
 * A head whose body lets wait for itself goes alone: an event stream is open before its first event. Only where nothing has
 * been written: flushHeaders() would write nothing at all then, and behind an empty write that is under way the next one
 * waits, unseen in writableLength, with memory that the relay takes for written.
 */
function flushHeadLater(response: ServerResponse): void {
  const before = response.socket?.bytesWritten;
  if (before === undefined) return;
  setImmediate(() => {
    if (!response.writableEnded && response.socket?.bytesWritten === before) response.flushHeaders();
  });
}

export class Http1Exchange implements Exchange {
  readonly id: string;
  readonly method: string;
  readonly version: string;
  readonly fields: Fields;
  readonly body: Body;
  readonly source: IncomingMessage;
  readonly #response: ServerResponse;

  constructor(request: IncomingMessage, response: ServerResponse, id: string, body: Body) {
    this.id = id;
    this.method = request.method ?? '';
    this.version = request.httpVersion;
    this.fields = request.rawHeaders;
    this.body = body;
    this.source = request;
    this.#response = response;
    request.on('error', () => {});
    response.on('error', () => {});
  }
  get writesAtOnce(): boolean {
    return true;
  }
  get isAnswered(): boolean {
    return this.#response.headersSent;
  }
  trailers(): Fields {
    return this.source.rawTrailers;
  }
  proceed(): void {
    if (!this.isAnswered && this.version !== '1.0') this.#response.writeContinue(); // RFC 9110 §15.2
  }
  inform(status: number, fields: Fields): void {
    if (status !== 103 || this.version !== '1.1' || this.isAnswered) return;
    // Not writeEarlyHints(), which throws at much that services write. It is this answer's turn: see inOrder().
    if (safeFields(fields)) this.#response.socket?.write(earlyHints(fields), 'latin1');
  }
  answer({ status, reason, fields, hasBody }: AnswerHead): ServerResponse {
    if (hasBody) flushHeadLater(this.#response);
    return this.#response.writeHead(status, reason === '' ? undefined : reason, fields as string[]);
  }
  addTrailers(fields: Fields): void {
    const pairs: [string, string][] = [];
    for (let at = 0; at < fields.length; at += 2) pairs.push([fields[at] ?? '', fields[at + 1] ?? '']);
    this.#response.addTrailers(pairs);
  }
  abort(): void {
    this.source.socket.destroy();
  }
  enough(): void {
    if (this.source.complete) return;
    // Read on for a moment, so that the answer is not lost to a reset, then end: RFC 9112 §9.6.
    const { socket } = this.source;
    this.source.resume();
    const end = setTimeout(() => socket.destroy(), 2000);
    end.unref();
    this.source.once('end', () => clearTimeout(end));
    socket.once('close', () => clearTimeout(end));
  }
  onClose(call: () => void): void {
    this.#response.once('close', call);
  }
}
