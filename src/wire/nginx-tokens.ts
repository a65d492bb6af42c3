// The words of an nginx configuration file, read exactly as nginx's own reader does (ngx_conf_read_token).
import { Fault } from '../core/fault.ts';

/** Where something stands; line and column count from 1. */
export interface Place {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** A statement's words and how it ends: `;`, `{`, a lone `}`, or the end of the file. */
export interface Statement {
  readonly words: readonly Word[];
  readonly end: ';' | '{' | '}' | 'file';
  readonly at: Place;
}

export interface Word {
  /** Quotes taken off, escapes resolved, variables still written as `$name` or `${name}`. */
  readonly text: string;
  readonly at: Place;
}

/** nginx reads through a buffer of 4096 bytes; a longer parameter is an error there too. */
const longestParameter = 4096;
/** Protects the importer, not a limit of nginx's. */
const mostWords = 4096;

const isSpace = (char: string): boolean => char === ' ' || char === '\t' || char === '\r' || char === '\n';
const escapes: Record<string, string> = { '"': '"', "'": "'", '\\': '\\', t: '\t', r: '\r', n: '\n' };

/** Reads statements one by one; knows nothing of blocks. @throws Fault `invalid`, worded as nginx's own errors */
export class Tokens {
  readonly #text: string;
  readonly #file: string;
  #index = 0;
  #line = 1;
  #lineStart = 0;

  constructor(text: string, file: string) {
    this.#text = text.startsWith('\uFEFF') ? text.slice(1) : text;
    this.#file = file;
  }

  get place(): Place {
    return { file: this.#file, line: this.#line, column: this.#index - this.#lineStart + 1 };
  }

  /** @throws Fault `invalid`: `<message> in <file>:<line>` */
  fail(message: string, at: Place = this.place): never {
    throw new Fault('invalid', `${message} in ${at.file}:${at.line}`, { facts: { ...at } });
  }

  next(): Statement {
    const words: Word[] = [];
    for (;;) {
      this.#skipSpaceAndComments();
      const at = this.place;
      const char = this.#text[this.#index];
      const start = words[0]?.at ?? at;
      if (char === undefined) {
        if (words.length > 0) this.fail('unexpected end of file, expecting ";" or "}"');
        return { words, end: 'file', at };
      }
      if (char === ';' || char === '{') {
        if (words.length === 0) this.fail(`unexpected "${char}"`);
        this.#take();
        return { words, end: char, at: start };
      }
      if (char === '}') {
        if (words.length > 0) this.fail('unexpected "}"');
        this.#take();
        return { words, end: '}', at };
      }
      if (words.length >= mostWords) this.fail(`more than ${mostWords} parameters in one directive`);
      words.push({ text: char === '"' || char === "'" ? this.#quoted(char, at) : this.#bare(at), at });
    }
  }

  /**
   * The text up to the brace that closes a block in another language: Lua's strings, long brackets and comments are
   * stepped over, so that a brace in them does not count.
   */
  foreignBlock(at: Place): string {
    const start = this.#index;
    const piece =
      /--\[(=*)\[[\s\S]*?\]\1\]|--[^\n]*|\[(=*)\[[\s\S]*?\]\2\]|"(?:\\[\s\S]|[^"\\])*"|'(?:\\[\s\S]|[^'\\])*'|[{}]/g;
    piece.lastIndex = start;
    let depth = 1;
    for (let found = piece.exec(this.#text); found; found = piece.exec(this.#text)) {
      if (found[0] === '{') depth += 1;
      if (found[0] === '}') depth -= 1;
      if (depth > 0) continue;
      while (this.#index < piece.lastIndex) this.#take();
      return this.#text.slice(start, piece.lastIndex - 1);
    }
    return this.fail('unexpected end of file, expecting "}"', at);
  }

  #take(): string {
    const char = this.#text[this.#index] ?? '';
    this.#index += 1;
    if (char === '\n') {
      this.#line += 1;
      this.#lineStart = this.#index;
    }
    return char;
  }

  #skipSpaceAndComments(): void {
    for (let char = this.#text[this.#index]; char !== undefined; char = this.#text[this.#index]) {
      if (char === '#') while (this.#index < this.#text.length && this.#text[this.#index] !== '\n') this.#take();
      else if (isSpace(char)) this.#take();
      else return;
    }
  }

  #quoted(quote: string, at: Place): string {
    this.#take();
    const start = this.#index;
    for (;;) {
      const char = this.#text[this.#index];
      if (char === undefined) this.fail('unexpected end of file, expecting ";" or "}"');
      if (this.#index - start >= longestParameter) {
        this.fail(`too long parameter, probably missing terminating "${quote}" character`, at);
      }
      this.#take();
      if (char === '\\') this.#take();
      else if (char === quote) break;
    }
    const text = resolveEscapes(this.#text.slice(start, this.#index - 1));
    const next = this.#text[this.#index];
    // After a closing quote only a separator may stand; nginx lets `)` begin a word there, and so do we.
    if (next !== undefined && !isSpace(next) && next !== ';' && next !== '{' && next !== ')') {
      this.fail(`unexpected "${next}"`);
    }
    return text;
  }

  /** Quotes, `#` and `}` inside a bare word are ordinary characters; `${` does not open a block. */
  #bare(at: Place): string {
    const start = this.#index;
    for (let variable = false; ; ) {
      const char = this.#text[this.#index];
      if (char === undefined) this.fail('unexpected end of file, expecting ";" or "}"');
      const opensVariable = char === '{' && variable;
      // nginx's flag survives `${`, so `${{` is still inside the word.
      if (!opensVariable) {
        variable = char === '$';
        if (isSpace(char) || char === ';' || char === '{') break;
      }
      if (this.#index - start >= longestParameter) {
        this.fail(`too long parameter "${this.#text.slice(start, start + 10)}..." started`, at);
      }
      this.#take();
      if (char === '\\') this.#take();
    }
    return resolveEscapes(this.#text.slice(start, this.#index));
  }
}

/** `\"`, `\'`, `\\`, `\t`, `\r` and `\n` are escapes; a backslash before anything else stays (regular expressions). */
function resolveEscapes(text: string): string {
  return text.replace(/\\(["'\\trn])/g, (_, char: string) => escapes[char] ?? char);
}
