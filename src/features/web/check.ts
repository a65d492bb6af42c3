// "Is your proxy on?", for the person in front of the browser; and "would it work?", for whoever runs the gate.
import { X509Certificate } from 'node:crypto';
import { formatDuration } from '../../core/duration.ts';
import { Fault, toFault } from '../../core/fault.ts';
import type { Address, Conn, Decision, Principal } from '../../core/parts.ts';
import { whoText } from './access-line.ts';
import { checkPage } from './check-page.ts';
import { type Fields, valuesOf } from './headers.ts';
import { checkHost, type HostEntry, type Hosts } from './hosts.ts';
import type { Page, Shown } from './pages.ts';
import { type Candidate, candidates, type ReachDeps } from './reach.ts';
import { hostText, parseAuthority, type Site, siteName, siteResource } from './site.ts';

export interface ArrivalFacts {
  readonly proxy: 'on' | 'off';
  readonly who: Principal;
  readonly certificate: Shown;
  readonly conn: Conn;
  readonly version: string;
  readonly fields: Fields;
  readonly hosts: Hosts;
  readonly decide: (who: Principal, resource: string, from: Address) => Decision;
  readonly issuers: readonly string[];
  /** What this line's sign-in has come to; see Caller. */
  readonly signIn: (who: Principal, entry: HostEntry) => Date | 'needed' | undefined;
  readonly signInUrl: string;
  readonly help: string | undefined;
  readonly pacUrl: string | undefined;
  readonly now: Date;
}

/** Sites named on the page, at most. */
const mostSites = 200;

/** Strangers see nothing of the map, the known only what they may reach. */
export function arrivalPage(facts: ArrivalFacts): Page {
  const { proxy, who, certificate, conn, version, hosts, decide, issuers, help, pacUrl, now } = facts;
  const leaf = certificate.state === 'good' && conn.tls?.leaf ? new X509Certificate(conn.tls.leaf) : undefined;
  const sites =
    certificate.state === 'good'
      ? hosts.entries.flatMap(entry => offer(entry, who, conn.peer, decide, facts.signIn))
      : [];
  const mustSignIn = sites.some(({ note }) => note === signInNote);
  return checkPage(
    {
      ...{ proxy, certificate, version, issuers, now },
      who: certificate.state === 'good' ? whoText(who) : undefined,
      from: 'host' in conn.peer ? conn.peer.host : 'this machine',
      sites: sites.slice(0, mostSites),
      ...(leaf
        ? { until: new Date(leaf.validTo), fingerprint: leaf.fingerprint256.replaceAll(':', '').toLowerCase() }
        : {}),
      ...(help === undefined ? {} : { help }),
      ...(mustSignIn ? { signInUrl: facts.signInUrl } : {}),
      ...(pacUrl === undefined ? {} : { pacUrl }),
    },
    /application\/json/.test(valuesOf(facts.fields, 'accept').join()),
  );
}

/** A line of the map as somebody may use it; of a wildcard, whether the rules let in any name of it as written. */
function offer(
  entry: HostEntry,
  who: Principal,
  from: Address,
  decide: ArrivalFacts['decide'],
  signIn: ArrivalFacts['signIn'],
): { site: string; url?: string; note?: string }[] {
  const port = entry.port === 'web' ? 80 : entry.port;
  const host = entry.wildcard ? `*.${entry.host}` : hostText(entry.host);
  if (decide(who, `web/${host}:${port}`, from).allow === false) return [];
  const site = port === 80 ? host : `${host}:${port}`;
  const until = signIn(who, entry);
  const note = until === 'needed' ? signInNote : until && `signed in until ${until.toISOString().slice(0, 16)}Z`;
  const named = { site, ...(note === undefined ? {} : { note }) };
  return [entry.wildcard ? named : { ...named, url: `${port === 443 ? 'https' : 'http'}://${site}/` }];
}

const signInNote = 'sign in first';

/** A decision, taken apart. */
export interface Explanation {
  readonly site: string;
  /** The line of `web.forward.hosts`. */
  readonly line?: { readonly key: string; readonly to: string };
  readonly decision?: Decision;
  readonly addresses: readonly Candidate[];
  readonly verdict:
    | 'reached'
    | 'after-approval'
    | 'not-mapped'
    | 'denied'
    | 'address-refused'
    | 'unresolved'
    | 'own-page';
  readonly text: string;
}

export interface ExplainOptions {
  /** `http://server1:8081/`, `https://server1/`, `server1:8081`. */
  readonly url: string;
  readonly who: Principal;
  readonly from: Address;
}

/** What would happen, without doing it; names are resolved. @throws Fault `invalid` */
export async function explain(
  { url, who, from }: ExplainOptions,
  hosts: Hosts,
  deps: Omit<ReachDeps, 'connect'> & { readonly decide: ArrivalFacts['decide'] },
  signal: AbortSignal,
): Promise<Explanation> {
  const site = siteOf(url);
  const name = siteName(site);
  if (site.host === checkHost) {
    return {
      site: name,
      addresses: [],
      verdict: 'own-page',
      text: 'the gate’s own page; everybody who comes through the proxy reaches it',
    };
  }
  const entry = hosts.match(site);
  if (!entry) {
    const text = `${name} is in no line of web.forward.hosts, so the proxy does not reach it${portHint(site, hosts)}`;
    return { site: name, addresses: [], verdict: 'not-mapped', text };
  }
  const line = { key: entry.key, to: entry.to === 'resolve' ? 'resolve' : `tcp://${siteName(entry.to)}` };
  const decision = deps.decide(who, siteResource(site), from);
  const base = { site: name, line, decision };
  const addresses = await candidates(site, entry, deps, signal).catch((error: unknown) => toFault(error));
  if (decision.allow === false) {
    return {
      ...base,
      addresses: addresses instanceof Fault ? [] : addresses,
      verdict: 'denied',
      text: `${decision.reason} (${decision.rule})`,
    };
  }
  if (addresses instanceof Fault) return { ...base, addresses: [], verdict: 'unresolved', text: addresses.message };
  const [good] = addresses.filter(({ fault }) => fault === undefined);
  if (!good) {
    const why = addresses.map(({ host, fault }) => `${host} ${fault}`).join(', ');
    return {
      ...base,
      addresses,
      verdict: 'address-refused',
      text: `the address is refused: ${why}; write it as a target (tcp://…) if it is meant`,
    };
  }
  const at = siteName(good);
  if (decision.allow === 'after-approval') {
    return {
      ...base,
      addresses,
      verdict: 'after-approval',
      text: `after approval by ${decision.count} of ${decision.by} (${decision.rule}), at ${at}`,
    };
  }
  const first = entry.signIn === undefined ? '' : `, after a sign-in within ${formatDuration(entry.signIn)}`;
  return { ...base, addresses, verdict: 'reached', text: `allowed by ${decision.rule}${first}, at ${at}` };
}

function portHint({ host, port }: Site, hosts: Hosts): string {
  const other = hosts.entries.find(entry => !entry.wildcard && entry.host === host);
  return other
    ? `; "${other.key}" covers ${other.port === 'web' ? 'ports 80, 443 and 1024–65535' : `port ${other.port}`}, not ${port}`
    : '';
}

/** @throws Fault `invalid` */
function siteOf(url: string): Site {
  const [, scheme = 'http', authority = ''] = /^(?:(https?|wss?):\/\/)?([^/?#]+)/i.exec(url) ?? [];
  try {
    return parseAuthority(authority, /^(https|wss)$/i.test(scheme) ? 443 : 80);
  } catch (cause) {
    throw new Fault('invalid', `"${url}" is not an address; write http://server1:8081/ or server1:8081`, { cause });
  }
}
