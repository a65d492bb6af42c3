// Judging certificates beyond what OpenSSL was asked: the length of a chain, pins, and sentences for what failed.
import { createHash, X509Certificate } from 'node:crypto';
import { Fault } from '../core/fault.ts';

/** PEM texts, each with one certificate or several → certificates. @throws Fault `invalid` */
export function parseCertificates(pems: readonly string[], what: string): X509Certificate[] {
  return pems.flatMap(pem => {
    const blocks = splitPem([pem], 'CERTIFICATE');
    if (blocks.length === 0) throw new Fault('invalid', `${what}: there is no PEM certificate in it`);
    return blocks.map(block => {
      try {
        return new X509Certificate(block);
      } catch (error) {
        throw new Fault('invalid', `${what}: a certificate in it cannot be read`, { cause: error });
      }
    });
  });
}

export function splitPem(pems: readonly string[], label: string): string[] {
  const block = new RegExp(`-----BEGIN ${label}-----[\\s\\S]+?-----END ${label}-----`, 'g');
  return pems.flatMap(pem => pem.match(block) ?? []);
}

/** The certificates above `leaf`, nearest first, up to and with a trusted one; undefined when they do not lead there. */
export function chainOf(leaf: X509Certificate, trusted: readonly X509Certificate[]): X509Certificate[] | undefined {
  const chain: X509Certificate[] = [];
  let at = leaf;
  const presented = presentedAbove(leaf);
  // Ten certificates is more than any chain has, and a ring ends here.
  while (chain.length < 10) {
    const anchor = trusted.find(ca => issued(ca, at));
    if (anchor) return [...chain, anchor];
    if (trusted.some(ca => ca.raw.equals(at.raw))) return chain;
    const above = presented.find(one => !chain.includes(one) && issued(one, at));
    if (!above) return undefined;
    chain.push(above);
    at = above;
  }
  return undefined;
}

/** Intermediates between the leaf and its trust anchor. */
export const depthOf = (chain: readonly X509Certificate[]): number => Math.max(0, chain.length - 1);

const issued = (issuer: X509Certificate, subject: X509Certificate): boolean =>
  subject.checkIssued(issuer) && subject.verify(issuer.publicKey);

/** What the peer sent above its leaf; its order is not to be trusted. */
function presentedAbove(leaf: X509Certificate): X509Certificate[] {
  const all: X509Certificate[] = [];
  for (let at = leaf.issuerCertificate; at && all.length < 20 && at !== leaf; at = at.issuerCertificate) all.push(at);
  return all;
}

/** base64 of the SHA-256 of the SubjectPublicKeyInfo (RFC 7469 §2.4). */
export const pinOf = (certificate: X509Certificate): string =>
  createHash('sha256')
    .update(certificate.publicKey.export({ type: 'spki', format: 'der' }))
    .digest('base64');

/** OpenSSL's verification codes: what is wrong, and what whoever set this up can do. `theirs` = the peer's certificate. */
const verifyReasons: Record<string, readonly [string, string]> = {
  CERT_HAS_EXPIRED: ['has expired', 'renew it'],
  CERT_NOT_YET_VALID: ['is not valid yet', 'check the clocks of both machines'],
  CERT_REVOKED: ['has been revoked', 'issue a new one'],
  UNABLE_TO_GET_ISSUER_CERT: ['comes from a CA that is not trusted here', 'add the root CA to the trusted CAs'],
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: [
    'comes from a CA that is not trusted here',
    'add its CA to the trusted CAs, or have the peer send its intermediate certificates',
  ],
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: [
    'comes from a CA that is not trusted here',
    'add its CA to the trusted CAs, or have the peer send its intermediate certificates',
  ],
  SELF_SIGNED_CERT_IN_CHAIN: ['comes from a CA that is not trusted here', 'add that CA to the trusted CAs'],
  DEPTH_ZERO_SELF_SIGNED_CERT: ['is self-signed and not trusted here', 'add it to the trusted CAs, or pin it'],
  INVALID_PURPOSE: ['is not meant for this use', 'its extended key usage lacks what this side needs'],
  INVALID_CA: ['was issued by a certificate that is not a CA', 'issue it from a proper CA'],
  CERT_SIGNATURE_FAILURE: [
    'carries a signature that does not fit',
    'the certificate or its CA is not what it claims to be',
  ],
  CERT_CHAIN_TOO_LONG: ['has too long a chain', 'allow more depth'],
  CA_MD_TOO_WEAK: ['is signed with a digest that is no longer safe', 'reissue it with SHA-256'],
  EE_KEY_TOO_SMALL: ['has too small a key', 'reissue it with RSA 2048 or P-256'],
  UNABLE_TO_GET_CRL: ['has a CA in its chain without a CRL here', 'give a CRL for every CA of the chain'],
  CRL_HAS_EXPIRED: ['cannot be checked: the CRL is past its next update', 'fetch a new CRL'],
  CRL_NOT_YET_VALID: ['cannot be checked: the CRL is not valid yet', 'check the clocks'],
  CRL_SIGNATURE_FAILURE: ['cannot be checked: the CRL is not signed by that CA', 'fetch the CRL of the right CA'],
};

/** The sentence for one of OpenSSL's codes. */
export function verifyText(code: string): string {
  const [wrong, todo] = verifyReasons[code] ?? [`was not accepted (${code})`, 'see the code'];
  return `${wrong}; ${todo}`;
}
