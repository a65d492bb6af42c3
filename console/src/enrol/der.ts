// Writes DER, as far as a signing request and a PKCS#12 file need it (X.690 §8, §10).
export type Bytes = Uint8Array<ArrayBuffer>;

export function join(...parts: readonly Uint8Array[]): Bytes {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** tag, length in the shortest form, contents */
export function tlv(tag: number, ...contents: readonly Uint8Array[]): Bytes {
  const body = join(...contents);
  const size: number[] = [];
  for (let rest = body.length; rest > 0; rest = Math.floor(rest / 256)) size.unshift(rest % 256);
  const length = body.length < 128 ? [body.length] : [0x80 | size.length, ...size];
  return join(Uint8Array.of(tag, ...length), body);
}

export const sequence = (...parts: readonly Uint8Array[]): Bytes => tlv(0x30, ...parts);
/** DER sorts what is in a SET OF (X.690 §11.6). */
export const setOf = (...parts: readonly Uint8Array[]): Bytes => tlv(0x31, ...[...parts].sort(compare));
export const octets = (bytes: Uint8Array): Bytes => tlv(0x04, bytes);
export const bits = (bytes: Uint8Array): Bytes => tlv(0x03, Uint8Array.of(0), bytes);
export const nothing = (): Bytes => tlv(0x05);
export const utf8 = (text: string): Bytes => tlv(0x0c, new TextEncoder().encode(text));
/** `[n] EXPLICIT` */
export const tagged = (n: number, ...parts: readonly Uint8Array[]): Bytes => tlv(0xa0 | n, ...parts);

/** A whole number that is not negative. */
export function integer(value: number): Bytes {
  const bytes: number[] = [];
  for (let rest = value; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256);
  const first = bytes[0] ?? 0;
  return tlv(0x02, Uint8Array.from(bytes.length === 0 || first >= 0x80 ? [0, ...bytes] : bytes));
}

/** `1.2.840.113549`: the first two arcs in one byte, the others in base 128. */
export function oid(text: string): Bytes {
  const [first = 0, second = 0, ...rest] = text.split('.').map(Number);
  const arc = (value: number): number[] => {
    const groups = [value % 128];
    for (let more = Math.floor(value / 128); more > 0; more = Math.floor(more / 128))
      groups.unshift(0x80 | (more % 128));
    return groups;
  };
  return tlv(0x06, Uint8Array.from([40 * first + second, ...rest.flatMap(arc)]));
}

/** UCS-2, big-endian, as PKCS#12 wants names and passwords. */
export const utf16 = (text: string): Bytes =>
  Uint8Array.from([...Array(text.length).keys()].flatMap(i => [text.charCodeAt(i) >> 8, text.charCodeAt(i) & 0xff]));

/** The bytes of each block of this label. */
export function fromPem(text: string, label: string): Bytes[] {
  const blocks = text.matchAll(new RegExp(`-----BEGIN ${label}-----([^-]+)-----END ${label}-----`, 'g'));
  return [...blocks].map(([, body = '']) => fromBase64(body));
}

export function toPem(label: string, der: Uint8Array): string {
  const lines = toBase64(der).match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
}

export const fromBase64 = (text: string): Bytes =>
  Uint8Array.from(atob(text.replace(/\s/g, '')), letter => letter.charCodeAt(0));
export const toBase64 = (bytes: Uint8Array): string =>
  btoa(Array.from(bytes, byte => String.fromCharCode(byte)).join(''));

function compare(a: Uint8Array, b: Uint8Array): number {
  for (let i = 0; i < Math.min(a.length, b.length); i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}
