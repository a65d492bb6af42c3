// Certificates in a PKCS#7 file that signs nothing (RFC 5652 §5, "certs-only"), as EST hands them out.
import { derBlocks } from './pem.ts';

/**
 *     ContentInfo ::= SEQUENCE { signedData OID, [0] SEQUENCE {
 *       version 1, digestAlgorithms SET {}, SEQUENCE { data OID }, certificates [0], signerInfos SET {} } }
 *
 * @returns DER of the certificates in these PEM texts, each once
 */
export function certsOnly(pems: readonly string[]): Uint8Array {
  const all = pems.flatMap(pem => derBlocks(pem, 'CERTIFICATE')).map(der => Buffer.from(der));
  // DER sorts what is in a SET OF (X.690 §11.6).
  const sorted = all.sort(Buffer.compare).filter((der, at) => at === 0 || !der.equals(all[at - 1] ?? der));
  const signed = tlv(0x30, version1, tlv(0x31), tlv(0x30, dataOid), tlv(0xa0, ...sorted), tlv(0x31));
  return tlv(0x30, signedDataOid, tlv(0xa0, signed));
}

const version1 = Buffer.of(0x02, 0x01, 0x01);
const dataOid = Buffer.from('06092a864886f70d010701', 'hex'); // 1.2.840.113549.1.7.1
const signedDataOid = Buffer.from('06092a864886f70d010702', 'hex'); // 1.2.840.113549.1.7.2

function tlv(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(parts);
  const size = Buffer.alloc(4);
  size.writeUInt32BE(body.length);
  const bytes = size.subarray(size.findIndex((byte, at) => byte !== 0 || at === 3));
  const length = body.length < 128 ? bytes : Buffer.concat([Buffer.of(0x80 | bytes.length), bytes]);
  return Buffer.concat([Buffer.of(tag), length, body]);
}
