// What the tests of the proxy share: routes opened from a configuration as a user writes it, and plain peers.
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { type ConnectionOptions, type TLSSocket, connect as tlsConnect } from 'node:tls';
import { systemClock } from '../../../src/core/clock.ts';
import { Fault } from '../../../src/core/fault.ts';
import type { Conn, Identify } from '../../../src/core/parts.ts';
import {
  type AccessLine,
  openRoutes,
  type ProxyDeps,
  type ProxyService,
  type RouteTrust,
} from '../../../src/features/proxy/index.ts';
import { type TestGate, testGate } from '../../fixtures/gate.ts';
import { memoryLog, memoryMetrics } from '../../fixtures/quiet.ts';
import { plan } from './planning.ts';

export interface Rig extends AsyncDisposable {
  readonly service: ProxyService;
  readonly gate: TestGate;
  readonly lines: AccessLine[];
  readonly log: ReturnType<typeof memoryLog>;
  readonly metrics: ReturnType<typeof memoryMetrics>;
  /** The port that a route really listens on. */
  port(route: string, listen?: number): number;
  reload(config: object): Promise<void>;
}

/** Opens routes as `proxy:` writes them. */
export async function openRig(config: object, deps: Partial<ProxyDeps> & { gate?: TestGate } = {}): Promise<Rig> {
  const gate = deps.gate ?? testGate();
  const log = memoryLog();
  const metrics = memoryMetrics();
  const lines: AccessLine[] = [];
  const service = await openRoutes(await plan(config), {
    identify: identifyByName,
    log,
    metrics,
    clock: systemClock,
    accessLog: line => void lines.push(line),
    ...deps,
    gate,
  });
  return {
    service,
    gate,
    lines,
    log,
    metrics,
    port: (route, listen = 0) => portOf(service, route, listen),
    reload: async next => service.reload(await plan(next)),
    [Symbol.asyncDispose]: () => service[Symbol.asyncDispose](),
  };
}

/** Stands in for trust: the certificate's CN as an attribute, a user only under the name that the test trusts. */
const identifyByName = (trust: RouteTrust): Identify => {
  return async (conn: Conn) => {
    const { leaf } = conn.tls ?? {};
    if (!leaf && trust.mode === 'required') throw new Fault('unknown-caller', 'a client certificate is required');
    if (!leaf) return { kind: 'anonymous', id: '', groups: [], attributes: new Map(), credential: '' };
    const { X509Certificate } = await import('node:crypto');
    const certificate = new X509Certificate(leaf);
    const cn = /CN=([^\n]*)/.exec(certificate.subject)?.[1] ?? '';
    return {
      kind: 'user',
      id: '',
      groups: [],
      attributes: new Map([['cn', [cn]]]),
      credential: `cert:${certificate.fingerprint256.replaceAll(':', '').toLowerCase()}`,
    };
  };
};

function portOf(service: ProxyService, route: string, listen: number): number {
  const address = service.state().find(one => one.name === route)?.listens[listen]?.address;
  if (!address || !('port' in address)) throw new Error(`route ${route} has no port`);
  return address.port;
}

/** A plain TCP server on a free port of 127.0.0.1. */
export async function plainServer(
  serve: (socket: Socket) => void,
  options: { readonly port?: number } = {},
): Promise<{ server: Server; port: number; sockets: Set<Socket> } & AsyncDisposable> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, socket => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
    serve(socket);
  });
  server.listen(options.port ?? 0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' && address ? address.port : 0;
  return {
    server,
    port,
    sockets,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      if (server.listening) await once(server, 'close');
    },
  };
}

export const echo = (socket: Socket): void => void socket.pipe(socket);

export async function dialPlain(port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  await once(socket, 'connect');
  socket.on('error', () => {});
  return socket;
}

export async function dialTlsTo(port: number, options: ConnectionOptions): Promise<TLSSocket> {
  const socket = tlsConnect({ port, host: '127.0.0.1', servername: 'localhost', ...options });
  await once(socket, 'secureConnect');
  socket.on('error', () => {});
  return socket;
}

/** Everything until the end. From Node 26 on, plain iteration would destroy a half-open socket there. */
export async function readAll(stream: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

/** Reads exactly `length` bytes. */
export function readBytes(socket: Socket, length: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    let seen = Buffer.alloc(0);
    const done = (): void => {
      socket.off('data', take).off('close', lost);
    };
    const lost = (): void => {
      done();
      reject(new Error(`closed after ${seen.length} of ${length} bytes`));
    };
    const take = (chunk: Buffer): void => {
      seen = Buffer.concat([seen, chunk]);
      if (seen.length < length) return;
      done();
      if (seen.length > length) socket.unshift(seen.subarray(length));
      resolve(seen.subarray(0, length));
    };
    socket.on('data', take).on('close', lost);
  });
}

/** Resolves when the socket is closed, however it came to that; with the error's code, if there was one. */
export function closed(socket: Socket): Promise<string> {
  return new Promise(resolve => {
    let code = '';
    socket.once('error', error => {
      code = (error as NodeJS.ErrnoException).code ?? 'error';
    });
    socket.once('close', () => resolve(code));
  });
}

/** Sends a text and reads as many bytes back. */
export async function echoes(socket: Socket, text: string): Promise<string> {
  socket.write(text);
  return (await readBytes(socket, Buffer.byteLength(text))).toString();
}
