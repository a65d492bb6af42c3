// The end of a server of client connections: idle ones now, the others when they are done or the deadline comes.
import type { Server } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Front } from './exchange.ts';

export interface Drained {
  readonly servers: Iterable<Server>;
  readonly live: ReadonlyMap<Duplex, { readonly front?: Front | undefined }>;
}

/** At the deadline whoever is left is destroyed. */
export async function drainConns({ servers, live }: Drained, deadline: AbortSignal): Promise<void> {
  for (const server of servers) server.closeIdleConnections();
  for (const { front } of live.values()) front?.drain();
  const late = (): void => {
    for (const stream of live.keys()) stream.destroy();
  };
  deadline.addEventListener('abort', late, { once: true });
  if (deadline.aborted) late();
  await Promise.all(
    [...live.keys()].map(stream => (stream.closed ? undefined : new Promise(resolve => stream.once('close', resolve)))),
  );
  deadline.removeEventListener('abort', late);
  for (const server of servers) server.close(() => {}); // ends its check of times; it says that it never listened
}
