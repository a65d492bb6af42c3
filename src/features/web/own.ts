// The gate itself, asked over a connection that is the proxy's: HTTP/2 towards the client, HTTP/1.1 towards the API.
import type { Conn } from '../../core/parts.ts';
import { memoryPair } from '../../net/memory.ts';
import type { Exchange } from './exchange.ts';
import { type Fields, requestFields, valuesOf, without } from './headers.ts';
import { sendPage } from './outcome.ts';
import { refusalPage } from './pages.ts';
import { relay, type Upstream } from './relay.ts';
import { Pool } from './upstream.ts';
import { agree } from './websocket.ts';

/** Passes a request to the API as if it had come on a conn of its own, with this conn's facts. */
export function askOwn(exchange: Exchange, path: string, conn: Conn, serve: (conn: Conn) => Promise<void>): void {
  const authority = valuesOf(exchange.fields, ':authority')[0] ?? valuesOf(exchange.fields, 'host')[0] ?? '';
  relay(exchange, {
    upstream: new Own(conn, serve),
    path,
    fields: requestFields(exchange.fields, {
      host: authority,
      body: exchange.body,
      method: exchange.method,
      version: exchange.version,
      extra: ['Connection', 'close'],
      isOwn: true,
    }),
    done: () => {},
    fail: fault => {
      if (exchange.isAnswered) return exchange.abort();
      sendPage(
        exchange,
        refusalPage({
          status: 502,
          what: fault.message,
          site: authority,
          request: exchange.id,
          certificate: { state: 'good' },
          issuers: [],
          wantsHtml: false,
        }),
      );
    },
  });
}

/**
 * A WebSocket to the gate itself: browsers ask for it on the HTTP/2 connection of the page, since RFC 8441 is offered there.
 * The API hears an upgrade. @throws Fault `unreachable` with the API's `status` when it says no
 */
export async function joinOwn(
  { path, authority, fields }: { readonly path: string; readonly authority: string; readonly fields: Fields },
  conn: Conn,
  serve: (conn: Conn) => Promise<void>,
  signal: AbortSignal,
): Promise<{ readonly far: Conn; readonly told: Fields }> {
  const far = dialOwn(conn, serve);
  try {
    const asked = requestFields(fields, {
      ...{ host: authority, body: { kind: 'none' }, method: 'GET', version: '2.0', extra: [], isOwn: true },
    });
    const told = await agree(far, { path, fields: without(asked, 'sec-websocket-key') }, signal);
    return { far, told: without(told, 'sec-websocket-accept') };
  } catch (error) {
    far.stream.destroy();
    throw error;
  }
}

function dialOwn({ peer, local, tls }: Conn, serve: (conn: Conn) => Promise<void>): Conn {
  const [near, far] = memoryPair();
  void serve({ ...far, peer, ...(local ? { local } : {}), ...(tls ? { tls } : {}) });
  return near;
}

class Own implements Upstream {
  readonly pool: Pool;
  readonly signal: AbortSignal = new AbortController().signal;
  constructor(conn: Conn, serve: (conn: Conn) => Promise<void>) {
    this.pool = new Pool({ most: 1, patience: { send: 0, read: 0 }, dial: async () => dialOwn(conn, serve) });
  }
  enter(): () => void {
    return () => this.pool.destroy();
  }
}
