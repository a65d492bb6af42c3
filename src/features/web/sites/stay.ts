// A stay at a renamed site.
import type { Socket } from 'node:net';
import type { Conn, Session } from '../../../core/parts.ts';
import { Stay } from '../stay.ts';
import type { Site } from './map.ts';
import { Pool } from './upstream.ts';

export interface SiteStayOptions {
  readonly session: Session;
  readonly site: Site;
  readonly dial: (stay: SiteStay, signal: AbortSignal) => Promise<Conn>;
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
      dial: signal => dial(this, signal),
      most: limits.upstream,
      timeouts,
      watch: socket => this.watch(socket),
      signal: this.signal,
    });
    this.begin();
  }

  /** A connection to the service that is not the pool's. @throws what the dial throws */
  async dial(): Promise<Conn> {
    const conn = await this.#dial(this, this.signal);
    this.watch(conn.stream as Socket);
    return conn;
  }

  protected override release(): void {
    this.pool.close();
  }
}
