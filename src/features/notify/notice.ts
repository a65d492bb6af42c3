// What somebody is told, and which rows of the audit make it: one table, pure but for the counting of denials.
import type { NotifyConfig, NotifyEvent } from './config.ts';

/** A row of the audit, as much of it as matters here. */
export interface Row {
  readonly at: string;
  readonly event: string;
  readonly resource: string;
  readonly who: { readonly kind: string; readonly id: string };
  readonly from?: string | null | undefined;
  readonly facts: Readonly<Record<string, unknown>>;
}

export interface Notice {
  readonly event: NotifyEvent;
  /** The same key within `quiet` is the same news. */
  readonly key: string;
  readonly at: string;
  readonly resource: string;
  readonly facts: Readonly<Record<string, string | number>>;
}

/** Addresses and words whose denials are counted at a time. */
const mostCounts = 5000;

export function createReader(config: Pick<NotifyConfig, 'burst' | 'events'>): (row: Row) => Notice | undefined {
  const counts = new Map<string, { since: number; count: number }>();

  const burst = (row: Row): Notice | undefined => {
    const from = String(row.from ?? '').replace(/:\d+$/, '');
    const [word = ''] = row.event.split('.');
    const key = `${word} ${from}`;
    const at = Date.parse(row.at);
    const known = counts.get(key);
    const one = known && at - known.since < config.burst.within ? known : { since: at, count: 0 };
    one.count += Number(row.facts['count'] ?? 1) || 1;
    counts.delete(key);
    counts.set(key, one);
    const [oldest] = counts.keys();
    if (counts.size > mostCounts && oldest !== undefined) counts.delete(oldest);
    if (one.count < config.burst.count) return undefined;
    counts.delete(key);
    const facts = { word, from, count: one.count, reason: textOf(row.facts['reason']) };
    return { event: 'denied.burst', key: `denied.burst ${key}`, at: row.at, resource: row.resource, facts };
  };

  const read = (row: Row): Notice | undefined => {
    if (row.event.endsWith('.denied')) return burst(row);
    if (row.event.endsWith('.approval-asked')) {
      const approval = textOf(row.facts['approval']);
      const facts = {
        approval,
        by: row.who.id || row.who.kind,
        group: textOf(row.facts['group']),
        reason: textOf(row.facts['reason']),
      };
      return {
        event: 'approval.waiting',
        key: `approval.waiting ${approval}`,
        at: row.at,
        resource: row.resource,
        facts,
      };
    }
    if (row.event === 'cert.expiring') {
      const facts = Object.fromEntries(Object.entries(row.facts).map(([name, value]) => [name, textOf(value)]));
      return {
        event: 'cert.expiring',
        key: `cert.expiring ${row.resource}`,
        at: row.at,
        resource: row.resource,
        facts,
      };
    }
    return undefined;
  };
  return row => {
    const notice = read(row);
    return notice && config.events.includes(notice.event) ? notice : undefined;
  };
}

const textOf = (value: unknown): string => (value === undefined || value === null ? '' : String(value).slice(0, 500));
