// Who is turned away, counted: the first of a burst is written at once, the rest of it as one row with a number.
import type { Clock } from '../../core/clock.ts';
import type { AccessRequest, Gate } from '../../core/parts.ts';

/** access/'s own gate takes a count; core's does not need to. */
export interface CountingGate extends Gate {
  refuse(request: AccessRequest, reason: string, times?: number): void;
}

/** What is counted within this is one row. */
const burst = 5000;
/** Addresses that are told apart in a burst; those beyond share one row. */
const mostAddresses = 16;

interface Count {
  readonly host: string;
  readonly port: number;
  reason: string;
  times: number;
}

/** One for all endpoints of a gate: one timer, however many are refused. */
export class Refusals {
  readonly #gate: Pick<CountingGate, 'refuse'>;
  readonly #clock: Clock;
  readonly #requestOf: (endpoint: string, host: string, port: number) => AccessRequest;
  readonly #counts = new Map<string, Map<string, Count>>();
  #armed: (() => void) | undefined;

  constructor(
    gate: Pick<CountingGate, 'refuse'>,
    clock: Clock,
    requestOf: (endpoint: string, host: string, port: number) => AccessRequest,
  ) {
    this.#gate = gate;
    this.#clock = clock;
    this.#requestOf = requestOf;
  }

  /** Cheap when it is not the first: a look-up and an addition. */
  add(endpoint: string, host: string, port: number, reason: string): void {
    let counts = this.#counts.get(endpoint);
    if (!counts) {
      counts = new Map();
      this.#counts.set(endpoint, counts);
      this.#armed ??= this.#clock.after(burst, () => this.flush());
    }
    const known = counts.get(host) ?? (counts.size >= mostAddresses ? counts.get('') : undefined);
    if (known) {
      known.times++;
      known.reason = reason;
      return;
    }
    const isCrowd = counts.size >= mostAddresses;
    counts.set(isCrowd ? '' : host, { host, port, reason, times: 0 });
    this.#gate.refuse(this.#requestOf(endpoint, host, port), isCrowd ? `${reason} (from many addresses)` : reason);
  }

  flush(): void {
    this.#armed?.();
    this.#armed = undefined;
    for (const [endpoint, counts] of this.#counts) {
      for (const [key, { host, port, reason, times }] of counts) {
        if (times === 0) continue;
        const text = key === '' ? `${reason} (from many addresses)` : reason;
        this.#gate.refuse(this.#requestOf(endpoint, host, port), text, times);
      }
    }
    this.#counts.clear();
  }
}
