// `web.sites` of a configuration → its plan and a certificate for every name, each mistake at its place in the file.
import { Fault } from '../core/fault.ts';
import type { Finding, Identity } from '../features/proxy/index.ts';
import { compileSites, planSites, type SitesPlan } from '../features/web/index.ts';
import type { ClientTrust } from '../trust/index.ts';
import type { Read } from '../wire/config-value.ts';
import type { ConfigFile } from './config-file.ts';
import { namesOf } from './places.ts';
import type { SitesTls } from './sites-door.ts';

export interface PlannedSites {
  readonly plan: SitesPlan;
  /** Of each key of `web.sites`. */
  readonly identities: ReadonlyMap<string, readonly Identity[]>;
  readonly warnings: readonly string[];
  /** Names that are never sites. */
  readonly own: readonly string[];
}

/** Loads a certificate as a route's is, with the same checks. */
export type LoadCertificate = (
  certificate: SitesPlan['certificates'][number]['certificate'],
  names: readonly string[],
) => Promise<{ readonly identities: readonly Identity[]; readonly warnings: readonly string[] }>;

/** @throws Fault `invalid` with every mistake in its facts */
export async function planSitesOf(
  { config }: ConfigFile,
  read: Read,
  load: LoadCertificate,
): Promise<PlannedSites | undefined> {
  const { web, gate, proxy } = config;
  const routes = Object.values(proxy).flatMap(({ listen, names = [] }) =>
    listen.some(({ kind }) => kind === 'gate') ? names : [],
  );
  const own = [...namesOf(config), ...(web?.forward?.name === undefined ? [] : [web.forward.name])];
  const plan = await planSites(web, read, { own, routes });
  if (!plan) return undefined;
  if (!gate) throw mistake([{ path: ['web', 'sites'], text: 'sites are served on the gate’s port; write gate:' }]);
  const identities = new Map<string, readonly Identity[]>();
  const warnings = [...plan.warnings];
  for (const { path, certificate, names, keys } of plan.certificates) {
    // Our own certificate says *.example.com and not each name: it is shown to everybody who asks.
    const wanted = certificate === 'auto' ? [...new Set(names.map(wildcardOf))] : names;
    try {
      const loaded = await load(certificate, wanted);
      for (const key of keys) identities.set(key, loaded.identities);
      warnings.push(...loaded.warnings.map(text => text.replace(/^gate\.certificate/, path.join('.'))));
    } catch (error) {
      if (!(error instanceof Fault) || error.code === 'bug') throw error;
      const findings = (error.facts['mistakes'] as readonly Finding[] | undefined) ?? [
        { path: [], text: error.message },
      ];
      throw mistake(
        findings.map(({ path: at, text }) => ({
          path: [...path, ...at.slice(2)],
          text: text.replace(/^gate\.certificate[^:]*: /, ''),
        })),
      );
    }
  }
  return { plan, identities, warnings, own };
}

const mistake = (mistakes: readonly Finding[]): Fault =>
  new Fault('invalid', mistakes.map(({ text }) => text).join('\n'), { facts: { mistakes } });

const wildcardOf = (name: string): string => (name.startsWith('*.') ? name : `*.${name.slice(name.indexOf('.') + 1)}`);

/** What the gate's door needs of it. */
export function sitesTls(
  { plan, identities, own }: PlannedSites,
  trust: ClientTrust,
  ciphers: string | undefined,
): SitesTls {
  const sites = compileSites(plan.sites, own);
  return {
    trust,
    ciphers,
    find(name) {
      const site = sites.find(name);
      if (!site) return undefined;
      const { key, clients } = site.plan;
      return { key, identities: identities.get(key) ?? [], asks: clients === 'required' };
    },
  };
}
