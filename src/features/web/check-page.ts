// The page that answers "is your proxy on?".
import { enrolSteps, html, htmlPage, jsonPage, type Page, type Shown } from './pages.ts';

export interface CheckFacts {
  /** `off` = this page came straight from the gate, as its own address always does. */
  readonly proxy: 'on' | 'off';
  /** A name, or a certificate's CN; undefined for those nobody knows. */
  readonly who: string | undefined;
  readonly certificate: Shown;
  /** Of the certificate. */
  readonly until?: Date;
  readonly fingerprint?: string;
  readonly from: string;
  /** Of HTTP. */
  readonly version: string;
  /** What they may reach. */
  readonly sites: readonly { readonly site: string; readonly url?: string; readonly note?: string }[];
  /** Where one signs in, if some site wants that. */
  readonly signInUrl?: string;
  readonly issuers: readonly string[];
  readonly help?: string;
  readonly pacUrl?: string;
  readonly now: Date;
}

/** "Is your proxy on?" in one look. */
export function checkPage(facts: CheckFacts, wantsJson: boolean): Page {
  if (wantsJson) return jsonPage(jsonOf(facts));
  const { proxy, certificate } = facts;
  const title =
    proxy === 'off'
      ? 'This page did not come through the proxy.'
      : certificate.state === 'good'
        ? 'Your proxy is on, and you are known.'
        : 'Your proxy is on, but nobody knows you.';
  const rows = rowsOf(facts).map(([name, value]) => `<dt>${name}</dt><dd>${value}</dd>`);
  const steps = stepsOf(facts).map(step => `<li>${html(step)}</li>`);
  const next = steps.length === 0 ? '' : `<h2>What to do next · 次にすること</h2><ul>${steps.join('')}</ul>`;
  const other =
    proxy === 'on'
      ? ''
      : '<p><a href="http://gate.check/">http://gate.check/</a> answers when the proxy is on. · プロキシがオンなら表示されます。</p>';
  return htmlPage(200, 'Sekisho: is your proxy on?', `<h1>${title}</h1>${other}<dl>${rows.join('')}</dl>${next}`);
}

const jsonOf = ({ proxy, who, certificate, until, fingerprint, from, version, sites }: CheckFacts): object => ({
  ...{ proxy, certificate, from, sites },
  who: who ?? null,
  until: until?.toISOString() ?? null,
  fingerprint: fingerprint ?? null,
  http: version,
});

function rowsOf(facts: CheckFacts): (readonly [name: string, value: string])[] {
  const { proxy, certificate, who, until, from, version, sites, now } = facts;
  const good = (text: string): string => `<span class="ok">${html(text)}</span>`;
  const bad = (text: string): string => `<span class="no">${html(text)}</span>`;
  const shown = {
    good: () => good(who || 'accepted'),
    none: () => bad('none shown · なし'),
    refused: () => bad(`refused: ${certificate.state === 'refused' ? certificate.reason : ''}`),
  }[certificate.state]();
  const rows: (readonly [string, string])[] = [
    ['Proxy · プロキシ', proxy === 'on' ? good('on · オン') : bad('not used for this page · 未使用')],
    ['Certificate · 証明書', shown],
    ['You come from · 接続元', html(`${from}, HTTP/${version}`)],
  ];
  if (until) rows.push(['Valid until · 有効期限', html(untilText(until, now))]);
  if (certificate.state === 'good') {
    const items = sites.map(
      ({ site, url, note }) =>
        `<li>${url ? `<a href="${html(url)}">${html(site)}</a>` : html(site)}${note ? ` (${html(note)})` : ''}</li>`,
    );
    rows.push(['Sites you may reach · 利用できるサイト', items.length === 0 ? '–' : `<ul>${items.join('')}</ul>`]);
  }
  return rows;
}

function untilText(until: Date, now: Date): string {
  const days = Math.floor((until.getTime() - now.getTime()) / 86_400_000);
  return `${until.toISOString().slice(0, 10)}${days < 30 ? ` (${days} days left)` : ''}`;
}

function stepsOf({ proxy, certificate, sites, issuers, help, pacUrl, signInUrl }: CheckFacts): string[] {
  const steps: string[] = [];
  if (proxy === 'off') {
    const where = pacUrl ?? 'the one that whoever runs this gate gives you';
    steps.push(`If http://gate.check/ does not answer, set the browser's automatic proxy address to: ${where}`);
  }
  if (certificate.state !== 'good') steps.push(...enrolSteps(certificate, issuers, help));
  else if (sites.length === 0)
    steps.push('You are known, but no rule lets you reach a site now; ask whoever runs this gate.');
  if (signInUrl) steps.push(`Some of these sites want your password and a code as well: sign in at ${signInUrl}`);
  return steps;
}
