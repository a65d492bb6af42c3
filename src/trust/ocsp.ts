// Whether a certificate of ours still counts, for who asks by OCSP (RFC 6960).
import type { Clock } from '../core/clock.ts';
import { toFault } from '../core/fault.ts';
import type { IssuingCa } from './ca-files.ts';
import type { CertificateRecords } from './certificate-records.ts';
import type { OcspStatus } from './pki-ocsp.ts';

export interface OcspOptions {
  readonly issuing: () => readonly IssuingCa[];
  readonly records: CertificateRecords;
  readonly clock: Clock;
}

/** How long an answer may be kept: a revocation is known everywhere within the hour. */
export const ocspLife = 3_600_000;

/** Answers one request, DER; what cannot be read gets `malformedRequest`. Never throws. */
export async function answerOcsp(request: Uint8Array, { issuing, records, clock }: OcspOptions): Promise<Uint8Array> {
  const { isIssuer, longestOcspRequest, ocspError, parseOcspRequest, signOcsp } = await import('./pki-ocsp.ts');
  if (request.length > longestOcspRequest) return ocspError(1);
  try {
    const { questions, nonce } = parseOcspRequest(request);
    const [first] = questions;
    if (!first) return ocspError(1);
    // One signature for all of it: the CA of the first. What another CA issued is unknown to that one (§2.2).
    const ca = issuing().find(one => isIssuer(one.facts.der, first)) ?? issuing().at(-1);
    if (!ca) return ocspError(2);
    const statusOf = (serial: string): OcspStatus => {
      const record = records.bySerial(serial);
      if (record?.issuer !== ca.facts.fingerprint) return 'unknown';
      return record.revoked ?? 'good';
    };
    const answers = questions.map(one => ({
      id: one.id,
      status: isIssuer(ca.facts.der, one) ? statusOf(one.serial) : ('unknown' as const),
    }));
    const at = clock.now();
    const nextUpdate = new Date(at.getTime() + ocspLife);
    return signOcsp(
      { answers, at, nextUpdate, ...(nonce ? { nonce } : {}) },
      { key: ca.key, certificate: ca.facts.der },
    );
  } catch (error) {
    return ocspError(toFault(error).code === 'protocol' ? 1 : 2);
  }
}
