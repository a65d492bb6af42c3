// The map of renamed sites, in both directions: which site a public name is, and which public name an address has.
import type { ClientTlsOptions } from '../../../net/tls.ts';
import { hostText, parseAuthority } from '../site.ts';
import type { Holes, Pattern } from './pattern.ts';

export type Scheme = 'http' | 'https';

/** One entry of `web.sites`, plain data but for its patterns. */
export interface SitePlan {
  /** As it stands in the file. */
  readonly key: string;
  /** The public name. */
  readonly name: Pattern;
  /** What policies call it, by the holes of the name. */
  readonly label: Pattern;
  readonly scheme: Scheme;
  /** Host of the service. */
  readonly host: Pattern;
  readonly port: number | 'hole';
  /** `/`, or the path below which the service is: begins and ends with a slash. */
  readonly path: string;
  /** The Host that it is told, with a port where one is written; `keep`: the client's. */
  readonly told: Pattern | 'keep' | undefined;
  /** Dialled instead of host and port. */
  readonly at?: { readonly host: string; readonly port: number };
  /** Towards an https:// service; `verify.name` and the server name follow the host unless they are fixed. */
  readonly tls?: Pick<ClientTlsOptions, 'identity'> & {
    readonly verify: boolean;
    readonly ca?: readonly string[];
    readonly name?: string;
    readonly sni: 'off' | 'name' | { readonly name: string };
  };
  readonly protocol: 'http/1.1' | 'h2';
  readonly websocket: boolean;
  readonly clients: 'required' | 'none';
  readonly from?: readonly string[];
  readonly rewrite: 'headers' | 'links' | 'off';
  readonly cookies: { readonly secure: boolean; readonly samesite?: 'strict' | 'lax' | 'none' };
  /** Milliseconds; 0 = never. */
  readonly hsts: number;
  readonly identity: boolean | 'signed';
  /** Milliseconds that a sign-in on top of the certificate may be old; undefined = none is asked for. */
  readonly signIn?: number;
  readonly forwarded: boolean;
  readonly timeouts: {
    readonly connect: number;
    readonly send: number;
    readonly read: number;
    readonly websocket: number;
  };
  readonly limits: { readonly body?: number; readonly upstream: number };
  readonly health?: { readonly path: string; readonly interval: number };
}

/** A public name and the service behind it. */
export interface Site {
  readonly plan: SitePlan;
  /** The public name, `server1-8081.example.com`. */
  readonly name: string;
  /** `web/server1-8081` */
  readonly resource: string;
  readonly scheme: Scheme;
  readonly host: string;
  readonly port: number;
  readonly path: string;
  /** What stands in its own addresses: host and port as it is told. Undefined: the client's. */
  readonly authority: string | undefined;
  /** Also called so, since that is what it is told. */
  readonly alias: { readonly host: string; readonly port: number } | undefined;
}

export interface Sites {
  readonly plans: readonly SitePlan[];
  /** By public name, lower case, without a port. */
  find(name: string): Site | undefined;
  /**
   * The site whose own address this is: `self` before all others, and with the wrong scheme too unless that is some
   * other site's.
   */
  at(scheme: Scheme | undefined, host: string, port: number | undefined, self?: Site): Site | undefined;
}

const defaultPort = (scheme: Scheme): number => (scheme === 'https' ? 443 : 80);

const isPlain = ({ host, port }: SitePlan): boolean => port !== 'hole' && !host.text.includes('*');

/** Names of wildcards that are remembered, at most. */
const mostFound = 4096;

/** `own`: names of the gate itself, which are never sites. */
export function compileSites(plans: readonly SitePlan[], own: readonly string[] = []): Sites {
  const ranked = plans.toSorted((a, b) => b.name.weight - a.name.weight);
  const reserved = new Set(own.map(name => name.toLowerCase()));
  const known = new Map<string, Site | undefined>();
  const search = (name: string): Site | undefined => {
    if (reserved.has(name)) return undefined;
    for (const plan of ranked) {
      const holes = plan.name.match(name);
      if (holes) return makeSite(plan, name, holes);
    }
    return undefined;
  };
  const find = (name: string): Site | undefined => {
    if (known.has(name)) return known.get(name);
    const found = search(name);
    if (known.size >= mostFound) known.clear();
    known.set(name, found);
    return found;
  };
  const byAddress = plans.toSorted((a, b) => b.host.weight - a.host.weight);
  const [plain, holed] = [byAddress.filter(isPlain), byAddress.filter(plan => !isPlain(plan))];
  const exactly = (among: readonly SitePlan[], scheme: Scheme, host: string, port: number): Site | undefined => {
    for (const plan of among) {
      const holes = plan.scheme === scheme ? plan.host.match(host) : undefined;
      if (!holes || (plan.port !== 'hole' && plan.port !== port)) continue;
      const site = find(plan.name.fill(plan.port === 'hole' ? { ...holes, port } : holes));
      if (site?.plan === plan) return site;
    }
    return undefined;
  };
  const at: Sites['at'] = (scheme = 'http', host, port, self) => {
    const written = port ?? defaultPort(scheme);
    if (self && isSelf(self, scheme, host, written)) return self;
    const named = exactly(plain, scheme, host, written);
    if (named) return named;
    if (self && isNearly(self, scheme, host, written)) return self;
    // A service that knows its public name writes it; what it does not know is the gate's scheme and port.
    return exactly(holed, scheme, host, written) ?? find(host);
  };
  return { plans, find, at };
}

function makeSite(plan: SitePlan, name: string, holes: Holes): Site {
  const host = plan.host.fill(holes);
  const port = plan.port === 'hole' ? (holes.port ?? 80) : plan.port;
  const written = plan.told === 'keep' ? undefined : plan.told?.fill(holes);
  const alias = written === undefined ? undefined : readAlias(written, plan.scheme);
  const shown = port === defaultPort(plan.scheme) ? hostText(host) : `${hostText(host)}:${port}`;
  return {
    ...{ plan, name, host, port, alias },
    resource: `web/${plan.label.fill(holes)}`,
    scheme: plan.scheme,
    path: plan.path,
    authority: plan.told === 'keep' ? undefined : (written ?? shown),
  };
}

function readAlias(text: string, scheme: Scheme): Site['alias'] {
  const { host, port } = parseAuthority(text, defaultPort(scheme));
  return { host, port };
}

/** Its own addresses, as URLs are compared. Told a bare name, a service writes that, or the name with its own port. */
function isSelf(site: Site, scheme: Scheme, host: string, port: number): boolean {
  if (scheme !== site.scheme) return false;
  if (host === site.host && port === site.port) return true;
  return site.alias?.host === host && (port === site.alias.port || port === site.port);
}

/** With the other scheme: behind something that ends TLS, services guess wrongly which one they are reached by. */
function isNearly(site: Site, scheme: Scheme, host: string, port: number): boolean {
  if (host !== site.host && host !== site.alias?.host) return false;
  const ports = [site.port, ...(site.alias ? [site.alias.port] : [])];
  return ports.includes(port) || (port === defaultPort(scheme) && ports.includes(defaultPort(site.scheme)));
}

/** A Host header or the authority of a URL → its parts; undefined when it is none. */
export function readAuthority(text: string): { host: string; port: number | undefined } | undefined {
  try {
    const { host, port } = parseAuthority(text, 80);
    return { host, port: /:\d+$/.test(text) ? port : undefined };
  } catch {
    return undefined;
  }
}
