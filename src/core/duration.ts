// Durations as people write them: 500ms, 30s, 10m, 1h30m, 8h, 2d.
import { Fault } from './fault.ts';

declare const durationBrand: unique symbol;
/** Milliseconds. */
export type Duration = number & { readonly [durationBrand]?: true };

const units: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };

/** Parses `30m`, `1h30m`, `500ms`. A bare number is refused: its unit would be a guess. @throws Fault `invalid` */
export function parseDuration(text: string): Duration {
  const parts = [...text.matchAll(/(\d+)(ms|s|m|h|d|w)/g)];
  if (parts.length === 0 || parts.map(part => part[0]).join('') !== text) {
    throw new Fault('invalid', `"${text}" is not a duration; write for example 30s, 10m, 1h30m or 2d`);
  }
  const total = parts.reduce((sum, [, count, unit]) => sum + Number(count) * (units[unit ?? ''] ?? Number.NaN), 0);
  if (!Number.isSafeInteger(total)) throw new Fault('invalid', `"${text}" is too long a duration`);
  return total;
}

/** `5400000` → `1h30m`; `0` → `0s`. The shortest form that parses back to the same value. */
export function formatDuration(ms: Duration): string {
  let left = Math.round(ms);
  let text = '';
  for (const unit of ['d', 'h', 'm', 's', 'ms']) {
    const size = units[unit] ?? 1;
    const count = Math.floor(left / size);
    if (count > 0) text += `${count}${unit}`;
    left -= count * size;
  }
  return text || '0s';
}
