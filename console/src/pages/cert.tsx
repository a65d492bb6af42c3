// Certificates: the CA, what it issued, issuing and revoking.
import { useState } from 'preact/hooks';
import { type AnswerOf, call } from '../api.ts';
import { Act, Answer, Dialog, Field, Form, Page, Pager, Search, Table, Tag, usePage } from '../parts.tsx';
import { save } from '../save.ts';
import { day, t } from '../text.ts';
import { useAnswer } from '../use.ts';
import { EnrolDialog, type Link, LinkDialog } from './enrol.tsx';

type Issued = AnswerOf<'cert.issue'>;
const kinds = { user: 'kindUser', device: 'kindDevice', server: 'kindServer' } as const;
const tones = { valid: 'good', expired: 'plain', revoked: 'bad' } as const;

export function CertPage() {
  const { query, pager, isSearched, find } = usePage();
  const asked = useAnswer('cert.list', { query }, event => event.startsWith('cert'));
  const [isIssuing, setIssuing] = useState(false);
  const [isInviting, setInviting] = useState(false);
  const [renewal, setRenewal] = useState<Link>();
  const [issued, setIssued] = useState<Issued & { name: string }>();
  return (
    <Page
      title={t('cert')}
      tools={
        <>
          <button
            type="button"
            onClick={() =>
              void call('cert.ca').then(({ roots }) => save('ca.pem', roots.join(''), 'application/x-pem-file'))
            }
          >
            {t('ca')}
          </button>
          <button type="button" onClick={() => setInviting(true)}>
            {t('enrolLink')}
          </button>
          <button type="button" class="main" onClick={() => setIssuing(true)}>
            {t('issue')}
          </button>
        </>
      }
    >
      <Search label={t('searchCerts')} search={find}>
        {asked.value && (
          <span class="quiet" role="status">
            {t('cert')}: {asked.value.total}
          </span>
        )}
      </Search>
      <Answer asked={asked}>
        {({ certs, total }) => (
          <>
            <Table
              label={t('cert')}
              rows={certs}
              idOf={({ serial }) => serial}
              empty={isSearched ? t('noneFound') : t('noCerts')}
              columns={[
                { title: t('state'), show: ({ state }) => <Tag tone={tones[state]}>{t(state)}</Tag> },
                { title: t('kind'), show: ({ kind }) => t(kinds[kind]) },
                {
                  title: t('name'),
                  show: ({ name, subject }) => (
                    <>
                      <strong>{name}</strong> <span class="quiet">{subject}</span>
                    </>
                  ),
                },
                { title: t('serial'), kind: 'code', show: ({ serial }) => serial.slice(0, 16) },
                { title: t('notAfter'), show: ({ notAfter }) => day(notAfter) },
                {
                  title: '',
                  kind: 'tools',
                  show: ({ serial, state, kind }) =>
                    state === 'valid' && (
                      <>
                        {kind === 'user' && (
                          <Act
                            label={t('renew')}
                            run={() => call('cert.renew', { params: { serial }, body: { for: '1d' } }).then(setRenewal)}
                          />
                        )}
                        <Act
                          label={t('revoke')}
                          sure={t('sureRevoke')}
                          danger
                          run={() => call('cert.revoke', { params: { serial }, body: {} }).then(asked.again)}
                        />
                      </>
                    ),
                },
              ]}
            />
            <Pager {...pager} total={total} />
          </>
        )}
      </Answer>
      {renewal && <LinkDialog link={renewal} close={() => setRenewal(undefined)} />}
      {isInviting && <EnrolDialog close={() => setInviting(false)} />}
      {isIssuing && (
        <Dialog title={t('issueTitle')} close={() => setIssuing(false)}>
          <Form
            label={t('issue')}
            submit={async ({ name = '', ou = '', password = '' }) => {
              const units = ou === '' ? [] : [ou];
              const answer = await call('cert.issue', { body: { name, ou: units, format: 'p12', password } });
              setIssuing(false);
              setIssued({ ...answer, name });
              asked.again();
            }}
          >
            <Field label={t('userName')} name="name" required autofocus />
            <Field label={t('unit')} name="ou" />
            <Field
              label={t('filePassword')}
              name="password"
              type="password"
              autocomplete="new-password"
              minLength={4}
              required
            />
          </Form>
          <button type="button" class="plain" onClick={() => setIssuing(false)}>
            {t('cancel')}
          </button>
        </Dialog>
      )}
      {issued && (
        <Dialog title={issued.name} close={() => setIssued(undefined)}>
          <p>{t('issuedText')}</p>
          <div class="tools">
            <button
              type="button"
              class="main"
              onClick={() => save(`${issued.name}.p12`, bytesOf(issued.p12 ?? ''), 'application/x-pkcs12')}
            >
              {t('download')} {issued.name}.p12
            </button>
            <button type="button" onClick={() => setIssued(undefined)}>
              {t('close')}
            </button>
          </div>
        </Dialog>
      )}
    </Page>
  );
}

const bytesOf = (base64: string): Uint8Array<ArrayBuffer> =>
  Uint8Array.from(atob(base64), letter => letter.charCodeAt(0));
