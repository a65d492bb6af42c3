// Echo (ping) beyond the hub: one flow for each asker and host, admitted in the member's name as every other, until nobody
// has asked for a while.
import type { Session } from '../../../core/parts.ts';
import type { Plug } from '../switch/plug.ts';
import type { Ends, Flow, Flows } from './flows.ts';
import { personOf } from './person.ts';

export interface EchoNatOptions {
  readonly flows: Flows;
  /** Whether a host answers to an echo with so many bytes of data. */
  readonly ask: (host: string, size: number, asker: unknown) => Promise<boolean>;
  /** Milliseconds. */
  readonly idle: number;
  readonly after: (ms: number, call: () => void) => () => void;
}
export interface EchoArrival {
  readonly from: Ends['from'];
  readonly host: string;
  readonly size: number;
  readonly owner: Plug;
}

interface Opening {
  readonly flow: Flow;
  readonly session: Promise<Session>;
  /** False: nothing was asked since the last look. */
  isUsed: boolean;
  readonly end: () => void;
}

export class EchoNat {
  readonly #options: EchoNatOptions;
  readonly #open = new Map<string, Opening>();
  readonly #running = new Set<Promise<void>>();

  constructor(options: EchoNatOptions) {
    this.#options = options;
  }

  /** Whether it answers. @throws Fault `denied`, `limit` */
  async ask({ from, host, size, owner }: EchoArrival): Promise<boolean> {
    const { flows, ask } = this.#options;
    const key = `${owner.id} ${from.host} ${host}`;
    const opening = this.#open.get(key) ?? this.#begin(key, { protocol: 'icmp', from, to: { host, port: 0 } }, owner);
    if (!opening) return false;
    opening.isUsed = true;
    const session = await opening.session;
    if (session.signal.aborted) return false;
    flows.count(opening.flow, session, 'up', size);
    if (!(await ask(host, size, personOf(owner)))) return false;
    flows.count(opening.flow, session, 'down', size);
    return !session.signal.aborted;
  }
  /** Ends what belongs to `owner`; undefined = all. */
  reset(owner?: Plug): void {
    for (const { flow, end } of [...this.#open.values()]) if (owner === undefined || flow.owner === owner) end();
  }
  /** Until the audit has the end of each. */
  async settled(): Promise<void> {
    await Promise.all(this.#running);
  }

  #begin(key: string, ends: Ends, owner: Plug): Opening | undefined {
    const { flows } = this.#options;
    const flow = flows.begin(ends, owner);
    if (!flow) return undefined;
    const { promise, resolve } = Promise.withResolvers<void>();
    const opening = { flow, session: flows.admit(flow), isUsed: true, end: resolve };
    this.#open.set(key, opening);
    const carry = this.#carry(key, opening, promise).finally(() => this.#running.delete(carry));
    this.#running.add(carry);
    return opening;
  }
  async #carry(key: string, opening: Opening, over: Promise<void>): Promise<void> {
    const { flows, idle, after } = this.#options;
    const { flow, end } = opening;
    try {
      await using session = await opening.session;
      flow.state = 'established';
      if (session.signal.aborted) return;
      session.signal.addEventListener('abort', end, { once: true });
      let stop = (): void => {};
      const look = (): void => {
        if (!opening.isUsed) end();
        opening.isUsed = false;
        stop = after(idle, look);
      };
      stop = after(idle, look);
      await over;
      stop();
    } catch (error) {
      flows.report(flow, error);
    } finally {
      if (this.#open.get(key) === opening) this.#open.delete(key);
      flows.end(flow);
    }
  }
}
