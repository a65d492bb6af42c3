// The imported configuration as a file that a person can read: each remark names the line it comes from.
import { Document, isCollection, isMap, isScalar, isSeq, type Node, type Pair, type YAMLMap } from 'yaml';
import type { ImportedRoute } from '../features/proxy/index.ts';
import { type ImportFinding, type ImportRow, placeText } from '../wire/import-report.ts';

export interface ImportDocument {
  readonly name: string;
  readonly routes: readonly ImportedRoute[];
  /** Routes that ask for a client certificate. */
  readonly certified: readonly string[];
  readonly rows: readonly ImportRow[];
  readonly findings: readonly ImportFinding[];
}

export function writeImport({ name, routes, certified, rows, findings }: ImportDocument): string {
  const document = new Document(
    {
      ...(certified.length > 0 && { access: certified.map(openToHolders) }),
      proxy: Object.fromEntries(routes.map(route => [route.name, route.value])),
    },
    { aliasDuplicateObjects: false }, // &a1 and *a1 are not how people write
  );
  document.commentBefore = header(name, rows, findings);
  const top = document.contents as YAMLMap;
  for (const [index, pair] of top.items.entries()) if (isScalar(pair.key)) pair.key.spaceBefore = index > 0;
  const access = document.get('access', true);
  if (isSeq(access)) {
    for (const one of access.items) if (isMap(one)) one.flow = true;
    access.commentBefore = remark([
      'nginx lets in every certificate of the CAs named in `clients:`; narrow `who:` to whom you mean',
    ]);
  }
  const proxy = document.get('proxy', true);
  for (const [index, route] of routes.entries()) if (isMap(proxy)) annotate(proxy, route, index > 0);
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

function annotate(proxy: YAMLMap, { name, at, comments }: ImportedRoute, apart: boolean): void {
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
