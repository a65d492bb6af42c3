// nginx.conf → sekisho.yaml: each room converts its own block, this file joins them and answers for the main context.
import { globSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import { Fault } from '../core/fault.ts';
import { importStream } from '../features/proxy/index.ts';
import { importHttp } from '../features/web/index.ts';
import { directiveText, type ImportFinding, type ImportRow, importStatuses } from '../wire/import-report.ts';
import { type Directive, type Files, parseNginxConf } from '../wire/nginx-conf.ts';
import { findInHttp } from './import-http.ts';
import { convertMain } from './import-main.ts';
import { writeImport } from './import-yaml.ts';

export interface NginxImport {
  /** The configuration, with remarks; written in every case. */
  readonly yaml: string;
  /** One row a directive, in the order of the files. */
  readonly rows: readonly ImportRow[];
  readonly findings: readonly ImportFinding[];
  readonly refused: number;
}

export interface NginxSource {
  /** How reports call the file. */
  readonly name: string;
  readonly text: string;
  /** Absolute: where relative certificates and includes start (nginx's configuration prefix). */
  readonly folder: string;
  readonly files?: Files;
}

/** Reads the file and what it includes. @throws Fault `invalid` when a file is missing or is not nginx's syntax */
export function importNginxFile(path: string): NginxImport {
  const folder = dirname(resolve(path));
  const files = filesBelow(folder);
  let text: string;
  try {
    text = files.read(resolve(path));
  } catch (cause) {
    throw new Fault('invalid', `cannot open "${path}" (${(cause as Error).message})`, { cause });
  }
  return importNginx({ name: basename(path), text, folder, files });
}

/** @throws Fault `invalid`: only for what nginx itself cannot read; everything else is a row. */
export function importNginx({ name, text, folder, files }: NginxSource): NginxImport {
  const { directives, includes } = parseNginxConf({ file: name, text, ...(files && { files }) });
  const rows: ImportRow[] = includes.map(({ directive, files: paths }) => ({
    status: 'converted',
    at: directive.at,
    directive: directiveText(directive),
    reason: paths.length === 0 ? 'it matches no file' : `read: ${paths.join(', ')}`,
  }));
  const main = convertMain(directives);
  rows.push(...main.rows);
  const file = (path: string): string => `file:${resolve(folder, path)}`;
  const [stream] = directives.filter(one => one.name === 'stream' && one.block);
  const imported = stream && importStream(stream, { file });
  if (imported) rows.push(...imported.rows);
  const [http, ...more] = directives.filter(one => one.name === 'http' && one.block);
  const web = http && importHttp(http, { file });
  if (web) rows.push(...web.rows);
  const findings = [
    ...(imported?.findings ?? []),
    ...(web?.findings ?? []),
    ...[http, ...more].flatMap(one => (one ? findInHttp(one) : [])),
  ];
  const place = order(
    directives,
    includes.map(one => one.directive),
  );
  rows.sort((a, b) => (place.get(key(a)) ?? 0) - (place.get(key(b)) ?? 0));
  const said = heaviest(rows);
  const found = onceEach(findings, one => `${key(one)} ${one.code} ${one.text}`);
  found.sort((a, b) => severities.indexOf(a.severity) - severities.indexOf(b.severity));
  return {
    yaml: writeImport({
      name,
      routes: imported?.routes ?? [],
      certified: imported?.certified ?? [],
      rows: said,
      findings: found,
      ...(web ? { web } : {}),
    }),
    rows: said,
    findings: found,
    refused: said.filter(row => row.status === 'refused').length,
  };
}

/** A file that several blocks include has one row a directive: what became of it where that weighs most. */
function heaviest(rows: readonly ImportRow[]): ImportRow[] {
  const kept = new Map<string, ImportRow>();
  for (const row of rows) {
    const other = kept.get(key(row));
    if (!other || importStatuses.indexOf(row.status) > importStatuses.indexOf(other.status)) kept.set(key(row), row);
  }
  return [...kept.values()];
}

const onceEach = <T>(list: readonly T[], id: (one: T) => string): T[] =>
  [...new Map(list.map(one => [id(one), one] as const).reverse()).values()].reverse();

const severities = ['high', 'medium', 'low'];
const key = ({ at }: { at: ImportRow['at'] }): string => `${at.file}:${at.line}:${at.column}`;

/** Where each directive stands when the files are read as nginx reads them. */
function order(directives: readonly Directive[], includes: readonly Directive[]): ReadonlyMap<string, number> {
  const places = new Map<string, number>();
  const files = new Map<string, number>();
  const walk = (list: readonly Directive[]): void => {
    for (const one of list) {
      if (!files.has(one.at.file)) files.set(one.at.file, files.size);
      places.set(key(one), 0);
      walk(one.block ?? []);
    }
  };
  walk(includes);
  walk(directives);
  const rank = (text: string): [number, number, number] => {
    const [, file = '', line = '0', column = '0'] = /^(.*):(\d+):(\d+)$/s.exec(text) ?? [];
    return [files.get(file) ?? 0, Number(line), Number(column)];
  };
  const sorted = [...places.keys()].map(text => ({ text, rank: rank(text) }));
  sorted.sort(({ rank: a }, { rank: b }) => a[0] - b[0] || a[1] - b[1] || a[2] - b[2]);
  return new Map(sorted.map(({ text }, index) => [text, index]));
}

const largest = 8 * 1024 * 1024;

/** The disk as nginx sees it: relative paths start at the main file's folder, globs are sorted. */
function filesBelow(folder: string): Files {
  return {
    read(path) {
      const full = resolve(folder, path);
      const stat = statSync(full);
      if (!stat.isFile()) throw new Error('it is not a file');
      if (stat.size > largest) throw new Error('it is larger than 8 MiB');
      return readFileSync(full, 'utf8');
    },
    list: pattern => globSync(pattern, { cwd: folder }).sort(),
  };
}
