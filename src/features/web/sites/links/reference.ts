// One address at the place where a document has one: only its scheme and authority change, and only when they are a site's.
import { readAuthority, type Scheme } from '../map.ts';
import { below, type Naming } from '../urls.ts';

const schemes: Readonly<Record<string, Scheme>> = { http: 'http', https: 'https', ws: 'http', wss: 'https' };

/** `http://server1/a`, `//server1/a`, in scripts `http:\/\/server1\/a`; everything else is answered as it came. */
export function reference(text: string, naming: Naming): string {
  const [, space = '', scheme, slashes, authority, rest = ''] =
    /^(\s*)(?:(https?|wss?):)?((?:\\?\/){2})([A-Za-z0-9_.:[\]-]+)((?:[/?#\\$&][\s\S]*)?)$/i.exec(text) ?? [];
  if (authority === undefined || slashes === undefined) {
    const { path } = naming.site;
    return path !== '/' && text.startsWith('/') ? (below(text, path) ?? text) : text;
  }
  const place = readAuthority(authority);
  if (!place) return text;
  const { site, sites, port } = naming;
  const lower = scheme?.toLowerCase();
  const found = sites.at(lower === undefined ? site.scheme : schemes[lower], place.host, place.port, site);
  if (!found) return text;
  const isPublic = place.host === found.name && found.name !== found.host;
  const path = isPublic || found.path === '/' ? rest : below(rest, found.path);
  if (path === undefined) return text;
  const secure = lower === undefined ? '' : lower.startsWith('ws') ? 'wss:' : 'https:';
  return `${space}${secure}${slashes}${found.name}${port}${path}`;
}
