// Certificate signing requests (RFC 2986): ours for ACME, and other people's, of which only the key is taken.
import { createPublicKey, type KeyObject } from 'node:crypto';
import * as pkijs from 'pkijs';
import { Fault } from '../core/fault.ts';
import { derBlocks } from './pem.ts';
import { alternativeName, checkedSequence, exact, hashFor, hostName, publicKeyOf, webKey } from './pki.ts';

/** A request for these host names and addresses, signed with the key. @returns its DER */
export async function makeCsr(names: readonly string[], key: KeyObject): Promise<Uint8Array> {
  const request = new pkijs.CertificationRequest();
  request.subjectPublicKeyInfo = pkijs.PublicKeyInfo.fromBER(exact(publicKeyOf(key)));
  const list = new pkijs.GeneralNames({
    names: names.map(name => {
      const kind = alternativeName(name);
      if (kind.startsWith('IP:'))
        throw new Fault('invalid', `"${name}": a public CA certifies host names, not addresses`);
      return new pkijs.GeneralName({ type: 2, value: hostName(name) });
    }),
  });
  const extensions = new pkijs.Extensions({
    extensions: [new pkijs.Extension({ extnID: '2.5.29.17', extnValue: list.toSchema().toBER() })],
  });
  // extensionRequest (RFC 2985 §5.4.2)
  request.attributes = [new pkijs.Attribute({ type: '1.2.840.113549.1.9.14', values: [extensions.toSchema()] })];
  await request.sign(await webKey(key), hashFor(key));
  return new Uint8Array(request.toSchema(true).toBER());
}

/**
 * The public key (SubjectPublicKeyInfo, DER) of somebody's request, once it is shown that they hold the private key.
 * What the request says about names is not looked at: the issuer chooses those.
 * @throws Fault `invalid`
 */
export async function keyOfCsr(file: string | Uint8Array): Promise<Uint8Array> {
  const [der] = blocksOf(file);
  if (!der || der.length > 64 * 1024) throw new Fault('invalid', 'the signing request is empty or longer than 64 KiB');
  try {
    const request = pkijs.CertificationRequest.fromBER(checkedSequence(der));
    if (!(await request.verify())) throw new Fault('invalid', 'the signing request is not signed by its own key');
    const publicKey = new Uint8Array(request.subjectPublicKeyInfo.toSchema().toBER());
    checkStrength(createPublicKey({ key: Buffer.from(publicKey), format: 'der', type: 'spki' }));
    return publicKey;
  } catch (cause) {
    if (cause instanceof Fault && cause.code === 'invalid') throw cause;
    throw new Fault('invalid', 'the signing request cannot be read; make one with: openssl req -new -key key.pem', {
      cause,
    });
  }
}

function blocksOf(file: string | Uint8Array): readonly Uint8Array[] {
  const text = typeof file === 'string' ? file : Buffer.from(file).toString('latin1');
  return derBlocks(
    text.includes('NEW CERTIFICATE REQUEST') ? text.replaceAll('NEW CERTIFICATE', 'CERTIFICATE') : file,
    'CERTIFICATE REQUEST',
  );
}

const curves = ['prime256v1', 'secp384r1', 'secp521r1'];

function checkStrength(key: KeyObject): void {
  const { modulusLength = 0, namedCurve = '' } = key.asymmetricKeyDetails ?? {};
  if (key.asymmetricKeyType === 'rsa' && modulusLength >= 2048 && modulusLength <= 8192) return;
  if (key.asymmetricKeyType === 'ec' && curves.includes(namedCurve)) return;
  throw new Fault(
    'invalid',
    'the key of the signing request is not accepted; use RSA of 2048 to 8192 bits, or P-256, P-384 or P-521',
  );
}
