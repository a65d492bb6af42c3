// Addresses in CSS: url(…) and @import. Comments and other strings are left alone.
import { reference } from './reference.ts';
import { Reader } from './scanner.ts';

/** Characters of one address, at most; longer ones are data: and lead nowhere. */
const longest = 8192;

export class CssReader extends Reader {
  #mode: 'data' | 'comment' | 'string' | 'url' | 'import' | 'skip' = 'data';
  #quote = '';

  protected step(): boolean {
    switch (this.#mode) {
      case 'data':
        return this.#data();
      case 'comment': {
        const end = this.view.indexOf('*/', this.at);
        if (end < 0) return this.passBut(1);
        this.#mode = 'data';
        return this.pass(end + 2);
      }
      case 'string':
        return this.#string();
      case 'skip': {
        const end = this.view.indexOf(')', this.at);
        if (end < 0) return this.passBut(0);
        this.#mode = 'data';
        return this.pass(end);
      }
      case 'import':
        return this.#import();
      default:
        return this.#url();
    }
  }

  #data(): boolean {
    const found = this.find(/\/\*|["']|url\(|@import(?![\w-])/gi);
    if (!found) return this.passBut(7);
    const [word] = found;
    if (word.length > 4 && found.index + word.length === this.view.length && !this.isLast) {
      if (found.index > this.at) this.pass(found.index);
      return false;
    }
    this.#quote = word;
    this.#mode = word === '/*' ? 'comment' : word.length === 1 ? 'string' : word[0] === '@' ? 'import' : 'url';
    return this.pass(found.index + word.length);
  }

  #string(): boolean {
    const found = this.find(this.#quote === '"' ? /(?:[^"\\\n]|\\[\s\S])*["\n]/y : /(?:[^'\\\n]|\\[\s\S])*['\n]/y);
    if (!found) return this.holds(longest) ? false : this.passBut(1);
    this.#mode = 'data';
    return this.pass(this.at + found[0].length);
  }

  #import(): boolean {
    const found = this.find(/\s*(?:(["'])([^"'\\\n]*)\1|(?=[^\s"']))/y);
    if (!found) {
      if (this.holds(longest)) return false;
      this.#mode = 'data';
      return true;
    }
    this.#mode = 'data';
    const end = this.at + found[0].length;
    if (found[1] === undefined) return this.pass(end);
    const start = this.at + found[0].indexOf(found[1]) + 1;
    this.pass(start);
    this.put(end - 1, reference(this.text.slice(start, end - 1), this.naming));
    return this.pass(end);
  }

  #url(): boolean {
    const found = this.find(/(\s*)(?:"([^"\\\n]*)"|'([^'\\\n]*)'|([^"'()\s][^"'()\s]*)?)(?=\s*\))/y);
    if (!found) {
      if (this.holds(longest)) return false;
      this.#mode = 'skip';
      return true;
    }
    this.#mode = 'data';
    const quoted = found[2] ?? found[3];
    const start = this.at + (found[1]?.length ?? 0) + (quoted === undefined ? 0 : 1);
    const end = start + (quoted ?? found[4] ?? '').length;
    this.pass(start);
    this.put(end, reference(this.text.slice(start, end), this.naming));
    return true;
  }
}

/** A style attribute. */
export function cssText(text: string, view: string, naming: Reader['naming']): string {
  const reader = new CssReader(naming);
  return reader.push(text, view) + reader.end();
}
