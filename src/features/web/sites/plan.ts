// `web.sites` → everything that can be known before it runs: plain data, every mistake at its key.
import { Fault } from '../../../core/fault.ts';
import type { Read } from '../../../wire/config-value.ts';
import type { WebConfig } from '../config.ts';
import type { SitePlan } from './map.ts';
import { checkNetworks, planSite } from './plan-site.ts';

export interface SitesPlan {
  readonly domain?: string;
  readonly sites: readonly SitePlan[];
  readonly port?: number;
  readonly resolver?: readonly string[];
  readonly addresses: readonly string[];
  readonly help?: string;
  /** Milliseconds. */
  readonly idle: number;
  readonly limits: { readonly connections: number; readonly streams: number; readonly header: number };
  /** Which certificate each name is shown; `of`: the key in the file that it comes from. */
  readonly certificates: readonly {
    readonly path: readonly string[];
    readonly certificate: NonNullable<WebConfig['certificate']>;
    /** Public names, those with a hole as wildcards. */
    readonly names: readonly string[];
    readonly keys: readonly string[];
  }[];
  readonly warnings: readonly string[];
}

interface Finding {
  readonly path: readonly (string | number)[];
  readonly text: string;
}

/** Names that are somebody else's on the gate's port. */
export interface Taken {
  /** Of the gate and of the forward proxy. */
  readonly own: readonly string[];
  /** Of proxy routes on the gate's port. */
  readonly routes: readonly string[];
}

/** Undefined without `web.sites`. @throws Fault `invalid` with every mistake in its facts */
export async function planSites(
  config: WebConfig | undefined,
  read: Read,
  taken: Taken,
): Promise<SitesPlan | undefined> {
  if (!config) return undefined;
  const mistakes: Finding[] = [];
  const wrong = (path: readonly string[], text: string): void => void mistakes.push({ path: ['web', ...path], text });
  const { sites: written, certificate, port, resolver, addresses = [], help, idle, limits } = config;
  const domain = config.domain?.toLowerCase();
  if (written === undefined) {
    refuseLonely(config);
    return undefined;
  }
  const sites: SitePlan[] = [];
  const warnings: string[] = [];
  for (const [key, site] of Object.entries(written)) {
    const at = ['sites', key];
    try {
      const plan = await planSite(key, site, domain, read, {
        wrong: (path, text) => wrong([...at, ...path], text),
        warn: text => warnings.push(`web.sites.${key}${text}`),
      });
      if (!plan) continue;
      const clash = clashOf(plan, sites, taken);
      if (clash !== undefined) wrong(at, clash);
      sites.push(plan);
    } catch (error) {
      if (!(error instanceof Fault) || error.code === 'bug') throw error;
      wrong(at, error.message);
    }
  }
  if (Object.keys(written).length === 0) wrong(['sites'], 'name at least one site');
  checkNetworks(['addresses'], addresses, wrong);
  const certificates = certificatesFor(sites, written, certificate, wrong);
  if (mistakes.length > 0) throw mistaken(mistakes);
  return {
    ...(domain === undefined ? {} : { domain }),
    ...(port === undefined ? {} : { port }),
    ...(resolver === undefined ? {} : { resolver }),
    ...(help === undefined ? {} : { help }),
    ...{ sites, addresses, idle, limits, certificates, warnings },
  };
}

/** Keys that say something about sites where there are none. @throws Fault `invalid` */
function refuseLonely(config: WebConfig): void {
  const keys = (['domain', 'certificate', 'port', 'resolver', 'addresses', 'help'] as const).filter(
    key => config[key] !== undefined,
  );
  if (keys.length === 0) return;
  throw mistaken(
    keys.map(key => ({
      path: ['web', key],
      text: 'means nothing without sites; web.forward has keys of its own',
    })),
  );
}

/** Whose name it is already, as a sentence. */
function clashOf({ key, name }: SitePlan, before: readonly SitePlan[], { own, routes }: Taken): string | undefined {
  const other = before.find(one => one.name.text === name.text);
  if (other) return `"${other.key}" and "${key}" are the same name, ${name.text}`;
  const isOne = (text: string): boolean => text.toLowerCase() === name.text;
  if (own.some(isOne)) {
    return `${name.text} is the gate’s own name (gate.name, web.forward.name); give the site another`;
  }
  return routes.some(isOne) ? `${name.text} is also the name of a proxy route on the gate’s port` : undefined;
}

const mistaken = (mistakes: readonly Finding[]): Fault =>
  new Fault('invalid', mistakes.map(({ path, text }) => `${path.join('.')}: ${text}`).join('\n'), {
    facts: { mistakes },
  });

/** Sites of the domain share one certificate; others bring their own, or the shared one must cover them. */
function certificatesFor(
  sites: readonly SitePlan[],
  written: NonNullable<WebConfig['sites']>,
  shared: WebConfig['certificate'],
  wrong: (path: readonly string[], text: string) => void,
): SitesPlan['certificates'] {
  const groups: SitesPlan['certificates'][number][] = [];
  const common = sites.filter(({ key }) => written[key]?.certificate === undefined);
  if (common.length > 0) {
    groups.push({
      path: ['web', 'certificate'],
      certificate: shared ?? 'auto',
      names: common.map(nameOf),
      keys: common.map(({ key }) => key),
    });
  }
  for (const site of sites) {
    const certificate = written[site.key]?.certificate;
    if (certificate === undefined) continue;
    groups.push({
      path: ['web', 'sites', site.key, 'certificate'],
      certificate,
      names: [nameOf(site)],
      keys: [site.key],
    });
  }
  for (const { certificate, names, path } of groups) {
    const isAcme = certificate === 'acme' || (typeof certificate === 'object' && 'acme' in certificate);
    if (isAcme && names.some(name => name.includes('*'))) {
      wrong(
        path.slice(1),
        'ACME gives no certificate for names with a * unless by DNS, which this gate does not speak; write files, or name every site',
      );
    }
  }
  return groups;
}

/** As a certificate says it: `server1.example.com`, `*.example.com`. */
const nameOf = ({ name }: SitePlan): string =>
  /[*{]/.test(name.text) ? `*.${name.text.slice(name.text.indexOf('.') + 1)}` : name.text;
