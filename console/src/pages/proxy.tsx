// Proxy: the stream routes, where they go and how that is.
import { Answer, Page, Table, Tag } from '../parts.tsx';
import { t } from '../text.ts';
import { useAnswer } from '../use.ts';

const tones = { up: 'good', failed: 'weak', unhealthy: 'bad', down: 'plain' } as const;
const words = {
  up: 'upstreamUp',
  failed: 'upstreamFailed',
  unhealthy: 'upstreamUnhealthy',
  down: 'upstreamDown',
} as const;

export function ProxyPage() {
  const asked = useAnswer('proxy.list', undefined, event => /^(proxy|session|api)/.test(event));
  return (
    <Page title={t('proxy')}>
      <Answer asked={asked}>
        {({ routes }) => (
          <Table
            label={t('routes')}
            rows={routes}
            idOf={({ name }) => name}
            empty={t('noRoutes')}
            columns={[
              { title: t('name'), show: ({ name }) => <strong>{name}</strong> },
              { title: t('listens'), kind: 'code', show: ({ listens }) => listens.join(' ') },
              {
                title: t('target'),
                show: ({ upstreams }) =>
                  upstreams.map(({ url, address, state, live }) => (
                    <div class="row">
                      <Tag tone={tones[state]}>{t(words[state])}</Tag> <code title={address}>{url}</code>{' '}
                      <span class="quiet">{live}</span>
                    </div>
                  )),
              },
              {
                title: t('connections'),
                kind: 'number',
                show: ({ live, draining }) => (draining > 0 ? `${live} (+${draining})` : live),
              },
              { title: t('warnings'), show: ({ warnings }) => warnings.map(text => <div class="weak">{text}</div>) },
            ]}
          />
        )}
      </Answer>
    </Page>
  );
}
