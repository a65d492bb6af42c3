// Reads DER without building trees: a value is a window on the bytes. Bounded, iterative, and hostile input throws only `protocol` Faults.
import { Fault } from '../core/fault.ts';

/**
 * One tag–length–value (X.690 §8.1):
 *
 *     bytes[start] tag   bytes[start+1…] length   bytes[body…end) contents
 */
export interface Der {
  readonly bytes: Uint8Array;
  readonly tag: number;
  readonly start: number;
  readonly body: number;
  readonly end: number;
}

/** Universal tags as they stand in the identifier octet; context tags are 0x80+n (primitive) and 0xa0+n (constructed). */
export const tags = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  enumerated: 0x0a,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

/** Reads the value that starts at `at`. @throws Fault `protocol` */
export function readDer(bytes: Uint8Array, at = 0, limit: number = bytes.length): Der {
  const tag = bytes[at];
  const first = bytes[at + 1];
  if (at + 2 > limit || tag === undefined || first === undefined) throw broken('it ends too early');
  if ((tag & 0x1f) === 0x1f) throw broken('it uses a long tag'); // nothing in X.509 does
  let length = first;
  let body = at + 2;
  if (first >= 0x80) {
    const count = first & 0x7f;
    // 0x80 is the indefinite length, which DER forbids (X.690 §10.1); over four bytes cannot be true.
    if (count === 0 || count > 4 || body + count > limit) throw broken('a length is wrong');
    length = 0;
    for (let i = 0; i < count; i += 1) length = length * 256 + (bytes[body + i] ?? 0);
    body += count;
  }
  if (length > limit - body) throw broken('a length reaches past the end');
  return { bytes, tag, start: at, body, end: body + length };
}

/** Reads the one value that fills `bytes` entirely. */
export function readWhole(bytes: Uint8Array, tag: number): Der {
  const value = expectTag(readDer(bytes), tag);
  if (value.end !== bytes.length) throw broken('there are bytes after it');
  return value;
}

/** The values inside a constructed value, one after the other. */
export function* each(parent: Der): Generator<Der, void> {
  for (let at = parent.body; at < parent.end; ) {
    const child = readDer(parent.bytes, at, parent.end);
    yield child;
    at = child.end;
  }
}

/** The values inside, as a list of at most `limit`. */
export function children(parent: Der, limit = 64): readonly Der[] {
  const list: Der[] = [];
  for (const child of each(parent)) {
    if (list.length === limit) throw broken('it holds too many values');
    list.push(child);
  }
  return list;
}

export function expectTag(value: Der | undefined, tag: number): Der {
  if (value?.tag !== tag) throw broken('a field is missing or has the wrong type');
  return value;
}

/** The contents. */
export const contents = (value: Der): Uint8Array => value.bytes.subarray(value.body, value.end);
/** Tag, length and contents. */
export const encoded = (value: Der): Uint8Array => value.bytes.subarray(value.start, value.end);

/** `2.5.4.3`. */
export function oidOf(value: Der): string {
  const bytes = contents(expectTag(value, tags.oid));
  if (bytes.length === 0 || bytes.length > 64) throw broken('an object identifier is wrong');
  const arcs: number[] = [];
  let arc = 0;
  for (const [i, byte] of bytes.entries()) {
    arc = arc * 128 + (byte & 0x7f);
    if (arc > Number.MAX_SAFE_INTEGER / 256) throw broken('an object identifier is too large');
    if (byte & 0x80) {
      if (i === bytes.length - 1) throw broken('an object identifier ends too early');
      continue;
    }
    if (arcs.length === 0) {
      const top = Math.min(2, Math.floor(arc / 40));
      arcs.push(top, arc - top * 40);
    } else arcs.push(arc);
    arc = 0;
  }
  return arcs.join('.');
}

/** An integer's bytes in hex, lower case, without the sign's padding; a negative one keeps its bytes. */
export function integerHex(value: Der): string {
  const bytes = contents(expectTag(value, tags.integer));
  if (bytes.length === 0 || bytes.length > 64) throw broken('a number is wrong');
  return Buffer.from(bytes[0] === 0 && bytes.length > 1 ? bytes.subarray(1) : bytes).toString('hex');
}

/** UTCTime or GeneralizedTime in the only forms RFC 5280 §4.1.2.5 allows: with seconds, in UTC, without fractions. */
export function timeOf(value: Der): Date {
  const text = Buffer.from(contents(value)).toString('latin1');
  const parts = value.tag === tags.utcTime ? utcTime.exec(text) : generalizedTime.exec(text);
  if (!parts || (value.tag !== tags.utcTime && value.tag !== tags.generalizedTime)) throw broken('a time is wrong');
  const [, year = '', month, day, hour, minute, second] = parts;
  // Two digits: 50–99 are 19xx, 00–49 are 20xx (§4.1.2.5.1).
  const full = year.length === 4 ? Number(year) : Number(year) + (Number(year) >= 50 ? 1900 : 2000);
  const date = new Date(0);
  date.setUTCFullYear(full, Number(month) - 1, Number(day));
  date.setUTCHours(Number(hour), Number(minute), Number(second));
  if (date.getUTCMonth() !== Number(month) - 1 || date.getUTCDate() !== Number(day)) throw broken('a time is wrong');
  return date;
}
const utcTime = /^(\d{2})(\d{2})(\d{2})([01]\d|2[0-3])([0-5]\d)([0-5]\d)Z$/;
const generalizedTime = /^(\d{4})(\d{2})(\d{2})([01]\d|2[0-3])([0-5]\d)([0-5]\d)Z$/;

/** The bytes of a BIT STRING that is a whole number of bytes. */
export function bitsOf(value: Der): Uint8Array {
  const bytes = contents(expectTag(value, tags.bitString));
  if (bytes.length === 0) throw broken('a bit string is empty');
  return bytes.subarray(1);
}

/** Text of any of the string types that certificates use, normalized to NFC. */
export function textOf(value: Der): string {
  const bytes = contents(value);
  if (bytes.length > 4096) throw broken('a text is too long');
  const decode = decoders[value.tag];
  if (!decode) throw broken('a text has an unknown type');
  return decode(bytes).normalize('NFC');
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const decoders: Record<number, (bytes: Uint8Array) => string> = {
  12: bytes => {
    try {
      return utf8.decode(bytes);
    } catch (cause) {
      throw broken('a text is not UTF-8', cause);
    }
  },
  18: ascii, // NumericString
  19: ascii, // PrintableString
  22: ascii, // IA5String
  26: ascii, // VisibleString
  // TeletexString (T.61): nobody writes the real thing; every tool reads and writes Latin-1, so does this.
  20: bytes => Buffer.from(bytes).toString('latin1'),
  // BMPString: two bytes a character, high byte first.
  30: bytes => {
    if (bytes.length % 2 !== 0) throw broken('a BMPString has an odd length');
    const text = Buffer.from(bytes).swap16().toString('utf16le');
    if (!text.isWellFormed()) throw broken('a BMPString has half a character');
    return text;
  },
  // UniversalString: four bytes a character.
  28: bytes => {
    if (bytes.length % 4 !== 0) throw broken('a UniversalString has a wrong length');
    const view = Buffer.from(bytes);
    let text = '';
    for (let at = 0; at < view.length; at += 4) {
      const point = view.readUInt32BE(at);
      if (point > 0x10ffff || (point >= 0xd800 && point < 0xe000)) throw broken('a UniversalString is wrong');
      text += String.fromCodePoint(point);
    }
    return text;
  },
};

function ascii(bytes: Uint8Array): string {
  for (const byte of bytes) if (byte >= 0x80) throw broken('a text holds bytes that its type does not allow');
  return Buffer.from(bytes).toString('latin1');
}

/** The Fault for anything that is not the DER it should be. */
export function broken(why: string, cause?: unknown): Fault {
  return new Fault('protocol', `the certificate data cannot be read: ${why}`, cause === undefined ? {} : { cause });
}
