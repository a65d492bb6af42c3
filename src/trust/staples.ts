// OCSP answers about our own servers' certificates, ready to be shown with them in the handshake (RFC 6066 §8).
import { X509Certificate } from 'node:crypto';
import type { Clock } from '../core/clock.ts';
import type { Log } from '../core/parts.ts';
import type { IssuingCa } from './ca-files.ts';
import type { CertificateRecord, CertificateRecords } from './certificate-records.ts';
import { ocspLife } from './ocsp.ts';

/**
 * The answer about these certificates (PEM, the leaf first), DER; undefined when one of them is not ours, or when two
 * issuing CAs would have to sign. Never rejects.
 */
export type Staple = (certs: readonly string[]) => Promise<Uint8Array | undefined>;

export interface StaplesOptions {
  readonly issuing: () => readonly IssuingCa[];
  readonly records: CertificateRecords;
  readonly onRevoked: (call: () => void) => () => void;
  readonly clock: Clock;
  readonly log: Log;
}

/** Sets of certificates whose answer is kept; the gate shows a handful, endpoints under names one each. */
const kept = 256;
/** A client may hold an answer until it ends: it is given at most the second half of its life. */
const freshFor = ocspLife / 2;

/**
 * One answer for all certificates of a listener: which of them is shown, OpenSSL decides later, and RFC 6960 lets one
 * answer speak of several.
 */
export function createStaples({ issuing, records, onRevoked, clock, log }: StaplesOptions): Staple {
  const made = new Map<string, { readonly at: number; readonly answer: Promise<Uint8Array | undefined> }>();
  onRevoked(() => made.clear());
  const sign = async (certs: readonly string[]): Promise<Uint8Array | undefined> => {
    const found = certs.map(cert => records.byFingerprint(fingerprintOf(cert)));
    const ours = found.filter((one): one is CertificateRecord => one !== undefined);
    const ca = issuing().find(({ facts }) => facts.fingerprint === ours[0]?.issuer);
    if (!ca || ours.length < certs.length || ours.some(({ issuer }) => issuer !== ca.facts.fingerprint)) return;
    const { certIdOf, signOcsp } = await import('./pki-ocsp.ts');
    const answers = ours.map(({ serial, revoked }) => ({
      id: certIdOf(ca.facts.der, serial),
      status: revoked ?? ('good' as const),
    }));
    const at = clock.now();
    const nextUpdate = new Date(at.getTime() + ocspLife);
    return signOcsp({ answers, at, nextUpdate }, { key: ca.key, certificate: ca.facts.der });
  };
  return certs => {
    const key = certs.join('');
    const known = made.get(key);
    const now = clock.now().getTime();
    if (known && now - known.at < freshFor && now >= known.at) return known.answer;
    const answer = sign(certs).catch((error: unknown) => {
      log.error({ error }, 'no OCSP answer could be made for a certificate of ours');
      return undefined;
    });
    made.delete(key);
    if (made.size >= kept) made.delete(made.keys().next().value ?? '');
    made.set(key, { at: now, answer });
    return answer;
  };
}

const fingerprintOf = (cert: string): string =>
  new X509Certificate(cert).fingerprint256.replaceAll(':', '').toLowerCase();
