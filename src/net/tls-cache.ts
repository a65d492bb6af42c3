// Sessions of TLS 1.2 clients that do not take tickets, kept on this side: bounded, the oldest goes first.
import { EventEmitter } from 'node:events';
import type { Server } from 'node:tls';

/** What TLSSocket asks of its `server` option. */
export interface SessionCache {
  readonly server: Server;
  readonly size: number;
}

/** OpenSSL checks context and timeout when a session is used; here only the number is bounded. */
export function makeSessionCache(limit: number): SessionCache {
  const sessions = new Map<string, Buffer>();
  const server = new EventEmitter();
  server.on('newSession', (id: Buffer, session: Buffer, done: () => void) => {
    // TLS 1.3 has tickets only; its ids here are made up. DER: SEQUENCE { version, ssl_version 2 bytes, … }.
    if (!session.subarray(0, 16).includes(tls13)) {
      if (sessions.size >= limit) sessions.delete(sessions.keys().next().value ?? '');
      sessions.set(id.toString('latin1'), session);
    }
    done();
  });
  server.on('resumeSession', (id: Buffer, done: (error: Error | null, session: Buffer | null) => void) => {
    done(null, sessions.get(id.toString('latin1')) ?? null);
  });
  return {
    server: server as Server,
    get size() {
      return sessions.size;
    },
  };
}

const tls13 = Buffer.from([2, 2, 3, 4]);
