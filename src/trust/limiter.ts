// How often one may guess: one limiter for passwords, tokens, access keys and one-time codes, by address and by subject.
import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible';
import { Fault } from '../core/fault.ts';
import type { Address } from '../core/parts.ts';
import { addressKey } from '../wire/cidr.ts';
import type { RateLimitConfig } from './config.ts';

/** Who tries: where from, and whom they claim to be (`user:alice`, `key:AKIA…`), if they claim anybody. */
export interface Guess {
  readonly from: Address;
  readonly subject?: string;
}

export interface Limiter {
  /** For what can be guessed: counts the try first, so that many at once cannot slip through. @throws Fault `limit` */
  begin(guess: Guess): Promise<void>;
  /** For a proof that was wrong: whether it is one too many. Refuses without counting. @throws Fault `limit` */
  check(guess: Guess): Promise<void>;
  /** A wrong one that was not counted by `begin`. */
  failed(guess: Guess): Promise<void>;
  /** Undoes `begin`. From now on this subject has a count of its own at this address. */
  succeeded(guess: Guess): Promise<void>;
}

/**
 * Strangers who guess at a name, or who share an address, must not be able to lock its owner out: where a subject has
 * signed in before, only the tries of this subject at this address count, and nobody else's.
 */
export function createLimiter(config: RateLimitConfig): Limiter {
  const addresses = new Counter(config.address, config.entries);
  const subjects = new Counter(config.subject, config.entries);
  const places = new Counter(config.subject, config.entries);
  const known = new Set<string>();
  const remember = (place: string): void => {
    known.delete(place);
    known.add(place);
    const [oldest] = known;
    if (known.size > config.entries && oldest !== undefined) known.delete(oldest);
  };
  return {
    async begin(guess) {
      const place = placeOf(guess);
      if (place !== undefined && known.has(place)) return places.take(place);
      await addresses.take(keyOf(guess.from));
      await subjects.take(guess.subject);
    },
    async check({ from, subject }) {
      await addresses.look(keyOf(from));
      await subjects.look(subject);
    },
    async failed({ from, subject }) {
      await addresses.take(keyOf(from)).catch(ignoreLimit);
      await subjects.take(subject).catch(ignoreLimit);
    },
    async succeeded(guess) {
      const place = placeOf(guess);
      if (place !== undefined && known.has(place)) await places.forget(place);
      else {
        await addresses.giveBack(keyOf(guess.from));
        await subjects.forget(guess.subject);
      }
      if (place !== undefined) remember(place);
    },
  };
}

/** A subject at an address. */
const placeOf = ({ from, subject }: Guess): string | undefined => {
  const address = keyOf(from);
  return address === undefined || subject === undefined ? undefined : `${address} ${subject}`;
};

/** The owner's unix socket is not limited by address: it has none, and its caller could read the keys anyway. */
const keyOf = (from: Address): string | undefined => ('host' in from ? addressKey(from.host) : undefined);

class Counter {
  readonly #limiter: RateLimiterMemory;
  readonly #tries: number;
  readonly #limit: number;
  // Keys in the order of their last try; the limiter itself has no bound.
  readonly #keys = new Map<string, true>();

  constructor({ tries, per, block }: RateLimitConfig['address'], limit: number) {
    this.#limiter = new RateLimiterMemory({ points: tries, duration: per / 1000, blockDuration: block / 1000 });
    this.#tries = tries;
    this.#limit = limit;
  }

  async take(key: string | undefined): Promise<void> {
    if (key === undefined) return;
    this.#keys.delete(key);
    this.#keys.set(key, true);
    const oldest = this.#keys.keys().next();
    if (this.#keys.size > this.#limit && !oldest.done) await this.forget(oldest.value);
    try {
      await this.#limiter.consume(key);
    } catch (refusal) {
      throw refusal instanceof RateLimiterRes ? tooMany(refusal.msBeforeNext) : refusal;
    }
  }

  async look(key: string | undefined): Promise<void> {
    const state = key === undefined ? null : await this.#limiter.get(key);
    if (state && state.consumedPoints >= this.#tries && state.msBeforeNext > 0) throw tooMany(state.msBeforeNext);
  }

  async giveBack(key: string | undefined): Promise<void> {
    const state = key === undefined ? null : await this.#limiter.get(key);
    if (key !== undefined && state && state.consumedPoints > 0) await this.#limiter.reward(key);
  }

  async forget(key: string | undefined): Promise<void> {
    if (key === undefined) return;
    this.#keys.delete(key);
    await this.#limiter.delete(key);
  }
}

function tooMany(ms: number): Fault {
  const seconds = Math.max(1, Math.ceil(ms / 1000));
  return new Fault('limit', `too many tries; try again in ${seconds} s`, { facts: { retryAfter: seconds } });
}

function ignoreLimit(error: unknown): void {
  if (!(error instanceof Fault && error.code === 'limit')) throw error;
}
