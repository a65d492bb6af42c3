// Addresses in HTML and XML: attributes that hold one, style sheets, scripts. What people read is left alone.
import { refresh } from '../fields.ts';
import type { Naming } from '../urls.ts';
import { CssReader, cssText } from './css.ts';
import { reference } from './reference.ts';
import { Reader, type Scanner } from './scanner.ts';
import { ScriptReader, scriptText } from './script.ts';

/** Characters of an attribute that is looked into. */
const longest = 16_384;

type Kind = 'none' | 'url' | 'urls' | 'srcset' | 'style' | 'script' | 'content' | 'type';

const urls = new Set(
  (
    'href src action formaction poster cite background longdesc manifest data codebase profile icon xlink:href lowsrc ' +
    'dynsrc data-src data-href data-url'
  ).split(' '),
);
const lists: Readonly<Record<string, Kind>> = {
  srcset: 'srcset',
  imagesrcset: 'srcset',
  'data-srcset': 'srcset',
  ping: 'urls',
  style: 'style',
};

function kindOf(tag: string, name: string): Kind {
  if (urls.has(name)) return name === 'data' && tag !== 'object' ? 'none' : 'url';
  if (Object.hasOwn(lists, name)) return lists[name] as Kind;
  if (name.startsWith('on')) return 'script';
  if (tag === 'meta' && name === 'content') return 'content';
  return tag === 'script' && name === 'type' ? 'type' : 'none';
}

const rewriters: Readonly<
  Record<Exclude<Kind, 'none' | 'type'>, (text: string, view: string, naming: Naming) => string>
> = {
  url: (text, _, naming) => reference(text, naming),
  urls: (text, _, naming) => text.replace(/\S+/g, word => reference(word, naming)),
  srcset: (text, _, naming) =>
    text.replace(/(^|,\s*|\s)(\S+)/g, (_all, gap: string, word: string) => gap + reference(word, naming)),
  style: cssText,
  script: scriptText,
  // <meta http-equiv=refresh content="5; url=…">
  content: (text, _, naming) => (/^\s*\d+(\.\d+)?\s*[;,]\s*url\s*=/i.test(text) ? refresh(text, naming) : text),
};

/** Elements whose content is no markup. */
const raw = new Set(['script', 'style', 'textarea', 'title', 'xmp', 'iframe', 'noembed', 'noframes', 'plaintext']);
/** Elements of XML whose content is an address: WebDAV's href, a sitemap's loc, a feed's link. */
const linked = new Set(['href', 'loc', 'link']);

export class HtmlReader extends Reader {
  readonly #isXml: boolean;
  #mode: 'data' | 'comment' | 'declaration' | 'attributes' | 'value' | 'raw' | 'text' = 'data';
  #tag = '';
  #type = '';
  #kind: Kind = 'none';
  #quote = '';
  #inner: Scanner | undefined;

  constructor(naming: Naming, syntax: 'html' | 'xml') {
    super(naming);
    this.#isXml = syntax === 'xml';
  }

  protected step(): boolean {
    switch (this.#mode) {
      case 'data':
        return this.#data();
      case 'comment':
        return this.#until('-->', 'data');
      case 'declaration':
        return this.#until('>', 'data');
      case 'attributes':
        return this.#attributes();
      case 'value':
        return this.#value();
      case 'text':
        return this.#linkText();
      default:
        return this.#raw();
    }
  }

  #until(mark: string, next: 'data'): boolean {
    const end = this.view.indexOf(mark, this.at);
    if (end < 0) return this.passBut(mark.length - 1);
    this.#mode = next;
    return this.pass(end + mark.length);
  }

  #data(): boolean {
    const open = this.view.indexOf('<', this.at);
    if (open < 0) return this.passBut(0);
    if (open > this.at) this.pass(open);
    const found = this.find(/<(?:!--|[!?/]|([A-Za-z][^\s/>]*)(?=[\s/>]))/y);
    if (!found || (found[0] === '<!' && this.holds(4))) {
      return this.holds(256) && /^<(?:!-?|[A-Za-z][^\s/>]*)?$/.test(this.view.slice(this.at, this.at + 256))
        ? false
        : this.pass(this.at + 1);
    }
    const [all, tag] = found;
    this.#mode = all === '<!--' ? 'comment' : tag === undefined ? 'declaration' : 'attributes';
    this.#tag = tag?.toLowerCase() ?? '';
    this.#type = '';
    return this.pass(this.at + all.length);
  }

  #attributes(): boolean {
    const gap = this.find(/[\s/]+/y);
    if (gap) return this.pass(this.at + gap[0].length);
    if (this.view[this.at] === '>') {
      const end = this.pass(this.at + 1);
      this.#enter(this.view[this.at - 2] === '/');
      return end;
    }
    const found = this.find(/([^\s"'<>/=][^\s/>=]*)(?=[\s/>=])(?:\s*=\s*(?=[^\s])|\s*(?=[^\s=]))/y);
    if (!found) return this.holds(2048) ? false : this.pass(this.at + 1);
    const [all, name = ''] = found;
    const end = this.at + all.length;
    if (!/=\s*$/.test(all)) return this.pass(this.at + name.length);
    const sign = this.view[end] ?? '';
    this.#quote = sign === '"' || sign === "'" ? sign : '';
    this.#kind = kindOf(this.#tag, name.toLowerCase());
    this.#mode = 'value';
    return this.pass(end + this.#quote.length);
  }

  #value(): boolean {
    const end = this.#quote === '' ? (this.find(/[\s>]/g)?.index ?? -1) : this.view.indexOf(this.#quote, this.at);
    if (end < 0) {
      if (this.#kind !== 'none' && this.holds(longest)) return false;
      this.#kind = 'none';
      return this.passBut(0);
    }
    const [text, view] = [this.text.slice(this.at, end), this.view.slice(this.at, end)];
    const kind = this.#kind;
    this.#mode = 'attributes';
    if (kind === 'type') this.#type = text.toLowerCase();
    if (kind === 'none' || kind === 'type') this.pass(end);
    else this.put(end, rewriters[kind](text, view, this.naming));
    return this.pass(end + this.#quote.length);
  }

  #enter(isClosed: boolean): void {
    const tag = this.#tag;
    this.#mode = 'data';
    if (this.#isXml) {
      if (!isClosed && linked.has(tag.replace(/^.*:/, ''))) this.#mode = 'text';
      return;
    }
    if (!raw.has(tag)) return;
    this.#mode = 'raw';
    const isScript = tag === 'script' && /^\s*$|javascript|ecmascript|module|json|importmap/.test(this.#type);
    this.#inner = tag === 'style' ? new CssReader(this.naming) : isScript ? new ScriptReader(this.naming) : undefined;
  }

  #linkText(): boolean {
    const end = this.view.indexOf('<', this.at);
    if (end < 0 && this.holds(4096)) return false;
    this.#mode = 'data';
    if (end < 0) return true;
    return this.put(end, reference(this.text.slice(this.at, end), this.naming));
  }

  #raw(): boolean {
    const found = this.find(new RegExp(`</${this.#tag}(?=[\\s/>])`, 'gi'));
    const end = found?.index ?? (this.isLast ? this.view.length : this.view.length - this.#tag.length - 2);
    if (end > this.at) {
      const [text, view] = [this.text.slice(this.at, end), this.view.slice(this.at, end)];
      this.put(end, this.#inner ? this.#inner.push(text, view) : text);
    }
    if (!found && !this.isLast) return false;
    if (this.#inner) this.put(this.at, this.#inner.end());
    this.#inner = undefined;
    this.#mode = 'data';
    return found !== null;
  }
}
