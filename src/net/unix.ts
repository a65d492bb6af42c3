// Unix sockets: a file that is replaced when nobody listens on it, and removed at the end.
import { chmodSync, existsSync, lstatSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { dirname } from 'node:path';
import { Fault } from '../core/fault.ts';
import type { Conn, Listener } from '../core/parts.ts';
import { type AcceptOptions, acceptFrom, listening } from './accept.ts';
import { makeConn } from './conn.ts';
import { connecting } from './connecting.ts';
import { dialFault, listenFault } from './reasons.ts';

export interface UnixListenOptions extends AcceptOptions {
  readonly path: string;
  /** Permissions of the file; to connect is to write. Default 0o660: the owner and the group. */
  readonly mode?: number;
}

/** @throws Fault `conflict` when somebody listens there or the path is another kind of file; `invalid` otherwise */
export async function listenUnix(options: UnixListenOptions): Promise<Listener> {
  const { path, mode = 0o660 } = options;
  const server = createServer({ allowHalfOpen: true });
  // The file must never stand with looser permissions than it is to have, not even between bind and chmod.
  const listen = async (): Promise<void> => {
    const before = process.umask(0o777 & ~mode);
    try {
      const done = listening(server, { path });
      process.umask(before);
      await done;
    } finally {
      process.umask(before);
    }
  };
  try {
    await listen().catch(async (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EADDRINUSE') throw error;
      await removeDead(path);
      await listen();
    });
    chmodSync(path, mode);
  } catch (error) {
    if (error instanceof Fault) throw error;
    // libuv says EACCES for a folder that is not there.
    throw listenFault(
      existsSync(dirname(path)) ? (error as Error) : Object.assign(new Error(), { code: 'ENOENT' }),
      path,
    );
  }
  const local = { path };
  return acceptFrom(server, local, socket => makeConn(socket, { peer: { path: '' }, local }), options);
}

/** @throws Fault `unreachable` or `timeout` */
export async function dialUnix(
  { path, timeout = 10_000 }: { readonly path: string; readonly timeout?: number },
  signal: AbortSignal,
): Promise<Conn> {
  signal.throwIfAborted();
  const socket = connect({ path, allowHalfOpen: true });
  return connecting(socket, {
    ...{ signal, timeout },
    made: () => makeConn(socket, { peer: { path }, local: { path: '' } }),
    fault: error => dialFault(error, path),
    late: () => new Fault('timeout', `${path} did not answer within ${timeout} ms`),
  });
}

/** Removes a socket file that nobody listens on any more (its process was killed). @throws Fault `conflict` */
async function removeDead(path: string): Promise<void> {
  if (!lstatSync(path).isSocket()) {
    throw new Fault('conflict', `${path} is a file that is not a socket; remove it, or listen elsewhere`);
  }
  const answer = await new Promise<string>(resolve => {
    const probe = connect({ path });
    probe
      .once('connect', () => resolve('connected'))
      .once('error', error => resolve((error as NodeJS.ErrnoException).code ?? ''));
    probe.once('connect', () => probe.destroy());
  });
  if (answer !== 'ECONNREFUSED') {
    throw new Fault('conflict', `${path} is in use by another program; stop it, or listen elsewhere`);
  }
  rmSync(path, { force: true });
}
