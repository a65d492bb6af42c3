// Audit: search, follow, older rows, whether the chain holds, files for others, and the recordings of terminals.
import { useEffect, useRef, useState } from 'preact/hooks';
import { type AnswerOf, call, fetchFile, Refusal } from '../api.ts';
import { Act, Field, Form, Page, Problem, Table, Tag } from '../parts.tsx';
import { save, saveBlob } from '../save.ts';
import { bytes, nameOf, t, when } from '../text.ts';
import { useAnswer, usePath } from '../use.ts';
import { PlaybackPage } from './playback.tsx';

type Row = AnswerOf<'audit.search'>['rows'][number];
type Filter = Readonly<Record<string, string>>;
const tones = { allowed: 'good', denied: 'bad', ended: 'plain', done: 'good', failed: 'weak' } as const;
const outcomes = {
  allowed: 'outcomeAllowed',
  denied: 'outcomeDenied',
  ended: 'outcomeEnded',
  done: 'outcomeDone',
  failed: 'outcomeFailed',
} as const;
const page = 100;
/** Rows that a page holds before it asks for a narrower search. */
const most = 2000;

export function AuditPage() {
  const [, part, id] = usePath();
  return part === 'recording' && id !== undefined ? <PlaybackPage key={id} id={id} /> : <AuditRows />;
}

function AuditRows() {
  const [filter, setFilter] = useState<Filter>({});
  const [isFollowing, setFollowing] = useState(true);
  const following = useRef(isFollowing);
  following.current = isFollowing;
  const asked = useAnswer('audit.search', { query: { ...filter, limit: page } as never }, () => following.current);
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
        <>
          <button type="button" aria-pressed={isFollowing} onClick={() => setFollowing(!isFollowing)}>
            {t('follow')}
          </button>
          <button type="button" disabled={verdict === 'busy'} onClick={verify}>
            {t('verify')}
          </button>
        </>
      }
    >
      {verdict === 'busy' && <p class="quiet">{t('verifying')}</p>}
      {verdict instanceof Refusal && <Problem error={verdict} />}
      {typeof verdict === 'object' && 'ok' in verdict && <Verdict report={verdict} />}
      <div class="inline">
        <Form
          label={t('search')}
          submit={async fields =>
            setFilter(Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== '')))
          }
        >
          <Field label={t('event')} name="event" placeholder="*.denied" />
          <Field label={t('userName')} name="user" />
          <Field label={t('resource')} name="resource" placeholder="device/pump-7" />
          <label class="field">
            <span>{t('outcome')}</span>
            <select name="outcome">
              <option value="">{t('any')}</option>
              {Object.entries(outcomes).map(([value, word]) => (
                <option value={value}>{t(word)}</option>
              ))}
            </select>
          </label>
        </Form>
      </div>
      {asked.error && <Problem error={asked.error} />}
      <Table
        label={t('audit')}
        rows={asked.error && !rows ? [] : rows}
        idOf={({ seq }) => String(seq)}
        empty={t('noRows')}
        columns={[
          {
            title: t('time'),
            show: ({ at, seq }) => (
              <>
                <time dateTime={at}>{when(at)}</time>
                <span class="under">{seq}</span>
              </>
            ),
          },
          {
            title: t('event'),
            show: ({ event, outcome }) => (
              <>
                <code>{event}</code>
                <span class="under">
                  <Tag tone={tones[outcome]}>{t(outcomes[outcome])}</Tag>
                </span>
              </>
            ),
          },
          {
            title: t('who'),
            show: ({ who, from }) => (
              <>
                <strong>{nameOf(who)}</strong>
                <span class="under code">{from}</span>
              </>
            ),
          },
          {
            title: t('resource'),
            show: ({ resource, rule }) => (
              <>
                <span class="name">{resource}</span>
                <span class="under">{rule}</span>
              </>
            ),
          },
          {
            title: t('details'),
            show: ({ facts }) => (
              <small>
                {Object.entries(facts)
                  .map(([key, value]) => `${key} ${typeof value === 'object' ? JSON.stringify(value) : String(value)}`)
                  .join(' · ')}
              </small>
            ),
          },
        ]}
      />
      {next !== undefined && (rows?.length ?? 0) < most && <Act label={t('older')} run={more} />}
      {(rows?.length ?? 0) >= most && <p class="quiet">{t('narrow')}</p>}
      <h2>{t('takeAway')}</h2>
      <p class="quiet">{t('exportText')}</p>
      <div class="tools left">
        <Act
          label={t('exportSigned')}
          run={() => fetchFile('/v1/audit/export').then(file => saveBlob('audit.jsonl', file))}
        />
        <Act
          label={t('exportCsv')}
          run={() => fetchFile('/v1/audit/export?format=csv').then(file => saveBlob('audit.csv', file))}
        />
        <Act
          label={t('exportKey')}
          run={() => call('audit.head').then(({ publicKey }) => save('audit.pub', publicKey, 'application/x-pem-file'))}
        />
      </div>
      <Recordings />
    </Page>
  );
}

function Verdict({ report }: { report: AnswerOf<'audit.verify'> }) {
  return (
    <p role="status">
      <Tag tone={report.ok ? 'good' : 'bad'}>{t(report.ok ? 'chainOk' : 'chainBad')}</Tag> {report.rows} {t('rows')},{' '}
      {report.heads} {t('heads')}
      {report.problems.map(({ text }) => (
        <div class="weak">{text}</div>
      ))}
    </p>
  );
}

function Recordings() {
  const asked = useAnswer('audit.recording-list', { query: { limit: page } }, event =>
    event.startsWith('device.terminal'),
  );
  if (asked.error || !asked.value || asked.value.recordings.length === 0) return null;
  return (
    <>
      <h2>{t('recordings')}</h2>
      <Table
        label={t('recordings')}
        rows={asked.value.recordings}
        idOf={({ id }) => id}
        empty=""
        columns={[
          { title: t('time'), show: ({ begun }) => when(begun) },
          { title: t('who'), show: ({ user }) => <strong>{user}</strong> },
          { title: t('what'), kind: 'code', show: ({ login, device, service }) => `${login}@${device}/${service}` },
          { title: t('size'), kind: 'number', show: one => bytes(one.bytes) },
          {
            title: '',
            kind: 'tools',
            show: ({ id }) => (
              <>
                <a class="button" href={`#/audit/recording/${encodeURIComponent(id)}`}>
                  {t('play')}
                </a>
                <Act
                  label={t('download')}
                  run={() => fetchFile(`/v1/audit/recordings/${id}`).then(file => saveBlob(`${id}.cast`, file))}
                />
              </>
            ),
          },
        ]}
      />
    </>
  );
}

const unique = (rows: readonly Row[]): Row[] => [...new Map(rows.map(row => [row.seq, row])).values()];
