// PKCS#12 for importers that know only the scheme of 1999: 3DES and SHA-1 for key, certificates and MAC (RFC 7292 §B, §C).
import { createCipheriv, createHash, createHmac, randomBytes } from 'node:crypto';
import * as asn1 from 'asn1js';
import { Fault } from '../core/fault.ts';
import { fingerprintOf } from './certificate.ts';
import { exact } from './pki.ts';
import type { P12Contents } from './pki-p12.ts';

/** What old importers themselves write; more makes this scheme no stronger than its 112 bits and SHA-1. */
const iterations = 2048;
const oids = {
  data: '1.2.840.113549.1.7.1',
  encryptedData: '1.2.840.113549.1.7.6',
  pbeSha1TripleDes: '1.2.840.113549.1.12.1.3',
  keyBag: '1.2.840.113549.1.12.10.1.2',
  certBag: '1.2.840.113549.1.12.10.1.3',
  x509: '1.2.840.113549.1.9.22.1',
  friendlyName: '1.2.840.113549.1.9.20',
  localKeyId: '1.2.840.113549.1.9.21',
  sha1: '1.3.14.3.2.26',
} as const;

const oid = (value: keyof typeof oids): asn1.ObjectIdentifier => new asn1.ObjectIdentifier({ value: oids[value] });
const sequence = (...value: asn1.BaseBlock[]): asn1.Sequence => new asn1.Sequence({ value });
const octets = (bytes: Uint8Array): asn1.OctetString => new asn1.OctetString({ valueHex: exact(bytes) });
const tagged = (...value: asn1.BaseBlock[]): asn1.Constructed =>
  new asn1.Constructed({ idBlock: { tagClass: 3, tagNumber: 0 }, value });
const encoded = (block: asn1.BaseBlock): Uint8Array => new Uint8Array(block.toBER());

/** @throws Fault `invalid` for an empty password */
export function makeLegacyP12({ key, certificate, chain, name }: P12Contents, password: string): Uint8Array {
  if (password === '')
    throw new Fault('invalid', 'a PKCS#12 file needs a password; importing programs refuse an empty one');
  const secret = password.normalize('NFC');
  const id = Buffer.from(fingerprintOf(certificate), 'hex').subarray(0, 20);
  const labels = new asn1.Set({
    value: [
      sequence(oid('friendlyName'), new asn1.Set({ value: [new asn1.BmpString({ value: name })] })),
      sequence(oid('localKeyId'), new asn1.Set({ value: [octets(id)] })),
    ],
  });
  const certificates = [certificate, ...chain].map((der, i) =>
    sequence(oid('certBag'), tagged(sequence(oid('x509'), tagged(octets(der)))), ...(i === 0 ? [labels] : [])),
  );
  const shut = encrypt(encoded(sequence(...certificates)), secret);
  const shrouded = encrypt(key.export({ type: 'pkcs8', format: 'der' }), secret);
  const content = new asn1.Primitive({ idBlock: { tagClass: 3, tagNumber: 0 }, valueHex: exact(shut.bytes) });
  const safe = encoded(
    sequence(
      sequence(
        oid('encryptedData'),
        tagged(sequence(new asn1.Integer({ value: 0 }), sequence(oid('data'), shut.algorithm, content))),
      ),
      sequence(
        oid('data'),
        tagged(
          octets(
            encoded(
              sequence(sequence(oid('keyBag'), tagged(sequence(shrouded.algorithm, octets(shrouded.bytes))), labels)),
            ),
          ),
        ),
      ),
    ),
  );
  const salt = randomBytes(8);
  const mac = createHmac('sha1', derive(secret, salt, 3, 20))
    .update(safe)
    .digest();
  const macData = sequence(
    sequence(sequence(oid('sha1'), new asn1.Null()), octets(mac)),
    octets(salt),
    new asn1.Integer({ value: iterations }),
  );
  return encoded(sequence(new asn1.Integer({ value: 3 }), sequence(oid('data'), tagged(octets(safe))), macData));
}

function encrypt(plain: Uint8Array, password: string): { algorithm: asn1.Sequence; bytes: Uint8Array } {
  const salt = randomBytes(8);
  const cipher = createCipheriv('des-ede3-cbc', derive(password, salt, 1, 24), derive(password, salt, 2, 8));
  return {
    algorithm: sequence(oid('pbeSha1TripleDes'), sequence(octets(salt), new asn1.Integer({ value: iterations }))),
    bytes: Buffer.concat([cipher.update(plain), cipher.final()]),
  };
}

/** RFC 7292 §B.2 with SHA-1: v = 64, u = 20. `id` is 1 for a key, 2 for an IV, 3 for a MAC. */
function derive(password: string, salt: Uint8Array, id: number, size: number): Buffer {
  const fill = (bytes: Uint8Array): Buffer => Buffer.alloc(Math.ceil(bytes.length / 64) * 64, bytes);
  const input = Buffer.concat([fill(salt), fill(Buffer.from(`${password}\0`, 'utf16le').swap16())]);
  const blocks: Buffer[] = [];
  for (let made = 0; made < size; made += 20) {
    let block = createHash('sha1').update(Buffer.alloc(64, id)).update(input).digest();
    for (let round = 1; round < iterations; round += 1) block = createHash('sha1').update(block).digest();
    blocks.push(block);
    // Step 6C: each 64 bytes of the input grow by the block, repeated, plus one, modulo 2^512.
    const more = Buffer.alloc(64, block);
    for (let at = 0; at < input.length; at += 64) addInto(input.subarray(at, at + 64), more);
  }
  return Buffer.concat(blocks).subarray(0, size);
}

function addInto(number: Buffer, more: Buffer): void {
  let carry = 1;
  for (let i = number.length - 1; i >= 0; i -= 1) {
    carry += (number[i] ?? 0) + (more[i] ?? 0);
    number[i] = carry & 0xff;
    carry >>= 8;
  }
}
