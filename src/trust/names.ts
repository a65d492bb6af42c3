// Distinguished names and subject alternative names, parsed from DER. A printed name is never looked at.
import { isIP, SocketAddress } from 'node:net';
import { broken, children, contents, type Der, each, expectTag, oidOf, tags, textOf } from './der.ts';

/** A distinguished name: its attributes in order, and a form under which equal names are equal strings. */
export interface DistinguishedName {
  readonly attributes: readonly { readonly oid: string; readonly value: string }[];
  /**
   * For comparing (RFC 5280 §7.1 as OpenSSL does it): order of RDNs kept, values lower-cased with their white space
   * folded, so that the same name written as PrintableString or UTF8String is one name.
   */
  readonly canonical: string;
}

/** The attribute types that rules know, and the others we print. */
export const attributeOids = {
  cn: '2.5.4.3',
  ou: '2.5.4.11',
  o: '2.5.4.10',
  c: '2.5.4.6',
} as const;

/**
 *     Name ::= SEQUENCE OF SET OF SEQUENCE { type OID, value ANY }      (RFC 5280 §4.1.2.4)
 *
 * A SET with several entries is a multi-valued RDN (`CN=a+OU=b`): both count. A value is data: a CN that reads
 * `x,OU=y` is a CN.
 */
export function parseName(name: Der): DistinguishedName {
  const attributes: { oid: string; value: string }[] = [];
  const canonical: string[] = [];
  for (const rdn of children(expectTag(name, tags.sequence), 128)) {
    const parts: string[] = [];
    for (const pair of children(expectTag(rdn, tags.set), 32)) {
      const [type, value] = children(expectTag(pair, tags.sequence), 2);
      if (!type || !value) throw broken('a name is incomplete');
      const oid = oidOf(type);
      // Types we do not know may hold any ANY; only their bytes are compared.
      const text = isText(value) ? textOf(value) : undefined;
      if (text !== undefined) attributes.push({ oid, value: text });
      parts.push(JSON.stringify([oid, text === undefined ? [...contents(value)] : fold(text)]));
    }
    canonical.push(parts.sort().join('+'));
  }
  return { attributes, canonical: canonical.join('/') };
}

/** All values of one attribute type, in order. */
export function valuesOf(name: DistinguishedName, oid: string): readonly string[] {
  return name.attributes.filter(attribute => attribute.oid === oid).map(attribute => attribute.value);
}

/**
 *     GeneralNames ::= SEQUENCE OF CHOICE { [1] email, [2] DNS, [6] URI (all IA5String), [7] IP (4 or 16 bytes), … }
 *
 * Values carry their kind as in OpenSSL's configuration: `DNS:a.example`, `email:a@example.com`, `URI:…`, `IP:10.0.0.1`.
 * Other kinds are left out. (RFC 5280 §4.2.1.6)
 */
export function parseAlternativeNames(names: Der): readonly string[] {
  const values: string[] = [];
  for (const name of each(expectTag(names, tags.sequence))) {
    if (values.length === 1024) throw broken('it holds too many names');
    const kind = kinds[name.tag];
    if (kind) values.push(`${kind}:${textOf({ ...name, tag: 22 })}`);
    else if (name.tag === 0x87) values.push(`IP:${addressOf(contents(name))}`);
  }
  return values;
}
const kinds: Record<number, string> = { 129: 'email', 130: 'DNS', 134: 'URI' };

function addressOf(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join('.');
  if (bytes.length !== 16) throw broken('an IP address has a wrong length');
  const groups = Array.from({ length: 8 }, (_, i) =>
    Buffer.from(bytes)
      .readUInt16BE(i * 2)
      .toString(16),
  );
  return new SocketAddress({ address: groups.join(':'), family: 'ipv6' }).address;
}

/** The bytes of an IP address in a certificate: 4 or 16. */
export function addressBytes(text: string): Uint8Array {
  if (isIP(text) === 4) return Uint8Array.from(text.split('.'), Number);
  const [head = '', tail] = text.replace(/%.*$/, '').split('::');
  const groups = (part: string): string[] => (part === '' ? [] : part.split(':').flatMap(dotted));
  const front = groups(head);
  const back = tail === undefined ? [] : groups(tail);
  const all = [...front, ...Array<string>(8 - front.length - back.length).fill('0'), ...back];
  return Uint8Array.from(all.flatMap(group => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 255]));
}
const dotted = (group: string): string[] => {
  if (!group.includes('.')) return [group];
  const [a = 0, b = 0, c = 0, d = 0] = group.split('.').map(Number);
  return [((a << 8) | b).toString(16), ((c << 8) | d).toString(16)];
};

const textTags = new Set([12, 18, 19, 20, 22, 26, 28, 30]);
const isText = (value: Der): boolean => textTags.has(value.tag);
const fold = (text: string): string => text.trim().replace(/\s+/g, ' ').toLowerCase();
