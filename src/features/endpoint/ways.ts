// The ways in to an endpoint: a port of the pool on each address of the gate, and a host name on the gate's own port.
import { Fault } from '../../core/fault.ts';
import type { Listener } from '../../core/parts.ts';
import { listenTcp } from '../../net/tcp.ts';
import type { EndpointDeps } from './deps.ts';
import type { Way } from './live.ts';
import type { PortPool } from './pool.ts';

/** Ports that are tried when somebody else on this machine holds them. */
const mostTries = 20;

/** Filled in once the endpoint behind the port is there. */
export interface Permit {
  by: (host: string, port: number) => boolean;
}

export class Ways {
  readonly #deps: Pick<EndpointDeps, 'hosts' | 'branch' | 'log' | 'metrics'>;
  readonly #pool: PortPool;

  constructor(deps: Pick<EndpointDeps, 'hosts' | 'branch' | 'log' | 'metrics'>, pool: PortPool) {
    this.#deps = deps;
    this.#pool = pool;
  }

  /** A port with its listeners, one an address; what somebody else holds is left alone. @throws Fault `limit`, `conflict` */
  async lend(owner: string): Promise<{ port: number; listeners: Listener[]; permit: Permit }> {
    let last: unknown;
    for (let tries = 0; tries < mostTries; tries++) {
      const port = this.#pool.take(owner);
      const permit: Permit = { by: () => false };
      try {
        return { port, listeners: await this.listen(port, permit), permit };
      } catch (error) {
        this.#pool.skip(port);
        last = error;
        if (!(error instanceof Fault) || error.code !== 'conflict') break;
      }
    }
    throw last;
  }

  /** One listener an address, or none at all. @throws Fault `conflict` where somebody else has the port */
  async listen(port: number, permit: Permit): Promise<Listener[]> {
    const { log, metrics } = this.#deps;
    const listeners: Listener[] = [];
    try {
      for (const host of this.#deps.hosts()) {
        listeners.push(
          await listenTcp({
            ...{ host, port, log, metrics },
            // System calls that only who is let in is worth (live.ts makes them).
            noDelay: false,
            keepAlive: false,
            permit: (from, fromPort) => permit.by(from, fromPort),
          }),
        );
      }
      return listeners;
    } catch (error) {
      for (const listener of listeners) await listener[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** @throws Fault `invalid` where the gate has no port */
  nameWay(name: string): Way {
    const listener = this.#deps.branch?.({ name: `endpoint ${name}`, names: [name], alpn: [] });
    if (!listener) throw new Fault('invalid', 'this gate has no port of its own on which a name could stand');
    return { listener, kind: 'name' };
  }
}
