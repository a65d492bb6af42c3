// What the lab and the soak send: a pattern that anybody can check at any offset, sent and expected with back-pressure.
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { type ConnectionOptions, createServer as createTlsServer, connect as tlsConnect } from 'node:tls';

/** A prime number of random bytes, twice in a row: a slice from any offset is one view. Nothing that is lost, doubled or moved fits. */
const period = 4_194_301;
const once_ = randomBytes(period);
const twice = Buffer.concat([once_, once_]);
const most = 65_536;

/** `length` bytes of the endless pattern from `offset` on; at most 4 MB. */
export const patternAt = (offset: number, length: number): Buffer =>
  twice.subarray(offset % period, (offset % period) + length);

/** Writes bytes `seed…seed+length` of the pattern at the reader's pace. Rejects when the connection breaks. */
export async function send(socket: Socket, length: number, seed = 0, piece = most): Promise<void> {
  const lost = new AbortController();
  const stop = (): void => lost.abort();
  socket.once('close', stop);
  try {
    for (let at = 0; at < length; at += piece) {
      if (socket.destroyed || socket.writableEnded) throw broken(socket, `sent ${at} of ${length} bytes`);
      if (!socket.write(patternAt(seed + at, Math.min(piece, length - at))))
        await once(socket, 'drain', { signal: lost.signal }).catch(() => {
          throw broken(socket, `sent ${at} of ${length} bytes`);
        });
    }
  } finally {
    socket.off('close', stop);
  }
}

export interface Expected {
  /** Bytes that came so far. */
  readonly count: () => number;
  /** Resolves at the end with how many came; rejects at the first wrong byte and when the connection breaks. */
  readonly whole: Promise<number>;
}

/** Compares everything that comes with the pattern from `seed` on. */
export function expectPattern(socket: Socket, seed = 0): Expected {
  let count = 0;
  const { promise: whole, resolve, reject } = Promise.withResolvers<number>();
  whole.catch(() => {});
  socket.on('data', (chunk: Buffer) => {
    for (let at = 0; at < chunk.length; at += period) {
      const part = chunk.subarray(at, at + period);
      if (part.compare(patternAt(seed + count, part.length)) !== 0) {
        reject(new Error(`corrupted: a wrong byte between ${count} and ${count + part.length}`));
        socket.destroy();
        return;
      }
      count += part.length;
    }
  });
  socket.on('end', () => resolve(count));
  socket.on('close', () => reject(broken(socket, `broke off after ${count} bytes`)));
  return { count: () => count, whole };
}

const errors = new WeakMap<Socket, Error>();
/** A socket's own error is kept for the sentence, instead of ending the process. */
export function watched<T extends Socket>(socket: T): T {
  return socket.on('error', error => errors.set(socket, error));
}
export const broken = (socket: Socket, text: string): Error =>
  new Error(`${text}: ${errors.get(socket)?.message ?? 'closed without an error'}`);

/** Resolves when it is closed, however it came to that (`once` would reject on its error). */
export const closing = (socket: Socket): Promise<void> =>
  socket.closed ? Promise.resolve() : new Promise(resolve => socket.once('close', () => resolve()));

export interface Backend extends AsyncDisposable {
  readonly port: number;
  readonly server: Server;
  readonly sockets: Set<Socket>;
}

export interface BackendOptions {
  readonly port?: number;
  readonly host?: string;
  /** Speaks TLS with this certificate. */
  readonly tls?: { readonly cert: string; readonly key: string };
}

/** A server that keeps half-closed connections; every socket's error is weather. */
export async function backend(
  serve: (socket: Socket) => void,
  { port = 0, host = '127.0.0.1', tls }: BackendOptions = {},
): Promise<Backend> {
  const sockets = new Set<Socket>();
  const take = (socket: Socket): void => {
    sockets.add(watched(socket));
    socket.once('close', () => sockets.delete(socket));
    serve(socket);
  };
  const half = { allowHalfOpen: true };
  const server = tls ? createTlsServer({ ...tls, ...half }, take) : createServer(half, take);
  server.on('tlsClientError', () => {});
  server.listen(port, host, 4096);
  await once(server, 'listening');
  const address = server.address();
  return {
    ...{ server, sockets },
    port: typeof address === 'object' && address ? address.port : 0,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      if (server.listening) await once(server, 'close');
    },
  };
}

export const echo = (socket: Socket): void => void socket.pipe(socket);

export type Dial = () => Promise<Socket>;

export const dialPlain =
  (port: number, host = '127.0.0.1'): Dial =>
  async () => {
    const socket = watched(connect({ port, host, allowHalfOpen: true }));
    await once(socket, 'connect');
    return socket;
  };

export const dialTls =
  (port: number, options: ConnectionOptions, host = '127.0.0.1'): Dial =>
  async () => {
    // allowHalfOpen is honoured and documented, and missing in the types.
    const half = { allowHalfOpen: true, servername: 'localhost' } as ConnectionOptions;
    const socket = watched(tlsConnect({ port, host, ...half, ...options }));
    await once(socket, 'secureConnect');
    return socket;
  };

export interface Load extends AsyncDisposable {
  /** Connections that were opened, answered to the last byte and ended properly. */
  readonly done: () => number;
  readonly bytes: () => number;
  /** A sentence for each that was not. */
  readonly failures: string[];
  /** Lets what is under way come to its end. */
  stop(): Promise<void>;
}

export interface LoadOptions {
  readonly dial: Dial;
  /** Connections at any moment. */
  readonly clients: number;
  /** Bytes of one connection, at most. */
  readonly most?: number;
}

/** Connections one after another against an echo: random size, half-close, every byte compared, the proper end awaited. */
export function load({ dial, clients, most: largest = 300_000 }: LoadOptions): Load {
  const failures: string[] = [];
  let [done, bytes, running] = [0, 0, true];
  const round = async (): Promise<void> => {
    const socket = await dial();
    try {
      const length = Math.floor(Math.random() ** 3 * largest) + 1;
      const seed = Math.floor(Math.random() * period);
      const heard = expectPattern(socket, seed);
      await Promise.race([send(socket, length, seed).then(() => socket.end()), heard.whole]);
      const count = await within(30_000, heard.whole, () => `hangs after ${heard.count()} of ${length} bytes`);
      // A proper end before the first byte is how somebody is turned away.
      if (count === 0) throw new Error('turned away');
      if (count !== length) throw new Error(`truncated: ${count} of ${length} bytes`);
      bytes += count;
      done++;
    } finally {
      socket.destroy();
    }
  };
  const client = async (): Promise<void> => {
    while (running) {
      await round().catch(error => failures.push((error as Error).message));
      await new Promise(setImmediate);
    }
  };
  const all = Promise.all(Array.from({ length: clients }, client));
  const stop = async (): Promise<void> => {
    running = false;
    await all;
  };
  return {
    done: () => done,
    bytes: () => bytes,
    failures,
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

/** The promise, or an error that says what hung. */
export async function within<T>(ms: number, promise: Promise<T>, text: () => string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(text())), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
