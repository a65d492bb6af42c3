// PKCS#12 files (RFC 7292): key, certificate and chain under one password, as OpenSSL 3, Windows and macOS import them.
import { createHash, createHmac, type KeyObject, randomBytes } from 'node:crypto';
import { setImmediate as turn } from 'node:timers/promises';
import * as asn1 from 'asn1js';
import * as pkijs from 'pkijs';
import { Fault } from '../core/fault.ts';
import { fingerprintOf } from './certificate.ts';
import { exact } from './pki.ts';

export interface P12Contents {
  readonly key: KeyObject;
  readonly certificate: Uint8Array;
  readonly chain: readonly Uint8Array[];
  /** What the importing program shows. */
  readonly name: string;
}

/** Rounds of PBKDF2 and of the MAC's own derivation; what it costs is paid once per import. */
const iterations = 100_000;
const encryption = {
  contentEncryptionAlgorithm: { name: 'AES-CBC', length: 256 },
  hmacHashAlgorithm: 'SHA-256',
  iterationCount: iterations,
};

/**
 * PBES2 with PBKDF2-HMAC-SHA256 and AES-256-CBC, MAC HMAC-SHA256. PBES2 takes the password as UTF-8, the MAC as
 * BMPString with a final zero (§B.1): both are what OpenSSL does.
 * @throws Fault `invalid` for an empty password
 */
export async function makeP12(contents: P12Contents, password: string): Promise<Uint8Array> {
  if (password === '')
    throw new Fault('invalid', 'a PKCS#12 file needs a password; importing programs refuse an empty one');
  const id = exact(Buffer.from(fingerprintOf(contents.certificate), 'hex').subarray(0, 20));
  const bundle = new pkijs.AuthenticatedSafe({
    parsedValue: {
      safeContents: [
        { privacyMode: 1, value: new pkijs.SafeContents({ safeBags: certificateBags(contents, id) }) },
        { privacyMode: 0, value: new pkijs.SafeContents({ safeBags: [await keyBag(contents, id, password)] }) },
      ],
    },
  });
  const secret = exact(Buffer.from(password.normalize('NFC'), 'utf8'));
  await bundle.makeInternalValues({
    safeContents: [{ ...encryption, password: secret, contentType: '1.2.840.113549.1.7.1' }, {}],
  });
  const signed = bundle.toSchema().toBER(false);
  const file = new pkijs.PFX({
    authSafe: new pkijs.ContentInfo({
      contentType: pkijs.ContentInfo.DATA,
      content: new asn1.OctetString({ valueHex: signed }),
    }),
    macData: await macOf(signed, password.normalize('NFC')),
  });
  return new Uint8Array(file.toSchema().toBER(false));
}

function certificateBags({ certificate, chain, name }: P12Contents, id: ArrayBuffer): pkijs.SafeBag[] {
  return [certificate, ...chain].map(
    (der, i) =>
      new pkijs.SafeBag({
        bagId: '1.2.840.113549.1.12.10.1.3',
        bagValue: new pkijs.CertBag({ parsedValue: pkijs.Certificate.fromBER(exact(der)) }),
        ...(i === 0 ? { bagAttributes: labels(name, id) } : {}),
      }),
  );
}

async function keyBag({ key, name }: P12Contents, id: ArrayBuffer, password: string): Promise<pkijs.SafeBag> {
  const bag = new pkijs.PKCS8ShroudedKeyBag({
    parsedValue: pkijs.PrivateKeyInfo.fromBER(exact(key.export({ type: 'pkcs8', format: 'der' }))),
  });
  await bag.makeInternalValues({ ...encryption, password: exact(Buffer.from(password.normalize('NFC'), 'utf8')) });
  return new pkijs.SafeBag({ bagId: '1.2.840.113549.1.12.10.1.2', bagValue: bag, bagAttributes: labels(name, id) });
}

/** friendlyName and localKeyId, by which importers join the key with its certificate (RFC 2985 §5.5). */
function labels(name: string, id: ArrayBuffer): pkijs.Attribute[] {
  return [
    new pkijs.Attribute({ type: '1.2.840.113549.1.9.20', values: [new asn1.BmpString({ value: name })] }),
    new pkijs.Attribute({ type: '1.2.840.113549.1.9.21', values: [new asn1.OctetString({ valueHex: id })] }),
  ];
}

/** pkijs salts with 64 bytes; macOS takes 8 (it refuses 16), so the MAC is made here. */
async function macOf(signed: ArrayBuffer, password: string): Promise<pkijs.MacData> {
  const salt = randomBytes(8);
  const digest = createHmac('sha256', await macKey(password, salt))
    .update(Buffer.from(signed))
    .digest();
  return new pkijs.MacData({
    mac: new pkijs.DigestInfo({
      digestAlgorithm: new pkijs.AlgorithmIdentifier({
        algorithmId: '2.16.840.1.101.3.4.2.1',
        algorithmParams: new asn1.Null(),
      }),
      digest: new asn1.OctetString({ valueHex: exact(digest) }),
    }),
    macSalt: new asn1.OctetString({ valueHex: exact(salt) }),
    iterations,
  });
}

/** RFC 7292 §B.2 with ID 3 (MAC) and SHA-256: v = 64, u = 32, and one block is all that is needed. */
async function macKey(password: string, salt: Uint8Array): Promise<Buffer> {
  const fill = (bytes: Uint8Array): Buffer => Buffer.alloc(Math.ceil(bytes.length / 64) * 64, bytes);
  const bmp = Buffer.from(`${password}\0`, 'utf16le').swap16();
  let block = Buffer.concat([Buffer.alloc(64, 3), fill(salt), fill(bmp)]);
  for (let round = 0; round < iterations; round += 1) {
    block = createHash('sha256').update(block).digest();
    if (round % 2000 === 0) await turn(); // everybody else's connections go on meanwhile
  }
  return block;
}
