// Ports to lend: a random free one, and none that somebody else had a moment ago.
import { randomInt } from 'node:crypto';
import type { Clock } from '../../core/clock.ts';
import { Fault } from '../../core/fault.ts';
import type { PortRange } from './config.ts';

interface Rest {
  readonly owner: string;
  readonly until: number;
}

export class PortPool {
  readonly #clock: Clock;
  readonly #cooling: number;
  /** Free and cool, in no order: one is taken by chance, and the last one takes its place. */
  readonly #free: number[] = [];
  /** In the order in which they cool. */
  readonly #resting = new Map<number, Rest>();

  constructor({ from, to }: PortRange, cooling: number, clock: Clock) {
    this.#clock = clock;
    this.#cooling = cooling;
    for (let port = from; port <= to; port++) this.#free.push(port);
  }

  /**
   * A port by chance, so that nobody can wait for the next one. When all rest, one that this same owner gave back.
   * @throws Fault `limit`
   */
  take(owner: string): number {
    this.#wake();
    if (this.#free.length > 0) {
      const at = randomInt(this.#free.length);
      const port = this.#free[at] ?? 0;
      this.#drop(at);
      return port;
    }
    for (const [port, rest] of this.#resting) {
      if (rest.owner !== owner) continue;
      this.#resting.delete(port);
      return port;
    }
    throw new Fault('limit', 'no port of endpoint.ports is free; close an endpoint, wait a little, or widen the range');
  }

  /** Takes this very one, for an endpoint that comes back; also one outside the range, where the range was changed. */
  claim(port: number): void {
    const at = this.#free.indexOf(port);
    if (at >= 0) this.#drop(at);
    this.#resting.delete(port);
  }

  /** Given back: it rests until `since` + cooling. */
  give(port: number, owner: string, since: number = this.#clock.now().getTime()): void {
    this.claim(port);
    this.#resting.set(port, { owner, until: since + this.#cooling });
  }

  /** Given back untouched: somebody else on this machine listens there. It is tried again when it has cooled. */
  skip(port: number): void {
    this.give(port, '');
  }

  #drop(at: number): void {
    const last = this.#free.pop();
    if (last !== undefined && at < this.#free.length) this.#free[at] = last;
  }
  #wake(): void {
    const now = this.#clock.now().getTime();
    for (const [port, { until }] of this.#resting) {
      if (until > now) return;
      this.#resting.delete(port);
      this.#free.push(port);
    }
  }
}
