// One client connection to a site: who it is, still, and its stay there.
import type { Clock } from '../../../core/clock.ts';
import { Fault, toFault } from '../../../core/fault.ts';
import type { AccessRequest, Conn, Gate, Identify } from '../../../core/parts.ts';
import { matchCidr, parseCidr } from '../../../wire/cidr.ts';
import { Caller } from '../caller.ts';
import type { Fields } from '../headers.ts';
import { type IdentitySigner, identityFields, signedFields } from '../identity.ts';
import type { Site } from './map.ts';
import { SiteStay, type SiteStayOptions } from './stay.ts';
import type { Naming } from './urls.ts';

export interface GuestDeps {
  readonly gate: Gate;
  readonly identify: Identify;
  readonly dial: SiteStayOptions['dial'];
  readonly clock: Clock;
  /** Signs what services are told about who is there. */
  readonly signer?: IdentitySigner | undefined;
}

/** Milliseconds between looks: a certificate that stopped counting, a site that nobody has asked for lately. */
const beat = 15_000;
/** Looks without anything under way until the session is closed: five minutes. */
const idleBeats = 20;

export class Guest {
  readonly conn: Conn;
  /** Says who it is; its own visits are the forward proxy's and stay empty. */
  readonly caller: Caller;
  /** What the last request said that it is for, read: the next one mostly says the same. */
  aimed: { readonly authority: string; readonly naming: Naming } | undefined;
  readonly #deps: GuestDeps;
  #site: Site;
  #stay: SiteStay | Promise<SiteStay> | undefined;
  #cancelBeat: (() => void) | undefined;
  #state: 'open' | 'closed' = 'open';

  constructor(conn: Conn, site: Site, deps: GuestDeps) {
    this.conn = conn;
    this.#site = site;
    this.#deps = deps;
    this.caller = new Caller(conn, {
      ...deps,
      dial: () => {
        throw new Fault('bug', 'a guest of a site dials through its stay');
      },
    });
  }

  get site(): Site {
    return this.#site;
  }

  /** The stay that is open already: the ordinary case, without a promise. */
  openStay(): SiteStay | undefined {
    const stay = this.#stay;
    if (
      !(stay instanceof SiteStay) ||
      !stay.isOpen ||
      (this.#site.plan.clients === 'required' && this.caller.isStale)
    ) {
      return undefined;
    }
    return stay;
  }

  /** @throws Fault `denied`, `unknown-caller`, `unreachable` */
  async stay(): Promise<SiteStay> {
    const isAsked = this.#site.plan.clients === 'required';
    if (isAsked) {
      await this.caller.identify();
      if (this.caller.certificate.state === 'refused') this.cut('revoked');
    }
    const known = this.#stay;
    if (known instanceof Promise) return known;
    if (known?.isOpen) return known;
    const opening = this.#open();
    this.#stay = opening;
    try {
      const stay = await opening;
      if (this.#stay === opening) this.#stay = stay;
      return stay;
    } catch (error) {
      if (this.#stay === opening) this.#stay = undefined;
      throw error;
    }
  }

  async #open(): Promise<SiteStay> {
    const site = this.#site;
    const request = this.request();
    const { from } = site.plan;
    const { peer } = this.conn;
    if (from && ('path' in peer || !from.some(network => matchCidr(parseCidr(network), peer.host)))) {
      this.#deps.gate.refuse(request, 'the address is in no network of this site’s from');
      throw new Fault('denied', 'not allowed', { facts: { rule: 'from' } });
    }
    const session = await this.#deps.gate.admit(request);
    const stay = new SiteStay({ session, site, dial: this.#deps.dial });
    const isRefused = site.plan.clients === 'required' && this.caller.certificate.state === 'refused';
    if (this.#state === 'closed' || isRefused || this.#site !== site) stay.cut('closed');
    // Ended while its opening was being written: nothing may begin in it.
    if (!stay.isOpen) throw new Fault('denied', 'this is not allowed any more', { facts: { rule: 'ended' } });
    this.#arm();
    return stay;
  }

  /** Fields that tell the service who is there, as the site wants it. */
  identity(): Fields {
    const { name, plan } = this.#site;
    const { signer, clock } = this.#deps;
    if (plan.identity === false) return [];
    if (plan.identity === true || !signer) return identityFields(this.caller);
    return signedFields(this.caller.who, { host: name, port: 443 }, signer, clock.now());
  }

  /** What the gate is asked. A site without certificates is itself the rule, named after it. */
  request(): AccessRequest {
    const { resource, plan } = this.#site;
    const base = { who: this.caller.who, action: 'web.request', resource, from: this.conn.peer } as const;
    return plan.clients === 'none' ? { ...base, opened: resource } : base;
  }

  /** Another map: the site of this name now, or none. Connections stay, what was admitted under other words ends. */
  replace(site: Site | undefined): void {
    this.aimed = undefined;
    if (site && JSON.stringify(describe(site)) === JSON.stringify(describe(this.#site))) {
      this.#site = site;
      return;
    }
    if (site) this.#site = site;
    this.cut('revoked');
    if (!site) this.conn.stream.destroy();
  }

  cut(reason: string): void {
    const stay = this.#stay;
    this.#stay = undefined;
    if (stay instanceof SiteStay) stay.cut(reason);
    else stay?.then(one => one.cut(reason)).catch(() => {});
  }

  #arm(): void {
    if (this.#state === 'closed') return;
    this.#cancelBeat ??= this.#deps.clock.after(beat, () => {
      this.#cancelBeat = undefined;
      void this.#look().catch(error => this.cut(toFault(error).code));
    });
  }

  async #look(): Promise<void> {
    if (this.#site.plan.clients === 'required') {
      await this.caller.identify();
      if (this.caller.certificate.state === 'refused') this.cut('revoked');
    }
    const stay = this.#stay;
    if (stay instanceof SiteStay && (!stay.isOpen || stay.beat() >= idleBeats)) {
      this.#stay = undefined;
      await stay.close();
    }
    if (this.#stay) this.#arm();
  }

  /** The connection is gone. Resolves when that is written down. */
  async close(): Promise<void> {
    this.#state = 'closed';
    this.#cancelBeat?.();
    const stay = this.#stay;
    this.#stay = undefined;
    await (await Promise.resolve(stay).catch(() => undefined))?.close();
    await this.caller.close();
  }
}

/** Everything about a site that would make it another one. */
const describe = ({ plan, ...rest }: Site): unknown => ({
  ...rest,
  plan: {
    ...plan,
    name: plan.name.text,
    label: plan.label.text,
    host: plan.host.text,
    told: String((plan.told as { text?: string })?.text ?? plan.told),
  },
});
