// A configuration → everything that can be known before a port is opened; each mistake at its place in the file.
import { type AccessPolicy, createPolicy } from '../access/index.ts';
import { Fault } from '../core/fault.ts';
import {
  type CertificateSource,
  type Finding,
  type Identity,
  planRoutes,
  proxyConfig,
  type RouteConfig,
  type RoutePlan,
} from '../features/proxy/index.ts';
import { planMqtt } from '../features/tunnel/index.ts';
import { planVpn, type VpnPlan } from '../features/vpn/index.ts';
import { planWeb, type WebPlan } from '../features/web/index.ts';
import { type ClientTrust, clientTrustSource } from '../trust/index.ts';
import type { Read } from '../wire/config-value.ts';
import { type ConfigFile, mistakesFault } from './config-file.ts';
import { type PlannedSites, planSitesOf } from './sites-plan.ts';
import { formatPath, type Mistake } from './yaml-source.ts';

export interface PlanSources {
  readonly certificates: CertificateSource;
  /** Of the built-in CA. */
  readonly authority: Parameters<typeof clientTrustSource>[0];
  /** A new one for each plan: see createRead. */
  readonly read: Read;
  readonly now: Date;
}

/** Plain data and pure functions; nothing of it is open. */
export interface Plan {
  readonly routes: readonly RoutePlan[];
  readonly policy: AccessPolicy;
  /** Whose client certificates count on the gate's own port, and wherever one is shown inside a protocol. */
  readonly trust: ClientTrust;
  readonly web: WebPlan;
  readonly vpn: VpnPlan;
  /** Of `web.forward.name`. */
  readonly webIdentities: readonly Identity[];
  /** For `*.<endpoint.domain>`, where a file holds it; else each name has one of its own. */
  readonly endpointIdentities: readonly Identity[];
  readonly sites?: PlannedSites | undefined;
  readonly gate?: PlannedGate | undefined;
}

export interface PlannedGate {
  readonly identities: readonly Identity[];
  readonly ciphers?: string | undefined;
  readonly warnings: readonly string[];
}

/** How deep client certificates may hang below a CA where nobody says otherwise. */
const depth = 3;

/** Reads all files, checks everything. @throws Fault `invalid` with every mistake, a line each */
export async function planConfig(file: ConfigFile, sources: PlanSources): Promise<Plan> {
  const { config } = file;
  const mistakes: Mistake[] = [];
  const attempt = async <T>(path: readonly (string | number)[], step: () => T | Promise<T>): Promise<T | undefined> => {
    try {
      return await step();
    } catch (error) {
      mistakes.push(...mistakesOf(error, path, file));
      return undefined;
    }
  };
  const trustSource = clientTrustSource(sources.authority, config.trust);
  const policy = await attempt(['access'], () => createPolicy(config.access));
  const trust = await attempt(['trust'], () => trustSource.clients({ mode: 'optional', depth }, sources.read));
  const gate = await attempt(['gate', 'certificate'], () => planGate(file, sources));
  const web = await attempt(['web'], () => planWeb(config.web));
  await attempt(['tunnel', 'mqtt'], () => planMqtt(config.tunnel.mqtt));
  const vpn = await attempt(['vpn'], () => {
    if (config.vpn && !config.gate) throw new Fault('invalid', 'hubs are joined on the gate’s port; write `gate:` too');
    return planVpn(config.vpn);
  });
  const webIdentities = await attempt(['web', 'forward', 'certificate'], () => planProxyName(file, sources));
  const endpointIdentities = await attempt(['endpoint', 'certificate'], () => planEndpoints(file, sources));
  const sites = await attempt(['web', 'sites'], () =>
    planSitesOf(file, sources.read, (certificate, names) => planOwn(certificate, names, sources)),
  );
  const routes = await attempt(['proxy'], () =>
    planRoutes(config.proxy, { ...sources, trust: trustSource, devices: config.gate !== undefined, at: ['proxy'] }),
  );
  if (mistakes.length > 0 || !routes || !policy || !trust || !web || !vpn) throw mistakesFault(mistakes);
  return {
    routes,
    policy,
    trust,
    gate,
    web,
    vpn,
    webIdentities: webIdentities ?? [],
    sites,
    endpointIdentities: endpointIdentities ?? [],
  };
}

/** The gate's own certificate is loaded as a route's is, with the same checks, by a route that nobody opens. */
async function planGate(file: ConfigFile, sources: PlanSources): Promise<Plan['gate']> {
  const { gate } = file.config;
  // `auto` covers the gate's names already; from elsewhere the certificate has to carry the gate's name.
  const names = gate?.certificate === 'auto' ? [] : [gate?.name ?? ''];
  return gate && planOwn(gate.certificate, names, sources, gate.ciphers);
}

/** The proxy's own name brings a certificate for it. */
async function planProxyName(file: ConfigFile, sources: PlanSources): Promise<readonly Identity[]> {
  const { name, certificate = 'auto' } = file.config.web?.forward ?? {};
  return name === undefined ? [] : (await planOwn(certificate, [name], sources)).identities;
}

async function planEndpoints(file: ConfigFile, sources: PlanSources): Promise<readonly Identity[]> {
  const { gate, endpoint } = file.config;
  const { certificate } = endpoint;
  if (typeof certificate === 'string' || 'acme' in certificate) return [];
  const domain = endpoint.domain ?? `ep.${gate?.name ?? 'localhost'}`;
  return (await planOwn(certificate, [`*.${domain}`], sources)).identities;
}

async function planOwn(
  certificate: NonNullable<RouteConfig['certificate']>,
  names: readonly string[],
  sources: PlanSources,
  ciphers?: string,
): Promise<PlannedGate> {
  const blank = proxyConfig.parse({ gate: { listen: 'tls://127.0.0.1:0', to: 'tcp://127.0.0.1:1' } })['gate'];
  if (!blank) throw new Fault('bug', 'the least of routes is none');
  const trust = { clients: () => Promise.reject(new Fault('bug', 'the gate asks no trust of a route')) };
  const [own] = await planRoutes(
    { gate: { ...blank, certificate, ciphers, ...(names.length > 0 ? { names: [...names] } : {}) } },
    { ...sources, trust, at: [] },
  );
  return { identities: own?.tls?.identities ?? [], ciphers, warnings: own?.warnings ?? [] };
}

/** A Fault of a room, with its key paths, at its places in the file. */
export function mistakesOf(error: unknown, path: readonly (string | number)[], file: ConfigFile): Mistake[] {
  if (!(error instanceof Fault) || error.code === 'bug') throw error;
  const findings = error.facts['mistakes'] as readonly Finding[] | undefined;
  if (!findings) return [file.at(path, withoutPath(error.message, path))];
  return findings.map(finding => file.at(finding.path, withoutPath(finding.text, finding.path)));
}

/** Rooms write the path before the sentence; the file's position brings it again. */
function withoutPath(text: string, path: readonly PropertyKey[]): string {
  const head = `${formatPath(path)}: `;
  return text.startsWith(head) ? text.slice(head.length) : text;
}
