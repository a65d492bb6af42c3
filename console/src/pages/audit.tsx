// Audit: search, older pages, and whether the chain holds.
import { useEffect, useState } from 'preact/hooks';
import { type AnswerOf, call, Refusal } from '../api.ts';
import { Field, Form, Page, Problem, Table, Tag } from '../parts.tsx';
import { t, when } from '../text.ts';
import { useAnswer } from '../use.ts';

type Row = AnswerOf<'audit.search'>['rows'][number];
const tones = { allowed: 'good', denied: 'bad', ended: 'plain', done: 'good', failed: 'weak' } as const;
const page = 100;

export function AuditPage() {
  const [filter, setFilter] = useState<Readonly<Record<string, string>>>({});
  const asked = useAnswer('audit.search', { query: { ...filter, limit: page } as never });
  const [older, setOlder] = useState<readonly Row[]>([]);
  const [next, setNext] = useState<number>();
  const [verdict, setVerdict] = useState<AnswerOf<'audit.verify'> | Refusal | 'busy'>();
  useEffect(() => setOlder([]), [filter]);
  useEffect(() => {
    if (older.length === 0) setNext(asked.value?.next);
  }, [asked.value, older]);
  const more = async (): Promise<void> => {
    const answer = await call('audit.search', { query: { ...filter, limit: page, before: next } as never });
    setOlder([...older, ...answer.rows]);
    setNext(answer.next);
  };
  const verify = (): void => {
    setVerdict('busy');
    call('audit.verify', { body: {} }).then(setVerdict, setVerdict);
  };
  const rows = asked.value && unique([...asked.value.rows, ...older]);
  return (
    <Page
      title={t('audit')}
      tools={
        <button type="button" disabled={verdict === 'busy'} onClick={verify}>
          {t('verify')}
        </button>
      }
    >
      {verdict instanceof Refusal && <Problem error={verdict} />}
      {typeof verdict === 'object' && 'ok' in verdict && (
        <p role="status">
          <Tag tone={verdict.ok ? 'good' : 'bad'}>{t(verdict.ok ? 'chainOk' : 'chainBad')}</Tag> {verdict.rows}{' '}
          {verdict.problems.map(({ text }) => (
            <div class="weak">{text}</div>
          ))}
        </p>
      )}
      <div class="inline">
        <Form
          label={t('search')}
          submit={async fields =>
            setFilter(Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== '')))
          }
        >
          <Field label={t('event')} name="event" placeholder="proxy.*" />
          <Field label={t('userName')} name="user" />
          <Field label={t('resource')} name="resource" placeholder="proxy/db" />
        </Form>
      </div>
      {asked.error && <Problem error={asked.error} />}
      <Table
        label={t('audit')}
        rows={rows}
        idOf={({ seq }) => String(seq)}
        empty={t('noRows')}
        columns={[
          { title: t('time'), show: ({ at }) => <time dateTime={at}>{when(at)}</time> },
          { title: t('event'), kind: 'code', show: ({ event }) => event },
          { title: t('outcome'), show: ({ outcome }) => <Tag tone={tones[outcome]}>{outcome}</Tag> },
          { title: t('who'), show: ({ who }) => <strong>{who.id || who.kind}</strong> },
          { title: t('resource'), show: ({ resource }) => resource },
          { title: t('from'), kind: 'code', show: ({ from }) => from },
          { title: t('rule'), show: ({ rule }) => rule },
          {
            title: t('details'),
            show: ({ facts }) => (
              <small>
                {Object.entries(facts)
                  .map(([key, value]) => `${key} ${String(value)}`)
                  .join(' · ')}
              </small>
            ),
          },
        ]}
      />
      {next !== undefined && (
        <button type="button" onClick={() => void more()}>
          {t('older')}
        </button>
      )}
    </Page>
  );
}

const unique = (rows: readonly Row[]): Row[] => [...new Map(rows.map(row => [row.seq, row])).values()];
