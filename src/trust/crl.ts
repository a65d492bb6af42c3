// Certificate revocation lists: read, and checked against the CA that issued them.
import { constants, createPublicKey, type KeyObject, type VerifyKeyObjectInput, verify } from 'node:crypto';
import { Fault } from '../core/fault.ts';
import { type CertificateFacts, extensionsOf } from './certificate.ts';
import {
  bitsOf,
  broken,
  children,
  type Der,
  each,
  encoded,
  expectTag,
  integerHex,
  oidOf,
  readDer,
  readWhole,
  tags,
  timeOf,
} from './der.ts';
import { parseName } from './names.ts';
import { derBlocks } from './pem.ts';

export interface RevocationList {
  readonly issuer: string;
  readonly thisUpdate: Date;
  readonly nextUpdate: Date;
  /** Serial numbers, hex, lower case. */
  readonly revoked: ReadonlySet<string>;
  /** Does this CA's key fit the signature? */
  isFrom(ca: CertificateFacts): boolean;
}

/** Lists longer than this are refused; at about 40 bytes an entry that is over 1.5 million certificates. */
const longest = 64 * 1024 * 1024;

/**
 *     CertificateList ::= SEQUENCE { tbs, signatureAlgorithm, signature }
 *     tbs ::= SEQUENCE { version?, signature, issuer, thisUpdate, nextUpdate?, revoked?, [0] extensions? }
 *
 * (RFC 5280 §5.1) @throws Fault `protocol`; `invalid` for lists that cannot be used alone
 */
export function parseCrl(der: Uint8Array): RevocationList {
  if (der.length > longest) throw broken('the list is longer than 64 MiB');
  const [tbs, algorithm, signature] = children(readWhole(der, tags.sequence), 3);
  if (!tbs || !algorithm || !signature) throw broken('the list is incomplete');
  const fields = children(expectTag(tbs, tags.sequence), 8);
  let at = fields[0]?.tag === tags.integer ? 1 : 0;
  const inner = fields[at++];
  const issuer = fields[at++];
  const thisUpdate = fields[at++];
  const nextUpdate = isTime(fields[at]) ? fields[at++] : undefined;
  const revoked = fields[at]?.tag === tags.sequence ? fields[at++] : undefined;
  if (!inner || !issuer || !thisUpdate) throw broken('the list is incomplete');
  // §5.1.1.2: both must be the same, else the signed part does not say how it was signed.
  if (Buffer.compare(encoded(inner), encoded(algorithm)) !== 0) throw broken('the two signature algorithms differ');
  if (!nextUpdate)
    throw new Fault(
      'invalid',
      'the list does not say when the next one comes (nextUpdate), so it would be believed for ever',
    );
  refuseParts(fields.slice(at).find(field => field.tag === 0xa0));
  return {
    issuer: parseName(issuer).canonical,
    thisUpdate: timeOf(thisUpdate),
    nextUpdate: timeOf(nextUpdate),
    revoked: revoked ? serialsOf(revoked) : new Set(),
    isFrom: ca => isSigned(encoded(tbs), algorithm, bitsOf(signature), ca.publicKey),
  };
}

/** Every list in a file: PEM blocks, or one DER. @throws Fault `protocol`, `invalid` */
export function parseCrls(file: string | Uint8Array): readonly RevocationList[] {
  return derBlocks(file, 'X509 CRL').map(parseCrl);
}

/**
 * A critical extension changes what the list means (§5.2). Those we know: the issuing distribution point, as long as it
 * leaves out no reasons and no issuers. Delta lists and indirect lists cannot stand alone.
 */
function refuseParts(wrapper: Der | undefined): void {
  for (const [oid, extension] of extensionsOf(wrapper)) {
    if (oid === '2.5.29.27') throw new Fault('invalid', 'this is a delta list; give the complete one');
    if (oid === '2.5.29.28') {
      // [2] onlyContainsCACerts, [3] onlySomeReasons, [4] indirectCRL, [5] onlyContainsAttributeCerts: with any of them
      // a leaf that is revoked may be missing. BOOLEANs are FALSE by default and then not written.
      const parts = children(readWhole(extension.value, tags.sequence), 8);
      if (parts.some(part => [0x82, 0x83, 0x84, 0x85].includes(part.tag))) {
        throw new Fault('invalid', 'the list leaves some certificates or reasons out; give the complete one');
      }
    } else if (extension.critical)
      throw new Fault('invalid', `the list has a critical extension that is not known (${oid})`);
  }
}

function serialsOf(list: Der): ReadonlySet<string> {
  const serials = new Set<string>();
  for (const entry of each(list)) {
    expectTag(entry, tags.sequence);
    serials.add(integerHex(readDer(entry.bytes, entry.body, entry.end)));
  }
  return serials;
}

const isTime = (value: Der | undefined): boolean => value?.tag === tags.utcTime || value?.tag === tags.generalizedTime;

const hashes: Record<string, string | null> = {
  '1.2.840.113549.1.1.11': 'sha256',
  '1.2.840.113549.1.1.12': 'sha384',
  '1.2.840.113549.1.1.13': 'sha512',
  '1.2.840.10045.4.3.2': 'sha256',
  '1.2.840.10045.4.3.3': 'sha384',
  '1.2.840.10045.4.3.4': 'sha512',
  '1.3.101.112': null, // Ed25519
  '1.3.101.113': null, // Ed448
};
const pssHashes: Record<string, string> = {
  '2.16.840.1.101.3.4.2.1': 'sha256',
  '2.16.840.1.101.3.4.2.2': 'sha384',
  '2.16.840.1.101.3.4.2.3': 'sha512',
};

function isSigned(tbs: Uint8Array, algorithm: Der, signature: Uint8Array, publicKey: Uint8Array): boolean {
  const [type, parameters] = children(expectTag(algorithm, tags.sequence), 2);
  const oid = type ? oidOf(type) : '';
  const pss = oid === '1.2.840.113549.1.1.10';
  const hash = pss ? pssHash(parameters) : hashes[oid];
  if (hash === undefined) {
    throw new Fault(
      'invalid',
      `the list is signed with an algorithm that is not accepted (${oid}); SHA-256 or better is`,
    );
  }
  try {
    const key: KeyObject = createPublicKey({ key: Buffer.from(publicKey), format: 'der', type: 'spki' });
    const input: KeyObject | VerifyKeyObjectInput = pss
      ? { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_AUTO }
      : key;
    return verify(hash, tbs, input, signature);
  } catch {
    return false; // a key of another kind than the signature
  }
}

/** RSASSA-PSS-params ::= SEQUENCE { [0] SEQUENCE { hash OID }, … } (RFC 4055 §3.1); the default, SHA-1, is refused. */
function pssHash(parameters: Der | undefined): string | undefined {
  const [wrapped] = parameters ? children(expectTag(parameters, tags.sequence), 4) : [];
  if (wrapped?.tag !== 0xa0) return undefined;
  const [algorithm] = children(wrapped, 1);
  const [oid] = children(expectTag(algorithm, tags.sequence), 2);
  return oid ? pssHashes[oidOf(oid)] : undefined;
}
