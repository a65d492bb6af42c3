// A stay at a renamed site.
import type { Socket } from 'node:net';
import type { Conn, Session } from '../../../core/parts.ts';
import { Stay } from '../stay.ts';
import { Pool } from '../upstream.ts';
import type { Site } from './map.ts';

export interface SiteStayOptions {
  readonly session: Session;
  readonly site: Site;
  /** `shared`: read into the memory that all connections share, by whoever has called `take`. */
  readonly dial: (stay: SiteStay, signal: AbortSignal, shared: boolean) => Promise<Conn>;
}

export class SiteStay extends Stay {
  readonly site: Site;
  readonly pool: Pool;
  readonly #dial: SiteStayOptions['dial'];

  constructor({ session, site, dial }: SiteStayOptions) {
    super(session);
    this.site = site;
    this.#dial = dial;
    const { limits, timeouts } = site.plan;
    this.pool = new Pool({
      most: limits.upstream,
      patience: timeouts,
      dial: () => dial(this, this.signal, true),
      opened: stream => {
        // An HTTP server that ends its side is done; a pooled socket must not linger half open.
        (stream as Socket).allowHalfOpen = false;
        this.watch(stream as Socket);
      },
    });
    this.begin();
  }

  /** A connection to the service that is not the pool's. @throws what the dial throws */
  async dial(): Promise<Conn> {
    const conn = await this.#dial(this, this.signal, false);
    this.watch(conn.stream as Socket);
    return conn;
  }

  protected override release(): void {
    this.pool.destroy();
  }
}
