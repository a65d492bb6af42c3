// YAML text ⇄ plain values, with the line and column of every key and value, so that a mistake can be pointed at.
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseDocument,
  visit,
} from 'yaml';

/** One thing wrong in the file, and where. */
export interface Mistake {
  readonly file: string;
  /** From 1. */
  readonly line: number;
  readonly column: number;
  /** `proxy.db.listen`; empty for the file as a whole. */
  readonly path: string;
  readonly text: string;
}

export interface YamlSource {
  readonly value: unknown;
  /** What the YAML itself has wrong; when this is not empty, `value` is not to be trusted. */
  readonly mistakes: readonly Mistake[];
  /** A mistake at the value (or, with `at: 'key'`, at the key) of a path; a missing one is pointed at its parent. */
  mistake(path: readonly PropertyKey[], text: string, at?: 'key' | 'value'): Mistake;
}

/** How often one anchor may be used, all uses multiplied out: a small file must not become a large one. */
const aliasLimit = 200;

/** Never throws: what is wrong is in `mistakes`. `file` is the name to be shown. */
export function readYaml(text: string, file: string): YamlSource {
  try {
    const source = parseYaml(text, file);
    if (!source.mistakes.some(({ text }) => ranOut.test(text))) return source;
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
  }
  const mistake = (): Mistake => ({ file, line: 1, column: 1, path: '', text: tooDeep });
  return { value: undefined, mistakes: [mistake()], mistake };
}

/** How it shows in the parser's own words that its stack has run out. */
const ranOut = /call stack|stack overflow/i;
const tooDeep = 'brackets or blocks are nested too deeply; this is not a configuration';

function parseYaml(text: string, file: string): YamlSource {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, merge: true, stringKeys: false });
  const locate = (offset: number): { line: number; column: number } => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  const found: Mistake[] = [...document.errors, ...document.warnings].map(error => ({
    file,
    ...locate(error.pos[0]),
    path: '',
    text: explain(error.code, error.message),
  }));
  visit(document, {
    // A validator takes it for JavaScript's own and passes over it; what the file says must never be passed over.
    Pair: (_, pair) => {
      if (keyText(pair) !== '__proto__') return;
      const at = (pair.key as { range?: readonly number[] } | null)?.range?.[0] ?? 0;
      found.push({ file, ...locate(at), path: '', text: 'nothing can be called __proto__; choose another name' });
    },
    Alias: (_, alias) => {
      if (alias.resolve(document)) return;
      found.push({ file, ...locate(alias.range?.[0] ?? 0), path: '', text: sentences['BAD_ALIAS'] ?? '' });
    },
  });
  // The parser may stumble twice over one stone.
  const mistakes = found.filter((one, at) => found.findIndex(two => formatMistake(two) === formatMistake(one)) === at);
  let value: unknown;
  try {
    value = mistakes.length === 0 ? document.toJS({ maxAliasCount: aliasLimit }) : undefined;
  } catch (error) {
    const why = /alias/i.test(String(error))
      ? 'anchors and aliases multiply out to too much, or one refers to itself; write the values out'
      : 'this cannot be read as a mapping of plain values; write keys as plain text';
    mistakes.push({ file, line: 1, column: 1, path: '', text: why });
  }
  return {
    value,
    mistakes,
    mistake: (path, sentence, at = 'value') => ({
      file,
      ...locate(offsetOf(document, path, at)),
      path: formatPath(path),
      text: sentence,
    }),
  };
}

/** `proxy.db.to[0].url`. A key that is not a plain word stands in quotes. */
export function formatPath(path: readonly PropertyKey[]): string {
  return path
    .map((step, index) => {
      if (typeof step === 'number') return `[${step}]`;
      const word = /^[\w-]+$/.test(String(step)) ? String(step) : JSON.stringify(String(step));
      return index === 0 ? word : `.${word}`;
    })
    .join('');
}

/** `sekisho.yaml:12:5 proxy.db.listen: what and what to do`. */
export function formatMistake({ file, line, column, path, text }: Mistake): string {
  return `${file}:${line}:${column} ${path === '' ? '' : `${path}: `}${text}`;
}

function offsetOf(document: Document, path: readonly PropertyKey[], at: 'key' | 'value'): number {
  let node: unknown = document.contents;
  let best = startOf(node) ?? 0; // of what was found so far; a missing key is shown by the key that opens its block
  for (const [index, step] of path.entries()) {
    if (isAlias(node)) node = node.resolve(document);
    if (isSeq(node)) {
      node = node.items[Number(step)];
    } else if (isMap(node)) {
      const pair = node.items.find(item => keyText(item) === String(step)) ?? merged(document, node, String(step));
      if (!pair) return best;
      const isLast = index === path.length - 1;
      // A nested mapping is best shown by the key that opens it, a plain value by itself.
      best = startOf(pair.key) ?? best;
      if (isLast && (at === 'key' || isMap(pair.value) || isSeq(pair.value))) return best;
      node = pair.value;
      if (isMap(node)) continue;
    } else {
      return best;
    }
    best = startOf(node) ?? best;
  }
  return best;
}

/** `<<: *defaults` brings keys that stand elsewhere. */
function merged(document: Document, node: { items: Pair[] }, key: string): Pair | undefined {
  for (const item of node.items) {
    if (keyText(item) !== '<<') continue;
    const sources = isSeq(item.value) ? item.value.items : [item.value];
    for (const source of sources) {
      const map = isAlias(source) ? source.resolve(document) : source;
      const found = isMap(map) ? map.items.find(other => keyText(other) === key) : undefined;
      if (found) return found;
    }
  }
  return undefined;
}

/** The key of `<<: *name` is a symbol when merging is on. */
function keyText({ key }: Pair): string | undefined {
  if (!isScalar(key)) return undefined;
  return typeof key.value === 'symbol' ? key.value.description : String(key.value);
}
const startOf = (node: unknown): number | undefined => (node as Node | null | undefined)?.range?.[0];

/** The library's words are for those who know YAML's grammar; these say what to do. */
function explain(code: string, message: string): string {
  return sentences[code] ?? `this is not YAML: ${message.replace(/ at line .*$/s, '')}`;
}
const sentences: Readonly<Record<string, string>> = {
  TAB_AS_INDENT: 'a tab stands where spaces belong; YAML is indented with spaces only',
  DUPLICATE_KEY: 'this key is written twice in the same block; keep one of them',
  MULTIPLE_DOCS: 'the file holds several documents (---); one file is one configuration',
  BAD_INDENT:
    'the indentation does not fit, or a bracket before is not closed; keys of one block start in the same column',
  MISSING_CHAR: 'a closing bracket, quote or colon is missing here or just before',
  BLOCK_AS_IMPLICIT_KEY: 'two colons on one line; put the value in quotes, or the second key on a line of its own',
  TAG_RESOLVE_FAILED: 'tags (!word) are not used here; write the plain value',
  BAD_ALIAS: 'an alias (*name) needs an anchor (&name) before it; text that starts with * stands in quotes: "*"',
  UNEXPECTED_TOKEN: 'this does not belong here; is a quote, bracket or indentation wrong just before?',
  BAD_SCALAR_START: 'text cannot start with this character; put it in quotes',
};
