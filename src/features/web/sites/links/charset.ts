// Bytes of a document ⇄ characters in which its syntax can be read, whatever its charset; nothing else is ever changed.

export interface Charset {
  /** As many characters of text as of view; see Scanner. */
  decode(bytes: Buffer): { readonly text: string; readonly view: string };
  encode(text: string): Buffer;
}

/** Undefined for charsets in which ASCII cannot be found. */
export function charsetFor(label: string | undefined): Charset | undefined {
  const name = (label ?? 'utf-8').toLowerCase().replace(/[^a-z0-9]/g, '');
  if (/^(shiftjis|sjis|xsjis|windows31j|mskanji|cp932|ms932)$/.test(name))
    return new DoubleByte(0x81, 0x9f, 0xe0, 0xfc);
  if (/^(gbk|gb2312|gb18030|xgbk|big5|big5hkscs|cnbig5|euckr|ksc56011987|windows949|cp949)$/.test(name)) {
    return new DoubleByte(0x81, 0xfe, 0x81, 0xfe);
  }
  if (/^(iso2022jp|csiso2022jp)$/.test(name)) return new Iso2022Jp();
  if (/^utf16(le)?$/.test(name)) return new Utf16('le');
  if (name === 'utf16be') return new Utf16('be');
  if (/^(utf7|hzgb2312|iso2022(kr|cn.*)|utf32.*|ebcdic.*)$/.test(name)) return undefined;
  return single;
}

/** What a document says of itself in its first bytes, when the field said nothing. */
export function charsetWithin(start: Buffer): string | undefined {
  if (start[0] === 0xff && start[1] === 0xfe) return 'utf-16le';
  if (start[0] === 0xfe && start[1] === 0xff) return 'utf-16be';
  const text = start.subarray(0, 1024).toString('latin1');
  return /(?:<meta[^>]{0,200}charset\s*=\s*["']?\s*|^@charset "|^<\?xml[^>]{0,200}encoding\s*=\s*["'])([A-Za-z0-9_:-]+)/i.exec(
    text,
  )?.[1];
}

/** UTF-8, EUC-JP, ISO 8859: a byte below 0x80 is always the character itself. */
const single: Charset = {
  decode(bytes) {
    const text = bytes.toString('latin1');
    return { text, view: text };
  },
  encode: text => Buffer.from(text, 'latin1'),
};

/** The second byte of a character may look like `\` or a letter. */
class DoubleByte implements Charset {
  readonly #isLead: (byte: number) => boolean;
  #pending = false;

  constructor(from: number, to: number, from2: number, to2: number) {
    this.#isLead = byte => (byte >= from && byte <= to) || (byte >= from2 && byte <= to2);
  }
  decode(bytes: Buffer): { text: string; view: string } {
    const seen = Buffer.from(bytes);
    for (let at = 0; at < seen.length; at++) {
      if (this.#pending) {
        seen[at] = 0x80;
        this.#pending = false;
      } else if (this.#isLead(seen[at] ?? 0)) this.#pending = true;
    }
    return { text: bytes.toString('latin1'), view: seen.toString('latin1') };
  }
  encode(text: string): Buffer {
    return Buffer.from(text, 'latin1');
  }
}

/** RFC 1468: between ESC $ B and ESC ( B every byte is half of a character, whatever it looks like. */
class Iso2022Jp implements Charset {
  #escape = '';
  #isAscii = true;

  decode(bytes: Buffer): { text: string; view: string } {
    const seen = Buffer.from(bytes);
    for (let at = 0; at < seen.length; at++) {
      const byte = seen[at] ?? 0;
      if (byte === 0x1b || this.#escape !== '') {
        this.#escape += String.fromCharCode(byte);
        seen[at] = 0x80;
        if (/^\x1b[($][@-~]$|^\x1b\$\([@-~]$/.test(this.#escape)) {
          this.#isAscii = /^\x1b\([BJ]$/.test(this.#escape);
          this.#escape = '';
        } else if (this.#escape.length > 4) this.#escape = '';
      } else if (!this.#isAscii) {
        seen[at] = 0x80;
        if (byte === 0x0a) this.#isAscii = true; // a line begins in ASCII
      }
    }
    return { text: bytes.toString('latin1'), view: seen.toString('latin1') };
  }
  encode(text: string): Buffer {
    return Buffer.from(text, 'latin1');
  }
}

class Utf16 implements Charset {
  readonly #order: 'le' | 'be';
  #odd: Buffer | undefined;

  constructor(order: 'le' | 'be') {
    this.#order = order;
  }
  decode(bytes: Buffer): { text: string; view: string } {
    const all = this.#odd ? Buffer.concat([this.#odd, bytes]) : Buffer.from(bytes);
    const end = all.length & ~1;
    this.#odd = end < all.length ? all.subarray(end) : undefined;
    const even = all.subarray(0, end);
    const text = (this.#order === 'be' ? even.swap16() : even).toString('utf16le');
    return { text, view: text };
  }
  encode(text: string): Buffer {
    const bytes = Buffer.from(text, 'utf16le');
    return this.#order === 'be' ? bytes.swap16() : bytes;
  }
}
