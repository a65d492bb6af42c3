// A bare HTTP/1.1 server that owns no port: it is handed conns. Its limits are here, all of them.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { finished } from 'node:stream/promises';
import type { Conn } from '../core/parts.ts';

/** Numbers of one API; the defaults suit people and scripts, not bulk. */
export interface HttpLimits {
  /** Bytes of a request's body; default 1 MiB. */
  readonly body: number;
  /** Bytes of the header block; default 16 KiB. */
  readonly header: number;
  /** Milliseconds for the header block; default 10,000. */
  readonly headerTime: number;
  /** Milliseconds for a whole request; default 30,000. */
  readonly requestTime: number;
  /** Milliseconds between two requests of a conn; default 60,000. */
  readonly idle: number;
  /** Requests of one conn; default 1,000. */
  readonly requests: number;
  /** Conns at a time; default 512. The next one is closed at once. */
  readonly conns: number;
}
export const defaultLimits: HttpLimits = {
  body: 1024 * 1024,
  header: 16 * 1024,
  headerTime: 10_000,
  requestTime: 30_000,
  idle: 60_000,
  requests: 1000,
  conns: 512,
};

export interface HttpServer {
  readonly server: Server;
  /** Serves HTTP on a conn until either side ends it. Never throws. */
  handle(conn: Conn): Promise<void>;
  /** The conn that a request came on. */
  connOf(request: IncomingMessage): Conn | undefined;
  /** Answers say `connection: close` from then on. */
  isDraining(): boolean;
  /** Lets requests under way finish until `deadline`, then destroys. */
  drain(deadline: AbortSignal): Promise<void>;
}

/** A protocol of its own on the same HTTP server: what it claims, the API never sees. */
export interface HttpDoor {
  readonly name: string;
  /** Whether this request is the door's, told by its line and headers alone. */
  claims?(request: IncomingMessage): boolean;
  /** Answers what was claimed. Limits on the body are the door's own. Never throws. */
  answer?(request: IncomingMessage, response: ServerResponse, conn: Conn): void;
  /** WebSockets at this path: the door owns the conn from here on, and answers, also with a refusal. Never throws. */
  readonly upgrade?: {
    readonly path: string;
    accept(request: IncomingMessage, conn: Conn, head: Buffer): void;
  };
}

type Listener = (request: IncomingMessage, response: ServerResponse) => void;

export function createHttpServer(
  listener: Listener,
  limits: HttpLimits,
  doors: () => readonly HttpDoor[] = () => [],
): HttpServer {
  const conns = new Map<Duplex, Conn>();
  let draining = false;
  const sort: Listener = (request, response) => {
    const conn = conns.get(request.socket);
    const answer = doors().find(one => one.claims?.(request))?.answer;
    if (answer && conn) answer(request, response, conn);
    else listener(request, response);
  };
  const server = createServer(
    {
      maxHeaderSize: limits.header,
      headersTimeout: limits.headerTime,
      requestTimeout: limits.requestTime,
      keepAliveTimeout: limits.idle,
      connectionsCheckingInterval: Math.min(1000, limits.headerTime / 2),
      insecureHTTPParser: false,
      requireHostHeader: true,
    },
    sort,
  );
  server.on('upgrade', (request, socket, head) => {
    const conn = conns.get(socket);
    const path = request.url?.split('?', 1)[0];
    const door = doors().find(({ upgrade }) => upgrade?.path === path);
    if (!conn || !door?.upgrade || draining) {
      // 503, or clients that come back by themselves would take it for the end.
      const line = draining && door ? '503 Service Unavailable' : '404 Not Found';
      socket.end(`HTTP/1.1 ${line}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`);
      return;
    }
    conns.delete(socket); // it is no request any more: neither counted nor awaited here
    door.upgrade.accept(request, conn, head);
  });
  server.maxHeadersCount = 100;
  server.maxRequestsPerSocket = limits.requests;
  // Node starts the check of headersTimeout and requestTimeout when a server listens. This one never does, and without
  // the check a client that sends one header byte a minute would hold its conn for good.
  server.emit('listening');

  const ended = (stream: Duplex): Promise<void> => finished(stream).catch(() => {}); // a reset is weather

  return {
    server,
    connOf: request => conns.get(request.socket),
    isDraining: () => draining,
    async handle(conn) {
      const { stream } = conn;
      if (conns.size >= limits.conns || draining) {
        stream.destroy();
        return;
      }
      conns.set(stream, conn);
      server.emit('connection', stream);
      await ended(stream);
      conns.delete(stream);
    },
    async drain(deadline) {
      draining = true;
      server.closeIdleConnections();
      const late = (): void => {
        for (const stream of conns.keys()) stream.destroy();
      };
      deadline.addEventListener('abort', late, { once: true });
      if (deadline.aborted) late();
      await Promise.all([...conns.keys()].map(ended));
      deadline.removeEventListener('abort', late);
      server.close(() => {}); // ends the check above; it says that it never listened
    },
  };
}
