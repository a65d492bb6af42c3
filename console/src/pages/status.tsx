// Status: what is open right now, to whom, until when, and why.
import { type AnswerOf, call } from '../api.ts';
import type { Me } from '../app.tsx';
import { Act, Answer, Page, Spark, Table, Tag } from '../parts.tsx';
import { ago, bytes, nameOf, openerOf, t, when } from '../text.ts';
import { useAnswer, useEvery, useNow, useRates } from '../use.ts';
import { Until } from './until.tsx';

type Status = AnswerOf<'status.show'>;
type Session = Status['sessions'][number];
/** Something that stands open, whether or not anybody passes. */
interface Way {
  readonly key: string;
  readonly kind: 'endpoint' | 'tunnel';
  readonly target: string;
  readonly who: string;
  readonly from: string;
  readonly until: string;
  readonly reason: string | undefined;
  readonly live: number;
  extend?(): Promise<unknown>;
  close(): Promise<unknown>;
}

const tones = { ok: 'good', degraded: 'weak', down: 'bad' } as const;
const healthWords = { ok: 'healthOk', degraded: 'healthWeak', down: 'healthDown' } as const;
/** Everything that moved, as one line. */
const all = '';

export function StatusPage({ me }: { me: Me }) {
  const asked = useAnswer('status.show');
  useEvery(3000, asked.again);
  const now = useNow();
  const { value } = asked;
  const rates = useRates(value, () => {
    const each = (value?.sessions ?? []).map(({ id, bytes: { up, down } }) => [id, up + down] as const);
    return [...each, [all, each.reduce((sum, [, total]) => sum + total, 0)] as const];
  });
  return (
    <Page title={t('status')}>
      <Answer asked={asked}>
        {status => (
          <>
            <div class="facts">
              <Fact label={t('health')}>
                <Tag tone={tones[status.health]}>{t(healthWords[status.health])}</Tag>
              </Fact>
              <Fact label={t('sessions')}>
                <strong>{status.live}</strong>
              </Fact>
              <Fact label={t('approval')}>
                <strong>{status.approvals}</strong>{' '}
                {status.approvals > 0 ? (
                  <a href="#/approval">{t('waiting')}</a>
                ) : (
                  <span class="quiet">{t('waiting')}</span>
                )}
              </Fact>
              <Fact label={t('throughput')}>
                <Rate values={rates.get(all) ?? []} />
              </Fact>
              <Fact label={status.name}>
                <span class="quiet">
                  {status.version} · {t('upSince')} <time dateTime={status.since}>{ago(status.since, now)}</time>
                </span>
              </Fact>
            </div>
            <h2>
              {t('openNow')} <span class="quiet">{status.sessions.length}</span>
            </h2>
            <Table
              label={t('openNow')}
              rows={status.sessions}
              idOf={({ id }) => id}
              empty={t('nothingOpen')}
              columns={columns(now, asked.again, rates)}
            />
            {status.live > status.sessions.length && <p class="quiet">{t('newestHundred')}</p>}
            <Ways me={me} now={now} />
            <h2>{t('listens')}</h2>
            <Table
              label={t('listens')}
              rows={status.listeners}
              idOf={({ name, listen }) => name + listen}
              empty={t('none')}
              columns={[
                { title: t('name'), show: ({ name }) => name },
                { title: t('listens'), kind: 'code', show: ({ listen }) => listen },
                { title: '', show: ({ note }) => <span class="quiet wrap">{note}</span> },
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

const columns = (now: number, again: () => void, rates: ReadonlyMap<string, readonly number[]>) => [
  {
    title: t('who'),
    show: ({ who, from }: Session) => (
      <>
        <strong>{nameOf(who)}</strong>
        <span class="under code">{from}</span>
      </>
    ),
  },
  {
    title: t('what'),
    show: ({ action, resource }: Session) => (
      <>
        {resource}
        <span class="under">{action}</span>
      </>
    ),
  },
  { title: t('why'), show: ({ rule }: Session) => rule },
  {
    title: t('since'),
    show: ({ since }: Session) => (
      <time dateTime={since} title={when(since)}>
        {ago(since, now)}
      </time>
    ),
  },
  { title: t('until'), show: ({ until }: Session) => <Until time={until} now={now} /> },
  {
    title: t('traffic'),
    show: ({ id, bytes: { up, down } }: Session) => (
      <>
        <Rate values={rates.get(id) ?? []} />
        <span class="under">
          ↑ {bytes(up)} ↓ {bytes(down)}
        </span>
      </>
    ),
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

/** Addresses and tunnels that stand open, used or not. Whoever may not list them sees nothing of it. */
function Ways({ me, now }: { me: Me; now: number }) {
  const concerns = (event: string): boolean => /^(endpoint|tunnel|session)/.test(event);
  const endpoints = useAnswer('endpoint.list', undefined, concerns);
  const tunnels = useAnswer('tunnel.list', { query: { state: 'open' } }, concerns);
  const ways: Way[] = [
    ...(endpoints.value?.endpoints ?? [])
      .filter(({ state }) => state === 'open')
      .map(({ id, target, owner, from, latched, until, reason, live }) => ({
        ...{ key: `endpoint/${id}`, kind: 'endpoint' as const, target, who: owner, until, reason, live },
        from: latched ?? from.join(' '),
        extend: () => call('endpoint.extend', { params: { id }, body: {} }).then(endpoints.again),
        close: () => call('endpoint.close', { params: { id } }).then(endpoints.again),
      })),
    ...(tunnels.value?.tunnels ?? []).map(({ id, thing, services, opener, until, connections, description }) => ({
      ...{ key: `tunnel/${id}`, kind: 'tunnel' as const, who: opener, from: '', until, live: connections },
      target: [thing ?? id.slice(0, 8), services.join(' ')].filter(Boolean).join(' · '),
      reason: description,
      close: () => call('tunnel.close', { params: { id }, body: {} }).then(tunnels.again),
    })),
  ];
  ways.sort((a, b) => a.until.localeCompare(b.until));
  return (
    <>
      <h2>
        {t('waysOpen')} <span class="quiet">{ways.length}</span>
      </h2>
      <Table
        label={t('waysOpen')}
        rows={endpoints.value || tunnels.value ? ways : undefined}
        idOf={({ key }) => key}
        empty={t('noWays')}
        columns={[
          { title: t('kind'), show: ({ kind }) => <a href={`#/${kind}`}>{t(kind)}</a> },
          { title: t('target'), kind: 'code', show: ({ target }) => target },
          {
            title: t('who'),
            show: ({ who, reason }) => (
              <>
                <strong>{openerOf(who)}</strong> {who === me.id && <span class="quiet">{t('me')}</span>}{' '}
                <span class="quiet">{reason}</span>
              </>
            ),
          },
          { title: t('from'), kind: 'code', show: ({ from }) => from },
          { title: t('connections'), kind: 'number', show: ({ live }) => live },
          { title: t('until'), show: ({ until }) => <Until time={until} now={now} /> },
          {
            title: '',
            kind: 'tools',
            show: ({ extend, close }) => (
              <>
                {extend && <Act label={t('extend')} run={extend} />}
                <Act label={t('end')} sure={t('sureEnd')} danger run={close} />
              </>
            ),
          },
        ]}
      />
    </>
  );
}

const Fact = ({ label, children }: { label: string; children: preact.ComponentChildren }) => (
  <div class="fact">
    <span class="quiet">{label}</span>
    <div>{children}</div>
  </div>
);

const Rate = ({ values }: { values: readonly number[] }) => (
  <span class="rate">
    <Spark values={values} label={t('throughput')} /> <span>{bytes(values.at(-1) ?? 0)}/s</span>
  </span>
);
