// What is written down and told of an endpoint's life.
import { Fault } from '../../core/fault.ts';
import type { Address, Principal, Session } from '../../core/parts.ts';
import type { ApprovalFacts, EndpointDeps } from './deps.ts';
import type { Endpoint, EndpointCause } from './endpoint.ts';
import type { NoticeKind } from './notice.ts';

export class Chronicle {
  readonly #deps: Pick<EndpointDeps, 'store' | 'record' | 'notify' | 'clock' | 'log'>;

  constructor(deps: Pick<EndpointDeps, 'store' | 'record' | 'notify' | 'clock' | 'log'>) {
    this.#deps = deps;
  }

  now(): number {
    return this.#deps.clock.now().getTime();
  }

  /** The notice to whoever asked for notices. */
  tell(event: NoticeKind, endpoint: Endpoint, request?: ApprovalFacts): void {
    this.#deps.notify?.({
      event,
      at: this.#deps.clock.now(),
      endpoint,
      ...(request
        ? { approval: { id: request.id, group: request.group, needed: request.count, votes: request.votes.length } }
        : {}),
    });
  }

  /** The last write of its row. */
  async finish(endpoint: Endpoint, cause: EndpointCause, text?: string): Promise<Endpoint> {
    const over: Endpoint = { ...endpoint, state: 'closed', ended: this.now(), cause };
    await this.#deps.store.change(over);
    if (cause === 'failed') {
      const facts = { cause, ...(text === undefined ? {} : { text }) };
      await this.#deps.record({ ...ourselves(over), event: 'endpoint.failed', outcome: 'failed', facts });
    }
    return over;
  }

  /** What somebody closed is written down by the gate, as an act of theirs; the rest is written here. */
  async ended(endpoint: Endpoint, cause: EndpointCause): Promise<void> {
    if (cause === 'closed') return;
    const event = cause === 'expired' ? 'endpoint.expired' : 'endpoint.ended';
    const facts = { cause, target: endpoint.target, until: new Date(endpoint.until) };
    await this.#deps.record({ ...ourselves(endpoint), event, outcome: 'ended', facts });
  }

  cry(error: unknown): void {
    this.#deps.log.error({ error }, 'an endpoint could not be brought to the state it should have');
  }
}

export const nobody: Principal = { kind: 'anonymous', id: '', groups: [], attributes: new Map(), credential: '' };

export const missing = (id: string): Fault =>
  new Fault('missing', `there is no endpoint ${id}; sekisho endpoint list shows them`);

const ourselves = ({ id }: Endpoint) =>
  ({ who: { kind: 'node', id: 'gate', credential: '' }, resource: `endpoint/${id}` }) as const;

/** The facts of the gate's own row about the opening. */
export function noteOpening(session: Session, endpoint: Endpoint): void {
  const { id, target, port, name, tls, until, limits } = endpoint;
  const facts = {
    endpoint: id,
    target,
    tls,
    port: typeof port === 'number' ? port : undefined,
    name,
    until: new Date(until).toISOString(),
    sources: limits.sources.join(', '),
    approval: endpoint.approval,
  };
  for (const [key, value] of Object.entries(facts)) if (value !== undefined) session.note(key, value);
}

/** `host:port` as it was written down → an address again. */
export function addressOf(text: string): Address {
  const parts = /^(?:\[([^\]]+)\]|([^:]+)):(\d+)$/.exec(text);
  const host = parts?.[1] ?? parts?.[2];
  return host === undefined ? { path: text } : { host, port: Number(parts?.[3]) };
}

/** By its id, or by a beginning of it that only one has. */
export function findByBeginning<T>(given: string, among: ReadonlyMap<string, T>): T | undefined {
  const exact = among.get(given);
  if (exact || given.length < 4) return exact;
  let found: T | undefined;
  for (const [id, one] of among) {
    if (!id.startsWith(given)) continue;
    if (found) return undefined;
    found = one;
  }
  return found;
}
