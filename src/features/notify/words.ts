// What a mail says, in English and Japanese. What came from elsewhere is one line each, without control characters.
import type { NotifyEvent } from './config.ts';
import type { Notice } from './notice.ts';

type Language = 'en' | 'ja';
interface Words {
  readonly subject: (notice: Notice) => string;
  readonly what: string;
}

const words: Readonly<Record<NotifyEvent, Readonly<Record<Language, Words>>>> = {
  'approval.waiting': {
    en: { subject: ({ resource, facts }) => `${facts['by']} asks for ${resource}`, what: 'An approval is waited for.' },
    ja: {
      subject: ({ resource, facts }) => `承認待ち: ${facts['by']} → ${resource}`,
      what: '承認を待っている要求があります。',
    },
  },
  'cert.expiring': {
    en: { subject: ({ resource }) => `${resource} ends soon`, what: 'A certificate ends soon.' },
    ja: {
      subject: ({ resource }) => `証明書の期限が近づいています: ${resource}`,
      what: '証明書の有効期限が近づいています。',
    },
  },
  'denied.burst': {
    en: {
      subject: ({ facts }) => `${facts['count']} denials from ${facts['from']}`,
      what: 'Many attempts were denied.',
    },
    ja: {
      subject: ({ facts }) => `拒否の多発: ${facts['from']} から ${facts['count']} 件`,
      what: 'アクセスの拒否が多発しています。',
    },
  },
};

export function mailOf(
  notice: Notice,
  language: Language,
  gate: string,
): { readonly subject: string; readonly text: string } {
  const { subject, what } = words[notice.event][language];
  const facts = { event: notice.event, resource: notice.resource, at: notice.at, gate, ...notice.facts };
  const lines = Object.entries(facts).flatMap(([name, value]) =>
    value === '' ? [] : [`${name}: ${oneLine(String(value))}`],
  );
  return { subject: oneLine(`[Sekisho] ${subject(notice)}`).slice(0, 200), text: `${what}\n\n${lines.join('\n')}\n` };
}

/** Nothing that a mail program or a terminal would obey, and nothing that would turn text around. */
const oneLine = (text: string): string => text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ' ').trim();
