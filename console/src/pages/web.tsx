// Web: what may be reached, how browsers are told, and why somebody can or cannot open an address.
import { useState } from 'preact/hooks';
import { type AnswerOf, call } from '../api.ts';
import { Answer, Field, Form, Page, Table, Tag } from '../parts.tsx';
import { save } from '../save.ts';
import { t } from '../text.ts';
import { useAnswer } from '../use.ts';

const forms = ['pac', 'chrome', 'edge', 'firefox', 'apple', 'curl'] as const;
const tones = { unknown: 'plain', up: 'good', down: 'bad' } as const;

export function WebPage() {
  const asked = useAnswer('web.list', undefined, event => /^(web|api)/.test(event));
  const [verdict, setVerdict] = useState<AnswerOf<'web.check'>>();
  return (
    <Page title={t('web')}>
      <Answer asked={asked}>
        {({ forward, sites }) => (
          <>
            {!forward && !sites && <p class="quiet">{t('noWeb')}</p>}
            {(forward || sites) && (
              <div class="inline">
                <Form
                  label={t('whyOrNot')}
                  submit={async ({ url = '', as = '' }) =>
                    setVerdict(await call('web.check', { query: { url, ...(as === '' ? {} : { as }) } }))
                  }
                >
                  <Field label="URL" name="url" required placeholder="http://server1:8081/" />
                  <Field label={t('userName')} name="as" placeholder={t('me')} />
                </Form>
              </div>
            )}
            {verdict && (
              <p role="status">
                <Tag tone={verdict.verdict === 'reached' ? 'good' : 'bad'}>{verdict.verdict}</Tag> {verdict.text}{' '}
                <span class="quiet">{verdict.rule}</span>
              </p>
            )}
            {forward && (
              <>
                <h2>{t('originalUrls')}</h2>
                <p>
                  <code>{forward.proxy}</code> · <code>{forward.pac.url}</code>
                </p>
                <div class="tools left">
                  {forms.map(form => (
                    <button
                      type="button"
                      onClick={() =>
                        void call('web.pac', { query: { for: form } }).then(({ file, type, text }) =>
                          save(file, text, type),
                        )
                      }
                    >
                      {t('download')} {form}
                    </button>
                  ))}
                </div>
                <Table
                  label={t('originalUrls')}
                  rows={forward.hosts}
                  idOf={({ key }) => key}
                  empty=""
                  columns={[
                    { title: t('name'), kind: 'code', show: ({ key }) => key },
                    { title: t('ports'), show: ({ ports }) => ports },
                    { title: t('target'), kind: 'code', show: ({ to }) => to },
                  ]}
                />
              </>
            )}
            {sites && (
              <>
                <h2>{t('renamedSites')}</h2>
                <Table
                  label={t('renamedSites')}
                  rows={sites.sites}
                  idOf={({ key }) => key}
                  empty=""
                  columns={[
                    { title: t('state'), show: ({ health }) => <Tag tone={tones[health]}>{health}</Tag> },
                    { title: t('name'), kind: 'code', show: ({ url }) => url },
                    { title: t('target'), kind: 'code', show: ({ to }) => to },
                    { title: t('cert'), show: ({ clients }) => clients },
                  ]}
                />
              </>
            )}
          </>
        )}
      </Answer>
    </Page>
  );
}
