// Endpoints: opening one with the asker's own address filled in, who waits for a yes, what is open and for how long, lines to
// copy.
import { useState } from 'preact/hooks';
import { type AnswerOf, call } from '../api.ts';
import type { Me } from '../app.tsx';
import { Act, Answer, Copy, Dialog, Field, Form, Page, Table, Tag } from '../parts.tsx';
import { countdown, openerOf, t } from '../text.ts';
import { useAnswer, useNow } from '../use.ts';
import { Until } from './until.tsx';

type Endpoint = AnswerOf<'endpoint.show'>;
const tones = { waiting: 'weak', open: 'good', closed: 'plain' } as const;
const words = { waiting: 'stateWaiting', open: 'stateOpen', closed: 'stateClosed' } as const;

export function EndpointPage({ me }: { me: Me }) {
  const asked = useAnswer('endpoint.list', { query: { ended: 20 } }, event => /^(endpoint|session|api)/.test(event));
  const now = useNow();
  const [isOpening, setOpening] = useState(false);
  const [opened, setOpened] = useState<Endpoint>();
  return (
    <Page
      title={t('endpoint')}
      tools={
        <button type="button" class="main" onClick={() => setOpening(true)}>
          {t('openEndpoint')}
        </button>
      }
    >
      <Answer asked={asked}>
        {({ endpoints }) => {
          const of = (state: Endpoint['state']): Endpoint[] => endpoints.filter(one => one.state === state);
          const waiting = of('waiting');
          const ended = of('closed');
          return (
            <>
              {waiting.length > 0 && (
                <>
                  <h2>{t('approvalQueue')}</h2>
                  <Table
                    label={t('approvalQueue')}
                    rows={waiting}
                    idOf={({ id }) => id}
                    empty=""
                    columns={[
                      { title: t('who'), show: ({ owner }) => <strong>{openerOf(owner)}</strong> },
                      { title: t('target'), kind: 'code', show: ({ target }) => target },
                      { title: t('reason'), show: ({ reason }) => reason },
                      { title: t('from'), kind: 'code', show: ({ from }) => from.join(' ') },
                      { title: t('lapses'), show: ({ until }) => <Until time={until} now={now} /> },
                      {
                        title: '',
                        kind: 'tools',
                        show: ({ id, owner }) => <Vote id={id} isOwn={owner === me.id} again={asked.again} />,
                      },
                    ]}
                  />
                  <h2>{t('openEndpoints')}</h2>
                </>
              )}
              <Table
                label={t('endpoint')}
                rows={of('open')}
                idOf={({ id }) => id}
                empty={t('noEndpoints')}
                columns={[
                  { title: t('target'), kind: 'code', show: ({ target }) => target },
                  { title: t('address'), kind: 'code', show: endpoint => addressOf(endpoint) },
                  { title: t('from'), kind: 'code', show: ({ from, latched }) => latched ?? from.join(' ') },
                  { title: t('until'), show: ({ until }) => <Until time={until} now={now} /> },
                  { title: t('connections'), kind: 'number', show: ({ live }) => live },
                  {
                    title: t('who'),
                    show: ({ owner, reason }) => (
                      <>
                        <strong>{openerOf(owner)}</strong> <span class="quiet">{reason}</span>
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
              {ended.length > 0 && (
                <>
                  <h2>{t('endedEndpoints')}</h2>
                  <Table
                    label={t('endedEndpoints')}
                    rows={ended}
                    idOf={({ id }) => id}
                    empty=""
                    columns={[
                      { title: t('state'), show: ({ state }) => <Tag tone={tones[state]}>{t(words[state])}</Tag> },
                      { title: t('target'), kind: 'code', show: ({ target }) => target },
                      { title: t('who'), show: ({ owner }) => openerOf(owner) },
                      { title: t('why'), show: ({ cause }) => <span class="quiet">{cause}</span> },
                      {
                        title: '',
                        kind: 'tools',
                        show: ({ id }) => (
                          <a class="button" href={`/v1/endpoints/${id}/evidence`} download={`endpoint-${id}.json`}>
                            {t('evidence')}
                          </a>
                        ),
                      },
                    ]}
                  />
                </>
              )}
            </>
          );
        }}
      </Answer>
      {isOpening && (
        <Opening
          me={me}
          close={() => setOpening(false)}
          done={endpoint => {
            setOpening(false);
            setOpened(endpoint);
            asked.again();
          }}
        />
      )}
      {opened && <Opened endpoint={opened} close={() => setOpened(undefined)} />}
    </Page>
  );
}

function Opening({ me, close, done }: { me: Me; close: () => void; done: (endpoint: Endpoint) => void }) {
  // Whoever may not list devices types the target.
  const devices = useAnswer('device.list', { query: { state: 'online', limit: 200 } }, () => false);
  const targets = (devices.value?.devices ?? []).flatMap(({ name, services }) =>
    Object.keys(services).map(service => `device://${name}/${service}`),
  );
  return (
    <Dialog title={t('openEndpoint')} close={close}>
      <Form
        label={t('open')}
        cancel={close}
        submit={async ({ target = '', for: time = '', from = '', tls, reason = '' }) => {
          const sources = from.split(/[\s,]+/).filter(Boolean);
          done(
            await call('endpoint.open', {
              body: {
                target,
                tls: tls === 'on' ? 'end' : 'none',
                ...(time === '' ? {} : { for: time }),
                ...(sources.length === 0 ? {} : { from: sources }),
                ...(reason === '' ? {} : { reason }),
              },
            }),
          );
        }}
      >
        <Field
          label={t('target')}
          name="target"
          required
          autofocus
          placeholder="device://pump-7/ssh"
          list="targets"
          spellcheck={false}
        />
        <datalist id="targets">
          {targets.map(target => (
            <option value={target} />
          ))}
        </datalist>
        <Field label={t('howLong')} name="for" placeholder="30m" />
        <Field label={t('sources')} name="from" placeholder={t('ownAddress')} defaultValue={me.address ?? ''} />
        <label class="check">
          <input type="checkbox" name="tls" /> {t('tlsInFront')}
        </label>
        <Field label={t('reason')} name="reason" />
      </Form>
    </Dialog>
  );
}

function Vote({ id, isOwn, again }: { id: string; isOwn: boolean; again: () => void }) {
  const params = { id };
  if (isOwn) return <span class="quiet">{t('notYourOwn')}</span>;
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

const addressOf = ({ host, port, name, namePort }: Endpoint): string =>
  [port === undefined ? undefined : `${host}:${port}`, name === undefined ? undefined : `${name}:${namePort ?? 443}`]
    .filter(text => text !== undefined)
    .join(' ');

function Tools({ endpoint, show, again }: { endpoint: Endpoint; show: (one: Endpoint) => void; again: () => void }) {
  const params = { id: endpoint.id };
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
function commandsOf({ target, host, port, name, namePort, tls }: Endpoint): string[] {
  const service = target.split(/[/:]/).at(-1) ?? '';
  const at = port === undefined ? { host: name, port: namePort ?? 443 } : { host, port };
  if (at.host === undefined) return [];
  if (tls !== 'none')
    return [
      `curl --cacert ca.pem https://${at.host}:${at.port}/`,
      `openssl s_client -connect ${at.host}:${at.port} -servername ${at.host}`,
    ];
  const known: readonly (readonly [RegExp, ...string[]])[] = [
    [/^(ssh|22)$/i, `ssh -p ${at.port} USER@${at.host}`, `scp -P ${at.port} FILE USER@${at.host}:`],
    [/^(rdp|3389)$/i, `mstsc /v:${at.host}:${at.port}`, `xfreerdp /v:${at.host}:${at.port}`],
    [/^(vnc|59\d\d)$/i, `vncviewer ${at.host}::${at.port}`],
    [/^(http|web|80\d*)$/i, `curl http://${at.host}:${at.port}/`],
    [/^(https|443)$/i, `curl https://${at.host}:${at.port}/`],
    [/^(postgres(ql)?|5432)$/i, `psql -h ${at.host} -p ${at.port}`],
    [/^(mysql|3306)$/i, `mysql -h ${at.host} -P ${at.port}`],
  ];
  const [, ...lines] = known.find(([pattern]) => pattern.test(service)) ?? [/./, `nc ${at.host} ${at.port}`];
  return lines;
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
            <code>{addressOf(endpoint)}</code>
            <br />
            {t('left')} {countdown(endpoint.until, now)} · {t('from')} <code>{endpoint.from.join(' ')}</code>
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
