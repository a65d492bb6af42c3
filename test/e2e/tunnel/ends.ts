// What stands behind the two ends of a tunnel in tests: servers that answer, our own source and destination, a client.
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import type { TestContext } from 'node:test';
import { type JoinedTunnel, type JoinOptions, joinTunnel } from '../../../src/features/tunnel/local.ts';
import { memoryLog } from '../../fixtures/quiet.ts';
import type { TunnelGate } from './rig.ts';

/** Answers at the end with a digest of all that came: a FIN must arrive, and the answer must come back after it. */
export async function digestServer(t: TestContext): Promise<{ port: number; live: Set<Socket> }> {
  return serverOf(t, socket => {
    const hash = createHash('sha256');
    socket.on('data', chunk => hash.update(chunk));
    socket.on('end', () => socket.end(hash.digest('hex')));
  });
}
export const echoing = (t: TestContext) => serverOf(t, socket => void socket.pipe(socket));

export async function serverOf(
  t: TestContext,
  serve: (socket: Socket) => void,
): Promise<{ port: number; live: Set<Socket> }> {
  const live = new Set<Socket>();
  const server: Server = createServer({ allowHalfOpen: true }, socket => {
    live.add(socket);
    socket.on('error', () => {}).once('close', () => live.delete(socket));
    serve(socket);
  });
  server.listen({ port: 0, host: '127.0.0.1', backlog: 511 });
  await once(server, 'listening');
  t.after(() => {
    for (const socket of live) socket.destroy();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, live };
}

export async function joined(
  t: TestContext,
  house: TunnelGate,
  options: Partial<JoinOptions> & Pick<JoinOptions, 'token' | 'mode'>,
) {
  const life = new AbortController();
  const log = memoryLog();
  const tunnel = await joinTunnel({
    ...{ endpoint: `localhost:${house.port}`, ca: house.ca, signal: life.signal, log },
    ...options,
  });
  t.after(() => tunnel.close());
  return Object.assign(tunnel, { log });
}

export const portOf = (tunnel: JoinedTunnel, service: string): number =>
  (tunnel.listening[service] as { port: number }).port;

/** Sends all, ends, and gives all that comes back. */
export async function ask(port: number, bytes: Uint8Array | string): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  socket.end(bytes);
  let answer = '';
  for await (const chunk of socket) answer += chunk;
  return answer;
}
