// Addresses in JavaScript and JSON: string literals that are one, from their first character to their last.
import type { Naming } from '../urls.ts';
import { reference } from './reference.ts';
import { Reader } from './scanner.ts';

/** Characters of a literal that is looked into. */
const longest = 8192;

const literals: Readonly<Record<string, RegExp>> = {
  '"': /"(?:[^"\\\n]|\\[\s\S])*"/y,
  "'": /'(?:[^'\\\n]|\\[\s\S])*'/y,
  '`': /`(?:[^`\\]|\\[\s\S])*`/y,
};
/** After these words and signs a slash begins a regular expression; after others it divides. */
const beforeRegex =
  /(?:^|[([{,;=:!&|?+\-*%~^<>]|\b(?:return|typeof|case|in|of|delete|void|throw|new|else|do|await|yield))\s*$/;

export class ScriptReader extends Reader {
  #mode: 'code' | 'line' | 'block' | 'long' = 'code';
  /** The end of the code so far, as much as tells whether a slash divides. */
  #before = '';
  #quote = '';

  protected step(): boolean {
    switch (this.#mode) {
      case 'code':
        return this.#code();
      case 'line': {
        const end = this.view.indexOf('\n', this.at);
        if (end < 0) return this.passBut(0);
        this.#mode = 'code';
        return this.pass(end);
      }
      case 'block': {
        const end = this.view.indexOf('*/', this.at);
        if (end < 0) return this.passBut(1);
        this.#mode = 'code';
        return this.pass(end + 2);
      }
      default:
        return this.#long();
    }
  }

  #code(): boolean {
    const found = this.find(/["'`/]/g);
    const end = found?.index ?? this.view.length;
    if (end > this.at) {
      this.#remember(this.view.slice(Math.max(this.at, end - 16), end));
      this.pass(end);
    }
    if (!found) return false;
    const [sign] = found;
    return sign === '/' ? this.#slash() : this.#literal(sign);
  }

  #literal(quote: string): boolean {
    const found = this.find(literals[quote] as RegExp);
    if (!found) {
      const hasEnd = quote !== '`' && this.view.indexOf('\n', this.at) >= 0;
      if (!hasEnd && this.holds(longest)) return false;
      this.#before = quote;
      // A quote on a line without its other one opens nothing; a literal that long is no address.
      if (!hasEnd) {
        this.#mode = 'long';
        this.#quote = quote;
      }
      return this.pass(this.at + 1);
    }
    this.#before = quote;
    const end = this.at + found[0].length;
    if (found[0].length > longest) return this.pass(end);
    const [start, stop] = [this.at + 1, end - 1];
    this.pass(start);
    this.put(stop, literal(this.text.slice(start, stop), this.naming));
    return this.pass(end);
  }

  #slash(): boolean {
    const next = this.view[this.at + 1];
    if (next === undefined && !this.isLast) return false;
    if (next === '/' || next === '*') {
      this.#mode = next === '/' ? 'line' : 'block';
      return this.pass(this.at + 2);
    }
    if (beforeRegex.test(this.#before)) {
      const found = this.find(/\/(?:[^\\/[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/[a-z]*/y);
      if (found) {
        this.#before = ')';
        return this.pass(this.at + found[0].length);
      }
      if (this.view.indexOf('\n', this.at) < 0 && this.holds(2048)) return false;
    }
    this.#before = '/';
    return this.pass(this.at + 1);
  }

  #long(): boolean {
    const found = this.find(
      this.#quote === '`' ? /\\[\s\S]|`/g : this.#quote === '"' ? /\\[\s\S]|["\n]/g : /\\[\s\S]|['\n]/g,
    );
    if (!found) return this.passBut(1);
    if (found[0].length === 1) this.#mode = 'code';
    return this.pass(found.index + found[0].length);
  }

  #remember(text: string): void {
    this.#before = (this.#before + text).slice(-16);
  }
}

/** Without blanks before the first thing that is put in: a sentence that begins with an address is no address. */
const literal = (text: string, naming: Naming): string =>
  /^(?:(?:https?|wss?):)?\\?\/\\?\//i.test(text) && !/\s/.test(text.split('${')[0] ?? '')
    ? reference(text, naming)
    : text;

/** An event handler. */
export function scriptText(text: string, view: string, naming: Naming): string {
  const reader = new ScriptReader(naming);
  return reader.push(text, view) + reader.end();
}
