// What an import says of each directive, and what it found weak. The rooms that convert a block share these words.
import type { Directive, Place } from './nginx-conf.ts';

/** In order of weight: where one directive ends in several ways, the heaviest stands. */
export const importStatuses = ['ignored', 'converted', 'noted', 'refused'] as const;
export type ImportStatus = (typeof importStatuses)[number];

/** One a directive: what became of it, why, and for a refusal what to do. */
export interface ImportRow {
  readonly status: ImportStatus;
  readonly at: Place;
  /** The directive as written, shortened, without inline secrets. */
  readonly directive: string;
  readonly reason: string;
  readonly todo?: string;
}

/** Something that the original configuration does and its author may not know. */
export interface ImportFinding {
  readonly severity: 'high' | 'medium' | 'low';
  readonly code: string;
  readonly at: Place;
  readonly text: string;
  readonly todo: string;
}

/** A directive in one line for a report: `proxy_ssl on`. */
export function directiveText(directive: Directive): string {
  const words = [directive.name, ...directive.args].map(word =>
    word.startsWith('data:') ? 'data:«hidden»' : /[\s;{}"']/.test(word) || word === '' ? JSON.stringify(word) : word,
  );
  const text = words.join(' ').replace(/[\x00-\x1f\x7f-\x9f\u2028\u2029]/g, ' ');
  return (text.length > 100 ? `${text.slice(0, 99)}…` : text) + (directive.block || directive.foreign ? ' {}' : '');
}

/** `nginx.conf:12` */
export const placeText = (at: Place): string => `${at.file}:${at.line}`;
