// Certificates that end soon: an audit row for each threshold, which notifications listen for, and a warning of `status`.
import type { Audit } from '../access/index.ts';
import type { Clock } from '../core/clock.ts';
import type { Log } from '../core/parts.ts';
import { type Authority, type CertificateRecord, expiringWithin } from '../trust/index.ts';
import { lifeEvent } from './gateway-parts.ts';
import { hourly } from './retention.ts';

export interface ExpiryOptions {
  readonly authority: Pick<Authority, 'list'>;
  readonly audit: Pick<Audit, 'append' | 'search'>;
  readonly clock: Clock;
  readonly log: Log;
}

const day = 86_400_000;
/** Days before the end. Servers' own are made anew by themselves when a third of their 90 days is left. */
const thresholds: Readonly<Record<CertificateRecord['kind'], readonly number[]>> = {
  user: [1, 7, 30],
  device: [1, 7, 30],
  server: [1, 7],
};
const longest = 30 * day;

/** Each threshold is told once in a certificate's life, over restarts as well: what was told stands in the audit. */
export function watchExpiry({ authority, audit, clock, log }: ExpiryOptions): AsyncDisposable {
  let told: Map<string, number> | undefined;
  return hourly(clock, async () => {
    try {
      const now = clock.now();
      told ??= await toldBefore(audit, new Date(now.getTime() - longest - day));
      for (const record of expiringWithin(authority.list(), now, longest)) {
        const days = thresholdOf(record, now);
        const resource = `cert/${record.serial}`;
        if (days === undefined || (told.get(resource) ?? Number.POSITIVE_INFINITY) <= days) continue;
        await audit.append({ ...lifeEvent('cert.expiring', factsOf(record, days)), resource });
        told.set(resource, days);
      }
    } catch (error) {
      log.warn({ error }, 'certificates that end soon could not be looked through; trying again in an hour');
    }
  });
}

/** The smallest that is crossed. Of a short life only those count that lie in its second half. */
function thresholdOf({ kind, notBefore, notAfter }: CertificateRecord, now: Date): number | undefined {
  const [life, left] = [notAfter.getTime() - notBefore.getTime(), notAfter.getTime() - now.getTime()];
  return thresholds[kind].find(days => left <= days * day && 2 * days * day <= life);
}

async function toldBefore(audit: Pick<Audit, 'search'>, since: Date): Promise<Map<string, number>> {
  const told = new Map<string, number>();
  for (let before: number | undefined; ; ) {
    const { rows, next } = await audit.search({ event: 'cert.expiring', since, limit: 1000, before });
    for (const { resource, facts } of rows) {
      const days = Number(facts['days']);
      told.set(resource, Math.min(told.get(resource) ?? days, days));
    }
    if (next === undefined) return told;
    before = next;
  }
}

const factsOf = (record: CertificateRecord, days: number): Record<string, unknown> => ({
  ...{ kind: record.kind, name: nameOf(record), cn: record.subject.cn },
  ...{ until: record.notAfter.toISOString(), days },
});

const named = 5;

/** What ends within a week, and how to see it. */
export function expiryWarnings(authority: Pick<Authority, 'list'>, now: Date): string[] {
  const soon = expiringWithin(authority.list(), now, 7 * day).filter(record => thresholdOf(record, now) !== undefined);
  if (soon.length === 0) return [];
  const names = soon.slice(0, named).map(record => `${record.kind} ${nameOf(record)}`);
  const more = soon.length > named ? ` and ${soon.length - named} more` : '';
  const what = soon.length === 1 ? '1 certificate ends' : `${soon.length} certificates end`;
  return [`${what} within 7 days: ${names.join(', ')}${more}; see: sekisho cert list --expiring 7d`];
}

const nameOf = ({ name, names }: CertificateRecord): string => name || (names[0] ?? '').replace(/^\w+:/, '');
