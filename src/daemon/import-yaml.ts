// The imported configuration as a file that a person can read: each remark names the line it comes from.
import { Document, isCollection, isMap, isScalar, isSeq, type Node, type Pair, type YAMLMap } from 'yaml';
import type { ImportedRoute } from '../features/proxy/index.ts';
import type { HttpImport, ImportedSite } from '../features/web/index.ts';
import { type ImportFinding, type ImportRow, placeText } from '../wire/import-report.ts';

export interface ImportDocument {
  readonly name: string;
  readonly routes: readonly ImportedRoute[];
  /** Routes that ask for a client certificate. */
  readonly certified: readonly string[];
  readonly rows: readonly ImportRow[];
  readonly findings: readonly ImportFinding[];
  /** What came of http {}. */
  readonly web?: Omit<HttpImport, 'rows' | 'findings'>;
}

export function writeImport({ name, routes, certified, rows, findings, web }: ImportDocument): string {
  const access = [...certified.map(openToHolders), ...(web?.access ?? [])];
  const sites = web?.sites ?? [];
  const document = new Document(
    {
      ...(web && sites.length > 0 && { gate: web.gate }),
      ...(web && Object.keys(web.trust).length > 0 && { trust: web.trust }),
      ...(access.length > 0 && { access }),
      ...((routes.length > 0 || sites.length === 0) && {
        proxy: Object.fromEntries(routes.map(route => [route.name, route.value])),
      }),
      ...(web &&
        sites.length > 0 && {
          web: { ...web.web, sites: Object.fromEntries(sites.map(one => [one.name, one.value])) },
        }),
    },
    { aliasDuplicateObjects: false }, // &a1 and *a1 are not how people write
  );
  document.commentBefore = header(name, rows, findings);
  const top = document.contents as YAMLMap;
  for (const [index, pair] of top.items.entries()) if (isScalar(pair.key)) pair.key.spaceBefore = index > 0;
  const rules = document.get('access', true);
  if (isSeq(rules)) {
    for (const one of rules.items) if (isMap(one)) one.flow = true;
    rules.commentBefore = remark([
      'nginx lets in every certificate of the CAs that it names; narrow `who:` to whom you mean',
    ]);
  }
  const proxy = document.get('proxy', true);
  for (const [index, route] of routes.entries()) if (isMap(proxy)) annotate(proxy, route, index > 0);
  const map = document.getIn(['web', 'sites'], true);
  for (const [index, site] of sites.entries()) if (isMap(map)) annotate(map, site, index > 0);
  for (const key of ['gate', 'trust']) flatten(document.get(key, true));
  if (web) flattenBeside(document.get('web', true));
  return document.toString({ lineWidth: 0, flowCollectionPadding: true });
}

/** Any certificate that the route's own `clients:` accepts: its issuer is always there. */
const openToHolders = (route: string): object => ({
  allow: 'proxy.connect',
  who: { issuer: '*' },
  to: `proxy/${route}`,
});

function header(name: string, rows: readonly ImportRow[], findings: readonly ImportFinding[]): string {
  const refused = rows.filter(row => row.status === 'refused');
  return remark([
    `Converted from ${name} by \`sekisho import\`.`,
    "A remark names the line that a key comes from. Keys without one are defaults of nginx that differ from Sekisho's,",
    'written out so that this file behaves as nginx did; remove them to get the safer ones (verify, sni, half-close).',
    '"closed:" marks a route that lets nobody in until you have decided about a line that could not be converted.',
    'Look at it with `sekisho check -c FILE`, run it with `sekisho up -c FILE`.',
    ...(refused.length > 0 ? ['', 'NOT CONVERTED:'] : []),
    ...refused.map(
      row => `- ${placeText(row.at)} ${row.directive}: ${row.reason}${row.todo ? `. To do: ${row.todo}` : ''}`,
    ),
    ...(findings.length > 0 ? ['', 'FOUND:'] : []),
    ...findings.map(one => `- ${one.severity}: ${placeText(one.at)}: ${one.text}. To do: ${one.todo}`),
  ]);
}

function annotate(proxy: YAMLMap, { name, at, comments }: ImportedRoute | ImportedSite, apart: boolean): void {
  const pair = find(proxy, name);
  if (!pair) return;
  setBefore(pair, [`${placeText(at)} server`, ...(comments.get('') ?? [])]);
  if (isScalar(pair.key)) pair.key.spaceBefore = apart;
  flatten(pair.value);
  for (const [path, lines] of comments) {
    if (path === '') continue;
    const keys = path.split('.');
    let place: Pair | undefined = pair;
    for (const key of keys) place = isMap(place?.value) ? find(place.value, key) : undefined;
    if (place) comment(place, lines);
  }
}

/** The keys beside the sites, on one line each. */
function flattenBeside(web: unknown): void {
  if (!isMap(web)) return;
  for (const pair of web.items) {
    if (!isScalar(pair.key) || pair.key.value === 'sites') continue;
    if (isMap(pair.value)) pair.value.flow = true;
    flatten(pair.value);
  }
}

const find = (map: YAMLMap, key: string): Pair | undefined =>
  map.items.find(one => isScalar(one.key) && one.key.value === key);

/** Lists of plain words, and short maps within lists, on one line. */
function flatten(node: unknown): void {
  if (!isCollection(node)) return;
  if (isSeq(node) && node.items.every(isScalar) && node.items.length <= 8) node.flow = true;
  for (const item of node.items) {
    const value = isSeq(node) ? item : (item as Pair).value;
    if (isSeq(node) && isMap(item)) item.flow = true;
    flatten(value);
  }
}

/** Beside a value that fits on its line, else above its key. */
function comment(pair: Pair, lines: readonly string[]): void {
  const value = pair.value as Node | null;
  const [only = ''] = lines;
  const beside = isScalar(value) || (isCollection(value) && value.flow === true);
  if (beside && lines.length === 1 && only.length <= 90) value.comment = remark([only]);
  else setBefore(pair, lines);
}

function setBefore(pair: Pair, lines: readonly string[]): void {
  if (isScalar(pair.key)) pair.key.commentBefore = remark(lines);
}

/** A remark must not break out of its line: what stood in the configuration may hold anything. */
const remark = (lines: readonly string[]): string =>
  lines.map(line => (line === '' ? '' : ` ${line.replace(/[\x00-\x1f\x7f-\x9f\u2028\u2029]/g, ' ')}`)).join('\n');
