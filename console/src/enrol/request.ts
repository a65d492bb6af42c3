// A key that is made in this browser, and the request to have it certified (RFC 2986).
import { type Bytes, bits, integer, nothing, oid, sequence, setOf, tagged, toPem, utf8 } from './der.ts';

/** RSA 2048: what every program that imports PKCS#12 can use. */
const algorithm = {
  name: 'RSASSA-PKCS1-v1_5',
  modulusLength: 2048,
  publicExponent: Uint8Array.of(1, 0, 1),
  hash: 'SHA-256',
};
const sha256WithRsa = (): Bytes => sequence(oid('1.2.840.113549.1.1.11'), nothing());

export interface MadeKey {
  /** PKCS#8, DER. */
  readonly key: Bytes;
  /** PEM. */
  readonly csr: string;
}

/** @param name what stands in the request; the gate writes its own into the certificate */
export async function makeRequest(name: string): Promise<MadeKey> {
  const pair = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const publicKey = new Uint8Array(await crypto.subtle.exportKey('spki', pair.publicKey));
  const subject = sequence(setOf(sequence(oid('2.5.4.3'), utf8(name))));
  const info = sequence(integer(0), subject, publicKey, tagged(0));
  const signature = new Uint8Array(await crypto.subtle.sign(algorithm.name, pair.privateKey, info));
  return {
    key: new Uint8Array(await crypto.subtle.exportKey('pkcs8', pair.privateKey)),
    csr: toPem('CERTIFICATE REQUEST', sequence(info, sha256WithRsa(), bits(signature))),
  };
}
