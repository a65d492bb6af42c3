// The gate itself, asked over a connection that is the proxy's: HTTP/2 towards the client, HTTP/1.1 towards the API.
import { Agent } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Conn } from '../../core/parts.ts';
import { memoryPair } from '../../net/memory.ts';
import type { Exchange } from './exchange.ts';
import { sendPage } from './forward.ts';
import { requestFields, valuesOf } from './headers.ts';
import { refusalPage } from './pages.ts';
import { relay, type Upstream } from './relay.ts';

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
  readonly agent: Agent;
  readonly host = 'gate';
  readonly signal: AbortSignal = new AbortController().signal;
  constructor(conn: Conn, serve: (conn: Conn) => Promise<void>) {
    this.agent = new OwnAgent(conn, serve);
  }
  enter(): () => void {
    return () => this.agent.destroy();
  }
}

class OwnAgent extends Agent {
  readonly #conn: Conn;
  readonly #serve: (conn: Conn) => Promise<void>;
  constructor(conn: Conn, serve: (conn: Conn) => Promise<void>) {
    super({ keepAlive: false });
    this.#conn = conn;
    this.#serve = serve;
  }
  override createConnection(): Duplex {
    const [near, far] = memoryPair();
    const { peer, local, tls } = this.#conn;
    void this.#serve({ ...far, peer, ...(local ? { local } : {}), ...(tls ? { tls } : {}) });
    return near.stream;
  }
}
