// The device's end of the link: HTTP/2 server on a connection that it dialled itself. Every CONNECT is looked up in the
// device's own list; what is not on it does not exist.
import {
  constants,
  createServer,
  type Http2Session,
  type IncomingHttpHeaders,
  type ServerHttp2Stream,
} from 'node:http2';
import { Fault, isWeather, toFault } from '../../../core/fault.ts';
import type { Conn, Log } from '../../../core/parts.ts';
import { splice } from '../../../net/splice.ts';
import { dialTcp } from '../../../net/tcp.ts';
import { dialUnix } from '../../../net/unix.ts';
import { Flood } from '../floods.ts';
import {
  type Farewell,
  flood,
  frameSize,
  type HelloAnswer,
  headerSize,
  linkWindow,
  longestMessage,
  mostStreams,
  streamWindow,
  times,
} from '../protocol.ts';
import { isBroken, LinkStreams } from '../streams.ts';
import type { ServiceAddress, Services } from './services.ts';

const { NGHTTP2_CONNECT_ERROR, NGHTTP2_ENHANCE_YOUR_CALM, NGHTTP2_NO_ERROR } = constants;

/** What the gate may ask besides streams; throws Faults. */
export interface Requests {
  hello(body: unknown): HelloAnswer;
  /** A signing request, PEM. */
  renew(): Promise<string>;
  identity(body: unknown): void;
}

export interface ServedLink {
  /** Why it ended, as far as the gate said it. */
  readonly ended: Promise<Farewell | 'lost'>;
  /** Asks the gate for a sign of life; the link is cut when none comes within `patience` ms. */
  probe(patience: number): void;
  /** Bytes received so far: silence is told by it. */
  readonly received: number;
  readonly streams: number;
  /** Ends a link whose connection is gone without a word. */
  check(): void;
  /** No new streams; what runs may end until `deadline`. */
  leave(deadline: AbortSignal): Promise<void>;
}

export function serveLink(conn: Conn, options: { services: Services; requests: Requests; log: Log }): ServedLink {
  const { services, requests, log } = options;
  const { stream: socket } = conn;
  const streams = new LinkStreams();
  const cut = new AbortController();
  let why: Farewell | 'lost' = 'lost';
  let session: Http2Session | undefined;
  let state: 'open' | 'leaving' = 'open';
  streams.followEnd(socket);
  const server = createServer({
    settings: {
      initialWindowSize: streamWindow,
      maxFrameSize: frameSize,
      maxConcurrentStreams: mostStreams,
      maxHeaderListSize: headerSize,
      headerTableSize: 0,
    },
    maxDeflateDynamicTableSize: 0,
    maxHeaderListPairs: 32,
    maxSendHeaderBlockLength: headerSize,
    maxSettings: 32,
    maxOutstandingPings: 4,
    maxSessionInvalidFrames: 20,
    maxSessionRejectedStreams: 100,
    maxSessionMemory: 64,
    streamResetBurst: flood.resets,
    streamResetRate: flood.resets / 10,
  } as Parameters<typeof createServer>[0]);
  server.on('sessionError', () => {});
  server.on('session', made => {
    session = made;
    made.setLocalWindowSize(linkWindow);
    made.on('error', () => {});
    made.on('goaway', (_code: number, _last: number, data?: Uint8Array) => {
      const text = data ? Buffer.from(data).toString('latin1') : '';
      // A graceful end is two frames; only the first says why.
      const said = (['replaced', 'refused', 'drain', 'flood'] as const).find(one => one === text);
      why = said ?? (why === 'lost' ? 'drain' : why);
    });
    watchFloods(made, kind => {
      log.warn({ kind }, 'the gate floods the link with control frames; cutting it');
      streams.cut();
      made.destroy(undefined, NGHTTP2_ENHANCE_YOUR_CALM);
      socket.destroy();
    });
  });
  const resets = new Flood(flood.resets);
  server.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
    streams.add(stream);
    stream.on('error', () => {}); // whoever works on it is told by 'close'
    stream.once('close', () => {
      if (stream.rstCode !== NGHTTP2_NO_ERROR && resets.isFlooded(Date.now())) socket.destroy();
    });
    if (headers[':method'] === 'CONNECT') void carry(stream, String(headers[':authority'] ?? ''));
    else void answer(stream, headers, requests, log);
  });

  async function carry(stream: ServerHttp2Stream, service: string): Promise<void> {
    const near = streams.conn(stream, { path: 'gate' });
    try {
      const address = state === 'open' ? services.find(service) : undefined;
      if (!address) return refuse(stream, state === 'open' ? 403 : 503);
      const far = await reach(address, cut.signal);
      if (stream.destroyed) return void far.stream.destroy();
      stream.respond({ ':status': 200 });
      const end = await splice(near, far, { signal: cut.signal, idle: 0, halfClose: true, count: () => {} });
      log.debug({ service, end }, 'stream ended');
      if (!far.stream.destroyed) await far.close(AbortSignal.timeout(5000));
    } catch (error) {
      const fault = toFault(error);
      if (!isWeather(error)) log.info({ service, code: fault.code }, `a stream could not be opened: ${fault.message}`);
      refuse(stream, fault.code === 'timeout' ? 504 : 502);
    }
  }

  const ended = new Promise<Farewell | 'lost'>(resolve => {
    socket.once('close', () => {
      cut.abort('closed');
      session?.destroy();
      resolve(why);
    });
  });
  server.emit('connection', socket);
  return {
    ended,
    get received() {
      return (socket as { bytesRead?: number }).bytesRead ?? 0;
    },
    get streams() {
      return streams.size;
    },
    check() {
      if (isBroken(socket)) socket.destroy();
    },
    probe(patience) {
      if (!session || session.destroyed) return void socket.destroy();
      const late = setTimeout(() => {
        log.info({}, 'the gate does not answer; the link is given up');
        socket.destroy();
      }, patience);
      socket.once('close', () => clearTimeout(late));
      session.ping(error => {
        if (!error) clearTimeout(late);
      });
    },
    async leave(deadline) {
      state = 'leaving';
      if (!session || session.destroyed) return void socket.destroy();
      session.goaway(NGHTTP2_NO_ERROR, 0x7fffffff);
      session.close();
      const end = (): void => void socket.destroy();
      deadline.addEventListener('abort', end);
      if (deadline.aborted) end();
      await ended;
    },
  };
}

const reach = (address: ServiceAddress, signal: AbortSignal): Promise<Conn> =>
  'path' in address
    ? dialUnix({ path: address.path, timeout: times.connect }, signal)
    : dialTcp({ ...address, timeout: times.connect }, signal);

function refuse(stream: ServerHttp2Stream, status: number): void {
  if (stream.destroyed) return;
  if (stream.headersSent) stream.close(NGHTTP2_CONNECT_ERROR);
  else stream.respond({ ':status': status }, { endStream: true });
}

async function answer(
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  requests: Requests,
  log: Log,
): Promise<void> {
  try {
    const body = await readJson(stream);
    switch (`${headers[':method']} ${headers[':path']}`) {
      case 'POST /hello':
        return reply(stream, 200, JSON.stringify(requests.hello(body)));
      case 'POST /renew':
        return reply(stream, 200, await requests.renew());
      case 'PUT /identity':
        requests.identity(body);
        return reply(stream, 204);
      default:
        return reply(stream, 404);
    }
  } catch (error) {
    const fault = toFault(error);
    if (!isWeather(error)) log.warn({ code: fault.code }, `what the gate asked could not be done: ${fault.message}`);
    reply(stream, fault.code === 'bug' ? 500 : 400);
  }
}

function reply(stream: ServerHttp2Stream, status: number, text?: string): void {
  if (stream.destroyed || stream.headersSent) return;
  stream.respond({ ':status': status }, { endStream: text === undefined });
  if (text !== undefined) stream.end(text);
}

async function readJson(stream: ServerHttp2Stream): Promise<unknown> {
  let text = '';
  stream.setEncoding('utf8');
  for await (const chunk of stream as AsyncIterable<string>) {
    text += chunk;
    if (text.length > longestMessage) throw new Fault('protocol', 'the gate’s message is too long');
  }
  return JSON.parse(text || '{}');
}

function watchFloods(session: Http2Session, tooMuch: (kind: string) => void): void {
  for (const [event, most] of [
    ['remoteSettings', flood.settings],
    ['ping', flood.pings],
    ['frameError', flood.informational],
  ] as const) {
    const counter = new Flood(most);
    session.on(event as 'ping', () => {
      if (counter.isFlooded(Date.now())) tooMuch(event);
    });
  }
}
