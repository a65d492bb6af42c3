// nginx configuration ⇄ directives: includes, blocks and places. Pure: whoever calls it hands in how files are read.
import { Fault } from '../core/fault.ts';
import { type Place, Tokens } from './nginx-tokens.ts';

export type { Place } from './nginx-tokens.ts';

export interface Directive {
  readonly name: string;
  readonly args: readonly string[];
  readonly at: Place;
  /** What stands in its braces. Entries of `map`, `geo` and the like are directives too. */
  readonly block?: readonly Directive[];
  /** The text of a block in another language (`…_by_lua_block`), not looked into. */
  readonly foreign?: string;
}

/** How `include` reaches files. Paths are handed over joined with the configuration's folder. */
export interface Files {
  /** @throws whatever says why it cannot be read; it becomes the cause. */
  read(path: string): string;
  /** Paths that match `*`, `?` and `[…]`, sorted; none is no error. */
  list(pattern: string): readonly string[];
}

export interface NginxConf {
  readonly directives: readonly Directive[];
  /** Every `include` that was followed, and what it brought in. */
  readonly includes: readonly { readonly directive: Directive; readonly files: readonly string[] }[];
}

export interface ParseOptions {
  /** The main file's path; relative includes start at its folder, wherever the `include` stands. */
  readonly file: string;
  readonly text: string;
  readonly files?: Files;
}

const limits = { depth: 64, includes: 32, files: 1000, characters: 8 * 1024 * 1024, directives: 200_000 };

/** @throws Fault `invalid`, worded as nginx's own: `unexpected "}" in nginx.conf:12` */
export function parseNginxConf(options: ParseOptions): NginxConf {
  const parser = new Parser(options);
  const directives = parser.parseFile(options.file, options.text, { chain: [options.file], depth: 0 });
  return { directives, includes: parser.includes };
}

/** Where the parser stands: the files that include each other down to here, and how deep the blocks are. */
interface Level {
  readonly chain: readonly string[];
  readonly depth: number;
}

class Parser {
  readonly includes: { directive: Directive; files: readonly string[] }[] = [];
  readonly #files: Files | undefined;
  readonly #folder: string;
  readonly #total = { characters: 0, files: 0, directives: 0 };

  constructor({ file, files }: ParseOptions) {
    this.#files = files;
    this.#folder = file.includes('/') ? file.slice(0, file.lastIndexOf('/') + 1) : '';
  }

  parseFile(path: string, text: string, level: Level): Directive[] {
    this.#total.characters += text.length;
    this.#total.files += 1;
    if (this.#total.characters > limits.characters || this.#total.files > limits.files) {
      throw new Fault('invalid', `the configuration is larger than ${limits.files} files or 8 MiB, at ${path}`);
    }
    return this.#parseBlock(new Tokens(text, path), level);
  }

  #parseBlock(tokens: Tokens, level: Level, opened?: Place): Directive[] {
    const found: Directive[] = [];
    for (;;) {
      const { words, end, at } = tokens.next();
      if (end === '}') {
        if (!opened) tokens.fail('unexpected "}"', at);
        return found;
      }
      if (end === 'file') {
        if (opened) tokens.fail(`unexpected end of file, expecting "}" for the block opened at line ${opened.line},`);
        return found;
      }
      this.#total.directives += 1;
      if (this.#total.directives > limits.directives) tokens.fail(`more than ${limits.directives} directives`);
      const [name = '', ...args] = words.map(word => word.text);
      const directive = { name, args, at };
      if (end === '{') found.push(this.#openBlock(tokens, directive, level));
      else if (name !== 'include') found.push(directive);
      else for (const one of this.#include(tokens, directive, level)) found.push(one);
    }
  }

  #openBlock(tokens: Tokens, directive: Directive, { chain, depth }: Level): Directive {
    if (/_by_lua_block$/.test(directive.name)) return { ...directive, foreign: tokens.foreignBlock(directive.at) };
    if (depth >= limits.depth) tokens.fail(`blocks are nested deeper than ${limits.depth}`, directive.at);
    return { ...directive, block: this.#parseBlock(tokens, { chain, depth: depth + 1 }, directive.at) };
  }

  #include(tokens: Tokens, directive: Directive, { chain, depth }: Level): Directive[] {
    const { at } = directive;
    const [written, ...rest] = directive.args;
    if (written === undefined || rest.length > 0) {
      return tokens.fail('invalid number of arguments in "include" directive', at);
    }
    const files = this.#files;
    if (!files) return tokens.fail(`include "${written}" cannot be followed here`, at);
    const full = written.startsWith('/') ? written : this.#folder + written;
    const paths = /[*?[]/.test(full) ? files.list(full) : [full];
    this.includes.push({ directive, files: paths });
    return paths.flatMap(path => {
      if (chain.includes(path)) tokens.fail(`include "${path}" includes itself`, at);
      if (chain.length >= limits.includes) tokens.fail(`includes are nested deeper than ${limits.includes}`, at);
      return this.parseFile(path, readOrFail(files, path, at), { chain: [...chain, path], depth });
    });
  }
}

function readOrFail(files: Files, path: string, at: Place): string {
  try {
    return files.read(path);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new Fault('invalid', `cannot open "${path}" (${why}), included in ${at.file}:${at.line}`, { cause });
  }
}

/** Text that parses back to the same directives (their places aside). */
export function formatNginxConf(directives: readonly Directive[], indent = ''): string {
  return directives
    .map(({ name, args, block, foreign }) => {
      const head = indent + [name, ...args].map(formatWord).join(' ');
      if (foreign !== undefined) return `${head} {${foreign}}\n`;
      return block ? `${head} {\n${formatNginxConf(block, `${indent}    `)}${indent}}\n` : `${head};\n`;
    })
    .join('');
}

const formatWord = (text: string): string =>
  /^[\w./:*~^=+,@%-][\w./:*~^=+,@%$-]*$/.test(text) ? text : `"${text.replace(/[\\"]/g, char => `\\${char}`)}"`;

/** `10.0.0.1:${port}` → `['10.0.0.1:', { variable: 'port' }]`. A `$` before anything else is itself, as in a regex. */
export function splitVariables(text: string): readonly (string | { readonly variable: string })[] {
  const parts: (string | { variable: string })[] = [];
  let rest = 0;
  for (const found of text.matchAll(/\$(?:\{(\w+)\}|(\w+))/g)) {
    if (found.index > rest) parts.push(text.slice(rest, found.index));
    parts.push({ variable: found[1] ?? found[2] ?? '' });
    rest = found.index + found[0].length;
  }
  if (rest < text.length) parts.push(text.slice(rest));
  return parts;
}

/** nginx's times: `30`, `30s`, `1h 30m`, `500ms`, `1M` (month), `1y`; a bare number is seconds. `undefined` = not a time. */
export function parseNginxTime(text: string): number | undefined {
  const unit = {
    y: 31_536_000_000,
    M: 2_592_000_000,
    w: 604_800_000,
    d: 86_400_000,
    h: 3_600_000,
    m: 60_000,
    s: 1000,
    ms: 1,
  };
  if (!/^(\d+(y|M|w|d|h|ms|m|s)?\s*)+$/.test(text)) return undefined;
  let total = 0;
  for (const [, count, name] of text.matchAll(/(\d+)(ms|[yMwdhms])?/g)) {
    total += Number(count) * unit[(name ?? 's') as keyof typeof unit];
  }
  return Number.isSafeInteger(total) ? total : undefined;
}

/** nginx's sizes: bytes, or with k, m, g. */
export function parseNginxSize(text: string): number | undefined {
  const parts = /^(\d+)([kmg]?)$/i.exec(text);
  if (!parts) return undefined;
  const size = Number(parts[1]) * 1024 ** ['', 'k', 'm', 'g'].indexOf((parts[2] ?? '').toLowerCase());
  return Number.isSafeInteger(size) ? size : undefined;
}
