// Answers to an ACME server's challenges: what http-01 and tls-alpn-01 want to see, and the board where listeners find it.
import { createHash } from 'node:crypto';
import type { Identity } from './identity-file.ts';
import { toPem } from './pem.ts';

/** What must be shown under the name while the server looks. */
export type AcmeChallenge =
  /** A plain-HTTP answer on port 80 (RFC 8555 §8.3). */
  | {
      readonly type: 'http-01';
      readonly name: string;
      readonly token: string;
      readonly keyAuthorization: string;
      readonly path: string;
      readonly body: string;
    }
  /** A certificate for clients that offer ALPN `acme-tls/1` on port 443 (RFC 8737). */
  | {
      readonly type: 'tls-alpn-01';
      readonly name: string;
      readonly token: string;
      readonly keyAuthorization: string;
      readonly identity: Identity;
    };

export const acmeAlpn = 'acme-tls/1';

/** Shows a challenge until what it gives is disposed; the CA is sent to look once it has been given. */
export type Publish = (challenge: AcmeChallenge) => Disposable | Promise<Disposable>;

export interface ChallengeBoard {
  publish(challenge: AcmeChallenge): Disposable;
  /** The answer to GET `path` on any name, or undefined: 404. */
  http(path: string): string | undefined;
  /** The certificate for a ClientHello with this server name and ALPN `acme-tls/1`, or undefined: refuse it. */
  alpn(serverName: string): Identity | undefined;
}

export function createChallengeBoard(): ChallengeBoard {
  const shown = new Set<AcmeChallenge>();
  const find = <T extends AcmeChallenge['type']>(
    type: T,
    fits: (challenge: Extract<AcmeChallenge, { type: T }>) => boolean,
  ): Extract<AcmeChallenge, { type: T }> | undefined =>
    [...shown].find((one): one is Extract<AcmeChallenge, { type: T }> => one.type === type && fits(one as never));
  return {
    publish(challenge) {
      shown.add(challenge);
      return { [Symbol.dispose]: () => void shown.delete(challenge) };
    },
    http: path => find('http-01', one => one.path === path)?.body,
    alpn: name => find('tls-alpn-01', one => one.name === name.toLowerCase())?.identity,
  };
}

/** Makes the answer. The token goes into a path and must be what §8.3 says: base64url. */
export async function answerFor(
  type: AcmeChallenge['type'],
  name: string,
  token: string,
  thumbprint: string,
  now: Date,
): Promise<AcmeChallenge> {
  const keyAuthorization = `${token}.${thumbprint}`;
  const common = { name, token, keyAuthorization };
  if (type === 'http-01') {
    return { ...common, type, path: `/.well-known/acme-challenge/${token}`, body: keyAuthorization };
  }
  return { ...common, type, identity: await alpnIdentity(name, keyAuthorization, now) };
}

/** Self-signed, for one name, with the digest of the key authorization as a critical extension (RFC 8737 §3). */
async function alpnIdentity(name: string, keyAuthorization: string, now: Date): Promise<Identity> {
  const digest = createHash('sha256').update(keyAuthorization).digest();
  const value = Buffer.concat([Buffer.of(0x04, 32), digest]); // OCTET STRING of 32 bytes
  return selfSigned(name, now, [{ oid: '1.3.6.1.5.5.7.1.31', critical: true, value }]);
}

/** Stands in until the real certificate has come. */
export async function selfSigned(
  name: string,
  now: Date,
  extensions: readonly { oid: string; critical: boolean; value: Uint8Array }[] = [],
): Promise<Identity> {
  const { alternativeName, newKey, publicKeyOf, signCertificate } = await import('./pki.ts');
  const { usageOids } = await import('./certificate.ts');
  const key = await newKey('ecdsa');
  const der = await signCertificate(
    {
      subject: name.length <= 64 ? { cn: name } : { cn: 'sekisho' },
      names: [alternativeName(name)],
      publicKey: publicKeyOf(key),
      notBefore: new Date(now.getTime() - 3_600_000),
      notAfter: new Date(now.getTime() + 7 * 86_400_000),
      use: { ca: false, usages: [usageOids.server] },
      extensions,
    },
    { key },
  );
  return { cert: toPem('CERTIFICATE', der), key: key.export({ type: 'pkcs8', format: 'pem' }) as string };
}
