// Renamed sites, running: client connections, the map of now, health, and why somebody reaches a site or not.
import type { Server } from 'node:http';
import type { Duplex } from 'node:stream';
import { finished } from 'node:stream/promises';
import type { Clock } from '../../../core/clock.ts';
import { Fault, toFault } from '../../../core/fault.ts';
import type { Address, Conn, Decision, Gate, Identify, Log, Metrics, Principal, Service } from '../../../core/parts.ts';
import { createResolver, type NameResolver } from '../../../net/resolve.ts';
import { parseCidr } from '../../../wire/cidr.ts';
import type { WebLine } from '../access-line.ts';
import type { Explanation } from '../check.ts';
import { drainConns } from '../draining.ts';
import type { Exchange, Front } from '../exchange.ts';
import type { IdentitySigner } from '../identity.ts';
import { openLane } from '../lane.ts';
import type { Page } from '../pages.ts';
import { siteText } from './front.ts';
import { Guest } from './guest.ts';
import { type HealthState, SiteHealth } from './health.ts';
import { createSiteHttp1, serveSiteLane } from './http1.ts';
import { serveSiteHttp2 } from './http2.ts';
import { compileSites, readAuthority, type Site, type Sites } from './map.ts';
import type { SitesPlan } from './plan.ts';
import { reachSite, type SiteReach, siteCandidates } from './reach.ts';

export interface SitesWorld {
  readonly gate: Gate;
  /** Says who stands behind a conn under the trust of now; asked again while the conn lives. */
  readonly identify: Identify;
  /** What the rules say, without writing it down. */
  readonly decide: (who: Principal, resource: string, from: Address) => Decision;
  /** The port in public addresses. */
  readonly port: () => number;
  /** Where somebody sees how they arrived, `https://gate.example.com/check`; undefined where there is no such page. */
  readonly checkUrl: () => string | undefined;
  /** Names of the gate itself, which are never sites. */
  readonly names: () => readonly string[];
  /** Whether a name is also one of web.forward, where it must stay reachable as http. */
  readonly isForwarded: (host: string) => boolean;
  /** Where this gate listens. */
  readonly listeners: () => readonly Address[];
  /** CN of each CA whose client certificates count. */
  readonly issuers: () => readonly string[];
  /**
   * Looks at an admitted request once more (a sign-in on top of the certificate). A page stands in for the answer; a
   * time is when the stay ends, with everything that is under way by then.
   */
  readonly before?: (
    exchange: Pick<Exchange, 'id' | 'method' | 'version' | 'fields'>,
    guest: Guest,
    path: string,
  ) => Page | Date | undefined;
  /** Signs identities; without it only plain fields are told. */
  readonly signer?: IdentitySigner;
  readonly accessLog?: (line: WebLine) => void;
  /** Instead of the system's or the plan's name servers. */
  readonly resolver?: NameResolver;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/** What the parts work with; getters, since the plan may be replaced. */
export interface SitesDeps
  extends Pick<SitesWorld, 'gate' | 'issuers' | 'checkUrl' | 'before' | 'clock' | 'log' | 'metrics'> {
  readonly sites: () => Sites;
  readonly help: () => string | undefined;
  /** Seconds of Strict-Transport-Security; 0 = none. */
  readonly hsts: (site: Site) => number;
  readonly accessLog: (line: WebLine) => void;
}

export interface SiteState {
  readonly key: string;
  /** `https://server1.example.com/` */
  readonly url: string;
  readonly to: string;
  readonly clients: 'required' | 'none';
  readonly health: HealthState;
}
export interface SitesState {
  readonly domain?: string;
  readonly sites: readonly SiteState[];
  readonly connections: number;
  readonly warnings: readonly string[];
}

export interface SitesService extends Service {
  /** Whether TLS for this name ends here. */
  has(name: string): boolean;
  /** The site of this name now. */
  find(name: string): Site | undefined;
  /** Serves a TLS conn whose SNI is a site until it ends. Never throws. */
  handle(conn: Conn): Promise<void>;
  /** The address to which port 80 sends a request for this Host; undefined when it is no site. */
  secureUrl(host: string): string | undefined;
  replace(plan: SitesPlan): void;
  drain(deadline: AbortSignal): Promise<void>;
  state(): SitesState;
  /** Undefined when the address is of no site. @throws Fault `invalid` */
  explain(
    options: { readonly url: string; readonly who: Principal; readonly from: Address },
    signal: AbortSignal,
  ): Promise<Explanation | undefined>;
}

export function openSites(plan: SitesPlan, world: SitesWorld): SitesService {
  return new WebSites(plan, world);
}

interface Live {
  readonly guest: Guest;
  readonly front?: Front;
}

class WebSites implements SitesService {
  readonly name = 'web.sites';
  readonly #world: SitesWorld;
  readonly #deps: SitesDeps;
  readonly #live = new Map<Duplex, Live>();
  readonly #servers = new Set<Server>();
  readonly #health: SiteHealth;
  #plan: SitesPlan;
  #sites: Sites;
  #resolver: NameResolver;
  #reachable: SiteReach;
  #server: Server;
  #state: 'open' | 'draining' | 'closed' = 'open';

  constructor(plan: SitesPlan, world: SitesWorld) {
    this.#world = world;
    this.#plan = plan;
    this.#sites = compileSites(plan.sites, world.names());
    this.#resolver = this.#makeResolver();
    this.#reachable = this.#makeReach();
    const { gate, issuers, checkUrl, before, clock, log, metrics, accessLog = () => {} } = world;
    this.#deps = {
      ...{ gate, issuers, checkUrl, clock, log, metrics, accessLog },
      ...(before ? { before } : {}),
      sites: () => this.#sites,
      help: () => this.#plan.help,
      hsts: site => this.#hsts(site),
    };
    this.#server = this.#makeServer();
    this.#health = new SiteHealth({
      gate,
      clock,
      log,
      metrics,
      reach: (site, session, signal) => reachSite(site, session, this.#reachable, signal, false),
    });
    this.#health.watch(this.#sites);
  }

  health(): 'ok' | 'degraded' | 'down' {
    return this.#state === 'open' ? 'ok' : 'down';
  }

  has(name: string): boolean {
    return this.#sites.find(name.toLowerCase()) !== undefined;
  }

  find(name: string): Site | undefined {
    return this.#sites.find(name.toLowerCase());
  }

  async handle(conn: Conn): Promise<void> {
    const { stream } = conn;
    const site = this.#sites.find(conn.tls?.sni?.toLowerCase() ?? '');
    if (!site || this.#state !== 'open' || this.#live.size >= this.#plan.limits.connections) {
      this.#world.metrics.count('web_connections_refused_total', {});
      stream.destroy();
      return;
    }
    const { gate, identify, clock } = this.#world;
    const guest = new Guest(conn, site, {
      ...{ gate, identify, clock, signer: this.#world.signer },
      dial: (stay, signal, shared) => reachSite(stay.site, stay.session, this.#reachable, signal, shared),
    });
    // The place is taken before anything is waited for: the limit counts those who are still being looked at.
    this.#live.set(stream, { guest });
    this.#world.metrics.gauge('web_connections', {}, 1);
    try {
      if (site.plan.clients === 'required') await guest.caller.identify();
      const { limits, idle } = this.#plan;
      if (conn.tls?.alpn === 'h2') {
        this.#live.set(stream, { guest, front: serveSiteHttp2(guest, { limits, idle, deps: this.#deps }) });
      } else this.#live.set(stream, { guest, front: this.#openLane(guest) });
      if (!stream.destroyed) await finished(stream).catch(() => {}); // a reset is weather
      // A stream is finished when both its ways are; the socket's last word is its close.
      if (!stream.closed) await new Promise<void>(resolve => stream.once('close', resolve));
    } catch (error) {
      this.#world.log.error({ from: conn.peer, error }, 'a connection to a site failed');
      stream.destroy();
    } finally {
      this.#live.delete(stream);
      this.#world.metrics.gauge('web_connections', {}, -1);
      await guest.close();
    }
  }

  secureUrl(host: string): string | undefined {
    const name = readAuthority(host)?.host;
    const site = name === undefined ? undefined : this.#sites.find(name);
    return site && `https://${site.name}${this.#portText()}`;
  }

  replace(plan: SitesPlan): void {
    const isResolver = String(plan.resolver) !== String(this.#plan.resolver);
    this.#plan = plan;
    this.#sites = compileSites(plan.sites, this.#world.names());
    if (isResolver) this.#resolver = this.#makeResolver();
    this.#reachable = this.#makeReach();
    this.#server = this.#makeServer();
    for (const { guest } of this.#live.values()) guest.replace(this.#sites.find(guest.site.name));
    this.#health.watch(this.#sites);
  }

  async drain(deadline: AbortSignal): Promise<void> {
    if (this.#state === 'closed') return;
    this.#state = 'draining';
    this.#health.stop();
    await drainConns({ servers: this.#servers, live: this.#live }, deadline);
    this.#state = 'closed';
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.drain(AbortSignal.abort());
  }

  state(): SitesState {
    const { domain, sites, warnings } = this.#plan;
    return {
      ...(domain === undefined ? {} : { domain }),
      sites: sites.map(plan => {
        const port =
          plan.port === 'hole' ? ':{port}' : plan.port === (plan.scheme === 'https' ? 443 : 80) ? '' : `:${plan.port}`;
        return {
          key: plan.key,
          url: `https://${plan.name.text}${this.#portText()}/`,
          to: `${plan.scheme}://${plan.host.text}${port}${plan.path}`,
          clients: plan.clients,
          health: this.#health.state(plan.key),
        };
      }),
      connections: this.#live.size,
      warnings,
    };
  }

  async explain(
    { url, who, from }: Parameters<SitesService['explain']>[0],
    signal: AbortSignal,
  ): Promise<Explanation | undefined> {
    const [, scheme, authority = ''] = /^(?:([a-z]+):\/\/)?([^/?#]+)/i.exec(url) ?? [];
    const place = readAuthority(authority);
    const site = place && this.#sites.find(place.host);
    if (!site || (scheme !== undefined && !/^(https|wss)$/i.test(scheme))) return undefined;
    const { resource, plan } = site;
    const decision: Decision =
      plan.clients === 'none' ? { allow: true, rule: resource } : this.#world.decide(who, resource, from);
    const base = { site: site.name, line: { key: plan.key, to: siteText(site) }, decision };
    if (decision.allow === false) {
      return { ...base, addresses: [], verdict: 'denied', text: `${decision.reason} (${decision.rule})` };
    }
    const addresses = await siteCandidates(site, this.#reachable, signal).catch((error: unknown) => toFault(error));
    if (addresses instanceof Fault) return { ...base, addresses: [], verdict: 'unresolved', text: addresses.message };
    const [good] = addresses.filter(({ fault }) => fault === undefined);
    if (!good) {
      const why = addresses.map(({ host, fault }) => `${host} ${fault}`).join(', ');
      const text = `the address is refused: ${why}; write it (at: tcp://…, or web.addresses) if it is meant`;
      return { ...base, addresses, verdict: 'address-refused', text };
    }
    const at = `${good.host.includes(':') ? `[${good.host}]` : good.host}:${good.port}`;
    if (decision.allow === 'after-approval') {
      const text = `after approval by ${decision.count} of ${decision.by} (${decision.rule}), at ${at}`;
      return { ...base, addresses, verdict: 'after-approval', text };
    }
    const by = plan.clients === 'none' ? 'open to everybody, as the file says' : `allowed by ${decision.rule}`;
    return { ...base, addresses, verdict: 'reached', text: `${by}, at ${at}` };
  }

  /** Only under another name than the service's: there nobody can have come by http. */
  #hsts(site: Site): number {
    const { name, host, alias, plan } = site;
    if (plan.hsts === 0 || name === host || name === alias?.host || this.#world.isForwarded(name)) return 0;
    return Math.round(plan.hsts / 1000);
  }
  #portText(): string {
    const port = this.#plan.port ?? this.#world.port();
    return port === 443 ? '' : `:${port}`;
  }
  #makeResolver(): NameResolver {
    const { resolver } = this.#plan;
    return this.#world.resolver ?? createResolver(resolver === undefined ? {} : { servers: resolver });
  }
  #makeReach(): SiteReach {
    return { resolver: this.#resolver, own: this.#world.listeners, addresses: this.#plan.addresses.map(parseCidr) };
  }
  #openLane(guest: Guest): Front {
    const { limits, idle } = this.#plan;
    const server = this.#server;
    return openLane({
      ...{ conn: guest.conn, header: limits.header, idle, still: this.#still() },
      nextId: () => guest.caller.nextId(),
      serve: (exchange, url) => serveSiteLane(exchange, url, guest, this.#deps),
      leave: stream => void server.emit('connection', stream),
      isDraining: () => this.#state !== 'open',
    });
  }
  /** The service's own time decides; this one only ends what stands still without being anybody's turn. */
  #still(): number {
    const { sites } = this.#plan;
    return Math.max(...sites.map(({ timeouts }) => Math.max(timeouts.read, timeouts.send))) + 10_000;
  }
  #makeServer(): Server {
    const { limits, idle } = this.#plan;
    const server = createSiteHttp1({
      ...{ header: limits.header, idle, deps: this.#deps },
      still: this.#still(),
      guestOf: socket => this.#live.get(socket)?.guest,
      isDraining: () => this.#state !== 'open',
    });
    this.#servers.add(server);
    return server;
  }
}
