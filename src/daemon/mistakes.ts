// What the schema found wrong → sentences that say what is there, what belongs there and what to do.
import type { z } from 'zod';
import { formatPath, type Mistake, type YamlSource } from './yaml-source.ts';

type Issue = z.core.$ZodIssue;
/** The part of a JSON Schema that is looked at. */
export interface SchemaNode {
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly additionalProperties?: SchemaNode | boolean;
  readonly items?: SchemaNode;
  readonly anyOf?: readonly SchemaNode[];
  readonly oneOf?: readonly SchemaNode[];
  readonly allOf?: readonly SchemaNode[];
  readonly description?: string;
  readonly format?: string;
}

/** Every issue as mistakes, in the order of the file. `schema` is the JSON Schema of the same source. */
export function explainIssues(issues: readonly Issue[], source: YamlSource, schema: SchemaNode): Mistake[] {
  const flat = issues
    .flatMap(issue => flatten(issue, [], valueAt(source.value, issue.path)))
    .map(issue => ({ ...issue, path: trim(source.value, issue.path) }));
  const mistakes = flat.flatMap(issue => explain(issue, source, schema));
  const suggested = new Set(mistakes.flatMap(({ replaces }) => replaces ?? []));
  return mistakes
    .filter(({ missing }) => missing === undefined || !suggested.has(missing)) // "listne" explains why "listen" is missing
    .map(({ mistake }) => mistake)
    .sort((a, b) => a.line - b.line || a.column - b.column);
}

/** Unions are replaced by the issues of the branch that was most likely meant; paths become absolute. */
function flatten(issue: Issue, base: readonly PropertyKey[], value: unknown): Issue[] {
  const path = [...base, ...issue.path];
  if (issue.code !== 'invalid_union' || issue.errors.length === 0) return [{ ...issue, path }];
  const branches = issue.errors.map(errors => ({ errors, score: scoreOf(errors, value) }));
  const best = branches.reduce((a, b) => (b.score < a.score ? b : a));
  if (best.score < wrongKind) {
    return best.errors.flatMap(inner => flatten(inner, path, valueAt(value, inner.path)));
  }
  // No branch takes a value of this kind: say all kinds that would do.
  const values = branches.flatMap(({ errors }) => errors.flatMap(e => (e.code === 'invalid_value' ? e.values : [])));
  const kinds = branches.flatMap(({ errors }) =>
    errors.flatMap(e => (e.code === 'invalid_type' && e.path.length === 0 ? [kindOf(e.expected)] : [])),
  );
  return [{ code: 'expected', path, values, kinds, message: '' } as unknown as Issue];
}

const wrongKind = 1000;
const wrongWord = 500;

/** How far a branch is from what was written; lower is nearer. */
function scoreOf(errors: readonly Issue[], value: unknown): number {
  return errors.reduce((sum, issue) => {
    const isRoot = issue.path.length === 0;
    if (issue.code === 'invalid_union') {
      return (
        sum + Math.min(...issue.errors.map(inner => scoreOf(inner, valueAt(value, issue.path)))) / (isRoot ? 1 : 100)
      );
    }
    if (isRoot && issue.code === 'invalid_type') return sum + wrongKind;
    if (isRoot && issue.code === 'invalid_value') {
      return sum + (issue.values.every(wanted => typeof wanted === typeof value) ? wrongWord : wrongKind);
    }
    if (issue.code === 'unrecognized_keys') return sum + 10 * issue.keys.length;
    return sum + (valueAt(value, issue.path) === undefined ? 5 : 3);
  }, 0);
}

interface Explained {
  readonly mistake: Mistake;
  /** The path that is missing, when that is what the mistake says. */
  readonly missing?: string;
  /** The path that an unknown key probably means. */
  readonly replaces?: string[];
}

function explain(issue: Issue, source: YamlSource, schema: SchemaNode): Explained[] {
  const value = valueAt(source.value, issue.path);
  if (issue.code === 'unrecognized_keys') {
    const known = keysAt(schema, issue.path);
    return issue.keys.map(key => {
      const meant = nearest(key, known);
      const advice = meant
        ? `did you mean "${meant}"?`
        : known.length > 0
          ? `known here: ${known.join(', ')}`
          : 'remove it';
      return {
        mistake: source.mistake([...issue.path, key], `unknown key; ${advice}`, 'key'),
        ...(meant ? { replaces: [formatPath([...issue.path, meant])] } : {}),
      };
    });
  }
  if (issue.code === 'invalid_key') {
    return [{ mistake: source.mistake(issue.path, issue.issues[0]?.message ?? 'this name cannot be used', 'key') }];
  }
  if (value === undefined && issue.code !== 'custom') {
    const example = describe(schema, issue.path);
    const text = `is missing${example ? `; write ${example}` : ''}`;
    return [{ mistake: source.mistake(issue.path, text), missing: formatPath(issue.path) }];
  }
  const isDuration = nodesAt(schema, issue.path).some(({ format }) => format === 'duration');
  if (isDuration && (typeof value === 'number' || (typeof value === 'string' && /^\d+$/.test(value)))) {
    const text = `this is ${measure(value)}, and a duration has a unit; write for example ${value}s or ${value}m`;
    return [{ mistake: source.mistake(issue.path, text) }];
  }
  return [{ mistake: source.mistake(issue.path, sentence(issue, value)) }];
}

function sentence(issue: Issue, value: unknown): string {
  const raw = issue as unknown as { code: string; kinds?: string[]; values?: unknown[] };
  if (raw.code === 'expected') return wrong(value, raw.kinds ?? [], raw.values ?? []);
  switch (issue.code) {
    case 'invalid_type':
      return wrong(value, [kindOf(issue.expected)], []);
    case 'invalid_value':
      return wrong(value, [], issue.values);
    case 'too_small':
      return `${small(issue.origin, issue.minimum, issue.inclusive)}, this is ${measure(value)}`;
    case 'too_big':
      return `${big(issue.origin, issue.maximum, issue.inclusive)}, this is ${measure(value)}`;
    case 'invalid_format':
      return formats[issue.format] ?? issue.message;
    default:
      return issue.message;
  }
}

const formats: Readonly<Record<string, string>> = {
  url: 'write a whole URL, like https://example.com/directory',
  email: 'write an e-mail address, like admin@example.com',
};

function wrong(value: unknown, kinds: readonly string[], values: readonly unknown[]): string {
  const words = values.map(String);
  const meant = typeof value === 'string' ? nearest(value, words) : undefined;
  if (meant) return `${quote(value)} is not known here; did you mean "${meant}"?`;
  const wanted = list([...new Set([...words.map(word => `"${word}"`), ...kinds])]);
  const hint = hintFor(value, kinds);
  const is = value === null ? 'nothing is written here' : `this is ${measure(value)}`;
  return `${is}; ${wanted === '' ? 'it does not belong here' : `write ${wanted}`}${hint}`;
}

/** What YAML made of it is often not what was meant. */
function hintFor(value: unknown, kinds: readonly string[]): string {
  const wants = (kind: string): boolean => kinds.includes(kind);
  if ((typeof value === 'number' || typeof value === 'boolean') && wants(kindOf('string')))
    return ` — in quotes: "${value}"`;
  if (typeof value === 'string' && wants(kindOf('number')) && /^\d+$/.test(value)) return ` — without quotes: ${value}`;
  if (typeof value === 'string' && wants(kindOf('boolean'))) {
    if (/^(yes|on)$/i.test(value)) return ' — that is: true';
    if (/^(no|off)$/i.test(value)) return ' — that is: false';
  }
  return '';
}

const kindOf = (expected: string): string =>
  ({
    string: 'text',
    number: 'a number',
    int: 'a whole number',
    boolean: 'true or false',
    array: 'a list',
    object: 'keys beneath it',
    record: 'named entries beneath it',
  })[expected] ?? expected;

function measure(value: unknown): string {
  if (typeof value === 'string') return value === '' ? 'empty' : quote(value);
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : `a list of ${value.length}`;
  return value === null ? 'empty' : 'a block of keys';
}

/** Short and without secrets: a passphrase typed where a reference belongs must not reach a terminal or a log. */
const quote = (value: unknown): string => {
  const text = String(value);
  if (/:\/\/[^/]*:[^/]*@|-----BEGIN/.test(text)) return 'a text';
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 57)}…` : text);
};

const small = (origin: string, minimum: number | bigint, inclusive = true): string =>
  origin === 'array' || origin === 'string'
    ? `at least ${minimum} ${origin === 'array' ? 'entries are' : 'characters are'} needed`.replace(
        /^at least 1 (entries|characters) are/,
        (_, unit: string) => (unit === 'entries' ? 'at least one entry is' : 'some text is'),
      )
    : `must be ${inclusive ? 'at least' : 'more than'} ${minimum}`;
const big = (origin: string, maximum: number | bigint, inclusive = true): string =>
  origin === 'array' || origin === 'string'
    ? `at most ${maximum} ${origin === 'array' ? 'entries' : 'characters'} fit`
    : `must be ${inclusive ? 'at most' : 'less than'} ${maximum}`;
const list = (items: readonly string[]): string =>
  items.length < 2 ? (items[0] ?? '') : `${items.slice(0, -1).join(', ')} or ${items.at(-1)}`;

/** The word of `known` that is a slip or two away, or undefined. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  const limit = word.length <= 3 ? 1 : word.length <= 6 ? 2 : 3;
  const plain = (text: string): string => text.toLowerCase().replaceAll(/[-_]/g, '');
  const found = known
    .map(candidate => ({ candidate, far: distance(plain(word), plain(candidate), limit) }))
    .filter(({ candidate, far }) => far <= limit && far < candidate.length)
    .sort((a, b) => a.far - b.far);
  return found[0]?.candidate;
}

/** Edits between two short words, a swap counting one (optimal string alignment); gives up beyond `limit`. */
function distance(a: string, b: string, limit: number): number {
  if (Math.abs(a.length - b.length) > limit || a.length > 64) return limit + 1;
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      let best = Math.min((rows[i - 1]?.[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, (rows[i - 1]?.[j - 1] ?? 0) + cost);
      if (a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) best = Math.min(best, (rows[i - 2]?.[j - 2] ?? 0) + 1);
      row.push(best);
    }
    rows.push(row);
  }
  return rows[a.length]?.[b.length] ?? limit + 1;
}

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (at, step) => (typeof at === 'object' && at !== null ? (at as Record<PropertyKey, unknown>)[step] : undefined),
    value,
  );
}

/** A plain value that stands for a block (`to: tcp://…` for `to: [ { url: … } ]`) has no keys that could be named. */
function trim(value: unknown, path: readonly PropertyKey[]): PropertyKey[] {
  const end = path.findIndex((_, at) => {
    const above = at === 0 ? value : valueAt(value, path.slice(0, at));
    return above !== undefined && above !== null && typeof above !== 'object';
  });
  return end === -1 ? [...path] : path.slice(0, end);
}

const branchesOf = (node: SchemaNode): SchemaNode[] =>
  [node, ...[...(node.anyOf ?? []), ...(node.oneOf ?? []), ...(node.allOf ?? [])].flatMap(branchesOf)].filter(Boolean);

function nodesAt(schema: SchemaNode, path: readonly PropertyKey[]): SchemaNode[] {
  return path.reduce<SchemaNode[]>(
    (nodes, step) =>
      nodes.flatMap(node => {
        if (typeof step === 'number') return node.items ? branchesOf(node.items) : [];
        const extra = typeof node.additionalProperties === 'object' ? node.additionalProperties : undefined;
        const next = node.properties?.[String(step)] ?? extra;
        return next ? branchesOf(next) : [];
      }),
    branchesOf(schema),
  );
}

const keysAt = (schema: SchemaNode, path: readonly PropertyKey[]): string[] => [
  ...new Set(nodesAt(schema, path).flatMap(node => Object.keys(node.properties ?? {}))),
];

const describe = (schema: SchemaNode, path: readonly PropertyKey[]): string | undefined =>
  nodesAt(schema, path).find(node => node.description !== undefined)?.description;
