// Keeps the addresses of named targets up to date: every A and AAAA record is a peer.
import { randomInt } from 'node:crypto';
import { isIP } from 'node:net';
import type { Clock } from '../../core/clock.ts';
import type { Log } from '../../core/parts.ts';
import type { OutwardPlan } from './route-plan.ts';
import { needsResolving, type Upstreams } from './upstreams.ts';

/** What net/resolve.ts gives; `ttl` in milliseconds. */
export interface Resolver {
  addresses(
    host: string,
    signal: AbortSignal,
  ): Promise<{ readonly addresses: readonly string[]; readonly ttl: number }>;
}

export interface AddressesDeps {
  readonly resolver: Resolver;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
}

const least = 5000;
/** How long opening a route waits for the first answer; after that it opens without, and the names follow. */
const patience = 5000;

/** Resolves all names once, then again and again until `signal` aborts. A name that fails keeps what it had. */
export async function followAddresses(plan: OutwardPlan, upstreams: Upstreams, deps: AddressesDeps): Promise<void> {
  const named = plan.upstreams.flatMap((upstream, index) => (needsResolving(upstream) ? [index] : []));
  await Promise.all(named.map(index => follow(plan, index, upstreams, deps, 0)));
}

async function follow(
  plan: OutwardPlan,
  index: number,
  upstreams: Upstreams,
  deps: AddressesDeps,
  failures: number,
): Promise<void> {
  const { resolver, clock, log, signal } = deps;
  const target = plan.upstreams[index]?.target;
  if (signal.aborted || !target || !('host' in target)) return;
  let wait: number | undefined;
  let failed = 0;
  try {
    const answer = await resolver.addresses(target.host, AbortSignal.any([signal, AbortSignal.timeout(patience)]));
    const family = plan.bind === undefined ? 0 : isIP(plan.bind);
    upstreams.setAddresses(
      index,
      answer.addresses.filter(address => family === 0 || isIP(address) === family),
    );
    if (plan.resolve !== 'off') wait = plan.resolve ?? Math.max(least, answer.ttl);
  } catch (error) {
    if (signal.aborted) return;
    failed = failures + 1;
    wait = Math.min(60_000, 1000 * 2 ** Math.min(failed, 6)) * (0.75 + randomInt(500) / 1000);
    if (failures === 0) log.warn({ host: target.host, error }, 'the name of a target cannot be resolved; trying again');
  }
  if (wait === undefined) return;
  const cancel = clock.after(wait, () => {
    signal.removeEventListener('abort', cancel);
    void follow(plan, index, upstreams, deps, failed);
  });
  signal.addEventListener('abort', cancel, { once: true });
}
