// Requests that a rule lets in only after others said yes. They wait in the store, so a restart forgets none.
import { randomBytes } from 'node:crypto';
import { formatAddress } from '../core/address.ts';
import { type Clock, systemClock } from '../core/clock.ts';
import { Fault } from '../core/fault.ts';
import type { AccessRequest, Log, Principal } from '../core/parts.ts';
import type { ApprovalTable, ApprovalVoteTable, Store } from '../store/index.ts';
import type { Audit } from './audit.ts';
import { canonicalFacts, cleanText } from './canonical.ts';
import { isStream } from './events.ts';
import type { RuleDecision } from './policy.ts';

export type ApprovalState = ApprovalTable['state'];

/** A request for approval as it is shown. */
export interface ApprovalView {
  readonly id: string;
  readonly state: ApprovalState;
  readonly action: string;
  readonly resource: string;
  readonly who: { readonly kind: string; readonly id: string; readonly credential: string };
  readonly from: string;
  /** What was asked for: `for`, `from`, `reason`. */
  readonly asks: Readonly<Record<string, unknown>>;
  readonly rule: string;
  /** Whose members decide, and how many must agree. */
  readonly group: string;
  readonly count: number;
  readonly asked: Date;
  /** While it waits: when it lapses. Once approved: until when it is good. */
  readonly until: Date;
  readonly votes: readonly {
    readonly user: string;
    readonly vote: 'approve' | 'refuse';
    readonly reason: string;
    readonly at: Date;
  }[];
}

export interface ApprovalVote {
  readonly id: string;
  /** As the directory knows them now, with their groups. */
  readonly by: Principal;
  readonly reason?: string | undefined;
}

export interface Approvals {
  /** Newest first, 1,000 at most. */
  list(filter?: { state?: ApprovalState | undefined }): Promise<ApprovalView[]>;
  /** @throws Fault `missing` */
  get(id: string): Promise<ApprovalView>;
  /** @throws Fault `missing`, `denied` (not in the group, or one's own), `conflict` (decided or lapsed already) */
  approve(vote: ApprovalVote): Promise<ApprovalView>;
  /** One no is enough. @throws as `approve` */
  refuse(vote: ApprovalVote): Promise<ApprovalView>;
  /** Called when a request was voted on or has lapsed; it must not throw. The answer ends it. */
  onChange(call: (view: ApprovalView) => void): () => void;
  /** For the gate: the answer there is, or a new request that waits from now on. */
  ask(
    request: AccessRequest,
    decision: Extract<RuleDecision, { allow: 'after-approval' }>,
  ): Promise<{ id: string; state: 'approved' | 'waiting' | 'refused'; until: Date | undefined }>;
}

export interface ApprovalsOptions {
  readonly store: Store;
  readonly audit: Pick<Audit, 'append'>;
  readonly clock?: Clock | undefined;
  readonly log: Log;
}

const defaultWithin = 3_600_000;
/** Requests of one caller that may wait at a time. */
const mostWaiting = 20;

export function createApprovals(options: ApprovalsOptions): Approvals {
  return new StoredApprovals(options);
}

class StoredApprovals implements Approvals {
  readonly #store: Store;
  readonly #audit: Pick<Audit, 'append'>;
  readonly #clock: Clock;
  readonly #log: Log;
  /** One at a time: two admissions of one caller must not make two requests, nor use one approval twice. */
  #turn: Promise<unknown> = Promise.resolve();

  readonly #listeners = new Set<(view: ApprovalView) => void>();

  constructor({ store, audit, clock, log }: ApprovalsOptions) {
    this.#store = store;
    this.#audit = audit;
    this.#clock = clock ?? systemClock;
    this.#log = log;
  }

  async list({ state }: { state?: ApprovalState | undefined } = {}): Promise<ApprovalView[]> {
    await this.#inTurn(() => this.#expire());
    let query = this.#store.db.selectFrom('approval').selectAll().orderBy('created', 'desc').orderBy('id').limit(1000);
    if (state !== undefined) query = query.where('state', '=', state);
    return this.#views(await query.execute());
  }

  async get(id: string): Promise<ApprovalView> {
    await this.#inTurn(() => this.#expire());
    return this.#show(id);
  }

  approve(vote: ApprovalVote): Promise<ApprovalView> {
    return this.#inTurn(() => this.#vote(vote, 'approve')).then(view => this.#tell(view));
  }

  refuse(vote: ApprovalVote): Promise<ApprovalView> {
    return this.#inTurn(() => this.#vote(vote, 'refuse')).then(view => this.#tell(view));
  }

  onChange(call: (view: ApprovalView) => void): () => void {
    this.#listeners.add(call);
    return () => this.#listeners.delete(call);
  }

  #tell(view: ApprovalView): ApprovalView {
    for (const call of this.#listeners) call(view);
    return view;
  }

  ask(
    ...given: Parameters<Approvals['ask']>
  ): Promise<{ id: string; state: 'approved' | 'waiting' | 'refused'; until: Date | undefined }> {
    return this.#inTurn(() => this.#ask(...given));
  }

  async #ask(...[request, decision]: Parameters<Approvals['ask']>) {
    const { db } = this.#store;
    await this.#expire();
    const now = this.#clock.now();
    const { who, action, resource } = request;
    const asks = canonicalFacts(request.asks ?? {});
    const mine = await db
      .selectFrom('approval')
      .selectAll()
      .where('who_id', '=', who.id)
      .where('action', '=', action)
      .where('resource', '=', cleanText(resource))
      .where('state', 'in', ['waiting', 'approved', 'refused'])
      .where('expires', '>', now.toISOString())
      .orderBy('created', 'desc')
      .execute();
    // The rule's number is not compared, since a reload may move it; who decides and how many is what was approved.
    const same = mine.filter(
      row =>
        row.who_kind === who.kind &&
        (who.id !== '' || row.credential === who.credential) &&
        row.asks === asks &&
        row.by === decision.by &&
        row.count === decision.count,
    );
    const known = same.find(({ state }) => state === 'approved') ?? same[0];
    if (known) {
      if (known.state === 'approved' && known.once === 1) await this.#setState(known, 'used');
      return { id: known.id, state: known.state as 'approved' | 'waiting' | 'refused', until: new Date(known.expires) };
    }
    if (mine.filter(({ state }) => state === 'waiting').length >= mostWaiting) {
      throw new Fault('limit', 'too many of your requests wait for approval already');
    }
    const until = new Date(now.getTime() + (decision.within ?? defaultWithin));
    const row: ApprovalTable = {
      id: `ap-${randomBytes(6).toString('hex')}`,
      state: 'waiting',
      created: now.toISOString(),
      expires: until.toISOString(),
      who_kind: who.kind,
      who_id: who.id,
      credential: who.credential,
      from: formatAddress(request.from),
      action,
      resource: cleanText(resource),
      asks,
      rule: decision.rule,
      by: decision.by,
      count: decision.count,
      once: isStream(action) ? 0 : 1,
      lasts: decision.lasts ?? defaultWithin,
    };
    await this.#record(row, 'asked', who, { by: row.by, count: row.count, until: row.expires });
    await db.insertInto('approval').values(row).execute();
    this.#log.info({ approval: row.id, action, resource, group: row.by }, 'a request waits for approval');
    return { id: row.id, state: 'waiting' as const, until };
  }

  async #vote({ id, by, reason = '' }: ApprovalVote, vote: 'approve' | 'refuse'): Promise<ApprovalView> {
    await this.#expire();
    const { db } = this.#store;
    const row = await db.selectFrom('approval').selectAll().where('id', '=', id).executeTakeFirst();
    if (!row) throw new Fault('missing', `there is no request ${id}`);
    if (by.kind !== 'user' || by.id === '' || !by.groups.includes(row.by)) {
      throw new Fault('denied', `only members of the group ${row.by} decide about this`);
    }
    if (by.id === row.who_id || (by.credential !== '' && by.credential === row.credential)) {
      throw new Fault('denied', 'nobody decides about a request of their own');
    }
    if (row.state !== 'waiting') throw new Fault('conflict', `the request ${id} is ${row.state} already`);
    const votes = await db.selectFrom('approval_vote').select('voter').where('approval', '=', id).execute();
    if (votes.some(({ voter }) => voter === by.id)) throw new Fault('conflict', 'you have decided about this already');

    const at = this.#clock.now();
    const isDecided = vote === 'refuse' || votes.length + 1 >= row.count;
    // In the audit first: what is not written down must not count.
    await this.#record(row, vote === 'approve' ? 'approved' : 'refused', by, {
      reason,
      votes: votes.length + 1,
      count: row.count,
    });
    await db.transaction().execute(async transaction => {
      const value = {
        approval: id,
        voter: by.id,
        credential: by.credential,
        vote,
        reason: cleanText(reason),
        at: at.toISOString(),
      };
      await transaction.insertInto('approval_vote').values(value).execute();
      if (!isDecided) return;
      const change =
        vote === 'refuse'
          ? { state: 'refused' as const }
          : { state: 'approved' as const, expires: new Date(at.getTime() + row.lasts).toISOString() };
      await transaction
        .updateTable('approval')
        .set(change)
        .where('id', '=', id)
        .where('state', '=', 'waiting')
        .execute();
    });
    return this.#show(id);
  }

  /** What has lapsed, lapses; the audit says so. */
  async #expire(): Promise<void> {
    const rows = await this.#store.db
      .selectFrom('approval')
      .selectAll()
      .where('state', 'in', ['waiting', 'approved'])
      .where('expires', '<=', this.#clock.now().toISOString())
      .execute();
    for (const row of rows) {
      if (row.state === 'waiting') await this.#record(row, 'lapsed', { kind: 'node', id: 'gate', credential: '' }, {});
      await this.#setState(row, 'expired');
      if (this.#listeners.size > 0) this.#tell(await this.#show(row.id));
    }
  }

  async #setState({ id }: ApprovalTable, state: ApprovalState): Promise<void> {
    await this.#store.db.updateTable('approval').set({ state }).where('id', '=', id).execute();
  }

  async #record(
    row: Pick<ApprovalTable, 'id' | 'action' | 'resource' | 'rule' | 'who_id' | 'asks'>,
    what: 'asked' | 'approved' | 'refused' | 'lapsed',
    who: Pick<Principal, 'kind' | 'id' | 'credential'>,
    facts: Record<string, unknown>,
  ): Promise<void> {
    await this.#audit.append({
      event: `${row.action.split('.', 1)[0]}.approval-${what}`,
      who,
      resource: row.resource,
      rule: row.rule,
      outcome: what === 'refused' || what === 'lapsed' ? 'denied' : 'done',
      facts: { ...facts, approval: row.id, action: row.action, for: row.who_id, asks: JSON.parse(row.asks) },
    });
  }

  async #show(id: string): Promise<ApprovalView> {
    const row = await this.#store.db.selectFrom('approval').selectAll().where('id', '=', id).executeTakeFirst();
    const [view] = row ? await this.#views([row]) : [];
    if (!view) throw new Fault('missing', `there is no request ${id}`);
    return view;
  }

  async #views(rows: readonly ApprovalTable[]): Promise<ApprovalView[]> {
    if (rows.length === 0) return [];
    const votes = await this.#store.db
      .selectFrom('approval_vote')
      .selectAll()
      .where(
        'approval',
        'in',
        rows.map(({ id }) => id),
      )
      .orderBy('at')
      .execute();
    const of = Map.groupBy(votes, ({ approval }) => approval);
    return rows.map(row => viewOf(row, of.get(row.id) ?? []));
  }

  #inTurn<T>(act: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(act, act);
    this.#turn = turn.catch(() => {});
    return turn;
  }
}

const viewOf = (row: ApprovalTable, votes: readonly ApprovalVoteTable[]): ApprovalView => ({
  id: row.id,
  state: row.state,
  action: row.action,
  resource: row.resource,
  who: { kind: row.who_kind, id: row.who_id, credential: row.credential },
  from: row.from ?? '',
  asks: JSON.parse(row.asks) as Record<string, unknown>,
  rule: row.rule,
  group: row.by,
  count: row.count,
  asked: new Date(row.created),
  until: new Date(row.expires),
  votes: votes.map(({ voter, vote, reason, at }) => ({ user: voter, vote, reason, at: new Date(at) })),
});
