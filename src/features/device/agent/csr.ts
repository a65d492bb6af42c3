// A signing request (RFC 2986) for a P-256 key, written by hand: the agent is one file without libraries.
//
//   CertificationRequest ::= SEQUENCE { info, signatureAlgorithm ecdsa-with-SHA256, signature BIT STRING }
//   info ::= SEQUENCE { version 0, subject Name (CN), subjectPKInfo, attributes [0] {} }
import { createPublicKey, generateKeyPair, type KeyObject, sign } from 'node:crypto';

/** P-256: what every TLS stack verifies, and small. */
export const newDeviceKey = (): Promise<KeyObject> =>
  new Promise((resolve, reject) =>
    generateKeyPair('ec', { namedCurve: 'P-256' }, (error, _, key) => (error ? reject(error) : resolve(key))),
  );

/** PEM. The gate takes the key from it and chooses the names itself. */
export function makeRequest(key: KeyObject, name: string): string {
  const subject = der(0x30, der(0x31, der(0x30, commonName, der(0x0c, Buffer.from(name)))));
  const publicKey = createPublicKey(key).export({ type: 'spki', format: 'der' });
  const info = der(0x30, Buffer.of(0x02, 0x01, 0x00), subject, publicKey, Buffer.of(0xa0, 0x00));
  const signature = sign('sha256', info, key);
  const request = der(0x30, info, der(0x30, ecdsaWithSha256), der(0x03, Buffer.of(0), signature));
  const lines = request.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE REQUEST-----\n${lines.join('\n')}\n-----END CERTIFICATE REQUEST-----\n`;
}

const commonName = Buffer.from('0603550403', 'hex'); // 2.5.4.3
const ecdsaWithSha256 = Buffer.from('06082a8648ce3d040302', 'hex'); // 1.2.840.10045.4.3.2

function der(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(parts);
  const { length } = body;
  const head = length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 255];
  return Buffer.concat([Buffer.of(tag, ...head), body]);
}
