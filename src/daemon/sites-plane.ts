// Renamed sites within this process: what they are handed, from the configuration of now.
import type { Clock } from '../core/clock.ts';
import type { Address, Gate, Identify, Log, Metrics } from '../core/parts.ts';
import {
  compileHosts,
  type IdentitySigner,
  openSites,
  type SitesService,
  type WebLine,
} from '../features/web/index.ts';
import { anonymous, type Directory } from '../trust/index.ts';
import type { ConfigFile } from './config-file.ts';
import { latestChecker } from './gateway-parts.ts';
import type { Plan } from './plan.ts';
import { issuersOf, routeAddresses } from './web-plane.ts';

export interface SitesPlaneOptions {
  readonly current: () => { readonly file: ConfigFile; readonly plan: Plan };
  readonly gate: Gate;
  readonly directory: Pick<Directory, 'standing'>;
  /** Looks at each request once more. */
  readonly before: NonNullable<Parameters<typeof openSites>[1]['before']>;
  readonly signer: IdentitySigner;
  /** Every listener that is open. */
  readonly opened: () => readonly Address[];
  readonly accessLog?: (line: WebLine) => void;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/** Undefined where the configuration has no `web.sites`. */
export function openSitesPlane(options: SitesPlaneOptions): SitesService | undefined {
  const { current, gate, directory, opened, accessLog, before, signer, clock, log, metrics } = options;
  const { sites } = current().plan;
  if (!sites) return undefined;
  const checker = latestChecker(() => current().plan.trust);
  const identify: Identify = async ({ tls }) =>
    tls?.leaf ? directory.standing(checker().check(tls.leaf, tls.chain)) : anonymous;
  const port = (): number => {
    const [own = 443] = opened().flatMap(address => ('port' in address ? [address.port] : []));
    return current().plan.web.forward?.port ?? own;
  };
  let forwarded: { readonly of: Plan; readonly hosts: ReturnType<typeof compileHosts> } | undefined;
  const hosts = (): ReturnType<typeof compileHosts> => {
    const { plan } = current();
    if (forwarded?.of !== plan) forwarded = { of: plan, hosts: compileHosts(plan.web.forward?.entries ?? []) };
    return forwarded.hosts;
  };
  return openSites(sites.plan, {
    ...{ gate, identify, before, signer, port, clock, log, metrics },
    decide: (who, resource, from) =>
      current().plan.policy.decide({ who, action: 'web.request', resource, from }, clock.now()),
    checkUrl: () => {
      if (!current().plan.web.forward) return undefined; // it is the forward proxy's page
      const name = current().file.config.gate?.name ?? 'localhost';
      const at = current().plan.sites?.plan.port ?? port();
      return `https://${name}${at === 443 ? '' : `:${at}`}/check`;
    },
    names: () => current().plan.sites?.own ?? [],
    isForwarded: host => isCovered(hosts(), host),
    listeners: () => [...opened(), ...routeAddresses(current().file)],
    issuers: () => issuersOf(current().plan),
    ...(accessLog ? { accessLog } : {}),
  });
}

/** Whether any line of web.forward.hosts, whatever its port, is about this name: HSTS knows no ports. */
const isCovered = (hosts: ReturnType<typeof compileHosts>, host: string): boolean =>
  hosts.entries.some(entry => (entry.wildcard ? host.endsWith(`.${entry.host}`) : entry.host === host));
