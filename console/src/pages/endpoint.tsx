// Endpoints: opening one with the asker's own address filled in, what is open and for how long, commands to copy.
import { useState } from 'preact/hooks';
import { type AnswerOf, call } from '../api.ts';
import { Act, Answer, Copy, Dialog, Field, Form, Page, Table, Tag } from '../parts.tsx';
import { countdown, t } from '../text.ts';
import { useAnswer, useNow } from '../use.ts';

type Endpoint = AnswerOf<'endpoint.show'>;
const tones = { waiting: 'weak', open: 'good', closed: 'plain' } as const;

export function EndpointPage() {
  const asked = useAnswer('endpoint.list', undefined, event => /^(endpoint|session|api)/.test(event));
  const now = useNow();
  const [isOpening, setOpening] = useState(false);
  const [opened, setOpened] = useState<Endpoint>();
  return (
    <Page
      title={t('endpoint')}
      tools={
        <button type="button" class="main" onClick={() => setOpening(true)}>
          {t('open')}
        </button>
      }
    >
      <Answer asked={asked}>
        {({ endpoints }) => (
          <Table
            label={t('endpoint')}
            rows={endpoints}
            idOf={({ id }) => id}
            empty={t('noEndpoints')}
            columns={[
              { title: t('state'), show: ({ state }) => <Tag tone={tones[state]}>{state}</Tag> },
              { title: t('target'), kind: 'code', show: ({ target }) => target },
              { title: t('address'), kind: 'code', show: endpoint => addressOf(endpoint) },
              { title: t('from'), kind: 'code', show: ({ from, latched }) => latched ?? from.join(' ') },
              { title: t('until'), show: ({ until }) => <time dateTime={until}>{countdown(until, now)}</time> },
              { title: t('connections'), kind: 'number', show: ({ live }) => live },
              {
                title: t('who'),
                show: ({ owner, reason }) => (
                  <>
                    <strong>{owner}</strong> <span class="quiet">{reason}</span>
                  </>
                ),
              },
              {
                title: '',
                kind: 'tools',
                show: endpoint => <Tools endpoint={endpoint} show={setOpened} again={asked.again} />,
              },
            ]}
          />
        )}
      </Answer>
      {isOpening && (
        <Dialog title={t('openEndpoint')} close={() => setOpening(false)}>
          <Form
            label={t('open')}
            submit={async ({ target = '', for: time = '', from = '', tls, reason = '' }) => {
              const sources = from.split(/[\s,]+/).filter(Boolean);
              const endpoint = await call('endpoint.open', {
                body: {
                  target,
                  tls: tls === 'on' ? 'end' : 'none',
                  ...(time === '' ? {} : { for: time }),
                  ...(sources.length === 0 ? {} : { from: sources }),
                  ...(reason === '' ? {} : { reason }),
                },
              });
              setOpening(false);
              setOpened(endpoint);
              asked.again();
            }}
          >
            <Field label={t('target')} name="target" required autofocus placeholder="device://pump-7/ssh" />
            <Field label={t('howLong')} name="for" placeholder="30m" />
            <Field label={t('sources')} name="from" placeholder={t('ownAddress')} />
            <label class="check">
              <input type="checkbox" name="tls" /> {t('tlsInFront')}
            </label>
            <Field label={t('reason')} name="reason" />
          </Form>
          <button type="button" class="plain" onClick={() => setOpening(false)}>
            {t('cancel')}
          </button>
        </Dialog>
      )}
      {opened && <Opened endpoint={opened} close={() => setOpened(undefined)} />}
    </Page>
  );
}

const addressOf = ({ host, port, name, namePort }: Endpoint): string =>
  [port === undefined ? undefined : `${host}:${port}`, name === undefined ? undefined : `${name}:${namePort ?? 443}`]
    .filter(text => text !== undefined)
    .join(' ');

function Tools({ endpoint, show, again }: { endpoint: Endpoint; show: (one: Endpoint) => void; again: () => void }) {
  const params = { id: endpoint.id };
  if (endpoint.state === 'waiting') {
    return (
      <>
        <Act label={t('approve')} run={() => call('endpoint.approve', { params, body: {} }).then(again)} />
        <Act
          label={t('refuse')}
          danger
          run={() => call('endpoint.approve', { params, body: { refuse: true } }).then(again)}
        />
      </>
    );
  }
  return (
    <>
      <button type="button" onClick={() => show(endpoint)}>
        {t('use')}
      </button>
      <Act label={t('extend')} run={() => call('endpoint.extend', { params, body: {} }).then(again)} />
      <Act label={t('end')} sure={t('sureEnd')} danger run={() => call('endpoint.close', { params }).then(again)} />
    </>
  );
}

/** Lines that people paste, by what the service is called. */
function commandsOf({ target, host, port, tls }: Endpoint): string[] {
  if (host === undefined || port === undefined) return [];
  const service = target.split('/').at(-1) ?? '';
  if (tls !== 'none')
    return [`openssl s_client -connect ${host}:${port}`, `curl --cacert ca.pem https://${host}:${port}/`];
  if (/^(ssh|22)$/.test(service)) return [`ssh -p ${port} ${host}`, `scp -P ${port} FILE ${host}:`];
  if (/^(rdp|3389)$/.test(service)) return [`mstsc /v:${host}:${port}`];
  if (/^(http|web|80)/.test(service)) return [`curl http://${host}:${port}/`];
  return [`nc ${host} ${port}`];
}

export function Opened({ endpoint, close }: { endpoint: Endpoint; close: () => void }) {
  const now = useNow();
  return (
    <Dialog title={endpoint.target} close={close}>
      {endpoint.state === 'waiting' ? (
        <p>{t('waitsForYes')}</p>
      ) : (
        <>
          <p>
            {addressOf(endpoint)} · {t('left')} {countdown(endpoint.until, now)} · {endpoint.from.join(' ')}
          </p>
          {commandsOf(endpoint).map(line => (
            <Copy text={line} />
          ))}
        </>
      )}
      <div class="tools">
        <button type="button" onClick={close}>
          {t('close')}
        </button>
      </div>
    </Dialog>
  );
}
