// Signed requests to an ACME server: the account's key, JWS in flattened form (RFC 7515, RFC 8555 §6.2), and EAB.
import {
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
} from 'node:crypto';
import { Fault } from '../core/fault.ts';
import { readSecretFile, writeNew } from './key-files.ts';

export interface AccountKey {
  readonly jwk: Readonly<Record<string, string>>;
  /** SHA-256 of the key in its canonical form (RFC 7638), base64url. */
  readonly thumbprint: string;
  /** The body of one request; `payload` undefined = POST-as-GET (§6.3). */
  request(header: JwsHeader, payload: unknown): string;
}

export interface JwsHeader {
  readonly url: string;
  readonly nonce: string;
  /** The account's URL; absent only while there is none. */
  readonly kid?: string;
}

/** An account at the CA that was made elsewhere and is bound to ours (§7.3.4). */
export interface ExternalAccount {
  readonly kid: string;
  /** HMAC key, base64url. */
  readonly key: string;
}

/** The account's key, ECDSA P-256, made when the file is missing. @throws Fault `invalid` */
export async function openAccountKey(path: string): Promise<AccountKey> {
  let text = await readSecretFile(path);
  if (!text) {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    await writeNew(path, privateKey.export({ type: 'pkcs8', format: 'pem' }));
    text = await readSecretFile(path);
  }
  return accountKey(readKey(path, text));
}

function readKey(path: string, text: Buffer | undefined): KeyObject {
  try {
    const key = createPrivateKey(text ?? '');
    if (key.asymmetricKeyDetails?.namedCurve === 'prime256v1') return key;
  } catch (cause) {
    throw new Fault('invalid', `${path} is not a private key; remove it to make a new account, or restore it`, {
      cause,
    });
  }
  throw new Fault('invalid', `${path} is not an ECDSA P-256 key; remove it to make a new account, or restore it`);
}

function accountKey(key: KeyObject): AccountKey {
  const { crv = '', x = '', y = '' } = createPublicKey(key).export({ format: 'jwk' });
  const jwk = { crv, kty: 'EC', x, y }; // in the order that the thumbprint is made of (RFC 7638 §3.2)
  return {
    jwk,
    thumbprint: createHash('sha256').update(JSON.stringify(jwk)).digest('base64url'),
    request({ url, nonce, kid }, payload) {
      const head = { alg: 'ES256', nonce, url, ...(kid === undefined ? { jwk } : { kid }) };
      const signed = join(head, payload);
      // JWS wants r ‖ s, not DER (RFC 7518 §3.4).
      const signature = sign('sha256', Buffer.from(signed.text), { key, dsaEncoding: 'ieee-p1363' });
      return JSON.stringify({ ...signed.parts, signature: signature.toString('base64url') });
    },
  };
}

/** The proof that the holder of an external account agrees to bind it to our key. */
export function bindExternal({ kid, key }: ExternalAccount, account: AccountKey, url: string): object {
  const signed = join({ alg: 'HS256', kid, url }, account.jwk);
  const signature = createHmac('sha256', Buffer.from(key, 'base64url')).update(signed.text).digest('base64url');
  return { ...signed.parts, signature };
}

function join(header: object, payload: unknown): { text: string; parts: { protected: string; payload: string } } {
  const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const parts = { protected: encode(header), payload: payload === undefined ? '' : encode(payload) };
  return { text: `${parts.protected}.${parts.payload}`, parts };
}
