// Builds and signs certificates (RFC 5280). The only door to pkijs and asn1js, with pki-crl, pki-csr and pki-p12.
import { createHash, createPublicKey, generateKeyPair, type KeyObject, randomBytes, type webcrypto } from 'node:crypto';
import { isIP } from 'node:net';
import { domainToASCII } from 'node:url';
import { promisify } from 'node:util';
import * as asn1 from 'asn1js';
import * as pkijs from 'pkijs';
import { Fault } from '../core/fault.ts';
import { readWhole, tags } from './der.ts';
import { addressBytes, attributeOids } from './names.ts';

export type KeyKind = 'rsa' | 'ecdsa' | 'ecdsa-p384';

const generate = promisify(generateKeyPair);

/** RSA 2048, ECDSA P-256 or P-384. */
export async function newKey(kind: KeyKind): Promise<KeyObject> {
  const pair =
    kind === 'rsa'
      ? await generate('rsa', { modulusLength: 2048 })
      : await generate('ec', { namedCurve: kind === 'ecdsa' ? 'P-256' : 'P-384' });
  return pair.privateKey;
}

export interface Subject {
  readonly cn?: string;
  readonly ou?: readonly string[];
  readonly o?: string;
}

/** `DNS:a.example`, `IP:10.0.0.1`, `URI:…`, `email:…`; the form names.ts reads. */
export type AlternativeName = `${'DNS' | 'IP' | 'URI' | 'email'}:${string}`;

export interface CertificateRequest {
  readonly subject: Subject;
  readonly names: readonly AlternativeName[];
  /** SubjectPublicKeyInfo, DER. */
  readonly publicKey: Uint8Array;
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly use:
    | { readonly ca: true; readonly path?: number }
    | { readonly ca: false; readonly usages: readonly string[] };
  /** URL of the issuer's CRL. */
  readonly crl?: string;
  /** URL of its OCSP responder. */
  readonly ocsp?: string;
  readonly extensions?: readonly { readonly oid: string; readonly critical: boolean; readonly value: Uint8Array }[];
  /** Hex; default: a new random one. */
  readonly serial?: string;
}

export interface Signer {
  readonly key: KeyObject;
  /** The issuer's certificate, DER; absent = self-signed. */
  readonly certificate?: Uint8Array;
}

/** 128 random bits, positive and never shorter, hex (RFC 5280 §4.1.2.2). */
export function newSerial(): string {
  const bytes = randomBytes(16);
  bytes[0] = (bytes[0]! & 0x7f) | 0x40; // no sign bit, no leading zero
  return bytes.toString('hex');
}

/** Builds one certificate. @returns its DER */
export async function signCertificate(request: CertificateRequest, signer: Signer): Promise<Uint8Array> {
  const certificate = new pkijs.Certificate();
  certificate.version = 2; // v3
  certificate.serialNumber = integerOf(request.serial ?? newSerial());
  certificate.subject = nameOf(request.subject);
  certificate.notBefore = timeValue(request.notBefore);
  certificate.notAfter = timeValue(request.notAfter);
  certificate.subjectPublicKeyInfo = pkijs.PublicKeyInfo.fromBER(exact(request.publicKey));
  const issuer = signer.certificate ? pkijs.Certificate.fromBER(exact(signer.certificate)) : undefined;
  certificate.issuer = issuer?.subject ?? certificate.subject;
  const issuerKey = issuer?.subjectPublicKeyInfo ?? certificate.subjectPublicKeyInfo;
  certificate.extensions = [
    ...useExtensions(request, certificate.subjectPublicKeyInfo.algorithm.algorithmId),
    extension('2.5.29.14', false, new asn1.OctetString({ valueHex: keyIdentifier(certificate.subjectPublicKeyInfo) })),
    authorityKey(issuerKey),
    ...nameExtension(request),
    ...(request.crl === undefined ? [] : [crlPoint(request.crl)]),
    ...(request.ocsp === undefined ? [] : [ocspPlace(request.ocsp)]),
    ...(request.extensions ?? []).map(
      ({ oid, critical, value }) => new pkijs.Extension({ extnID: oid, critical, extnValue: exact(value) }),
    ),
  ];
  await certificate.sign(await webKey(signer.key), hashFor(signer.key));
  return new Uint8Array(certificate.toSchema(true).toBER());
}

/** keyUsage, basicConstraints and extKeyUsage (§4.2.1.3, .9, .12). */
function useExtensions({ use }: CertificateRequest, algorithm: string): pkijs.Extension[] {
  // Bits from the left: digitalSignature 0, keyEncipherment 2, keyCertSign 5, cRLSign 6. Encipherment is for RSA only.
  const bits = use.ca ? 0b0000_0110 : algorithm === '1.2.840.113549.1.1.1' ? 0b1010_0000 : 0b1000_0000;
  const usage = new asn1.BitString({
    valueHex: Uint8Array.of(bits).buffer,
    unusedBits: use.ca ? 1 : bits === 0b1010_0000 ? 5 : 7,
  });
  const constraints = new pkijs.BasicConstraints(
    use.ca ? { cA: true, ...(use.path === undefined ? {} : { pathLenConstraint: use.path }) } : {},
  );
  return [
    extension('2.5.29.15', true, usage),
    extension('2.5.29.19', true, constraints.toSchema()),
    ...(use.ca
      ? []
      : [extension('2.5.29.37', false, new pkijs.ExtKeyUsage({ keyPurposes: [...use.usages] }).toSchema())]),
  ];
}

function nameExtension({ names, subject }: CertificateRequest): pkijs.Extension[] {
  if (names.length === 0) return [];
  const list = new pkijs.GeneralNames({ names: names.map(generalName) });
  // Critical when there is no subject to go by (§4.2.1.6).
  return [extension('2.5.29.17', Object.keys(subject).length === 0, list.toSchema())];
}

const nameTypes = { email: 1, DNS: 2, URI: 6, IP: 7 } as const;

function generalName(text: AlternativeName): pkijs.GeneralName {
  const kind = text.slice(0, text.indexOf(':')) as keyof typeof nameTypes;
  const value = text.slice(kind.length + 1);
  if (kind === 'IP') {
    if (isIP(value) === 0) throw new Fault('invalid', `"${value}" is not an IP address`);
    return new pkijs.GeneralName({ type: 7, value: new asn1.OctetString({ valueHex: exact(addressBytes(value)) }) });
  }
  const ascii = kind === 'DNS' ? hostName(value) : value;
  if (!/^[\x21-\x7e]+$/.test(ascii)) throw new Fault('invalid', `"${value}" cannot stand in a certificate as ${kind}`);
  return new pkijs.GeneralName({ type: nameTypes[kind], value: ascii });
}

/** A host name for a certificate; international names become their xn-- form. @throws Fault `invalid` */
export function hostName(text: string): string {
  const wild = text.startsWith('*.') ? '*.' : '';
  // domainToASCII reads a URL's host: it would take `a/b` for `a`, `%41` for `a` and `0x7f.1` for 127.0.0.1.
  const ascii = /[\s/\\?#@:%[\]]/.test(text) ? '' : domainToASCII(text.slice(wild.length));
  if (
    isIP(ascii) !== 0 ||
    !/^(?=.{1,253}$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*$/.test(ascii)
  ) {
    throw new Fault('invalid', `"${text}" is not a host name`);
  }
  return wild + ascii;
}

/** `DNS:` or `IP:`, whichever the text is. */
export const alternativeName = (host: string): AlternativeName => (isIP(host) === 0 ? `DNS:${host}` : `IP:${host}`);

function authorityKey(issuerKey: pkijs.PublicKeyInfo): pkijs.Extension {
  const value = new pkijs.AuthorityKeyIdentifier({
    keyIdentifier: new asn1.OctetString({ valueHex: keyIdentifier(issuerKey) }),
  });
  return extension('2.5.29.35', false, value.toSchema());
}

function crlPoint(url: string): pkijs.Extension {
  const points = new pkijs.CRLDistributionPoints({
    distributionPoints: [
      new pkijs.DistributionPoint({ distributionPoint: [new pkijs.GeneralName({ type: 6, value: url })] }),
    ],
  });
  return extension('2.5.29.31', false, points.toSchema());
}

/** authorityInfoAccess with id-ad-ocsp (§4.2.2.1). */
function ocspPlace(url: string): pkijs.Extension {
  const access = new pkijs.InfoAccess({
    accessDescriptions: [
      new pkijs.AccessDescription({
        accessMethod: '1.3.6.1.5.5.7.48.1',
        accessLocation: new pkijs.GeneralName({ type: 6, value: url }),
      }),
    ],
  });
  return extension('1.3.6.1.5.5.7.1.1', false, access.toSchema());
}

/** Attribute values as UTF8String, one RDN each; several OU are several RDNs, in order. */
export function nameOf(subject: Subject): pkijs.RelativeDistinguishedNames {
  const pairs: [string, string][] = [
    ...(subject.o === undefined ? [] : [[attributeOids.o, subject.o] as [string, string]]),
    ...(subject.ou ?? []).map((ou): [string, string] => [attributeOids.ou, ou]),
    ...(subject.cn === undefined ? [] : [[attributeOids.cn, subject.cn] as [string, string]]),
  ];
  for (const [oid, value] of pairs) checkAttribute(oid, value);
  // By hand: pkijs would put all of them into one SET, which is one multi-valued RDN.
  const rdns = pairs.map(([oid, value]) => {
    const pair = [new asn1.ObjectIdentifier({ value: oid }), new asn1.Utf8String({ value: value.normalize('NFC') })];
    return new asn1.Set({ value: [new asn1.Sequence({ value: pair })] });
  });
  return pkijs.RelativeDistinguishedNames.fromBER(new asn1.Sequence({ value: rdns }).toBER());
}

/** ub-common-name, ub-organization-name, ub-organizational-unit-name: 64 characters (RFC 5280 appendix A.1). */
function checkAttribute(oid: string, value: string): void {
  const word = Object.entries(attributeOids).find(([, known]) => known === oid)?.[0] ?? oid;
  if (value.trim() === '' || [...value].length > 64 || /\p{Cc}/u.test(value)) {
    throw new Fault(
      'invalid',
      `"${value}" cannot be a certificate's ${word}: 1 to 64 characters, no control characters`,
    );
  }
}

/** UTCTime until 2049, GeneralizedTime after (§4.1.2.5), whole seconds: pkijs would write milliseconds. */
export function timeValue(date: Date): pkijs.Time {
  const value = new Date(Math.floor(date.getTime() / 1000) * 1000);
  return new pkijs.Time({ type: value.getUTCFullYear() < 2050 ? 0 : 1, value });
}

export const integerOf = (hex: string): asn1.Integer => new asn1.Integer({ valueHex: exact(Buffer.from(hex, 'hex')) });

export function extension(extnID: string, critical: boolean, value: asn1.BaseBlock): pkijs.Extension {
  return new pkijs.Extension({ extnID, critical, extnValue: value.toBER() });
}

/** SHA-1 of the key's bits (§4.2.1.2 method 1): a label, not a protection. */
export function keyIdentifier(key: pkijs.PublicKeyInfo): ArrayBuffer {
  return exact(createHash('sha1').update(key.subjectPublicKey.valueBlock.valueHexView).digest());
}

/** SubjectPublicKeyInfo of a private or public key, DER. */
export const publicKeyOf = (key: KeyObject): Uint8Array =>
  (key.type === 'private' ? createPublicKey(key) : key).export({ type: 'spki', format: 'der' });

/** The hash that belongs to the signing key's strength. */
export const hashFor = (key: KeyObject): string =>
  key.asymmetricKeyDetails?.namedCurve === 'secp384r1' ? 'SHA-384' : 'SHA-256';

/** The key as WebCrypto wants it, for signing only. */
export async function webKey(key: KeyObject): Promise<webcrypto.CryptoKey> {
  const curve = { prime256v1: 'P-256', secp384r1: 'P-384', secp521r1: 'P-521' }[
    key.asymmetricKeyDetails?.namedCurve ?? ''
  ];
  const algorithm =
    key.asymmetricKeyType === 'rsa'
      ? { name: 'RSASSA-PKCS1-v1_5', hash: hashFor(key) }
      : { name: 'ECDSA', namedCurve: curve ?? 'P-256' };
  const der = key.export({ type: 'pkcs8', format: 'der' });
  return crypto.subtle.importKey('pkcs8', exact(der), algorithm, false, ['sign']);
}

/** The bytes in an ArrayBuffer of their own; pkijs reads whole buffers. */
export function exact(bytes: Uint8Array): ArrayBuffer {
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer;
}

/** Checks that bytes from outside are one DER SEQUENCE before pkijs, which is less careful, sees them. */
export const checkedSequence = (der: Uint8Array): ArrayBuffer => {
  readWhole(der, tags.sequence);
  return exact(der);
};
