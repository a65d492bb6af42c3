// Web: what may be reached, how browsers are told, and why somebody can or cannot open an address.
import { useState } from 'preact/hooks';
import { type AnswerOf, call } from '../api.ts';
import { Answer, Copy, Field, Form, Page, Table, Tag } from '../parts.tsx';
import { save } from '../save.ts';
import { t } from '../text.ts';
import { useAnswer } from '../use.ts';

const names = {
  pac: 'PAC',
  chrome: 'Chrome',
  edge: 'Edge',
  firefox: 'Firefox',
  apple: 'macOS / iOS',
  curl: 'curl',
} as const;
const forms = Object.keys(names) as (keyof typeof names)[];
const tones = { unknown: 'plain', up: 'good', down: 'bad' } as const;
const healthWords = { unknown: 'siteUnknown', up: 'siteUp', down: 'siteDown' } as const;
const verdicts = {
  reached: 'good',
  'own-page': 'good',
  'after-approval': 'weak',
  'not-mapped': 'bad',
  denied: 'bad',
  'address-refused': 'bad',
  unresolved: 'bad',
} as const;
const verdictWords = {
  reached: 'verdictReached',
  'own-page': 'verdictReached',
  'after-approval': 'verdictApproval',
  'not-mapped': 'verdictNotMapped',
  denied: 'verdictDenied',
  'address-refused': 'verdictRefused',
  unresolved: 'verdictUnresolved',
} as const;

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
                <h2>{t('whyTitle')}</h2>
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
            {verdict && <Verdict verdict={verdict} />}
            {forward && (
              <>
                <h2>{t('originalUrls')}</h2>
                <p class="quiet">{t('pacText')}</p>
                <Copy text={forward.pac.url} />
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
                      {names[form]}
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
                    {
                      title: t('state'),
                      show: ({ health }) => <Tag tone={tones[health]}>{t(healthWords[health])}</Tag>,
                    },
                    { title: t('name'), kind: 'code', show: ({ url }) => <a href={url}>{url}</a> },
                    { title: t('target'), kind: 'code', show: ({ to }) => to },
                    {
                      title: t('clientCert'),
                      show: ({ clients }) => t(clients === 'required' ? 'required' : 'notAsked'),
                    },
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

function Verdict({ verdict: { verdict, text, rule, line, as, addresses } }: { verdict: AnswerOf<'web.check'> }) {
  return (
    <div class="card" role="status">
      <p>
        <Tag tone={verdicts[verdict]}>{t(verdictWords[verdict])}</Tag> <strong>{as}</strong> {text}
      </p>
      <p class="quiet">
        {rule && (
          <>
            {t('rule')} <code>{rule}</code>{' '}
          </>
        )}
        {line && (
          <>
            {t('line')} <code>{`${line.key}: ${line.to}`}</code>{' '}
          </>
        )}
        {addresses.map(({ address, fault }) => (
          <code class={fault ? 'bad' : ''}>
            {address} {fault}
          </code>
        ))}
      </p>
    </div>
  );
}
