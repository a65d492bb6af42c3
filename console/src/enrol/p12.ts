// PKCS#12 (RFC 7292) made in the browser, so that neither key nor password leaves it: what src/trust/pki-p12.ts makes.
import { type Bytes, integer, join, nothing, octets, oid, sequence, setOf, tagged, tlv, utf16 } from './der.ts';
import { sha256 } from './sha256.ts';

export interface P12Contents {
  /** PKCS#8, DER. */
  readonly key: Bytes;
  /** DER: the certificate, then those above it. */
  readonly certificates: readonly Bytes[];
  /** What the importing program shows. */
  readonly name: string;
}

const iterations = 100_000;
const data = '1.2.840.113549.1.7.1';
const encryptedData = '1.2.840.113549.1.7.6';
const bag = (kind: 2 | 3, value: Uint8Array, attributes?: Uint8Array): Bytes =>
  sequence(oid(`1.2.840.113549.1.12.10.1.${kind}`), tagged(0, value), ...(attributes ? [attributes] : []));

/** PBES2 with PBKDF2-HMAC-SHA256 and AES-256-CBC; MAC HMAC-SHA256 with an 8-byte salt, which is what macOS takes. */
export async function makeP12({ key, certificates, name }: P12Contents, password: string): Promise<Bytes> {
  const secret = password.normalize('NFC');
  const [own = new Uint8Array()] = certificates;
  const labels = labelsOf(name, sha256(own).slice(0, 20));
  const certificateBags = certificates.map((der, i) =>
    bag(3, sequence(oid('1.2.840.113549.1.9.22.1'), tagged(0, octets(der))), i === 0 ? labels : undefined),
  );
  const chain = await encrypt(sequence(...certificateBags), secret);
  const shrouded = await encrypt(key, secret);
  const safe = sequence(
    // EncryptedData ::= SEQUENCE { version 0, { data, algorithm, [0] IMPLICIT OCTET STRING } } (RFC 5652 §8)
    sequence(
      oid(encryptedData),
      tagged(0, sequence(integer(0), sequence(oid(data), chain.algorithm, tlv(0x80, chain.bytes)))),
    ),
    sequence(
      oid(data),
      tagged(0, octets(sequence(bag(2, sequence(shrouded.algorithm, octets(shrouded.bytes)), labels)))),
    ),
  );
  return sequence(integer(3), sequence(oid(data), tagged(0, octets(safe))), await macOf(safe, secret));
}

/** friendlyName and localKeyId, by which importers join the key with its certificate (RFC 2985 §5.5). */
const labelsOf = (name: string, id: Uint8Array): Bytes =>
  setOf(
    sequence(oid('1.2.840.113549.1.9.20'), setOf(tlv(0x1e, utf16(name)))),
    sequence(oid('1.2.840.113549.1.9.21'), setOf(octets(id))),
  );

async function encrypt(plain: Bytes, password: string): Promise<{ algorithm: Bytes; bytes: Bytes }> {
  const [salt, iv] = [crypto.getRandomValues(new Uint8Array(16)), crypto.getRandomValues(new Uint8Array(16))];
  const base = await crypto.subtle.importKey('raw', new TextEncoder().encode(password), 'PBKDF2', false, ['deriveKey']);
  const key = await crypto.subtle.deriveKey(
    { name: 'PBKDF2', hash: 'SHA-256', salt, iterations },
    base,
    { name: 'AES-CBC', length: 256 },
    false,
    ['encrypt'],
  );
  const kdf = sequence(
    oid('1.2.840.113549.1.5.12'),
    sequence(octets(salt), integer(iterations), integer(32), sequence(oid('1.2.840.113549.2.9'), nothing())),
  );
  const cipher = sequence(oid('2.16.840.1.101.3.4.1.42'), octets(iv));
  return {
    algorithm: sequence(oid('1.2.840.113549.1.5.13'), sequence(kdf, cipher)),
    bytes: new Uint8Array(await crypto.subtle.encrypt({ name: 'AES-CBC', iv }, key, plain)),
  };
}

async function macOf(safe: Bytes, password: string): Promise<Bytes> {
  const salt = crypto.getRandomValues(new Uint8Array(8));
  const hmac = { name: 'HMAC', hash: 'SHA-256' };
  const key = await crypto.subtle.importKey('raw', macKey(password, salt), hmac, false, ['sign']);
  const digest = new Uint8Array(await crypto.subtle.sign('HMAC', key, safe));
  const info = sequence(sequence(oid('2.16.840.1.101.3.4.2.1'), nothing()), octets(digest));
  return sequence(info, octets(salt), integer(iterations));
}

/** RFC 7292 §B.2 with ID 3 (MAC) and SHA-256: v = 64, u = 32, and one block is all that is needed. */
function macKey(password: string, salt: Uint8Array): Bytes {
  const fill = (bytes: Uint8Array): Bytes =>
    Uint8Array.from({ length: Math.ceil(bytes.length / 64) * 64 }, (_, i) => bytes[i % bytes.length] ?? 0);
  let block = join(new Uint8Array(64).fill(3), fill(salt), fill(utf16(`${password}\0`)));
  for (let round = 0; round < iterations; round++) block = sha256(block);
  return block;
}
