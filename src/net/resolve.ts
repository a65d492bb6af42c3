// Names → addresses, with the time for which the answer holds.
import { lookup, Resolver } from 'node:dns/promises';
import { isIP } from 'node:net';
import { dialFault } from './reasons.ts';

export interface Resolved {
  readonly addresses: string[];
  /** Milliseconds until it should be asked again. */
  readonly ttl: number;
}
export interface ResolveOptions {
  /** Name servers, `192.0.2.1` or `192.0.2.1:53`; absent = the system's resolver, hosts file included. */
  readonly servers?: readonly string[];
  /** Milliseconds; bounds of `ttl`. Default 5 s and 1 h. */
  readonly min?: number;
  readonly max?: number;
}
export interface NameResolver {
  /** @throws Fault `unreachable` when the name has no address; the signal's reason */
  addresses(host: string, signal: AbortSignal): Promise<Resolved>;
}

export function createResolver({ servers, min = 5000, max = 3_600_000 }: ResolveOptions = {}): NameResolver {
  const resolver = new Resolver({ timeout: 2000, tries: 2 });
  if (servers) resolver.setServers(servers);
  const bounded = (ms: number): number => Math.min(max, Math.max(min, ms));

  const ask = async (host: string): Promise<Resolved> => {
    if (servers) return query(resolver, host, bounded);
    // The system's resolver knows the hosts file but not how long an answer holds; the name server is asked beside it,
    // and not waited for.
    const held = query(resolver, host, bounded).then(
      ({ ttl }) => ttl,
      () => min,
    );
    const found = await lookup(host, { all: true });
    let timer: NodeJS.Timeout | undefined;
    const soon = new Promise<number>(resolve => {
      timer = setTimeout(resolve, 100, min);
    });
    const ttl = await Promise.race([held, soon]);
    clearTimeout(timer);
    return { addresses: found.map(one => one.address), ttl };
  };
  return {
    async addresses(host, signal) {
      signal.throwIfAborted();
      if (isIP(host) !== 0) return { addresses: [host], ttl: max };
      let abort = (): void => {};
      const aborted = new Promise<never>((_, reject) => {
        abort = () => reject(signal.reason);
        signal.addEventListener('abort', abort);
      });
      try {
        return await Promise.race([ask(host), aborted]);
      } catch (error) {
        if (signal.aborted) throw signal.reason;
        throw dialFault(error as Error, host);
      } finally {
        signal.removeEventListener('abort', abort);
      }
    },
  };
}

async function query(resolver: Resolver, host: string, bounded: (ms: number) => number): Promise<Resolved> {
  const answers = await Promise.allSettled([
    resolver.resolve4(host, { ttl: true }),
    resolver.resolve6(host, { ttl: true }),
  ]);
  const records = answers.flatMap(answer => (answer.status === 'fulfilled' ? answer.value : []));
  if (records.length === 0) throw (answers[0] as PromiseRejectedResult).reason;
  return {
    addresses: records.map(record => record.address),
    ttl: bounded(Math.min(...records.map(record => record.ttl)) * 1000),
  };
}
