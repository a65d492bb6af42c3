// A stay at a site under its own name, with the line of the map that let it in.
import type { Socket } from 'node:net';
import type { Conn, Session } from '../../core/parts.ts';
import type { HostEntry } from './hosts.ts';
import type { Site } from './site.ts';
import { Stay } from './stay.ts';
import { Pool } from './upstream.ts';

export interface VisitOptions {
  readonly session: Session;
  readonly site: Site;
  readonly entry: HostEntry;
  /** Connections upstream, at most. */
  readonly upstream: number;
  /** Milliseconds in which nothing moves until one of them is given up. */
  readonly read: number;
  readonly dial: (visit: Visit, signal: AbortSignal) => Promise<Conn>;
}

export class Visit extends Stay {
  readonly site: Site;
  readonly entry: HostEntry;
  readonly pool: Pool;

  constructor({ session, site, entry, upstream, read, dial }: VisitOptions) {
    super(session);
    this.site = site;
    this.entry = entry;
    this.pool = new Pool({
      most: upstream,
      patience: { send: read, read },
      dial: () => dial(this, this.signal),
      opened: stream => {
        // An HTTP server that ends its side is done; a pooled socket must not linger half open.
        (stream as Socket).allowHalfOpen = false;
        this.watch(stream as Socket);
      },
    });
    this.begin();
  }

  get host(): string {
    return this.site.host;
  }

  protected override release(): void {
    this.pool.destroy();
  }
}
