// One client connection to the proxy: who it is, still, and the sites it visits.
import { randomBytes } from 'node:crypto';
import type { Clock } from '../../core/clock.ts';
import { Fault, toFault } from '../../core/fault.ts';
import type { Conn, Gate, Identify, Principal } from '../../core/parts.ts';
import type { HostEntry } from './hosts.ts';
import type { Shown } from './pages.ts';
import type { ForwardPlan } from './plan.ts';
import { type Site, siteName, siteResource } from './site.ts';
import { Visit, type VisitOptions } from './visit.ts';

export interface CallerDeps {
  readonly gate: Gate;
  /** Also says whether a certificate still counts: it is asked again and again. */
  readonly identify: Identify;
  readonly dial: VisitOptions['dial'];
  /** When the sign-in that this line wants ends; `needed` where there is none, undefined where none is wanted. */
  readonly signIn?: (who: Principal, entry: HostEntry) => Date | 'needed' | undefined;
  readonly clock: Clock;
}

export const nobody: Principal = { kind: 'anonymous', id: '', groups: [], attributes: new Map(), credential: '' };

/** Milliseconds for which an answer about the certificate holds. */
const fresh = 1000;
/** Milliseconds between looks at visits: certificates that stopped counting, sites nobody has asked for lately. */
const beat = 15_000;
/** Looks at a visit without anything under way until its session is closed: five minutes. */
const idleBeats = 20;
/** Sites of one connection at a time. */
const mostVisits = 256;

export class Caller {
  readonly conn: Conn;
  readonly #deps: CallerDeps;
  readonly #visits = new Map<string, Visit | Promise<Visit>>();
  readonly #prefix = randomBytes(6).toString('base64url');
  #who: Principal = nobody;
  #certificate: Shown = { state: 'none' };
  #checked = Number.NEGATIVE_INFINITY;
  #requests = 0;
  #cancelBeat: (() => void) | undefined;
  #state: 'open' | 'closed' = 'open';

  constructor(conn: Conn, deps: CallerDeps) {
    this.conn = conn;
    this.#deps = deps;
  }

  get who(): Principal {
    return this.#who;
  }
  get certificate(): Shown {
    return this.#certificate;
  }
  /** Unguessable, so that it tells nobody how much others do. */
  nextId(): string {
    return `${this.#prefix}-${(++this.#requests).toString(36)}`;
  }

  /** Who it is now. A certificate that stopped counting ends all visits. Never throws. */
  async identify(): Promise<void> {
    const now = this.#deps.clock.now().getTime();
    if (now - this.#checked < fresh && now >= this.#checked) return;
    try {
      this.#who = await this.#deps.identify(this.conn, AbortSignal.timeout(5000));
      const refused = this.conn.tls?.refused;
      if (this.#who.kind !== 'anonymous') this.#certificate = { state: 'good' };
      else this.#certificate = refused === undefined ? { state: 'none' } : { state: 'refused', reason: refused };
    } catch (error) {
      this.#refused(toFault(error));
    }
    this.#checked = now;
  }

  #refused(fault: Fault): void {
    this.#who = nobody;
    this.#certificate = { state: 'refused', reason: fault.message };
    this.cutVisits('revoked');
  }

  /** Whether the last look is too old for a request. */
  get isStale(): boolean {
    const age = this.#deps.clock.now().getTime() - this.#checked;
    return age >= fresh || age < 0;
  }

  /** The visit that is open already: the ordinary case, without a promise. */
  openVisit(site: Site): Visit | undefined {
    const visit = this.#visits.get(siteName(site));
    return visit instanceof Visit && visit.isOpen ? visit : undefined;
  }

  /** @throws Fault `denied`, `unknown-caller`, `limit`, `unreachable` */
  visit(site: Site, entry: HostEntry, plan: ForwardPlan): Promise<Visit> {
    const key = siteName(site);
    const known = this.#visits.get(key);
    if (known instanceof Promise) return known;
    if (known?.isOpen) return Promise.resolve(known);
    if (this.#visits.size >= mostVisits) this.#closeIdle();
    if (this.#visits.size >= mostVisits) {
      return Promise.reject(new Fault('limit', `more than ${mostVisits} sites are open at once on this connection`));
    }
    const opening = this.#open(site, entry, plan);
    this.#visits.set(key, opening);
    opening.then(
      visit => {
        if (this.#visits.get(key) === opening) this.#visits.set(key, visit);
      },
      () => {
        if (this.#visits.get(key) === opening) this.#visits.delete(key);
      },
    );
    return opening;
  }

  async #open(site: Site, entry: HostEntry, plan: ForwardPlan): Promise<Visit> {
    const { gate, dial, signIn, clock } = this.#deps;
    const until = this.#who.kind === 'anonymous' ? undefined : signIn?.(this.#who, entry);
    if (until === 'needed') {
      gate.refuse(this.request(site), 'a sign-in is needed');
      throw new Fault('denied', 'sign in first', { facts: { rule: 'sign-in', signIn: true } });
    }
    try {
      const session = await gate.admit(this.request(site));
      const visit = new Visit({
        ...{ session, site, entry, dial },
        upstream: plan.limits.upstream,
        read: plan.timeouts.read,
      });
      if (this.#state === 'closed' || this.#certificate.state === 'refused') visit.cut('closed');
      if (until) visit.endAt(until, clock);
      // Ended while its opening was being written: nothing may begin in it.
      if (!visit.isOpen) throw new Fault('denied', 'this is not allowed any more', { facts: { rule: 'ended' } });
      this.#arm();
      return visit;
    } catch (error) {
      const fault = toFault(error);
      // The directory's word: revoked, or the user is gone.
      if (fault.code === 'unknown-caller')
        this.#refused(new Fault('unknown-caller', 'it has been revoked, or its user is gone'));
      throw error;
    }
  }

  /** What the gate is asked for this site. */
  request(site: Site): Parameters<Gate['admit']>[0] {
    return { who: this.#who, action: 'web.request', resource: siteResource(site), from: this.conn.peer };
  }

  /** Ends the visits that a new map does not cover as before. */
  recheck(covers: (site: Site, entry: HostEntry) => boolean): void {
    for (const visit of this.#visits.values()) {
      if (visit instanceof Visit && !covers(visit.site, visit.entry)) visit.cut('revoked');
      else if (visit instanceof Promise) {
        visit.then(one => covers(one.site, one.entry) || one.cut('revoked')).catch(() => {});
      }
    }
  }

  cutVisits(reason: string): void {
    for (const visit of this.#visits.values()) if (visit instanceof Visit) visit.cut(reason);
    for (const [key, visit] of this.#visits) if (visit instanceof Visit) this.#visits.delete(key);
  }

  #closeIdle(): void {
    for (const [key, visit] of this.#visits) {
      if (!(visit instanceof Visit) || (visit.isOpen && !visit.isIdle)) continue;
      this.#visits.delete(key);
      void visit.close();
    }
  }

  #arm(): void {
    if (this.#state === 'closed') return;
    this.#cancelBeat ??= this.#deps.clock.after(beat, () => {
      this.#cancelBeat = undefined;
      void this.#look();
    });
  }

  async #look(): Promise<void> {
    await this.identify();
    for (const [key, visit] of this.#visits) {
      if (!(visit instanceof Visit) || (visit.isOpen && visit.beat() < idleBeats)) continue;
      this.#visits.delete(key);
      await visit.close();
    }
    if (this.#visits.size > 0) this.#arm();
  }

  /** The connection is gone: every session of it ends. Resolves when that is written down. */
  async close(): Promise<void> {
    this.#state = 'closed';
    this.#cancelBeat?.();
    const all = [...this.#visits.values()];
    this.#visits.clear();
    await Promise.all(
      all.map(async visit => {
        const one = await Promise.resolve(visit).catch(() => undefined);
        await one?.close();
      }),
    );
  }
}
