// May this address come in now? Answered in the accept path, before a byte is read: no promise, no timer, no allocation.
import type { Clock } from '../../core/clock.ts';
import { addressKey, type Cidr, matchCidr, parseCidr } from '../../wire/cidr.ts';
import type { Endpoint } from './endpoint.ts';

/** Why somebody is turned away; the words stand in the audit. */
export type Refusal =
  | 'the endpoint is not open'
  | 'address not in the list'
  | 'nobody has signed in from this address'
  | 'it belongs to the first address that came'
  | 'it was good for one connection'
  | 'too many connections a minute'
  | 'too many connections'
  | 'too many handshakes';

/** Decisions that are remembered, so that a flood from one address costs a look-up each. */
const remembered = 1024;

export class Guard {
  readonly #clock: Clock;
  readonly #networks: readonly Cidr[];
  readonly #unlocked: Set<string> | undefined;
  readonly #listed = new Map<string, boolean>();
  readonly #perMinute: number;
  #allowance: number;
  #filled: number;
  #latched: string | undefined;
  readonly #latch: boolean;
  readonly #once: boolean;
  #used: boolean;

  constructor({ limits, latched, used }: Endpoint, unlocked: readonly string[], clock: Clock) {
    this.#clock = clock;
    this.#networks = limits.sources.map(parseCidr);
    this.#unlocked = limits.signIn ? new Set(unlocked) : undefined;
    this.#perMinute = limits.perMinute;
    this.#allowance = limits.perMinute;
    this.#filled = clock.now().getTime();
    this.#latch = limits.latch;
    this.#latched = latched;
    this.#once = limits.once;
    this.#used = used;
  }

  get latched(): string | undefined {
    return this.#latched;
  }
  get used(): boolean {
    return this.#used;
  }
  get unlocked(): number {
    return this.#unlocked?.size ?? 0;
  }

  /** `undefined` = come in. Takes one of this minute's connections when it says so. */
  judge(host: string): Refusal | undefined {
    if (!this.#isListed(host)) return 'address not in the list';
    if (this.#unlocked && !this.#unlocked.has(addressKey(host))) return 'nobody has signed in from this address';
    if (this.#latched !== undefined && addressKey(host) !== this.#latched)
      return 'it belongs to the first address that came';
    if (this.#used) return 'it was good for one connection';
    if (this.#perMinute > 0 && !this.#takeOne()) return 'too many connections a minute';
    return undefined;
  }

  /**
   * What is decided once: the latch and the only connection. Called when TLS and identity are done, so a stranger who
   * merely connects owns nothing. The answer undoes it.
   */
  claim(host: string): Refusal | (() => void) {
    const key = addressKey(host);
    if (this.#latched !== undefined && this.#latched !== key) return 'it belongs to the first address that came';
    if (this.#once && this.#used) return 'it was good for one connection';
    const before = { latched: this.#latched, used: this.#used };
    if (this.#latch) this.#latched = key;
    if (this.#once) this.#used = true;
    return () => {
      this.#latched = before.latched;
      this.#used = before.used;
    };
  }

  /** The only connection did not reach the target: it may be tried again. */
  unuse(): void {
    this.#used = false;
  }

  unlock(address: string): void {
    this.#unlocked?.add(address);
  }

  #isListed(host: string): boolean {
    const known = this.#listed.get(host);
    if (known !== undefined) return known;
    const isListed = this.#networks.some(network => matchCidr(network, host));
    if (this.#listed.size >= remembered) this.#listed.clear();
    this.#listed.set(host, isListed);
    return isListed;
  }

  /** A bucket that holds a minute's worth and fills evenly. */
  #takeOne(): boolean {
    const now = this.#clock.now().getTime();
    this.#allowance = Math.min(this.#perMinute, this.#allowance + ((now - this.#filled) * this.#perMinute) / 60_000);
    this.#filled = now;
    if (this.#allowance < 1) return false;
    this.#allowance -= 1;
    return true;
  }
}
