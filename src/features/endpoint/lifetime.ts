// How long: what was asked for, what the policy grants and what the configuration allows, the shortest of them. Pure.
import { formatDuration } from '../../core/duration.ts';
import { Fault } from '../../core/fault.ts';

export interface Bounds {
  /** Milliseconds; where the request says nothing. */
  readonly usual: number;
  /** Milliseconds from opening to end, extensions included. */
  readonly most: number;
}

/** Shorter is a slip of the pen: nobody reaches it in time. */
const shortest = 1000;

/** What a request asks for. @throws Fault `invalid` beyond the most that is allowed */
export function wantedLife(asked: number | undefined, { usual, most }: Bounds): number {
  const wanted = asked ?? usual;
  if (wanted < shortest) throw new Fault('invalid', 'an endpoint lasts a second at least');
  if (wanted <= most) return wanted;
  throw new Fault(
    'invalid',
    `${formatDuration(wanted)} is longer than an endpoint may last here; endpoint.lifetime.max is ${formatDuration(most)}`,
  );
}

/** The end of one that opens now. `granted`: the policy's own end, if it sets one. */
export function endOf(now: number, wanted: number, granted: Date | undefined): number {
  return Math.min(now + wanted, granted?.getTime() ?? Number.POSITIVE_INFINITY);
}

export interface Extension {
  readonly now: number;
  readonly opened: number;
  readonly until: number;
  /** Milliseconds more. */
  readonly more: number;
  readonly granted: Date | undefined;
}

/** The new end, later than the old one. @throws Fault `limit` where nothing can be added */
export function extendedEnd({ now, opened, until, more, granted }: Extension, { most }: Bounds): number {
  const last = Math.min(opened + most, granted?.getTime() ?? Number.POSITIVE_INFINITY);
  const end = Math.min(Math.max(until, now) + more, last);
  if (end > until) return end;
  const why =
    opened + most <= last ? `endpoint.lifetime.max is ${formatDuration(most)}` : 'the rule that lets it open says so';
  throw new Fault('limit', `this endpoint cannot last beyond ${new Date(until).toISOString()}: ${why}`);
}
