// What a certificate says, read from its DER. Nothing here decides whether it may be believed.
import { createHash } from 'node:crypto';
import {
  broken,
  children,
  contents,
  type Der,
  each,
  encoded,
  expectTag,
  integerHex,
  oidOf,
  readWhole,
  tags,
  timeOf,
} from './der.ts';
import { type DistinguishedName, parseAlternativeNames, parseName } from './names.ts';

export interface CertificateFacts {
  readonly der: Uint8Array;
  /** SHA-256 of the DER, hex, lower case. */
  readonly fingerprint: string;
  /** Hex, lower case, without the sign's padding. */
  readonly serial: string;
  readonly issuer: DistinguishedName;
  readonly subject: DistinguishedName;
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly alternativeNames: readonly string[];
  /** Extended key usages, OIDs; undefined = the certificate does not say (any). */
  readonly usages: readonly string[] | undefined;
  /** SubjectPublicKeyInfo, DER. */
  readonly publicKey: Uint8Array;
}

export const usageOids = {
  server: '1.3.6.1.5.5.7.3.1',
  client: '1.3.6.1.5.5.7.3.2',
  any: '2.5.29.37.0',
} as const;

/** Longer ones are refused unread. */
const longest = 64 * 1024;

export const fingerprintOf = (der: Uint8Array): string => createHash('sha256').update(der).digest('hex');

/**
 *     Certificate ::= SEQUENCE { tbs, signatureAlgorithm, signature }
 *     tbs ::= SEQUENCE { [0] version, serial, signature, issuer, validity, subject, publicKey, [1], [2], [3] extensions }
 *
 * (RFC 5280 §4.1) @throws Fault `protocol`
 */
export function parseCertificate(der: Uint8Array): CertificateFacts {
  if (der.length > longest) throw broken('it is longer than 64 KiB');
  const [tbs] = children(readWhole(der, tags.sequence), 3);
  const fields = children(expectTag(tbs, tags.sequence), 10);
  const first = fields[0]?.tag === 0xa0 ? 1 : 0; // version is absent in v1
  const [serial, , issuer, validity, subject, publicKey, ...rest] = fields.slice(first);
  const [notBefore, notAfter] = children(expectTag(validity, tags.sequence), 2);
  if (!serial || !issuer || !notBefore || !notAfter || !subject) throw broken('a field is missing');
  const extensions = extensionsOf(rest.find(field => field.tag === 0xa3));
  const names = extensions.get('2.5.29.17');
  const usages = extensions.get('2.5.29.37');
  return {
    der,
    fingerprint: fingerprintOf(der),
    serial: integerHex(serial),
    issuer: parseName(issuer),
    subject: parseName(subject),
    notBefore: timeOf(notBefore),
    notAfter: timeOf(notAfter),
    alternativeNames: names ? parseAlternativeNames(readWhole(names.value, tags.sequence)) : [],
    usages: usages ? children(readWhole(usages.value, tags.sequence)).map(oidOf) : undefined,
    publicKey: encoded(expectTag(publicKey, tags.sequence)),
  };
}

export interface Extension {
  readonly critical: boolean;
  readonly value: Uint8Array;
}

/** `[n] EXPLICIT SEQUENCE OF SEQUENCE { OID, critical BOOLEAN DEFAULT FALSE, OCTET STRING }`, by OID; twice is refused. */
export function extensionsOf(wrapper: Der | undefined): ReadonlyMap<string, Extension> {
  const extensions = new Map<string, Extension>();
  if (!wrapper) return extensions;
  const [list] = children(wrapper, 1);
  for (const extension of each(expectTag(list, tags.sequence))) {
    if (extensions.size === 64) throw broken('it holds too many extensions');
    const [type, ...rest] = children(expectTag(extension, tags.sequence), 3);
    if (!type) throw broken('an extension is empty');
    const oid = oidOf(type);
    if (extensions.has(oid)) throw broken('an extension stands twice'); // RFC 5280 §4.2
    const critical = rest[0]?.tag === tags.boolean && contents(rest[0])[0] !== 0;
    extensions.set(oid, { critical, value: contents(expectTag(rest.at(-1), tags.octetString)) });
  }
  return extensions;
}
