// The gate's own revocation lists: one per issuing CA, new on every revocation and once a day.
import type { Clock } from '../core/clock.ts';
import type { Log } from '../core/parts.ts';
import type { Store } from '../store/index.ts';
import type { IssuingCa } from './ca-files.ts';
import type { CertificateRecords } from './certificate-records.ts';
import { derBlocks, toPem } from './pem.ts';

export interface OwnCrls extends AsyncDisposable {
  /** Of this issuing CA (default: the newest): DER; of all issuing CAs: PEM, newest CA first. */
  current(number?: number): Promise<{ readonly pem: string; readonly der: Uint8Array }>;
  /** Makes new lists; several calls at once make one. */
  refresh(): Promise<void>;
}

export interface OwnCrlOptions {
  readonly store: Store;
  /** Those that count now. */
  readonly issuing: () => readonly IssuingCa[];
  readonly records: CertificateRecords;
  readonly clock: Clock;
  readonly log: Log;
}

interface SignedList {
  readonly pem: string;
  readonly at: Date;
}

const day = 86_400_000;
const lifetime = 7 * day;

export function openOwnCrls(options: OwnCrlOptions): OwnCrls {
  const { issuing, clock, log } = options;
  let lists: ReadonlyMap<string, SignedList> = new Map();
  let running: Promise<void> = Promise.resolve();
  let waiting = 0;

  const make = async (): Promise<void> => {
    const next = new Map<string, SignedList>();
    try {
      for (const ca of issuing()) next.set(ca.facts.fingerprint, await signNext(ca, options));
    } finally {
      lists = next; // also when signing failed: the old ones no longer say everything
    }
  };
  const refresh = (): Promise<void> => {
    // What asks while one is being made needs one more after it, but only one for all of them.
    if (waiting > 0) return running;
    waiting += 1;
    running = running
      .catch(() => {})
      .then(() => {
        waiting -= 1;
        return make();
      });
    return running;
  };
  let cancel = (): void => {};
  const arm = (): void => {
    cancel = clock.after(day, () => {
      refresh().catch((error: unknown) => log.error({ error }, 'the revocation list could not be renewed'));
      arm();
    });
  };
  arm();

  return {
    async current(number) {
      await running.catch(() => {});
      const oldest = Math.min(...issuing().map(ca => lists.get(ca.facts.fingerprint)?.at.getTime() ?? 0));
      if (clock.now().getTime() - oldest >= day) await refresh();
      const pems = issuing()
        .toReversed()
        .map(ca => lists.get(ca.facts.fingerprint)?.pem ?? '');
      const one = number === undefined ? issuing().at(-1) : issuing().find(ca => ca.number === number);
      const own = lists.get(one?.facts.fingerprint ?? '')?.pem;
      const [der = new Uint8Array()] = own === undefined ? [] : derBlocks(own, 'X509 CRL');
      return { pem: pems.join(''), der };
    },
    refresh,
    async [Symbol.asyncDispose]() {
      cancel();
      await running.catch(() => {});
    },
  };
}

/** Signs the next list of one CA and remembers its number, which must never go back (RFC 5280 §5.2.3). */
async function signNext(ca: IssuingCa, { store: { db }, records, clock }: OwnCrlOptions): Promise<SignedList> {
  const { signCrl } = await import('./pki-crl.ts');
  const issuer = ca.facts.fingerprint;
  const now = clock.now();
  const last = await db.selectFrom('crl').select('number').where('issuer', '=', issuer).executeTakeFirst();
  const number = Number(last?.number ?? 0) + 1;
  const nextUpdate = new Date(now.getTime() + lifetime);
  const revoked = records
    .all()
    // Off the list once it has ended by itself, but not before it was on one list after that (§3.3).
    .filter(record => record.issuer === issuer && record.notAfter.getTime() > now.getTime() - lifetime)
    .flatMap(({ serial, revoked }) => (revoked ? [{ serial, ...revoked }] : []));
  const der = await signCrl(
    { number, thisUpdate: now, nextUpdate, revoked },
    { key: ca.key, certificate: ca.facts.der },
  );
  const pem = toPem('X509 CRL', der);
  const row = { issuer, number };
  await db
    .insertInto('crl')
    .values(row)
    .onConflict(conflict => conflict.column('issuer').doUpdateSet(row))
    .execute();
  return { pem, at: now };
}
