// Cookies of a service under another name: Domain and Path follow the renaming, Secure and SameSite only where asked.
import { isGateCookie } from '../gate-cookies.ts';
import type { Naming } from './urls.ts';
import { below } from './urls.ts';

/** One Set-Cookie value; undefined when the service may not set it. */
export function cookieOut(value: string, naming: Naming): string | undefined {
  const { site } = naming;
  const [pair = '', ...attributes] = value.split(';');
  if (isGateCookie(pair)) return undefined;
  const { secure, samesite } = site.plan.cookies;
  const out: string[] = [pair];
  const has = new Set<string>();
  for (const attribute of attributes) {
    const [, gap = '', key = '', equals = '', text = ''] =
      /^(\s*)([^=]*?)(\s*=\s*)?((?<==\s*)[\s\S]*)?$/.exec(attribute) ?? [];
    const lower = key.toLowerCase();
    has.add(lower);
    if (lower === 'domain' && text !== '') {
      const domain = domainOut(text.trim(), naming);
      if (domain !== undefined) out.push(`${gap}${key}${equals}${domain}`);
    } else if (lower === 'path' && site.path !== '/') {
      out.push(`${gap}${key}${equals}${pathOut(text.trim(), site.path)}`);
    } else out.push(attribute);
  }
  // SameSite=None counts only with Secure (RFC 6265bis §5.6.7.2).
  const addsSame = samesite !== undefined && !has.has('samesite');
  if ((secure || (addsSame && samesite === 'none')) && !has.has('secure')) out.push(' Secure');
  if (addsSame && samesite) out.push(` SameSite=${samesite[0]?.toUpperCase()}${samesite.slice(1)}`);
  return out.join(';');
}

/**
 * The service's own name becomes the public one. A domain above it becomes the domain above the public name only where
 * the map says so for every name (`*`); otherwise the attribute goes and the cookie stays with its site.
 */
function domainOut(text: string, { site }: Naming): string | undefined {
  const domain = text.replace(/^\./, '').toLowerCase();
  if (domain === site.host || domain === site.alias?.host) return site.name;
  if (site.name === domain || site.name.endsWith(`.${domain}`)) return text;
  const isAbove = site.host.endsWith(`.${domain}`) || site.alias?.host.endsWith(`.${domain}`);
  if (!isAbove) return text; // a foreign one, which browsers refuse
  const { host, name } = site.plan;
  return host.text === `*.${domain}` && name.text.startsWith('*.') ? name.text.slice(2) : undefined;
}

function pathOut(text: string, prefix: string): string {
  if (text === '' || text === '/') return '/';
  const path = below(text.endsWith('/') ? text : `${text}/`, prefix);
  return path === undefined ? text : text.endsWith('/') || path === '/' ? path : path.slice(0, -1);
}
