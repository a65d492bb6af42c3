// Answers to "does this certificate still count?" (RFC 6960), signed by the CA that issued it.
import { createHash, type KeyObject, sign } from 'node:crypto';
import * as asn1 from 'asn1js';
import { extensionsOf, parseCertificate } from './certificate.ts';
import { bitsOf, children, contents, type Der, encoded, expectTag, integerHex, oidOf, readWhole, tags } from './der.ts';
import { exact, hashFor, type Signer } from './pki.ts';
import { type Reason, reasons } from './pki-crl.ts';

/** Longer requests are not read: one certificate needs some 120 bytes. */
export const longestOcspRequest = 4096;
/** Asked for at once. */
const mostQuestions = 16;
const nonceOid = '1.3.6.1.5.5.7.48.1.2';
const hashes: Readonly<Record<string, string>> = {
  '1.3.14.3.2.26': 'sha1',
  '2.16.840.1.101.3.4.2.1': 'sha256',
  '2.16.840.1.101.3.4.2.2': 'sha384',
  '2.16.840.1.101.3.4.2.3': 'sha512',
};

/** Which certificate is meant: its issuer by two hashes, and its serial number. */
export interface OcspQuestion {
  readonly hash: string;
  readonly issuerName: Uint8Array;
  readonly issuerKey: Uint8Array;
  readonly serial: string;
  /** CertID as it came, DER: the answer repeats it byte for byte. */
  readonly id: Uint8Array;
}
export interface OcspRequest {
  readonly questions: readonly OcspQuestion[];
  /** The extension's value, DER. */
  readonly nonce?: Uint8Array;
}

/**
 *     OCSPRequest ::= SEQUENCE { tbs, [0] signature OPTIONAL }
 *     tbs ::= SEQUENCE { [0] version, [1] requestorName, SEQUENCE OF SEQUENCE { CertID, [0] }, [2] extensions }
 *     CertID ::= SEQUENCE { hashAlgorithm, issuerNameHash, issuerKeyHash, serialNumber }
 *
 * (§4.1.1) Signatures of those who ask are not looked at: everybody may ask. @throws Fault `protocol`
 */
export function parseOcspRequest(der: Uint8Array): OcspRequest {
  const [tbs] = children(readWhole(der, tags.sequence), 2);
  const fields = children(expectTag(tbs, tags.sequence), 4);
  const list = fields.find(({ tag }) => tag === tags.sequence);
  const questions = children(expectTag(list, tags.sequence), mostQuestions).map(question);
  // RFC 8954 §2.1: 1 to 32 bytes; what is longer is not repeated.
  const nonce = extensionsOf(fields.find(({ tag }) => tag === 0xa2)).get(nonceOid)?.value;
  return { questions, ...(nonce && nonce.length <= 34 ? { nonce } : {}) };
}

function question(request: Der): OcspQuestion {
  const [certId] = children(expectTag(request, tags.sequence), 2);
  const [algorithm, name, key, serial] = children(expectTag(certId, tags.sequence), 4);
  const [oid] = children(expectTag(algorithm, tags.sequence), 2);
  return {
    hash: hashes[oid ? oidOf(oid) : ''] ?? '',
    issuerName: contents(expectTag(name, tags.octetString)),
    issuerKey: contents(expectTag(key, tags.octetString)),
    serial: integerHex(expectTag(serial, tags.integer)),
    id: encoded(expectTag(certId, tags.sequence)),
  };
}

/** Whether the certificate that is asked about would come from this CA. */
export function isIssuer(ca: Uint8Array, { hash, issuerName, issuerKey }: OcspQuestion): boolean {
  if (hash === '') return false;
  const facts = parseCertificate(ca);
  const [, bits] = children(readWhole(facts.publicKey, tags.sequence), 2);
  const digest = (bytes: Uint8Array): Buffer => createHash(hash).update(bytes).digest();
  const name = encodedSubject(ca);
  if (!bits) return false;
  return digest(name).equals(issuerName) && digest(bitsOf(bits)).equals(issuerKey);
}

/** CertID of a certificate that this CA issued, DER; SHA-1, as everybody who looks into a stapled answer computes it. */
export function certIdOf(ca: Uint8Array, serial: string): Uint8Array {
  const [, bits] = children(readWhole(parseCertificate(ca).publicKey, tags.sequence), 2);
  const digest = (bytes: Uint8Array): Buffer => createHash('sha1').update(bytes).digest();
  // A serial number is positive: where the first bit is set, a zero stands before it.
  const number = Buffer.from(serial.padStart(serial.length + (serial.length % 2), '0'), 'hex');
  const positive = (number[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.of(0), number]) : number;
  const id = sequence(
    sequence(new asn1.ObjectIdentifier({ value: '1.3.14.3.2.26' }), new asn1.Null()),
    octets(digest(encodedSubject(ca))),
    octets(digest(bits ? bitsOf(bits) : new Uint8Array())),
    new asn1.Integer({ valueHex: exact(positive) }),
  );
  return new Uint8Array(id.toBER());
}

/** The subject's Name, DER: the sixth field of tbs, or the fifth without a version. */
function encodedSubject(ca: Uint8Array): Uint8Array {
  const [tbs] = children(readWhole(ca, tags.sequence), 3);
  const fields = children(expectTag(tbs, tags.sequence), 10);
  return encoded(expectTag(fields[fields[0]?.tag === 0xa0 ? 5 : 4], tags.sequence));
}

export type OcspStatus = 'good' | 'unknown' | { readonly at: Date; readonly reason: Reason };

export interface OcspAnswer {
  readonly answers: readonly { readonly id: Uint8Array; readonly status: OcspStatus }[];
  readonly nonce?: Uint8Array;
  readonly at: Date;
  readonly nextUpdate: Date;
}

const tagged = (tagNumber: number, ...value: asn1.BaseBlock[]): asn1.Constructed =>
  new asn1.Constructed({ idBlock: { tagClass: 3, tagNumber }, value });
const sequence = (...value: asn1.BaseBlock[]): asn1.Sequence => new asn1.Sequence({ value });
const time = (date: Date): asn1.GeneralizedTime =>
  new asn1.GeneralizedTime({ valueDate: new Date(Math.floor(date.getTime() / 1000) * 1000) });

/** §4.2.1; signed by the issuing CA itself, so that no responder's certificate is needed. @returns the OCSPResponse, DER */
export function signOcsp({ answers, nonce, at, nextUpdate }: OcspAnswer, signer: Required<Signer>): Uint8Array {
  const [, bits] = children(readWhole(parseCertificate(signer.certificate).publicKey, tags.sequence), 2);
  const keyHash = createHash('sha1')
    .update(bits ? bitsOf(bits) : new Uint8Array())
    .digest();
  const extensions = nonce
    ? [tagged(1, sequence(sequence(new asn1.ObjectIdentifier({ value: nonceOid }), octets(nonce))))]
    : [];
  const data = sequence(
    tagged(2, octets(keyHash)), // responderID by key
    time(at),
    sequence(...answers.map(({ id, status }) => single(id, status, at, nextUpdate))),
    ...extensions,
  );
  const signature = sign(hashFor(signer.key), new Uint8Array(data.toBER()), signer.key);
  const basic = sequence(
    data,
    algorithmOf(signer.key),
    new asn1.BitString({ valueHex: exact(signature) }),
    tagged(0, sequence(parsed(signer.certificate))),
  );
  const body = sequence(
    new asn1.ObjectIdentifier({ value: '1.3.6.1.5.5.7.48.1.1' }),
    octets(new Uint8Array(basic.toBER())),
  );
  return new Uint8Array(sequence(new asn1.Enumerated({ value: 0 }), tagged(0, body)).toBER());
}

const octets = (bytes: Uint8Array): asn1.OctetString => new asn1.OctetString({ valueHex: exact(bytes) });
const parsed = (der: Uint8Array): asn1.BaseBlock => asn1.fromBER(exact(der)).result;

function algorithmOf(key: KeyObject): asn1.Sequence {
  if (key.asymmetricKeyType === 'rsa')
    return sequence(new asn1.ObjectIdentifier({ value: '1.2.840.113549.1.1.11' }), new asn1.Null());
  const value = hashFor(key) === 'SHA-384' ? '1.2.840.10045.4.3.3' : '1.2.840.10045.4.3.2';
  return sequence(new asn1.ObjectIdentifier({ value }));
}

function single(id: Uint8Array, status: OcspStatus, at: Date, nextUpdate: Date): asn1.Sequence {
  // good and unknown are IMPLICIT NULL
  const empty = (tagNumber: number): asn1.Primitive => new asn1.Primitive({ idBlock: { tagClass: 3, tagNumber } });
  const said =
    status === 'good'
      ? empty(0)
      : status === 'unknown'
        ? empty(2)
        : tagged(1, time(status.at), tagged(0, new asn1.Enumerated({ value: reasons[status.reason] })));
  return sequence(parsed(id), said, time(at), tagged(0, time(nextUpdate)));
}

/** §2.3: malformedRequest 1, internalError 2; they carry no signature. */
export const ocspError = (status: 1 | 2): Uint8Array => Uint8Array.of(0x30, 0x03, 0x0a, 0x01, status);
