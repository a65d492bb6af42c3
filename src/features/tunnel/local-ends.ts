// The application's side of a joined tunnel: a source's listeners, a destination's targets.
import { connect, createServer, type Server, type Socket } from 'node:net';
import { Fault } from '../../core/fault.ts';
import type { Address, Log } from '../../core/parts.ts';
import { joinStreams } from './join-streams.ts';
import type { LocalService } from './join-tunnel.ts';
import type { TunnelStream } from './stream.ts';

/**
 * Which service of the tunnel each local place is for. `*` is a tunnel's only service, or the nameless one.
 * @throws Fault `invalid` naming what the tunnel has
 */
export function mapServices(
  services: readonly string[],
  wanted: Readonly<Record<string, LocalService>> | undefined,
  mode: 'source' | 'destination',
): Map<string, LocalService> {
  const has =
    services.length === 0 ? 'this tunnel was opened without services' : `this tunnel has: ${services.join(', ')}`;
  if (!wanted) {
    if (mode === 'destination') throw new Fault('invalid', `say where each service is on this machine; ${has}`);
    const names = services.length === 0 ? [''] : services;
    return new Map(names.map(name => [name, { host: '127.0.0.1', port: 0 }]));
  }
  const map = new Map<string, LocalService>();
  const entries = Object.entries(wanted);
  for (const [name, place] of entries) {
    const only = services.length <= 1 ? (services[0] ?? '') : undefined;
    // A tunnel without services has one way; whatever it is called here, it is that one.
    if (name === '*' || (services.length === 0 && entries.length === 1)) {
      if (only === undefined) throw new Fault('invalid', `name the service: ${has}`);
      map.set(only, place);
    } else if (services.includes(name)) map.set(name, place);
    else if (mode === 'source') throw new Fault('invalid', `there is no service "${name}"; ${has}`);
  }
  return map;
}

export interface Listening {
  readonly address: Address;
  close(): void;
}

/** @throws Fault `conflict`, `invalid` */
export function listenLocal(
  place: { readonly host: string; readonly port: number } | { readonly path: string },
  accept: (socket: Socket) => void,
): Promise<Listening> {
  const server: Server = createServer({ allowHalfOpen: true, noDelay: true }, accept);
  const where = 'path' in place ? place.path : `${place.host}:${place.port}`;
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const taken = error.code === 'EADDRINUSE';
      const text = taken ? 'is in use by another program; name another port' : `cannot be listened on (${error.code})`;
      reject(new Fault(taken ? 'conflict' : 'invalid', `${where} ${text}`, { cause: error }));
    });
    server.listen({ ...place, backlog: 511 }, () => {
      const bound = server.address();
      const address: Address =
        bound !== null && typeof bound === 'object'
          ? { host: bound.address, port: bound.port }
          : { path: String(bound) };
      server.on('error', () => {}); // an accept that failed; the next may not
      resolve({ address, close: () => void server.close() });
    });
  });
}

/** Milliseconds for a local application to take a connection. */
const patience = 10_000;

/** A stream from the far side → the application. Never throws: who cannot be reached is a reset for the far side. */
export function connectLocal(stream: TunnelStream, place: LocalService | undefined, log: Log): void {
  if (!place || 'stream' in place) {
    log.warn({ service: stream.service }, 'a connection was asked for to a service that is not allowed here');
    stream.destroy();
    return;
  }
  const socket = connect({ ...place, allowHalfOpen: true, noDelay: true } as never);
  const timer = setTimeout(() => socket.destroy(new Error('no answer')), patience);
  const gone = (): void => void socket.destroy();
  const failed = (error: Error): void => {
    clearTimeout(timer);
    log.warn({ service: stream.service, cause: error.message }, 'the local application cannot be reached');
    stream.off('close', gone).destroy();
  };
  stream.once('close', gone);
  socket.once('error', failed);
  socket.once('connect', () => {
    clearTimeout(timer);
    stream.off('close', gone);
    socket.off('error', failed);
    void joinStreams(stream, socket);
  });
}
