// TLS for clients without ALPN, which are the oldest ones: RSA, and the certificate of before for whom it must not change.
import { createHash, X509Certificate } from 'node:crypto';
import type { Upgrade } from '../core/parts.ts';
import { type ServerTlsOptions, upgradeTls } from '../net/tls.ts';

export interface PlainTls {
  /** `fingerprint`: SHA-256 of the certificate's DER that the client must be shown again, if it is still known. */
  upgrade(fingerprint: string | undefined): Upgrade;
  replace(next: ServerTlsOptions): void;
}

/** Former certificates that are remembered for sessions that began with them. */
const remembered = 4;

/** RSA where there is such a certificate: SoftEther's Windows clients of 4.x know nothing else. */
export function plainTls(first: ServerTlsOptions): PlainTls {
  let ways = [make(first)];
  return {
    upgrade(fingerprint) {
      const [newest] = ways as [ReturnType<typeof make>];
      if (fingerprint === undefined) return newest.upgrade;
      return (ways.find(({ prints }) => prints.includes(fingerprint)) ?? newest).upgrade;
    },
    replace(next) {
      const newest = make(next);
      const others = ways.filter(({ prints }) => !prints.some(print => newest.prints.includes(print)));
      ways = [newest, ...others].slice(0, remembered);
    },
  };
}

function make(options: ServerTlsOptions) {
  const parsed = options.identities.map(identity => ({ identity, certificate: new X509Certificate(identity.cert) }));
  const rsa = parsed.filter(({ certificate }) => certificate.publicKey.asymmetricKeyType === 'rsa');
  const used = rsa.length > 0 ? rsa : parsed;
  return {
    prints: used.map(({ certificate }) => createHash('sha256').update(certificate.raw).digest('hex')),
    upgrade: upgradeTls({ ...options, identities: used.map(({ identity }) => identity) }),
  };
}
