// Limits that hold exactly: sessions per resource and per client address, with a bounded queue for those who may wait.
import type { Clock } from '../core/clock.ts';
import { Fault } from '../core/fault.ts';
import type { AccessRequest, Address } from '../core/parts.ts';
import { addressKey } from '../wire/cidr.ts';

/** Gives the place back. Once. */
export type Release = () => void;

interface Place {
  live: number;
  readonly perAddress: Map<string, number>;
  readonly queue: Waiter[];
}
interface Waiter {
  readonly most: number;
  readonly enter: () => void;
}

/** @throws Fault `limit`, from `take` and from the promise it may give */
export interface Limits {
  /** A promise only where the caller has to wait. */
  take(request: AccessRequest): Release | Promise<Release>;
}

const defaultWait = 30_000;

export function createLimits(clock: Clock): Limits {
  const places = new Map<string, Place>();

  const leave = (name: string, place: Place, address: string): void => {
    place.live--;
    leaveAddress(place, address);
    const next = place.queue[0];
    if (next && place.live < next.most) next.enter();
    if (place.live === 0 && place.queue.length === 0) places.delete(name);
  };

  return {
    take({ action, resource, from, limits = {} }) {
      const name = `${action} ${resource}`;
      let place = places.get(name);
      if (!place) {
        place = { live: 0, perAddress: new Map(), queue: [] };
        places.set(name, place);
      }
      const address = keyOf(from);
      const here = place.perAddress.get(address) ?? 0;
      if (here >= (limits.perAddress ?? Number.POSITIVE_INFINITY)) {
        throw new Fault('limit', 'too many connections from this address', {
          facts: { limit: 'per-address', most: limits.perAddress },
        });
      }
      const held = place;
      const release = (): void => leave(name, held, address);
      const most = limits.connections ?? Number.POSITIVE_INFINITY;
      if (place.live < most && place.queue.length === 0) {
        place.live++;
        place.perAddress.set(address, here + 1);
        return once(release);
      }
      if (place.queue.length >= (limits.queue ?? 0)) {
        throw new Fault('limit', `${resource} has no free place; try again later`, {
          facts: { limit: 'connections', most: limits.connections },
        });
      }
      place.perAddress.set(address, here + 1); // who waits counts for its address, or waiting would get round that limit
      return new Promise((resolve, reject) => {
        const leaveQueue = (): void => {
          cancel();
          held.queue.splice(held.queue.indexOf(waiter), 1);
        };
        const waiter: Waiter = {
          most,
          enter: () => {
            leaveQueue();
            held.live++;
            resolve(once(release));
          },
        };
        const cancel = clock.after(limits.wait ?? defaultWait, () => {
          leaveQueue();
          leaveAddress(held, address);
          reject(
            new Fault('limit', `${resource} had no free place in time; try again later`, {
              facts: { limit: 'connections', most: limits.connections },
            }),
          );
        });
        held.queue.push(waiter);
      });
    },
  };
}

function leaveAddress(place: Place, address: string): void {
  const left = (place.perAddress.get(address) ?? 1) - 1;
  if (left > 0) place.perAddress.set(address, left);
  else place.perAddress.delete(address);
}

/** One peer of a unix socket is like another: they share a key. */
const keyOf = (from: Address): string =>
  'path' in from ? 'unix' : from.host.includes(':') ? addressKey(from.host) : from.host;

function once(call: () => void): () => void {
  let isDone = false;
  return () => {
    if (!isDone) call();
    isDone = true;
  };
}
