// Status: what is open right now, to whom, until when, and why.
import { useEffect, useState } from 'preact/hooks';
import { type AnswerOf, call } from '../api.ts';
import { Act, Answer, Page, Spark, Table, Tag } from '../parts.tsx';
import { bytes, countdown, t, when } from '../text.ts';
import { useAnswer, useNow } from '../use.ts';

type Status = AnswerOf<'status.show'>;
type Session = Status['sessions'][number];

const tones = { ok: 'good', degraded: 'weak', down: 'bad' } as const;

export function StatusPage() {
  const asked = useAnswer('status.show');
  const now = useNow();
  return (
    <Page title={t('status')}>
      <Answer asked={asked}>
        {status => (
          <>
            <div class="facts">
              <Fact label={t('health')}>
                <Tag tone={tones[status.health]}>{status.health}</Tag>
              </Fact>
              <Fact label={t('sessions')}>
                <strong>{status.live}</strong>
              </Fact>
              <Fact label={t('approval')}>
                <strong>{status.approvals}</strong> <span class="quiet">{t('waiting')}</span>
              </Fact>
              <Fact label={t('throughput')}>
                <Throughput status={status} />
              </Fact>
              <Fact label={t('name')}>
                {status.name} <span class="quiet">{status.version}</span>
              </Fact>
            </div>
            <h2>{t('openNow')}</h2>
            <Table
              label={t('openNow')}
              rows={status.sessions}
              idOf={({ id }) => id}
              empty={t('nothingOpen')}
              columns={columns(now, asked.again)}
            />
            {status.openTunnels > 0 && (
              <>
                <h2>{t('tunnel')}</h2>
                <Table
                  label={t('tunnel')}
                  rows={status.tunnels}
                  idOf={({ id }) => id}
                  empty=""
                  columns={[
                    { title: t('device'), show: ({ thing }) => <strong>{thing}</strong> },
                    { title: t('services'), kind: 'code', show: ({ services }) => services.join(' ') },
                    { title: t('who'), show: ({ opener }) => opener },
                    { title: t('why'), show: ({ description }) => description },
                    { title: t('until'), show: ({ until }) => <time dateTime={until}>{countdown(until, now)}</time> },
                  ]}
                />
              </>
            )}
            <h2>{t('listens')}</h2>
            <Table
              label={t('listens')}
              rows={status.listeners}
              idOf={({ name, listen }) => name + listen}
              empty=""
              columns={[
                { title: t('name'), show: ({ name }) => name },
                { title: t('listens'), kind: 'code', show: ({ listen }) => listen },
                { title: '', show: ({ note }) => <span class="quiet">{note}</span> },
              ]}
            />
            <h2>{t('warnings')}</h2>
            {status.warnings.length === 0 ? (
              <p class="quiet">{t('noWarnings')}</p>
            ) : (
              <ul class="warnings">
                {status.warnings.map(text => (
                  <li>{text}</li>
                ))}
              </ul>
            )}
          </>
        )}
      </Answer>
    </Page>
  );
}

const columns = (now: number, again: () => void) => [
  { title: t('who'), show: ({ who }: Session) => <strong>{who.id || who.kind}</strong> },
  {
    title: t('what'),
    show: ({ action, resource }: Session) => (
      <>
        {resource} <span class="quiet">{action}</span>
      </>
    ),
  },
  { title: t('from'), kind: 'code' as const, show: ({ from }: Session) => from },
  { title: t('why'), show: ({ rule }: Session) => rule },
  { title: t('since'), show: ({ since }: Session) => when(since) },
  {
    title: t('until'),
    show: ({ until }: Session) =>
      until === undefined ? (
        <span class="quiet">{t('never')}</span>
      ) : (
        <time dateTime={until}>{countdown(until, now)}</time>
      ),
  },
  {
    title: t('bytes'),
    kind: 'number' as const,
    show: ({ bytes: { up, down } }: Session) => `${bytes(up)} / ${bytes(down)}`,
  },
  {
    title: '',
    kind: 'tools' as const,
    show: ({ id }: Session) => (
      <Act
        label={t('cut')}
        sure={t('sureCut')}
        danger
        run={() => call('session.cut', { params: { id }, body: {} }).then(again)}
      />
    ),
  },
];

const Fact = ({ label, children }: { label: string; children: preact.ComponentChildren }) => (
  <div class="fact">
    <span class="quiet">{label}</span>
    <div>{children}</div>
  </div>
);

/** From one answer to the next: what the sessions shown have moved. */
function Throughput({ status }: { status: Status }) {
  const [kept, setKept] = useState<{ readonly at: number; readonly sum: number; readonly values: readonly number[] }>();
  useEffect(() => {
    const sum = status.sessions.reduce((all, { bytes: { up, down } }) => all + up + down, 0);
    const at = Date.parse(status.now);
    setKept(before => {
      if (!before || at <= before.at) return { at, sum, values: before?.values ?? [] };
      const rate = Math.max(0, sum - before.sum) / ((at - before.at) / 1000);
      return { at, sum, values: [...before.values, rate].slice(-60) };
    });
  }, [status]);
  const values = kept?.values ?? [];
  return (
    <>
      <Spark values={values} label={t('throughput')} /> {bytes(values.at(-1) ?? 0)}/s
    </>
  );
}
