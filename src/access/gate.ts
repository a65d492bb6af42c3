// The gate: is the caller still good, may they, is there room, is it written down — then, and only then, a session.
import { randomBytes } from 'node:crypto';
import { type Clock, systemClock } from '../core/clock.ts';
import { Fault, toFault } from '../core/fault.ts';
import type { AccessRequest, Gate, Log, Metrics, Policy, Principal, Session } from '../core/parts.ts';
import type { Approvals } from './approvals.ts';
import type { Audit } from './audit.ts';
import { attributesOf, createDenials, type Denials } from './denials.ts';
import { eventNames, isStream } from './events.ts';
import { createKeeper, type Keeper } from './keeper.ts';
import { createLimits, type Limits, type Release } from './limits.ts';
import { LiveSession } from './live-session.ts';
import type { RuleDecision } from './policy.ts';
import type { SessionRegister } from './sessions.ts';

/**
 * The caller as the directory knows them now, with groups and roles. Synchronous, from memory.
 * @throws Fault `unknown-caller` when the credential is revoked or the user is gone
 */
export type Standing = (who: Principal) => Principal;

export interface GateDeps {
  readonly policy: () => Policy;
  readonly audit: Pick<Audit, 'append'>;
  readonly sessions: SessionRegister;
  readonly standing: Standing;
  /** Without it a rule that asks for approvals admits nobody. */
  readonly approvals?: Approvals | undefined;
  readonly clock?: Clock | undefined;
  readonly log: Log;
  readonly metrics: Metrics;
}

/** Who carries the bytes, where it is not the gate process itself. */
export interface Carrier {
  readonly worker?: number | undefined;
}

export interface LiveGate extends Gate {
  /** The opening says who carries it: should the gate be killed, a worker goes on with what it has. */
  admit(request: AccessRequest, carrier?: Carrier): Promise<Session>;
  /** `times`: how often it has happened, where somebody has counted already. */
  refuse(request: AccessRequest, reason: string, times?: number): void;
  /**
   * Ends the live sessions that would not be let in now: after the rules, or the groups and roles of `user`, have
   * changed. What the gate's own file opened stays.
   */
  recheck(user?: string): void;
  /** What is live or may come; false once draining has begun. */
  readonly isOpen: boolean;
  /** Closing records that wait for a disk that is full. */
  readonly unwritten: number;
  /**
   * Admits nobody any more and waits for the sessions to end; those that live when `deadline` aborts get `drain`, and
   * a few seconds for a proper end. Resolves when every closing record is written or known to be lost (then logged).
   */
  drain(deadline: AbortSignal): Promise<void>;
}

/** Milliseconds that handlers have for a proper end after `drain`. */
const farewell = 5000;

export function createGate(deps: GateDeps): LiveGate {
  const clock = deps.clock ?? systemClock;
  const { audit, log, metrics } = deps;
  const keeper = createKeeper({ audit, clock, log, metrics });
  return new AdmittingGate(
    deps,
    clock,
    keeper,
    createLimits(clock),
    createDenials(clock, event => void keeper.write(event)),
  );
}

class AdmittingGate implements LiveGate {
  readonly #deps: GateDeps;
  readonly #clock: Clock;
  readonly #keeper: Keeper;
  readonly #limits: Limits;
  readonly #denials: Denials;
  /** This start's own, so that numbers need not be remembered. */
  readonly #prefix = randomBytes(5).toString('hex');
  #count = 0;
  #state: 'open' | 'draining' = 'open';
  #onEmpty: (() => void) | undefined;

  constructor(deps: GateDeps, clock: Clock, keeper: Keeper, limits: Limits, denials: Denials) {
    this.#deps = deps;
    this.#clock = clock;
    this.#keeper = keeper;
    this.#limits = limits;
    this.#denials = denials;
  }

  get isOpen(): boolean {
    return this.#state === 'open';
  }

  get unwritten(): number {
    return this.#keeper.unwritten;
  }

  async admit(asked: AccessRequest, carrier: Carrier = {}): Promise<Session> {
    this.#checkOpen();
    let request = this.#standing(asked);
    let decision = this.#decide(request);
    if (decision.allow === 'after-approval') decision = await this.#askApproval(request, decision);
    let release: Release;
    try {
      const place = this.#limits.take(request);
      if (place instanceof Promise) {
        release = await place;
        // Somebody who waited may have been revoked, or the rules changed, meanwhile.
        try {
          this.#checkOpen();
          request = this.#standing(asked);
          const again = this.#decide(request);
          if (again.allow === true) decision = again;
        } catch (error) {
          release();
          throw error;
        }
      } else release = place;
    } catch (error) {
      const fault = toFault(error);
      if (fault.code === 'limit') this.#denials.add(request, `limit: ${fault.facts['limit']}`, decision.rule);
      throw error;
    }
    return this.#open(request, decision, release, carrier);
  }

  refuse(request: AccessRequest, reason: string, times = 1): void {
    try {
      this.#deps.metrics.count('denials_total', { action: request.action }, times);
      this.#denials.add(request, reason, request.opened, times);
    } catch (error) {
      this.#deps.log.error({ error }, 'a refusal could not be noted');
    }
  }

  recheck(user?: string): void {
    for (const session of this.#deps.sessions.all()) {
      const { request } = session;
      if (request.opened !== undefined || (user !== undefined && request.who.id !== user)) continue;
      if (!this.#wouldAdmit(request)) session.cut('revoked');
    }
  }

  #wouldAdmit(request: AccessRequest): boolean {
    try {
      const who = request.who.kind === 'anonymous' ? request.who : this.#deps.standing(request.who);
      return this.#deps.policy().decide({ ...request, who }, this.#clock.now()).allow !== false;
    } catch {
      return false; // revoked, or gone
    }
  }

  #checkOpen(): void {
    if (this.#state !== 'open') throw new Fault('unreachable', 'the gate is shutting down; try again in a moment');
  }

  #standing(request: AccessRequest): AccessRequest {
    if (request.who.kind === 'anonymous') return request;
    try {
      const who = this.#deps.standing(request.who);
      return who === request.who ? request : { ...request, who };
    } catch (error) {
      if (toFault(error).code === 'unknown-caller') this.#deny(request, 'revoked or unknown');
      throw error;
    }
  }

  #decide(request: AccessRequest): Exclude<RuleDecision, { allow: false }> {
    if (request.opened !== undefined) return { allow: true, rule: request.opened };
    const decision = this.#deps.policy().decide(request, this.#clock.now());
    if (decision.allow !== false) return decision;
    this.#deny(request, decision.reason, decision.rule);
    // Callers learn nothing about why; the audit does.
    throw new Fault('denied', 'this is not allowed', { facts: { reason: decision.reason, rule: decision.rule } });
  }

  #deny(request: AccessRequest, reason: string, rule?: string): void {
    this.#deps.metrics.count('denials_total', { action: request.action });
    this.#denials.add(request, reason, rule);
  }

  async #askApproval(
    request: AccessRequest,
    decision: Extract<RuleDecision, { allow: 'after-approval' }>,
  ): Promise<Extract<RuleDecision, { allow: true }>> {
    if (!this.#deps.approvals) throw new Fault('denied', 'this needs an approval, which nobody can give here');
    const { rule } = decision;
    const answer = await this.#deps.approvals.ask(request, decision);
    if (answer.state === 'approved') {
      const ends = [answer.until, decision.until].filter(end => end !== undefined).map(end => end.getTime());
      return { allow: true, rule, ...(ends.length > 0 ? { until: new Date(Math.min(...ends)) } : {}) };
    }
    const what =
      answer.state === 'refused'
        ? `the request ${answer.id} was refused`
        : `this needs approval by ${decision.count} of the group ${decision.by}; the request ${answer.id} waits until ${answer.until?.toISOString()}`;
    throw new Fault('denied', what, { facts: { approval: answer.id, rule } });
  }

  async #open(
    request: AccessRequest,
    { rule, until }: Extract<RuleDecision, { allow: true }>,
    release: Release,
    carrier: Carrier,
  ): Promise<Session> {
    const { audit, sessions, log, metrics } = this.#deps;
    const { who, action, resource, from } = request;
    const since = this.#clock.now();
    const names = eventNames(action);
    let disarm: (() => void) | undefined;
    const session = new LiveSession({
      id: `${this.#prefix}-${(++this.#count).toString(36)}`,
      request,
      rule,
      since,
      until,
      log,
      finish: async ended => {
        disarm?.();
        release();
        sessions.remove(ended);
        metrics.gauge('sessions', { action }, -1);
        if (sessions.size === 0) this.#onEmpty?.();
        await this.#keeper.write(this.#closing(ended, names.closed));
      },
    });
    // In the register before it is on the disk: a revocation that comes in between must find it.
    sessions.add(session);
    try {
      await audit.append({
        event: names.opened,
        session: session.id,
        who,
        from,
        resource,
        rule,
        outcome: 'allowed',
        facts: { ...openingFacts(request, until), ...carrier },
      });
    } catch (error) {
      release();
      sessions.remove(session);
      if (sessions.size === 0) this.#onEmpty?.();
      throw error;
    }
    metrics.gauge('sessions', { action }, 1);
    metrics.count('sessions_total', { action });
    if (session.reason !== undefined) {
      await session[Symbol.asyncDispose]();
      throw new Fault('denied', 'this is not allowed any more', { facts: { reason: session.reason } });
    }
    if (until) disarm = this.#clock.after(until.getTime() - this.#clock.now().getTime(), () => session.cut('expired'));
    sessions.opened(session);
    // The only place where a session is minted (core/parts.ts: the brand is exported to nobody).
    return session as unknown as Session;
  }

  #closing(session: LiveSession, event: string): Parameters<Keeper['write']>[0] {
    const { who, action, resource, from } = session.request;
    const { cause = 'ended', ...notes } = session.notes ?? {};
    const failed = !isStream(action) && 'fault' in notes;
    return {
      event,
      session: session.id,
      who,
      from,
      resource,
      rule: session.rule,
      outcome: isStream(action) ? 'ended' : failed ? 'failed' : 'done',
      facts: {
        ...notes,
        ...(isStream(action) ? { up: session.up, down: session.down } : { action }),
        cause: session.reason ?? cause,
        ms: this.#clock.now().getTime() - session.since.getTime(),
      },
    };
  }

  async drain(deadline: AbortSignal): Promise<void> {
    this.#state = 'draining';
    const { sessions, log } = this.#deps;
    await this.#empty(deadline);
    for (const session of sessions.all()) session.cut('drain');
    if (sessions.size > 0) {
      const patience = new AbortController();
      const cancel = this.#clock.after(farewell, () => patience.abort());
      await this.#empty(patience.signal);
      cancel();
    }
    // Whoever has not ended by now is not coming back; the record is written all the same.
    await Promise.all([...sessions.all()].map(session => session[Symbol.asyncDispose]()));
    this.#denials.flush();
    const lost = await this.#keeper.flush();
    if (lost > 0) log.error({ records: lost }, 'audit records could not be written before the end');
  }

  /** Until there are no sessions, or the signal aborts. */
  #empty(signal: AbortSignal): Promise<void> {
    if (this.#deps.sessions.size === 0 || signal.aborted) return Promise.resolve();
    return new Promise(resolve => {
      const done = (): void => {
        this.#onEmpty = undefined;
        signal.removeEventListener('abort', done);
        resolve();
      };
      this.#onEmpty = done;
      signal.addEventListener('abort', done);
    });
  }
}

function openingFacts(request: AccessRequest, until: Date | undefined): Record<string, unknown> {
  const { asks, action } = request;
  return {
    ...(isStream(action) ? {} : { action }),
    ...(until ? { until } : {}),
    ...(asks ? { asks } : {}),
    ...attributesOf(request),
  };
}
