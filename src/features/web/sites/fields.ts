// Header fields of a renamed site: which ones hold addresses, and what becomes of each.
import { isGateCookie } from '../gate-cookies.ts';
import type { Fields } from '../headers.ts';
import { cookieOut } from './cookies.ts';
import { inward, type Naming, outward } from './urls.ts';

type Rewrite = (value: string, naming: Naming) => string | undefined;

/** A name of a field comes from outside: `constructor` must find nothing. */
const table = (rows: Readonly<Record<string, Rewrite>>): ReadonlyMap<string, Rewrite> => new Map(Object.entries(rows));

const url: Rewrite = (value, naming) => outward(value, naming);

/** `5; url=http://server1/x`, also with quotes, which are kept. */
export function refresh(value: string, naming: Naming): string {
  const [, head, quote, address, tail] =
    /^(\s*[\d.]*\s*[;,]?\s*url\s*=\s*)(["']?)([\s\S]*?)((?:["'][\s\S]*)?)$/i.exec(value) ?? [];
  if (head === undefined || address === undefined) return value;
  return `${head}${quote}${outward(address.trim(), naming)}${tail}`;
}

/** `<http://server1/a>; rel=next, <b>` and every anchor among the parameters. */
const links: Rewrite = (value, naming) =>
  value
    .replace(/<([^<>]*)>/g, (_, address: string) => `<${outward(address.trim(), naming)}>`)
    .replace(
      /(;\s*anchor\s*=\s*")([^"]*)"/gi,
      (_, head: string, address: string) => `${head}${outward(address, naming)}"`,
    );

/** A list of origins, or of a policy's sources: words that are addresses. */
const words: Rewrite = (value, naming) =>
  value.replace(/[^\s,;]+/g, word => (word.includes('//') ? outward(word, naming) : sourceOf(word, naming)));

/** `server1:8081` in a Content-Security-Policy is an address without a scheme. */
function sourceOf(word: string, naming: Naming): string {
  if (!/^[a-z0-9_.-]+(:\d+)?(\/\S*)?$/i.test(word) || !/[.:]/.test(word) || word.endsWith(':')) {
    return word === naming.site.host || word === naming.site.alias?.host ? `${naming.site.name}${naming.port}` : word;
  }
  return outward(`//${word}`, naming).slice(2);
}

const policy: Rewrite = (value, naming) =>
  value
    .split(';')
    .map(directive => {
      const [, head = '', list = ''] = /^(\s*[a-z-]+)([\s\S]*)$/i.exec(directive) ?? [];
      return head === '' ? directive : head + words(list, naming);
    })
    .join(';');

/**
 * Cookies are cleared for the whole registrable domain: under its public name a service that signs somebody out would do
 * so at every other site, and at the gate. What it says of its own origin stays.
 */
const clear: Rewrite = (value, { site }) => {
  if (site.name === site.host) return value;
  const kept = value
    .split(',')
    .map(word => word.trim())
    .flatMap(word => (word === '"*"' ? everything : word === '' || /^"cookies"$/i.test(word) ? [] : [word]));
  return kept.length === 0 ? undefined : [...new Set(kept)].join(', ');
};
const everything = ['"cache"', '"storage"', '"executionContexts"'];

/** Tells browsers to go elsewhere, or for how long to insist, in the service's own words: not under this name. */
const gone: Rewrite = () => undefined;

const answers = table({
  location: url,
  'content-location': url,
  refresh,
  link: links,
  'set-cookie': cookieOut,
  'clear-site-data': clear,
  'access-control-allow-origin': words,
  'timing-allow-origin': words,
  'content-security-policy': policy,
  'content-security-policy-report-only': policy,
  'x-frame-options': words,
  sourcemap: url,
  'x-sourcemap': url,
  'service-worker-allowed': url,
  'x-pingback': url,
});
/** In every answer, whatever is rewritten. */
const never = table({
  'alt-svc': gone,
  'public-key-pins': gone,
  'public-key-pins-report-only': gone,
  'strict-transport-security': gone,
});

const asked = table({
  origin: (value, naming) => inward(value, naming),
  referer: (value, naming) => inward(value, naming),
  destination: (value, naming) => inward(value, naming),
  // RFC 4918 §10.4: the resources that its conditions are about.
  if: (value, naming) => value.replace(/<(https:[^<>]*)>/gi, (_, address: string) => `<${inward(address, naming)}>`),
});

/** A weak ETag never matches here (RFC 9110 §13.1.1), and it is we who have made it weak: see `linksThrough`. */
const strong: Rewrite = value => value.replace(/(^|,)(\s*)W\/"/g, '$1$2"');

/** Fields of an answer, rewritten in place. `hsts`: seconds, 0 = none. */
export function answerOut(fields: string[], naming: Naming, hsts: number): string[] {
  const isOff = naming.site.plan.rewrite === 'off';
  const out: string[] = [];
  for (let at = 0; at < fields.length; at += 2) {
    const name = fields[at] ?? '';
    const value = fields[at + 1] ?? '';
    const lower = name.toLowerCase();
    const rewrite = never.get(lower) ?? (isOff ? undefined : answers.get(lower));
    const made = rewrite ? rewrite(value, naming) : value;
    if (made === undefined || (lower === 'set-cookie' && isGateCookie(value))) continue;
    out.push(name, made);
  }
  if (hsts > 0) out.push('Strict-Transport-Security', `max-age=${hsts}`);
  return out;
}

/** Fields of a request, as the service expects them. */
export function requestIn(fields: Fields, naming: Naming): string[] {
  const isOff = naming.site.plan.rewrite === 'off';
  const out: string[] = [];
  for (let at = 0; at < fields.length; at += 2) {
    const name = fields[at] ?? '';
    const value = fields[at + 1] ?? '';
    const lower = name.toLowerCase();
    if (lower === 'x-request-id') continue; // ours says it
    const isStrong = lower === 'if-match' && naming.site.plan.rewrite === 'links';
    const rewrite = isStrong ? strong : isOff ? undefined : asked.get(lower);
    const made = rewrite ? rewrite(value, naming) : value;
    if (made !== undefined) out.push(name, made);
  }
  return out;
}
