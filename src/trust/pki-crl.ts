// Builds certificate revocation lists (RFC 5280 §5).
import * as asn1 from 'asn1js';
import * as pkijs from 'pkijs';
import { exact, extension, hashFor, integerOf, keyIdentifier, type Signer, timeValue, webKey } from './pki.ts';

/** RFC 5280 §5.3.1. */
export const reasons = {
  unspecified: 0,
  keyCompromise: 1,
  affiliationChanged: 3,
  superseded: 4,
  cessationOfOperation: 5,
  privilegeWithdrawn: 9,
} as const;
export type Reason = keyof typeof reasons;

export interface CrlRequest {
  /** Grows with every list of one issuer. */
  readonly number: number;
  readonly thisUpdate: Date;
  readonly nextUpdate: Date;
  readonly revoked: readonly { readonly serial: string; readonly at: Date; readonly reason: Reason }[];
}

/** Builds one list, version 2. @returns its DER */
export async function signCrl(request: CrlRequest, signer: Required<Signer>): Promise<Uint8Array> {
  const issuer = pkijs.Certificate.fromBER(exact(signer.certificate));
  const list = new pkijs.CertificateRevocationList();
  list.version = 1; // v2
  list.issuer = issuer.subject;
  list.thisUpdate = timeValue(request.thisUpdate);
  list.nextUpdate = timeValue(request.nextUpdate);
  if (request.revoked.length > 0) list.revokedCertificates = request.revoked.map(entry);
  const authority = new pkijs.AuthorityKeyIdentifier({
    keyIdentifier: new asn1.OctetString({ valueHex: keyIdentifier(issuer.subjectPublicKeyInfo) }),
  });
  list.crlExtensions = new pkijs.Extensions({
    extensions: [
      extension('2.5.29.35', false, authority.toSchema()),
      extension('2.5.29.20', false, new asn1.Integer({ value: request.number })),
    ],
  });
  await list.sign(await webKey(signer.key), hashFor(signer.key));
  return new Uint8Array(list.toSchema(true).toBER());
}

function entry({ serial, at, reason }: CrlRequest['revoked'][number]): pkijs.RevokedCertificate {
  const revoked = new pkijs.RevokedCertificate({ userCertificate: integerOf(serial), revocationDate: timeValue(at) });
  // `unspecified` is said by saying nothing (§5.3.1).
  if (reason !== 'unspecified') {
    revoked.crlEntryExtensions = new pkijs.Extensions({
      extensions: [extension('2.5.29.21', false, new asn1.Enumerated({ value: reasons[reason] }))],
    });
  }
  return revoked;
}
