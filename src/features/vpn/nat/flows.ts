// What goes through the hub's router: one flow per connection or pair of datagram ends, admitted by the gate in the name
// of the member who began it, counted, listed, ended.
import type { Clock } from '../../../core/clock.ts';
import { Fault } from '../../../core/fault.ts';
import type { AccessRequest, Gate, Log, Principal, Session } from '../../../core/parts.ts';
import type { NatEntry } from '../hub.ts';
import type { Plug } from '../switch/plug.ts';

export interface FlowsOptions {
  readonly hub: string;
  readonly gate: Gate;
  readonly clock: Clock;
  readonly log: Log;
}

export interface Ends {
  readonly protocol: NatEntry['protocol'];
  readonly from: { readonly host: string; readonly port: number };
  readonly to: { readonly host: string; readonly port: number };
}

export interface Flow extends Ends {
  readonly id: number;
  readonly created: number;
  owner: Plug;
  used: number;
  sent: number;
  received: number;
  state: 'connecting' | 'established' | 'closing';
}

/** At one time: of the hub, and of one member. */
const most = { all: 4096, ofMember: 512 } as const;

const stranger: Principal = { kind: 'anonymous', id: '', groups: [], attributes: new Map(), credential: '' };

export class Flows {
  readonly #options: FlowsOptions;
  readonly #flows = new Set<Flow>();
  readonly #perOwner = new Map<Plug, number>();
  #ids = 0;

  constructor(options: FlowsOptions) {
    this.#options = options;
  }

  /** @returns undefined when there are too many */
  begin(ends: Ends, owner: Plug): Flow | undefined {
    const own = this.#perOwner.get(owner) ?? 0;
    if (this.#flows.size >= most.all || own >= most.ofMember) return undefined;
    const now = this.now();
    const flow: Flow = {
      ...ends,
      id: ++this.#ids,
      created: now,
      used: now,
      sent: 0,
      received: 0,
      state: 'connecting',
      owner,
    };
    this.#flows.add(flow);
    this.#perOwner.set(owner, own + 1);
    return flow;
  }
  end(flow: Flow): void {
    if (!this.#flows.delete(flow)) return;
    this.#leave(flow.owner);
  }
  #leave(owner: Plug): void {
    const left = (this.#perOwner.get(owner) ?? 1) - 1;
    if (left > 0) this.#perOwner.set(owner, left);
    else this.#perOwner.delete(owner);
  }

  /** The session of a flow. @throws Fault `denied`, `limit`, `unreachable` */
  async admit({ from, to, protocol, owner }: Flow): Promise<Session> {
    const session = await this.#options.gate.admit(this.#request(owner, from, to));
    session.note('hub', this.#options.hub);
    session.note('protocol', protocol);
    session.note('inside', `${from.host}:${from.port}`);
    return session;
  }
  refuse(ends: Ends, owner: Plug, reason: string): void {
    this.#options.gate.refuse(this.#request(owner, ends.from, ends.to), `${ends.to.host}:${ends.to.port} ${reason}`);
  }
  #request(owner: Plug, from: Ends['from'], to: Ends['to']): AccessRequest {
    const { who = stranger, from: outside } = owner.policy;
    return {
      who,
      action: 'vpn.nat',
      resource: `vpn/${to.host}:${to.port}`,
      from: outside ?? from,
      opened: `vpn/${this.#options.hub}`,
    };
  }

  count(flow: Flow, session: Session, direction: 'up' | 'down', bytes: number): void {
    if (direction === 'up') flow.sent += bytes;
    else flow.received += bytes;
    flow.used = this.now();
    session.count(direction, bytes);
  }
  /** Weather and refusals are not worth a line; a bug is. */
  report(flow: Flow, error: unknown): void {
    const { log } = this.#options;
    const facts = { to: `${flow.to.host}:${flow.to.port}`, from: flow.from.host };
    if (error instanceof Fault) log.debug({ ...facts, code: error.code }, error.message);
    else log.error({ ...facts, error }, 'a flow of the NAT failed');
  }
  now(): number {
    return this.#options.clock.now().getTime();
  }
  table(): NatEntry[] {
    return [...this.#flows].map(({ owner: _, created, used, ...flow }) => ({
      ...flow,
      created: new Date(created),
      used: new Date(used),
    }));
  }
}
