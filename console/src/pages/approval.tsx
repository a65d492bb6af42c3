// Approvals: what waits for a yes, and who wants it why.
import { call } from '../api.ts';
import { Act, Answer, Page, Table, Tag } from '../parts.tsx';
import { t, when } from '../text.ts';
import { useAnswer, useNow } from '../use.ts';
import { Until } from './until.tsx';

const tones = { waiting: 'weak', approved: 'good', refused: 'bad', expired: 'plain', used: 'plain' } as const;
const words = {
  waiting: 'stateWaiting',
  approved: 'stateApproved',
  refused: 'stateRefused',
  expired: 'expired',
  used: 'stateUsed',
} as const;

export function ApprovalPage() {
  const asked = useAnswer('approval.list');
  const now = useNow();
  return (
    <Page title={t('approval')}>
      <Answer asked={asked}>
        {({ approvals }) => (
          <Table
            label={t('approval')}
            rows={approvals}
            idOf={({ id }) => id}
            empty={t('noApprovals')}
            columns={[
              { title: t('state'), show: ({ state }) => <Tag tone={tones[state]}>{t(words[state])}</Tag> },
              { title: t('who'), show: ({ who }) => <strong>{who.id || who.kind}</strong> },
              {
                title: t('what'),
                show: ({ resource, action }) => (
                  <>
                    {resource} <span class="quiet">{action}</span>
                  </>
                ),
              },
              { title: t('from'), kind: 'code', show: ({ from }) => from },
              {
                title: t('asks'),
                show: ({ asks }) =>
                  Object.entries(asks).map(([key, value]) => (
                    <div>
                      <span class="quiet">{key}</span> {String(value)}
                    </div>
                  )),
              },
              {
                title: t('votes'),
                show: ({ votes, needed, group }) => (
                  <>
                    {votes.map(({ user, vote }) => `${user}: ${vote}`).join(', ')}{' '}
                    <span class="quiet">
                      {needed} × {group}
                    </span>
                  </>
                ),
              },
              {
                title: t('until'),
                show: ({ until, state }) => (state === 'waiting' ? <Until time={until} now={now} /> : when(until)),
              },
              {
                title: '',
                kind: 'tools',
                show: ({ id, state }) =>
                  state === 'waiting' && (
                    <>
                      <Act
                        label={t('approve')}
                        run={() => call('approval.approve', { params: { id } }).then(asked.again)}
                      />
                      <Act
                        label={t('refuse')}
                        danger
                        run={() => call('approval.refuse', { params: { id }, body: {} }).then(asked.again)}
                      />
                    </>
                  ),
              },
            ]}
          />
        )}
      </Answer>
    </Page>
  );
}
