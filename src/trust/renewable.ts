// Which certificates may be renewed, which already are, and which end soon. Pure.
import { Fault } from '../core/fault.ts';
import type { CertificateRecord } from './certificate-records.ts';

type Holder = Pick<CertificateRecord, 'kind' | 'name' | 'subject'>;

/** A certificate is renewed while it counts, for its own holder and with its own subject. @throws Fault `conflict` */
export function checkRenewable(before: CertificateRecord, order: Holder, now: Date): void {
  const refuse = (why: string): never => {
    throw new Fault('conflict', `certificate ${before.serial} cannot be renewed: ${why}`);
  };
  if (before.revoked) throw revokedMeanwhile(before.serial);
  if (before.notAfter <= now) refuse('it has expired; make an enrolment link instead');
  if (before.kind === 'server') refuse('it is a server’s; issue a new one');
  if (holderOf(before) !== holderOf(order)) refuse('the new one would have another holder or subject');
}

export const revokedMeanwhile = (serial: string): Fault =>
  new Fault('conflict', `certificate ${serial} cannot be renewed: it is revoked`);

/**
 * What counts, ends within this time and has no successor, the soonest first. A successor is what its holder renewed it
 * into, or another certificate of the same holder, names and subject that ends later: agents and the gate itself get
 * theirs anew without a word about the one before.
 */
export function expiringWithin(all: readonly CertificateRecord[], now: Date, within: number): CertificateRecord[] {
  const alive = all.filter(record => !record.revoked && record.notAfter > now);
  const replaced = new Set(alive.map(({ replaces }) => replaces));
  const latest = new Map<string, number>();
  for (const record of alive) {
    const key = whole(record);
    latest.set(key, Math.max(latest.get(key) ?? 0, record.notAfter.getTime()));
  }
  return alive
    .filter(
      record =>
        record.notAfter.getTime() - now.getTime() <= within &&
        !replaced.has(record.serial) &&
        latest.get(whole(record)) === record.notAfter.getTime(),
    )
    .sort((a, b) => a.notAfter.getTime() - b.notAfter.getTime());
}

const holderOf = ({ kind, name, subject: { cn, ou, o } }: Holder): string =>
  JSON.stringify([kind, name, cn ?? '', ou ?? [], o ?? '']);
const whole = (record: CertificateRecord): string => holderOf(record) + JSON.stringify([...record.names].sort());
