// Days and hours in a time zone: is it time, and when does it end. Right across midnight and daylight saving.

const names = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'];
const minute = 60_000;
const day = 24 * 60;
/** A window that lasts longer than any week's pattern never ends. */
const longest = 8 * day;

export interface When {
  readonly days?: readonly string[] | undefined;
  readonly hours?: readonly string[] | undefined;
  readonly zone: string;
}

/** `mon` or `mon-fri` (also around the week's end) → numbers of days, Sunday is 0; undefined for anything else. */
export function parseDays(text: string): number[] | undefined {
  const [first = '', last = first, ...rest] = text.split('-');
  const [from, to] = [names.indexOf(first), names.indexOf(last)];
  if (from < 0 || to < 0 || rest.length > 0) return undefined;
  return Array.from({ length: ((to - from + 7) % 7) + 1 }, (_, index) => (from + index) % 7);
}

/** `22:00-06:00` → minutes from midnight; an end that is not after the start lies in the next day. `24:00` may be an end. */
export function parseHours(text: string): { start: number; end: number } | undefined {
  const parts = /^([01]\d|2[0-3]):([0-5]\d)-(?:([01]\d|2[0-3]):([0-5]\d)|24:00)$/.exec(text);
  if (!parts) return undefined;
  const start = Number(parts[1]) * 60 + Number(parts[2]);
  const end = parts[3] === undefined ? day : Number(parts[3]) * 60 + Number(parts[4]);
  return { start, end: end > start ? end : end + day };
}

export function isZone(zone: string): boolean {
  try {
    new Intl.DateTimeFormat('en-US', { timeZone: zone });
    return true;
  } catch {
    return false;
  }
}

/** `undefined`: not now. Else until when, `null` where it never ends. */
export type Window = (now: Date) => Date | null | undefined;

/** The times must have passed the schema. */
export function compileWhen({ days, hours, zone }: When): Window {
  const on = new Set(days?.flatMap(text => parseDays(text) ?? []) ?? [0, 1, 2, 3, 4, 5, 6]);
  const spans = hours?.flatMap(text => parseHours(text) ?? []) ?? [{ start: 0, end: day }];
  const offset = zoneOffset(zone);
  const isOpen = (time: number): boolean => {
    const local = Math.floor((time + offset(time)) / minute);
    const today = (((Math.floor(local / day) + 4) % 7) + 7) % 7; // 1970-01-01 was a Thursday
    const at = ((local % day) + day) % day;
    // A span belongs to the day on which it begins; yesterday's may reach into today.
    return spans.some(
      ({ start, end }) => (on.has(today) && at >= start && at < end) || (on.has((today + 6) % 7) && at + day < end),
    );
  };
  const endAfter = (time: number): number | null => {
    const first = Math.floor(time / minute) * minute;
    for (let at = first + minute; at <= first + longest * minute; at += minute) if (!isOpen(at)) return at;
    return null;
  };
  let known: { from: number; end: number | null } | undefined;
  return now => {
    const time = now.getTime();
    if (!isOpen(time)) return undefined;
    // Asking minute by minute is exact whatever the clocks do, and an answer is good until the window's end.
    if (!known || time < known.from || (known.end !== null && time >= known.end))
      known = { from: time, end: endAfter(time) };
    return known.end === null ? null : new Date(known.end);
  };
}

/** Milliseconds that a zone is ahead of UTC. Asked of Intl once a quarter of an hour, and remembered. */
function zoneOffset(zone: string): (time: number) => number {
  const format = new Intl.DateTimeFormat('en-US', {
    timeZone: zone,
    hourCycle: 'h23',
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
    minute: 'numeric',
    second: 'numeric',
  });
  const known = new Map<number, number>();
  return time => {
    const quarter = Math.floor(time / (15 * minute));
    let offset = known.get(quarter);
    if (offset === undefined) {
      const start = quarter * 15 * minute;
      const parts = Object.fromEntries(format.formatToParts(start).map(({ type, value }) => [type, Number(value)]));
      const part = (name: string): number => parts[name] ?? 0;
      const local = Date.UTC(
        part('year'),
        part('month') - 1,
        part('day'),
        part('hour'),
        part('minute'),
        part('second'),
      );
      offset = local - start;
      if (known.size > 2000) known.clear();
      known.set(quarter, offset);
    }
    return offset;
  };
}
