// What goes through the hub's router: one flow per connection or pair of datagram ends, admitted by the gate in the name
// of the member who began it, counted, listed, ended.
import type { Clock } from '../../../core/clock.ts';
import { Fault } from '../../../core/fault.ts';
import type { AccessRequest, Gate, Log, Principal, Session } from '../../../core/parts.ts';
import type { NatEntry } from '../hub.ts';
import { Bucket } from '../switch/limits.ts';
import type { Plug } from '../switch/plug.ts';
import { personOf } from './person.ts';

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
  readonly person: string;
  readonly created: number;
  owner: Plug;
  used: number;
  sent: number;
  received: number;
  state: 'connecting' | 'established' | 'closing';
}

/** At one time: of the hub, and of one person. */
const most = { all: 4096, ofPerson: 512 } as const;
/** Of one person, in a second and at once: flows that begin, and refusals that are written down each for itself. */
const pace = { begins: [512, 1024], refusals: [16, 64] } as const;
/** Persons whose pace is remembered. */
const mostPersons = 4096;

interface Pace {
  readonly begins: Bucket;
  readonly refusals: Bucket;
}

const stranger: Principal = { kind: 'anonymous', id: '', groups: [], attributes: new Map(), credential: '' };

export class Flows {
  readonly #options: FlowsOptions;
  readonly #flows = new Set<Flow>();
  readonly #perPerson = new Map<string, number>();
  readonly #paces = new Map<string, Pace>();
  #ids = 0;

  constructor(options: FlowsOptions) {
    this.#options = options;
  }

  /** @returns undefined when there are too many */
  begin(ends: Ends, owner: Plug): Flow | undefined {
    const person = personOf(owner);
    const own = this.#perPerson.get(person) ?? 0;
    const now = this.now();
    const limit =
      own >= most.ofPerson
        ? `has ${most.ofPerson} flows already`
        : this.#flows.size >= most.all
          ? `finds the ${most.all} flows of the hub taken`
          : this.#paceOf(person, now).begins.take(1, now)
            ? undefined
            : `begins more than ${pace.begins[0]} flows a second`;
    if (limit !== undefined) {
      this.#options.gate.refuse(this.#request(owner, ends.from), `the member ${limit}`);
      return undefined;
    }
    const flow: Flow = {
      ...ends,
      id: ++this.#ids,
      person,
      created: now,
      used: now,
      sent: 0,
      received: 0,
      state: 'connecting',
      owner,
    };
    this.#flows.add(flow);
    this.#perPerson.set(person, own + 1);
    return flow;
  }
  end(flow: Flow): void {
    if (!this.#flows.delete(flow)) return;
    const left = (this.#perPerson.get(flow.person) ?? 1) - 1;
    if (left > 0) this.#perPerson.set(flow.person, left);
    else this.#perPerson.delete(flow.person);
  }
  #paceOf(person: string, now: number): Pace {
    const known = this.#paces.get(person);
    if (known) return known;
    if (this.#paces.size >= mostPersons) this.#paces.clear();
    const begun = { begins: new Bucket(...pace.begins, now), refusals: new Bucket(...pace.refusals, now) };
    this.#paces.set(person, begun);
    return begun;
  }

  /** The session of a flow. @throws Fault `denied`, `limit`, `unreachable` */
  async admit({ from, to, protocol, owner }: Flow): Promise<Session> {
    const session = await this.#options.gate.admit(this.#request(owner, from, to));
    session.note('hub', this.#options.hub);
    session.note('protocol', protocol);
    session.note('inside', `${from.host}:${from.port}`);
    return session;
  }
  /** A scan of all there is makes one row with a count, not one for each address. */
  refuse(ends: Ends, owner: Plug, reason: string): void {
    const now = this.now();
    if (this.#paceOf(personOf(owner), now).refusals.take(1, now)) {
      this.#options.gate.refuse(this.#request(owner, ends.from, ends.to), `${ends.to.host}:${ends.to.port} ${reason}`);
    } else this.#options.gate.refuse(this.#request(owner, ends.from), 'many addresses that are not reached');
  }
  /** Without `to`: of more than one target. */
  #request(owner: Plug, from: Ends['from'], to?: Ends['to']): AccessRequest {
    const { who = stranger, from: outside } = owner.policy;
    return {
      who,
      action: 'vpn.nat',
      resource: to ? `vpn/${to.host}:${to.port}` : 'vpn/*',
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
    return [...this.#flows].map(({ owner: _, person: __, created, used, ...flow }) => ({
      ...flow,
      created: new Date(created),
      used: new Date(used),
    }));
  }
}
