// A small HTTP/1.1 server on a listener of ours, for what is public: redirects, ACME answers, the CRL, metrics.
import { createServer, type IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Listener } from '../core/parts.ts';

export interface Answer {
  readonly status: number;
  readonly type?: string;
  readonly body?: string | Uint8Array;
  readonly location?: string;
}
/** The path without its query, and the request with its method. Nothing of its body is read. */
export type Answerer = (path: string, request: IncomingMessage) => Answer | undefined | Promise<Answer | undefined>;

/** Serves until the listener is disposed; disposing the answer ends its conns as well. */
export function servePlainHttp(listener: Listener, answer: Answerer): AsyncDisposable {
  const server = createServer(
    {
      maxHeaderSize: 8192,
      headersTimeout: 10_000,
      requestTimeout: 10_000,
      keepAliveTimeout: 5_000,
      connectionsCheckingInterval: 1000,
    },
    async (request, response) => {
      const [path = '/'] = (request.url ?? '/').split('?');
      const isRead = request.method === 'GET' || request.method === 'HEAD';
      const found = await Promise.resolve(answer(path, request)).catch(() => ({ status: 500 }));
      const {
        status,
        type = 'text/plain; charset=utf-8',
        body = '',
        location,
      } = (found ?? { status: 404, body: 'not here\n' }) as Answer;
      response.writeHead(status, {
        'content-type': type,
        'content-length': Buffer.byteLength(body),
        'x-content-type-options': 'nosniff',
        ...(isRead ? {} : { connection: 'close' }), // its body stays unread
        ...(location === undefined ? {} : { location }),
      });
      response.end(request.method === 'HEAD' ? undefined : body);
    },
  );
  server.maxRequestsPerSocket = 100;
  server.emit('listening'); // it never does; without this the time limits above are not looked at
  const conns = new Set<Socket>();
  const limit = 256;
  const run = async (): Promise<void> => {
    for await (const { stream } of listener) {
      if (conns.size >= limit) {
        stream.destroy();
        continue;
      }
      const socket = stream as Socket;
      conns.add(socket);
      socket.once('close', () => conns.delete(socket));
      server.emit('connection', socket);
    }
  };
  void run();
  return {
    async [Symbol.asyncDispose]() {
      await listener[Symbol.asyncDispose]();
      for (const socket of conns) socket.destroy();
      server.close(() => {});
    },
  };
}
