// What we issued: rows in the store, and a copy in memory so that revocation is known at once and without waiting.
import type { CertificateTable, Store } from '../store/index.ts';
import type { Reason } from './pki-crl.ts';

/** One issued certificate, without its key. */
export interface CertificateRecord {
  readonly serial: string;
  readonly fingerprint: string;
  readonly issuer: string;
  readonly kind: 'server' | 'user' | 'device';
  readonly name: string;
  readonly names: readonly string[];
  readonly subject: { readonly cn?: string; readonly ou?: readonly string[]; readonly o?: string };
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly cert: string;
  readonly revoked?: { readonly at: Date; readonly reason: Reason };
  /** The serial of the certificate whose holder renewed it. */
  readonly replaces?: string;
}

export interface CertificateRecords {
  add(record: CertificateRecord): Promise<void>;
  /** Of several who revoke one certificate, one is told that it was them. */
  revoke(serial: string, at: Date, reason: Reason): Promise<boolean>;
  bySerial(serial: string): CertificateRecord | undefined;
  byFingerprint(fingerprint: string): CertificateRecord | undefined;
  all(): readonly CertificateRecord[];
  /** Serials of the certificates that this one was renewed into. */
  renewalsOf(serial: string): readonly string[];
}

export async function openCertificateRecords({ db }: Store): Promise<CertificateRecords> {
  const serials = new Map<string, CertificateRecord>();
  const fingerprints = new Map<string, CertificateRecord>();
  const renewals = new Map<string, Set<string>>();
  const keep = (record: CertificateRecord): void => {
    if (record.replaces !== undefined)
      renewals.set(record.replaces, (renewals.get(record.replaces) ?? new Set()).add(record.serial));
    serials.set(record.serial, record);
    fingerprints.set(record.fingerprint, record);
  };
  for (const row of await db.selectFrom('certificate').selectAll().orderBy('not_before').execute()) keep(fromRow(row));
  return {
    async add(record) {
      await db.insertInto('certificate').values(toRow(record)).execute();
      keep(record);
    },
    async revoke(serial, at, reason) {
      const change = { revoked: at.toISOString(), reason };
      const { numUpdatedRows } = await db
        .updateTable('certificate')
        .set(change)
        .where('serial', '=', serial)
        .where('revoked', 'is', null)
        .executeTakeFirst();
      const record = serials.get(serial);
      if (!record || numUpdatedRows === 0n) return false;
      keep({ ...record, revoked: { at, reason } });
      return true;
    },
    bySerial: serial => serials.get(serial),
    byFingerprint: fingerprint => fingerprints.get(fingerprint),
    all: () => [...serials.values()],
    renewalsOf: serial => [...(renewals.get(serial) ?? [])],
  };
}

function toRow(record: CertificateRecord): CertificateTable {
  return {
    serial: record.serial,
    fingerprint: record.fingerprint,
    issuer: record.issuer,
    kind: record.kind,
    name: record.name,
    names: JSON.stringify(record.names),
    subject: JSON.stringify(record.subject),
    not_before: record.notBefore.toISOString(),
    not_after: record.notAfter.toISOString(),
    pem: record.cert,
    revoked: record.revoked?.at.toISOString() ?? null,
    reason: record.revoked?.reason ?? null,
    replaces: record.replaces ?? null,
  };
}

function fromRow(row: CertificateTable): CertificateRecord {
  const { serial, fingerprint, issuer, kind, name, pem, revoked, reason } = row;
  return {
    serial,
    fingerprint,
    issuer,
    kind,
    name,
    names: JSON.parse(row.names) as string[],
    subject: JSON.parse(row.subject) as CertificateRecord['subject'],
    notBefore: new Date(row.not_before),
    notAfter: new Date(row.not_after),
    cert: pem,
    ...(row.replaces === null ? {} : { replaces: row.replaces }),
    ...(revoked === null ? {} : { revoked: { at: new Date(revoked), reason: (reason ?? 'unspecified') as Reason } }),
  };
}
