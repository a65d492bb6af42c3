// The endpoints that wait for approval, until somebody decides or nobody did in time.
import { type Fault, toFault } from '../../core/fault.ts';
import type { AccessRequest, Address, Principal } from '../../core/parts.ts';
import { addressOf, type Chronicle, findByBeginning, nobody } from './chronicle.ts';
import type { ApprovalFacts, EndpointDeps } from './deps.ts';
import type { Endpoint } from './endpoint.ts';

interface Held {
  readonly endpoint: Endpoint;
  readonly disarm: () => void;
}

/** What somebody asks of the gate who wants this endpoint. */
export function openingOf({ resource, wanted, limits, reason }: Endpoint, who: Principal, from: Address) {
  const asks = { for: wanted, from: limits.sources, ...(reason === '' ? {} : { reason }) };
  return { who, action: 'endpoint.open', resource, from, asks } satisfies AccessRequest;
}

export class WaitingEndpoints {
  readonly #deps: Pick<EndpointDeps, 'store' | 'approval' | 'owner' | 'clock' | 'log'>;
  readonly #chronicle: Chronicle;
  readonly #launch: (draft: Endpoint, access: AccessRequest, who: Principal) => Promise<unknown>;
  readonly #held = new Map<string, Held>();
  readonly #settling = new Map<string, Promise<void>>();
  #isOver = false;

  constructor(
    deps: Pick<EndpointDeps, 'store' | 'approval' | 'owner' | 'clock' | 'log'>,
    chronicle: Chronicle,
    launch: (draft: Endpoint, access: AccessRequest, who: Principal) => Promise<unknown>,
  ) {
    this.#deps = deps;
    this.#chronicle = chronicle;
    this.#launch = launch;
  }

  all(): Endpoint[] {
    return [...this.#held.values()].map(({ endpoint }) => endpoint);
  }
  find(given: string): Endpoint | undefined {
    return findByBeginning(given, this.#held)?.endpoint;
  }

  /** Written down and waiting; the same one when it was asked for before. @throws `fault` where nothing can be waited for */
  async wait(draft: Endpoint, approval: string, fault: Fault): Promise<Endpoint> {
    const request = await this.#deps.approval(approval);
    if (request.state !== 'waiting') throw fault;
    for (const { endpoint } of this.#held.values()) if (endpoint.approval === approval) return endpoint;
    const endpoint = { ...draft, approval, until: request.until.getTime() };
    await this.#deps.store.add(endpoint);
    this.#hold(endpoint);
    this.#chronicle.tell('endpoint.requested', endpoint, request);
    return endpoint;
  }

  #hold(endpoint: Endpoint): void {
    const lapse = (): void => {
      // Looking at it is what makes it lapse, and the answer comes by `decided`.
      this.#deps.approval(endpoint.approval ?? '').then(
        request => this.decided(request),
        error => this.#chronicle.cry(error),
      );
    };
    const disarm = this.#deps.clock.after(endpoint.until - this.#chronicle.now(), lapse);
    this.#held.set(endpoint.id, { endpoint, disarm });
  }

  #drop(id: string): void {
    this.#held.get(id)?.disarm();
    this.#held.delete(id);
  }

  decided(request: ApprovalFacts): void {
    for (const { endpoint } of [...this.#held.values()]) {
      if (endpoint.approval !== request.id) continue;
      if (request.state === 'waiting') {
        if (request.votes.length > 0) this.#chronicle.tell('endpoint.approved', endpoint, request);
        continue;
      }
      const settling = this.#settle(endpoint, request)
        .catch(error => this.#chronicle.cry(error))
        .finally(() => this.#settling.delete(endpoint.id));
      this.#settling.set(endpoint.id, settling);
    }
  }

  async settled(id: string): Promise<void> {
    await this.#settling.get(id);
  }

  async #settle(endpoint: Endpoint, request: ApprovalFacts): Promise<void> {
    if (!this.#held.has(endpoint.id) || this.#isOver) return;
    this.#drop(endpoint.id);
    if (request.state !== 'approved') {
      const cause = request.state === 'refused' ? 'refused' : 'lapsed';
      await this.#chronicle.finish(endpoint, cause);
      return this.#chronicle.tell(`endpoint.${cause}`, endpoint, request);
    }
    this.#chronicle.tell('endpoint.approved', endpoint, request);
    const { kind, id, credential, groups, from } = endpoint.owner;
    const who = { ...nobody, kind, id, credential, groups };
    try {
      await this.#launch(endpoint, openingOf(endpoint, who, addressOf(from)), who);
    } catch (error) {
      this.#deps.log.warn({ endpoint: endpoint.id, error }, 'an endpoint was approved and could not be opened');
      await this.#chronicle.finish(endpoint, 'failed', toFault(error).message);
    }
  }

  /** Not wanted any more. */
  async close(endpoint: Endpoint): Promise<Endpoint> {
    this.#drop(endpoint.id);
    const over = await this.#chronicle.finish(endpoint, 'closed');
    this.#chronicle.tell('endpoint.closed', over);
    return over;
  }

  /** As it was before the restart, or what was decided meanwhile. */
  async resume(endpoint: Endpoint): Promise<void> {
    this.#hold(endpoint);
    const request = await this.#deps.approval(endpoint.approval ?? '').catch(() => undefined);
    if (!request) {
      this.#drop(endpoint.id);
      await this.#chronicle.finish(endpoint, 'lapsed');
    } else if (request.state !== 'waiting') await this.#settle(endpoint, request);
  }

  /** Ends what somebody waits for who is not there any more. */
  async recheck(): Promise<void> {
    for (const endpoint of this.all()) {
      if (this.#deps.owner(endpoint.owner)) continue;
      this.#drop(endpoint.id);
      await this.#chronicle.finish(endpoint, 'revoked');
    }
  }

  /** They wait on in the store, for the next start. */
  drain(): void {
    this.#isOver = true;
    for (const { disarm } of this.#held.values()) disarm();
  }
}
