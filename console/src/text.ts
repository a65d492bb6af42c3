// Words in the language that was chosen, and how times and amounts are written in it.
import { japanese } from './words.ja.ts';
import { english, type Words } from './words.ts';

export type Language = 'en' | 'ja';
const remembered = (): Language => {
  try {
    const kept = localStorage.getItem('language');
    if (kept === 'en' || kept === 'ja') return kept;
  } catch {
    // storage may be switched off
  }
  return navigator.language.startsWith('ja') ? 'ja' : 'en';
};
let language: Language = remembered();

export const currentLanguage = (): Language => language;
export function setLanguage(next: Language): void {
  language = next;
  document.documentElement.lang = next;
  try {
    localStorage.setItem('language', next);
  } catch {
    // then it is asked again next time
  }
}
export const t = (word: keyof Words): string => (language === 'ja' ? japanese : english)[word];

export const when = (time: string): string =>
  new Intl.DateTimeFormat(language, { dateStyle: 'short', timeStyle: 'medium' }).format(new Date(time));
export const day = (time: string): string =>
  new Intl.DateTimeFormat(language, { dateStyle: 'medium' }).format(new Date(time));

const units = ['B', 'kB', 'MB', 'GB', 'TB'];
export function bytes(count: number): string {
  const step = count < 1000 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(count) / 3));
  const value = count / 1000 ** step;
  return `${value >= 100 || step === 0 ? Math.round(value) : value.toFixed(1)} ${units[step]}`;
}

/** `1:04:09` until then; under a minute the seconds are what counts. */
export function countdown(until: string, now: number): string {
  const seconds = Math.max(0, Math.round((Date.parse(until) - now) / 1000));
  const [hours, minutes, rest] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  const two = (n: number): string => String(n).padStart(2, '0');
  return hours >= 48
    ? `${Math.floor(hours / 24)} d`
    : hours > 0
      ? `${hours}:${two(minutes)}:${two(rest)}`
      : `${minutes}:${two(rest)}`;
}

/** Whoever has no name is called by what they are. */
export const nameOf = ({ kind, id, credential }: { kind: string; id: string; credential: string }): string =>
  id || (credential === 'local' ? t('localAdministrator') : kind === 'anonymous' ? t('anonymous') : kind);

/** Who opened something, as the API names them; no user's name has a space. */
export const openerOf = (name: string): string => (name === 'local administrator' ? t('localAdministrator') : name);

/** `3 min` ago, or for so long: coarse, since it is read at a glance. */
export function ago(time: string, now: number): string {
  const seconds = Math.max(0, Math.round((now - Date.parse(time)) / 1000));
  const [value, unit] = (
    seconds < 60
      ? [seconds, 'second']
      : seconds < 3600
        ? [Math.floor(seconds / 60), 'minute']
        : seconds < 172_800
          ? [Math.floor(seconds / 3600), 'hour']
          : [Math.floor(seconds / 86_400), 'day']
  ) as [number, 'second' | 'minute' | 'hour' | 'day'];
  return new Intl.NumberFormat(language, { style: 'unit', unit, unitDisplay: 'short' }).format(value);
}
