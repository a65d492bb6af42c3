// A sign-in on top of the certificate, for renamed sites: over to the gate's own page, back with a code that is good
// once, and from then on a cookie of this site's own that is worth nothing without the certificate.
import { valuesOf } from '../headers.ts';
import { type Page, textPage } from '../pages.ts';
import type { SignIns } from '../sign-ins.ts';
import type { SiteSignIn } from '../site-sign-in.ts';
import type { Site, Sites } from './map.ts';
import type { SitesWorld } from './service.ts';

/** Where the code comes in; no service sees a request for it. */
const landing = '/.sekisho/sign-in';

export interface StepUpDeps {
  readonly signIns: SignIns;
  readonly carry: SiteSignIn;
  /** The gate's own page. */
  readonly signInUrl: () => string;
  /** The port in public addresses. */
  readonly port: () => number;
}

export function siteStepUp({ signIns, carry, signInUrl, port }: StepUpDeps): NonNullable<SitesWorld['before']> {
  return ({ method, fields }, guest, path) => {
    const { site } = guest;
    const within = site.plan.signIn;
    const isLanding = path === landing || path.startsWith(`${landing}?`);
    if (within === undefined) return undefined;
    const { credential } = guest.caller.who;
    const until = signIns.until(credential, within);
    if (isLanding) {
      const query = new URLSearchParams(path.slice(landing.length + 1));
      // Whoever shows it, the code is spent.
      const redeemed = carry.redeem(query.get('code') ?? '', credential, site.name, until ?? new Date(0));
      const cookie = until && method === 'GET' ? redeemed : undefined;
      if (!cookie)
        return textPage(403, 'sekisho: this link is used up, too old, or somebody else’s; open the site again');
      return redirect(pathOf(query.get('back')), { 'set-cookie': cookie });
    }
    if (until && carry.check(valuesOf(fields, 'cookie').join('; '), credential, site.name)) return until;
    const [mode] = valuesOf(fields, 'sec-fetch-mode');
    if (method === 'GET' && (mode === undefined || mode === 'navigate')) {
      const back = `${originOf(site.name, port())}${path}`;
      return redirect(`${signInUrl()}?${new URLSearchParams({ back })}`, {});
    }
    return textPage(403, `sekisho: ${site.name} wants a sign-in on top of the certificate: ${signInUrl()}`);
  };
}

/**
 * Where the gate sends somebody who has signed in: to the site's landing, with a code. Undefined for other addresses, and
 * where the sign-in is older than the site takes: then there is the form.
 */
export function carryOver(
  { signIns, carry, port }: Omit<StepUpDeps, 'signInUrl'>,
  sites: Pick<Sites, 'find'> | undefined,
  credential: string,
  back: URL,
): string | undefined {
  const site = wanting(sites, back, port());
  if (!site || signIns.until(credential, site.plan.signIn ?? 0) === undefined) return undefined;
  const code = carry.issue(credential, site.name);
  return `${originOf(site.name, port())}${landing}?${new URLSearchParams({ code, back: `${back.pathname}${back.search}` })}`;
}

/** The site of this address, if it asks for a sign-in. */
export function wanting(
  sites: Pick<Sites, 'find'> | undefined,
  { protocol, hostname, port }: URL,
  own: number,
): Site | undefined {
  if (protocol !== 'https:' || (Number(port) || 443) !== own) return undefined;
  const site = sites?.find(hostname);
  return site?.plan.signIn === undefined ? undefined : site;
}

const originOf = (name: string, port: number): string => `https://${name}${port === 443 ? '' : `:${port}`}`;

/** A path of this site and nothing else: `//evil.example` and `/\\evil.example` are hosts to browsers. */
const pathOf = (back: string | null): string =>
  back !== null && /^\/(?![/\\])[\x21-\x7e]*$/.test(back) && !back.includes('\\') ? back : '/';

const redirect = (location: string, more: Readonly<Record<string, string>>): Page => ({
  ...textPage(303, 'sekisho: sign in'),
  headers: { location, 'cache-control': 'no-store', 'referrer-policy': 'no-referrer', ...more },
});
