// The gate's own TLS: its certificate, the client certificates it asks for, ACME's probes; then HTTP is spoken.
import type { Api } from '../api/index.ts';
import { isWeather, toFault } from '../core/fault.ts';
import type { Address, Conn, Listener, Log, Metrics, Upgrade } from '../core/parts.ts';
import type { Identity } from '../features/proxy/index.ts';
import { isProxyRequest, type SitesService, type WebService } from '../features/web/index.ts';
import { peek } from '../net/peek.ts';
import { expectProxyHeader } from '../net/proxy-header.ts';
import { type ServerTlsOptions, upgradeTls } from '../net/tls.ts';
import { acmeAlpn, type ChallengeBoard, type ClientTrust, type Staple } from '../trust/index.ts';
import { parseCidr } from '../wire/cidr.ts';
import type { ClientHello } from '../wire/client-hello.ts';
import type { GateConfig } from './config.ts';
import { type GatePort, openGatePort, type RawTenant } from './gate-port.ts';
import { plainTls } from './plain-tls.ts';
import { type SitesTls, siteUpgrades } from './sites-door.ts';

export interface GateDoorOptions {
  readonly listeners: readonly Listener[];
  readonly config: GateConfig;
  readonly tls: GateTls;
  readonly board: ChallengeBoard;
  readonly api: () => Pick<Api, 'handle'>;
  /** The forward proxy, where the configuration has one. */
  readonly web: () => WebService | undefined;
  /** Renamed sites, where the configuration has some. */
  readonly sites?: () => SitesService | undefined;
  /** Further protocols behind the same TLS. */
  readonly tenants?: readonly Tenant[];
  /** OCSP answers about the certificates that are shown. */
  readonly staple?: Staple;
  /** A protocol that brings a TLS of its own, or none. */
  readonly raw?: RawTenant;
  readonly log: Log;
  readonly metrics: Metrics;
}
export interface GateTls {
  readonly identities: readonly Identity[];
  readonly trust: ClientTrust;
  /** As `gate.ciphers` has them. */
  readonly ciphers?: string | undefined;
  /** A name of the proxy's own: then only that one asks for client certificates and speaks HTTP/2. */
  readonly proxy?: { readonly name?: string | undefined; readonly identities: readonly Identity[] };
  readonly sites?: SitesTls;
}

/**
 * A protocol beside HTTP behind the gate's own TLS. The first in order that claims a conn serves it to its end; whom
 * nobody claims meets the proxy or the API.
 */
export interface Tenant {
  readonly name: string;
  /** Told by what the client offers: one of these and nothing else is negotiated. */
  readonly alpn?: {
    readonly protocols: readonly string[];
    /** Whose client certificate is asked for; default nobody's. */
    readonly clients?: { readonly mode: 'optional' | 'required'; readonly trust: () => ClientTrust };
    /** What the gate shows there; default its own certificate. */
    readonly identities?: () => readonly Identity[];
  };
  /** Told by the first decrypted bytes, of at most 8 kB. */
  readonly claims?: (bytes: Uint8Array) => boolean | 'more';
  /**
   * The certificate, as the SHA-256 of its DER, that this client must be shown again though it was renewed meanwhile:
   * some protocols compare the certificates of one session's connections. Asked of clients without ALPN only.
   */
  readonly keeps?: (peer: Address) => string | undefined;
  /** Never throws weather; a Fault is logged and counted at the door. */
  handle(conn: Conn): Promise<void>;
}

export interface GateDoor extends GatePort {
  /** TLS for clients without ALPN, as they get it on the gate's own port. */
  plainTls(peer: Address): Upgrade;
  /** TLS within another protocol, which has its own idea of time: the gate's certificate, client certificates asked for. */
  innerTls: Upgrade;
  /** What later handshakes see. @throws Fault `invalid`, and then nothing has changed */
  replace(tls: GateTls): void;
}

const farewell = 5000;

export function openGateDoor(options: GateDoorOptions): GateDoor {
  const { listeners, config, board, api, tenants = [], log, metrics } = options;
  const patience = config.limits.handshake;
  const stapled = (tls: ServerTlsOptions): ServerTlsOptions =>
    options.staple ? { ...tls, staple: options.staple } : tls;
  const upgrade = upgradeTls(stapled(gateTlsOptions(options.tls, patience)));
  const proxyUpgrade = upgradeTls(stapled(proxyTlsOptions(options.tls, patience)));
  const upgradeFor = tenantTls(patience, stapled);
  const plain = plainTls(stapled(gateTlsOptions(options.tls, patience)));
  const inner = plainTls(stapled(serverTls(options.tls, 0)));
  const kept = (peer: Address): string | undefined => {
    for (const { keeps } of tenants) {
      const fingerprint = keeps?.(peer);
      if (fingerprint !== undefined) return fingerprint;
    }
    return undefined;
  };
  const siteUpgrade = siteUpgrades(patience, options.staple);
  const proxyName = options.tls.proxy?.name;
  let tls = options.tls;
  const from = config['proxy-protocol']?.from.map(parseCidr);

  const upgradeOf = (raw: Conn, { alpn }: ClientHello, byName: boolean): Upgrade =>
    byName ? proxyUpgrade : alpn.length === 0 ? plain.upgrade(kept(raw.peer)) : upgrade;
  const answerProbe = async (conn: Conn, name: string | undefined, signal: AbortSignal): Promise<void> => {
    const identity = board.alpn(name ?? '');
    if (!identity) return;
    const probed = upgradeTls({ ...serverTls({ identities: [identity] }, patience), alpn: [acmeAlpn] });
    await (await probed(conn, signal)).close(AbortSignal.timeout(farewell));
  };
  const serve = async (raw: Conn, hello: ClientHello): Promise<void> => {
    let conn = raw;
    try {
      const signal = AbortSignal.timeout(patience);
      if (hello.alpn.includes(acmeAlpn)) return await answerProbe(raw, hello.sni, signal);
      const site = siteUpgrade(tls.sites, hello.sni);
      if (site) {
        conn = await site(raw, signal);
        return await options.sites?.()?.handle(conn);
      }
      const tenant = tenants.find(({ alpn }) => alpn?.protocols.some(protocol => hello.alpn.includes(protocol)));
      const byName = !tenant && proxyName !== undefined && hello.sni === proxyName;
      conn = await (tenant ? upgradeFor(tenant, tls) : upgradeOf(raw, hello, byName))(raw, signal);
      await (tenant ? tenant.handle(conn) : speak(conn, byName, signal));
    } catch (error) {
      tell(error, raw, log, metrics);
    } finally {
      await conn.close(AbortSignal.timeout(farewell));
      if (conn !== raw) raw.stream.destroy();
    }
  };
  /** TLS stands; the first bytes say whose the conn is. */
  const speak = async (conn: Conn, byName: boolean, signal: AbortSignal): Promise<void> => {
    const claimers = tenants.filter(({ claims }) => claims);
    const claimed = byName || claimers.length === 0 ? undefined : await claim(claimers, conn, signal);
    if (claimed) return claimed.handle(conn);
    const web = byName || proxyName === undefined ? options.web() : undefined;
    if (web && (byName || (await asksProxy(conn, signal)))) await web.handle(conn);
    else await api().handle(conn);
  };
  const port = openGatePort({
    listeners,
    ...(from ? { before: expectProxyHeader({ from }) } : {}),
    patience,
    connections: config.limits.connections,
    ...(options.raw ? { raw: options.raw } : {}),
    serve,
    log,
    metrics,
  });
  return {
    branch: branch => port.branch(branch),
    attach: listener => port.attach(listener),
    plainTls: peer => plain.upgrade(kept(peer)),
    innerTls: (conn, signal) => inner.upgrade(undefined)(conn, signal),
    get live() {
      return port.live;
    },
    replace(next) {
      // Both are tried before either is changed.
      upgradeTls(stapled(proxyTlsOptions(next, patience)))[Symbol.dispose]();
      upgrade.replace(stapled(gateTlsOptions(next, patience)));
      plain.replace(stapled(gateTlsOptions(next, patience)));
      inner.replace(stapled(serverTls(next, 0)));
      proxyUpgrade.replace(stapled(proxyTlsOptions(next, patience)));
      tls = next;
    },
    [Symbol.asyncDispose]: () => port[Symbol.asyncDispose](),
  };
}

async function claim(tenants: readonly Tenant[], conn: Conn, signal: AbortSignal): Promise<Tenant | undefined> {
  if (conn.tls?.alpn === 'h2') return undefined;
  const found = await peek<Tenant | 'nobody'>(
    conn.stream,
    bytes => {
      for (const tenant of tenants) {
        const answer = tenant.claims?.(bytes) ?? false;
        if (answer === 'more') return 'more';
        if (answer) return tenant;
      }
      return 'nobody';
    },
    { limit: 8192, signal },
  );
  return found === 'nobody' ? undefined : found;
}

/** HTTP/2 is the proxy's; HTTP/1.1 is told apart by its first line. */
const asksProxy = async (conn: Conn, signal: AbortSignal): Promise<boolean> =>
  conn.tls?.alpn === 'h2' || (await peek(conn.stream, isProxyRequest, { limit: 8192, signal }));

/** Where the proxy has a name of its own, the gate's name asks for nothing. */
function gateTlsOptions({ trust, proxy, ...own }: GateTls, handshake: number): ServerTlsOptions {
  if (proxy?.name !== undefined) return serverTls(own, handshake);
  const options = serverTls({ ...own, trust }, handshake);
  return proxy ? { ...options, alpn: ['h2', 'http/1.1'] } : options;
}

function proxyTlsOptions({ proxy, ...gate }: GateTls, handshake: number): ServerTlsOptions {
  const identities = proxy?.name === undefined ? gate.identities : proxy.identities;
  return {
    ...serverTls({ ...gate, identities }, handshake),
    alpn: ['h2', 'http/1.1'],
    context: JSON.stringify(['proxy', proxy?.name ?? '', gate.trust.cas]),
  };
}

/** TLS as a tenant wants it; its context is made anew when the gate's certificate, its ciphers or the tenant's trust are others. */
function tenantTls(
  handshake: number,
  stapled: (tls: ServerTlsOptions) => ServerTlsOptions,
): (tenant: Tenant, tls: GateTls) => Upgrade {
  const made = new Map<Tenant, { readonly of: readonly unknown[]; readonly upgrade: Upgrade }>();
  return (tenant, tls) => {
    const { protocols = [], clients } = tenant.alpn ?? {};
    const identities = tenant.alpn?.identities?.() ?? tls.identities;
    const trust = clients?.trust();
    const known = made.get(tenant);
    const of = [identities, trust, tls.ciphers];
    if (known && of.every((one, at) => one === known.of[at])) return known.upgrade;
    const upgrade = upgradeTls({
      ...stapled(serverTls({ identities, ciphers: tls.ciphers }, handshake)),
      alpn: [...protocols],
      ...(clients && trust ? { clients: { mode: clients.mode, ca: trust.cas, depth: trust.depth } } : {}),
      session: { tickets: false, cache: 0, timeout: 300_000 },
      context: JSON.stringify(['tenant', protocols, trust?.cas ?? []]),
    });
    made.set(tenant, { of, upgrade });
    return upgrade;
  };
}

/** A client certificate is requested, never required, with the names of the CAs that count (PRODUCT, decisions). */
function serverTls(
  { identities, ciphers, trust }: Pick<GateTls, 'identities' | 'ciphers'> & Partial<Pick<GateTls, 'trust'>>,
  handshake: number,
): ServerTlsOptions {
  const asks = trust && trust.cas.length > 0;
  return {
    identities,
    ciphers,
    alpn: ['http/1.1'],
    // A certificate that does not count gets a page that says why, not an alert that browsers show as a broken site.
    ...(asks ? { clients: { mode: 'requested', ca: trust.cas, depth: trust.depth } } : {}),
    session: { tickets: true, cache: 0, timeout: 300_000 },
    context: JSON.stringify(['gate', trust?.cas ?? []]),
    handshake,
  };
}

function tell(error: unknown, conn: Conn, log: Log, metrics: Metrics): void {
  if (isWeather(error)) return;
  const fault =
    error instanceof DOMException ? { code: 'timeout', message: 'the handshake took too long' } : toFault(error);
  metrics.count('faults_total', { code: fault.code, resource: 'gate' });
  const level = fault.code === 'bug' ? 'error' : 'info';
  log[level]({ from: conn.peer, code: fault.code, ...(level === 'error' ? { error } : {}) }, fault.message);
}
