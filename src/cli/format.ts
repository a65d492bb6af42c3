// Values as people read them: bytes, times from now, who.
import { formatDuration } from '../core/duration.ts';
import type { Cell } from './screen.ts';

/** 1536 → `1.5 KiB`. */
export function formatBytes(count: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const step = count < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(count) / 10));
  const value = count / 1024 ** step;
  return `${step === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[step]}`;
}

/** How long, no finer than it matters: hours beyond a day, minutes beyond ten. */
export function formatSpan(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  const coarse = seconds >= 86_400 ? 3600 : seconds >= 600 ? 60 : 1;
  return formatDuration(Math.round(seconds / coarse) * coarse * 1000);
}

export const ago = (time: string, now = Date.now()): string => `${formatSpan(now - Date.parse(time))} ago`;

/** `in 25m`; yellow below five minutes. */
export function left(time: string | undefined, now = Date.now()): Cell {
  if (time === undefined) return { text: '–', tone: 'dim' };
  const ms = Date.parse(time) - now;
  if (ms <= 0) return { text: 'over', tone: 'red' };
  return ms < 300_000 ? { text: `in ${formatSpan(ms)}`, tone: 'yellow' } : `in ${formatSpan(ms)}`;
}

export const day = (time: string): string => time.slice(0, 10);

export const minute = (time: string): string => `${time.slice(0, 10)} ${time.slice(11, 16)}Z`;

export const second = (time: string): string => `${time.slice(0, 10)} ${time.slice(11, 19)}Z`;

/** `staff01`, `token ci`, `anonymous`; a foreign certificate by the head of its fingerprint. */
export function formatWho(who: { kind: string; id: string; credential: string }): string {
  if (who.credential === 'local') return 'local administrator';
  if (who.id !== '') return who.kind === 'user' ? who.id : `${who.kind} ${who.id}`;
  if (who.credential === '') return who.kind;
  return `${who.kind} ${who.credential.slice(0, 17)}…`;
}
