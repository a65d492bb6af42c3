// Tunnels: both sides' state, opening with tokens shown once, closing.
import { useState } from 'preact/hooks';
import { type AnswerOf, call } from '../api.ts';
import { Act, Answer, Dialog, Field, Form, Page, Table, Tag } from '../parts.tsx';
import { openerOf, t } from '../text.ts';
import { useAnswer, useNow } from '../use.ts';
import { Tokens } from './device.tsx';
import { Until } from './until.tsx';

type Tunnel = AnswerOf<'tunnel.list'>['tunnels'][number];

export function TunnelPage() {
  const asked = useAnswer('tunnel.list', { query: {} }, event => event.startsWith('tunnel'));
  const now = useNow();
  const [isOpening, setOpening] = useState(false);
  const [opened, setOpened] = useState<AnswerOf<'tunnel.open'>>();
  const side = (name: 'source' | 'destination', one: Tunnel) => (
    <Tag tone={one[name].state === 'connected' ? 'good' : 'plain'}>
      {t(one[name].state === 'connected' ? 'connected' : 'disconnected')}
    </Tag>
  );
  return (
    <Page
      title={t('tunnel')}
      tools={
        <button type="button" class="main" onClick={() => setOpening(true)}>
          {t('openTunnel')}
        </button>
      }
    >
      <Answer asked={asked}>
        {({ tunnels }) => (
          <Table
            label={t('tunnel')}
            rows={tunnels}
            idOf={({ id }) => id}
            empty={t('noTunnels')}
            columns={[
              {
                title: t('state'),
                show: ({ state }) => (
                  <Tag tone={state === 'open' ? 'good' : 'plain'}>
                    {t(state === 'open' ? 'stateOpen' : 'stateClosed')}
                  </Tag>
                ),
              },
              { title: t('device'), show: ({ thing }) => <strong>{thing}</strong> },
              { title: t('services'), kind: 'code', show: ({ services }) => services.join(' ') },
              { title: t('source'), show: one => side('source', one) },
              { title: t('destination'), show: one => side('destination', one) },
              { title: t('connections'), kind: 'number', show: ({ connections }) => connections },
              { title: t('who'), show: ({ opener }) => openerOf(opener) },
              { title: t('until'), show: ({ until, state }) => state === 'open' && <Until time={until} now={now} /> },
              {
                title: '',
                kind: 'tools',
                show: ({ id, state }) =>
                  state === 'open' && (
                    <Act
                      label={t('end')}
                      sure={t('sureEnd')}
                      danger
                      run={() => call('tunnel.close', { params: { id }, body: {} }).then(asked.again)}
                    />
                  ),
              },
            ]}
          />
        )}
      </Answer>
      {isOpening && (
        <Dialog title={t('openTunnel')} close={() => setOpening(false)}>
          <Form
            label={t('openTunnel')}
            cancel={() => setOpening(false)}
            submit={async ({ thing = '', services = '', for: time = '' }) => {
              setOpened(
                await call('tunnel.open', {
                  body: {
                    ...(thing === '' ? {} : { thing }),
                    services: services.split(/[\s,]+/).filter(Boolean),
                    ...(time === '' ? {} : { for: time }),
                  },
                }),
              );
              setOpening(false);
              asked.again();
            }}
          >
            <Field label={t('device')} name="thing" autofocus placeholder="pump-7" />
            <Field label={t('services')} name="services" placeholder="ssh" />
            <Field label={t('howLong')} name="for" placeholder="1h" />
          </Form>
        </Dialog>
      )}
      {opened && <Tokens opened={opened} close={() => setOpened(undefined)} />}
    </Page>
  );
}
