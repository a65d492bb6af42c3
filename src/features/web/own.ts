// The gate itself, asked over a connection that is the proxy's: HTTP/2 towards the client, HTTP/1.1 towards the API.
import type { Conn } from '../../core/parts.ts';
import { memoryPair } from '../../net/memory.ts';
import type { Exchange } from './exchange.ts';
import { requestFields, valuesOf } from './headers.ts';
import { sendPage } from './outcome.ts';
import { refusalPage } from './pages.ts';
import { relay, type Upstream } from './relay.ts';
import { Pool } from './upstream.ts';

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

class Own implements Upstream {
  readonly pool: Pool;
  readonly signal: AbortSignal = new AbortController().signal;
  constructor({ peer, local, tls }: Conn, serve: (conn: Conn) => Promise<void>) {
    const dial = async (): Promise<Conn> => {
      const [near, far] = memoryPair();
      void serve({ ...far, peer, ...(local ? { local } : {}), ...(tls ? { tls } : {}) });
      return near;
    };
    this.pool = new Pool({ most: 1, patience: { send: 0, read: 0 }, dial });
  }
  enter(): () => void {
    return () => this.pool.destroy();
  }
}
