// The web gate, running: client connections, the map of now, the pages and files it hands out.
import type { Server } from 'node:http';
import type { Duplex } from 'node:stream';
import { finished } from 'node:stream/promises';
import { Fault } from '../../core/fault.ts';
import type { Conn, Principal } from '../../core/parts.ts';
import { createResolver, type NameResolver } from '../../net/resolve.ts';
import { Caller } from './caller.ts';
import { arrivalPage, type ExplainOptions, type Explanation, explain } from './check.ts';
import type { ForwardDeps, WebDeps, WebService, WebState } from './deps.ts';
import { drainConns } from './draining.ts';
import type { Front } from './exchange.ts';
import { type Form, type FormFacts, type FormName, forms } from './forms.ts';
import type { Fields } from './headers.ts';
import { compileHosts, type HostEntry, type Hosts } from './hosts.ts';
import { createHttp1, serveLane } from './http1.ts';
import { serveHttp2 } from './http2.ts';
import { identityFields, signedFields } from './identity.ts';
import { openLane } from './lane.ts';
import { sendPage } from './outcome.ts';
import { askOwn, joinOwn } from './own.ts';
import { pacFile, pacType } from './pac.ts';
import { type Page, textPage } from './pages.ts';
import type { ForwardPlan } from './plan.ts';
import { type ReachDeps, reach } from './reach.ts';
import { hostText } from './site.ts';

export function openWeb(plan: ForwardPlan, deps: WebDeps): WebService {
  return new Web(plan, deps);
}

interface Live {
  readonly caller: Caller;
  readonly front?: Front;
}

class Web implements WebService {
  readonly name = 'web';
  readonly #deps: WebDeps;
  readonly #own: ForwardDeps;
  readonly #live = new Map<Duplex, Live>();
  #plan: ForwardPlan;
  #hosts: Hosts;
  #resolver: NameResolver;
  #server: Server;
  readonly #servers = new Set<Server>();
  #state: 'open' | 'draining' | 'closed' = 'open';

  constructor(plan: ForwardPlan, deps: WebDeps) {
    this.#deps = deps;
    this.#plan = plan;
    this.#hosts = compileHosts(plan.entries);
    this.#resolver = this.#makeResolver();
    this.#own = this.#forwardDeps();
    this.#server = this.#makeServer();
  }

  health(): 'ok' | 'down' {
    return this.#state === 'open' ? 'ok' : 'down';
  }

  async handle(conn: Conn): Promise<void> {
    const { stream } = conn;
    if (this.#state !== 'open' || this.#live.size >= this.#plan.limits.connections) {
      this.#deps.metrics.count('web_connections_refused_total', {});
      stream.destroy();
      return;
    }
    const caller = new Caller(conn, {
      gate: this.#deps.gate,
      identify: this.#deps.identify,
      clock: this.#deps.clock,
      signIn: (who, entry) => this.#signIn(who, entry),
      dial: (visit, signal) => reach(visit.site, visit.entry, visit.session, this.#reach(), signal, true),
    });
    // The place is taken before anything is waited for: the limit counts those who are still being looked at.
    this.#live.set(stream, { caller });
    this.#deps.metrics.gauge('web_connections', {}, 1);
    try {
      await caller.identify();
      if (conn.tls?.alpn === 'h2') {
        this.#live.set(stream, { caller, front: serveHttp2(caller, this.#plan, this.#own) });
      } else this.#live.set(stream, { caller, front: this.#openLane(caller) });
      if (!stream.destroyed) await finished(stream).catch(() => {}); // a reset is weather
      // A stream is finished when both its ways are; the socket's last word is its close.
      if (!stream.closed) await new Promise<void>(resolve => stream.once('close', resolve));
    } catch (error) {
      this.#deps.log.error({ from: conn.peer, error }, 'a connection to the proxy failed');
      stream.destroy();
    } finally {
      this.#live.delete(stream);
      this.#deps.metrics.gauge('web_connections', {}, -1);
      await caller.close();
    }
  }

  async page(request: Parameters<WebService['page']>[0], conn: Conn): Promise<Page | undefined> {
    const { method, url, fields, version } = request;
    const path = url.split('?')[0];
    if (path === '/check' && isReading(method)) {
      const caller = new Caller(conn, {
        gate: this.#deps.gate,
        identify: this.#deps.identify,
        clock: this.#deps.clock,
        dial: noDial,
      });
      await caller.identify();
      return this.#checkPage(caller, 'off', version, fields);
    }
    return this.#file(method, path ?? '');
  }

  replace(plan: ForwardPlan): void {
    const hosts = compileHosts(plan.entries);
    const isHeader = plan.limits.header !== this.#plan.limits.header || plan.timeouts !== this.#plan.timeouts;
    const isResolver = String(plan.resolver) !== String(this.#plan.resolver);
    this.#plan = plan;
    this.#hosts = hosts;
    if (isResolver) this.#resolver = this.#makeResolver();
    if (isHeader) this.#server = this.#makeServer();
    for (const { caller } of this.#live.values()) {
      caller.recheck((site, entry) => JSON.stringify(hosts.match(site)) === JSON.stringify(entry));
    }
  }

  async drain(deadline: AbortSignal): Promise<void> {
    if (this.#state === 'closed') return;
    this.#state = 'draining';
    await drainConns({ servers: this.#servers, live: this.#live }, deadline);
    this.#state = 'closed';
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.drain(AbortSignal.abort());
  }

  state(): WebState {
    const { pac, entries, warnings } = this.#plan;
    const { host, port } = this.#deps.proxy();
    return {
      proxy: `${hostText(host)}:${port}`,
      pac: { url: this.#pacUrl(), public: pac.public },
      hosts: entries.map(({ key, port: at, to }) => ({
        key,
        ports: at === 'web' ? '80, 443, 1024–65535' : String(at),
        to: to === 'resolve' ? 'resolve' : `tcp://${hostText(to.host)}:${to.port}`,
      })),
      connections: this.#live.size,
      warnings,
    };
  }

  serves({ protocol, hostname, port }: URL): boolean {
    const at = Number(port) || (protocol === 'https:' ? 443 : 80);
    return this.#hosts.match({ host: hostname.replace(/^\[|\]$/g, ''), port: at }) !== undefined;
  }

  signInUrl(): string {
    return this.#signInUrl();
  }

  form(name: FormName): Form {
    const { entries, pac } = this.#plan;
    const ca = this.#deps.ca?.();
    const facts: FormFacts = {
      ...{ entries, direct: pac.direct, pacUrl: this.#pacUrl(), proxy: this.#deps.proxy() },
      pacAsks: this.#plan.name === undefined,
      issuers: this.#deps.issuers(),
      ...(ca === undefined ? {} : { ca }),
    };
    return forms[name](facts);
  }

  explain(options: ExplainOptions, signal: AbortSignal): Promise<Explanation> {
    const { resolver, own } = this.#reach();
    return explain(options, this.#hosts, { resolver, own, decide: this.#deps.decide }, signal);
  }

  #makeResolver(): NameResolver {
    const { resolver } = this.#plan;
    return this.#deps.resolver ?? createResolver(resolver === undefined ? {} : { servers: resolver });
  }
  #makeServer(): Server {
    const server = createHttp1(this.#plan, {
      deps: this.#own,
      callerOf: socket => this.#live.get(socket)?.caller,
      isDraining: () => this.#state !== 'open',
    });
    this.#servers.add(server);
    return server;
  }
  #openLane(caller: Caller): Front {
    const { limits, timeouts } = this.#plan;
    const server = this.#server;
    return openLane({
      ...{ conn: caller.conn, header: limits.header, idle: timeouts.idle, still: timeouts.read },
      nextId: () => caller.nextId(),
      serve: (exchange, url) => serveLane(exchange, url, caller, this.#own),
      leave: stream => void server.emit('connection', stream),
      isDraining: () => this.#state !== 'open',
    });
  }
  #reach(): ReachDeps {
    return { resolver: this.#resolver, own: this.#deps.listeners, connect: this.#plan.timeouts.connect };
  }
  #pacPath(): string {
    const { path, public: isPublic } = this.#plan.pac;
    if (isPublic) return path;
    const dot = path.lastIndexOf('.');
    const at = dot > path.lastIndexOf('/') ? dot : path.length;
    return `${path.slice(0, at)}-${this.#deps.pacToken}${path.slice(at)}`;
  }
  #pacUrl(): string {
    return `${this.#deps.origin()}${this.#pacPath()}`;
  }
  #signIn({ credential }: Principal, { signIn }: HostEntry): Date | 'needed' | undefined {
    if (signIn === undefined) return undefined;
    return this.#deps.signIns?.until(credential, signIn) ?? 'needed';
  }
  #signInUrl(): string {
    // Where the proxy has a name of its own, only that one asks for certificates.
    const { host, port } = this.#deps.proxy();
    return this.#plan.name === undefined
      ? `${this.#deps.origin()}/sign-in`
      : `https://${host}${port === 443 ? '' : `:${port}`}/sign-in`;
  }
  #file(method: string, path: string): Page | undefined {
    const { signer } = this.#deps;
    if (path === '/.well-known/jwks.json' && signer && isReading(method)) {
      const headers = { 'cache-control': 'max-age=300', 'x-content-type-options': 'nosniff' };
      return { status: 200, type: 'application/jwk-set+json', text: `${JSON.stringify(signer.keys)}\n`, headers };
    }
    if (path !== this.#pacPath() || !isReading(method)) return undefined;
    const { entries, pac } = this.#plan;
    return {
      status: 200,
      type: pacType,
      text: pacFile({ proxy: this.#deps.proxy(), entries, direct: pac.direct }),
      headers: { 'cache-control': 'max-age=300', 'x-content-type-options': 'nosniff' },
    };
  }
  #checkPage(caller: Caller, proxy: 'on' | 'off', version: string, fields: Fields): Page {
    const { decide, issuers, clock } = this.#deps;
    return arrivalPage({
      ...{ proxy, version, fields, decide, hosts: this.#hosts },
      signIn: (who, entry) => this.#signIn(who, entry),
      signInUrl: this.#signInUrl(),
      who: caller.who,
      certificate: caller.certificate,
      conn: caller.conn,
      issuers: issuers(),
      help: this.#plan.help,
      // Whoever is not known is shown no address that is meant to be hard to guess.
      pacUrl: this.#plan.pac.public || caller.certificate.state === 'good' ? this.#pacUrl() : undefined,
      now: clock.now(),
    });
  }
  #forwardDeps(): ForwardDeps {
    const { gate, issuers, clock, log, metrics, accessLog = () => {}, names, own } = this.#deps;
    return {
      ...{ gate, issuers, clock, log, metrics, accessLog },
      plan: () => this.#plan,
      hosts: () => this.#hosts,
      reach: () => this.#reach(),
      isOwnName: host => host === this.#plan.name || names().some(name => name.toLowerCase() === host),
      checkPage: (caller, proxy, version, fields) => this.#checkPage(caller, proxy, version, fields),
      ownPage: (method, url, fields, conn, version) => {
        const path = url.split('?')[0] ?? '';
        const caller = this.#live.get(conn.stream)?.caller;
        if (path === '/check' && caller && isReading(method)) return this.#checkPage(caller, 'off', version, fields);
        return this.#file(method, path);
      },
      identity: ({ who }, site) => {
        const { identity } = this.#plan;
        const { signer } = this.#deps;
        if (identity === 'signed' && signer) return signedFields(who, site, signer, clock.now());
        return identity === false ? [] : identityFields({ who });
      },
      signInUrl: () => this.#signInUrl(),
      noPage: () => textPage(404, 'sekisho: this connection is the proxy’s; there is nothing else at this address'),
      relayOwn: (exchange, path, caller) => {
        const page = this.#own.ownPage(exchange.method, path, exchange.fields, caller.conn, exchange.version);
        if (page) sendPage(exchange, page);
        else if (own) askOwn(exchange, path, caller.conn, own);
        return page !== undefined || own !== undefined;
      },
      joinOwn: async (asked, { conn }, signal) => {
        if (!own) throw new Fault('missing', 'there is no WebSocket here');
        return joinOwn(asked, conn, own, signal);
      },
    };
  }
}

const isReading = (method: string): boolean => method === 'GET' || method === 'HEAD';
const noDial = (): never => {
  throw new Fault('bug', 'a page dials nothing');
};
