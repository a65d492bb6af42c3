// Devices: online or not, letting one join, and of each: what it offers, a shell on it, an endpoint to it, its keys, its end.
import { useState } from 'preact/hooks';
import { type AnswerOf, call } from '../api.ts';
import { Act, Answer, Copy, Dialog, Field, Form, Page, Pager, Pairs, Search, Table, Tag, usePage } from '../parts.tsx';
import { Qr } from '../qr.tsx';
import { ago, day, t, when } from '../text.ts';
import { useAnswer, useNow, usePath } from '../use.ts';
import { Opened } from './endpoint.tsx';
import { ShellPage } from './shell.tsx';

type Enrolled = AnswerOf<'device.enroll'>;
type Device = AnswerOf<'device.list'>['devices'][number];
type Way = { readonly endpoint: AnswerOf<'endpoint.open'> } | { readonly tunnel: AnswerOf<'tunnel.open'> };

export function DevicePage() {
  const [, name, part, service = 'ssh'] = usePath();
  if (name === undefined) return <DeviceList />;
  if (part === 'terminal') return <ShellPage key={`${name}/${service}`} device={name} service={service} />;
  return <OneDevice key={name} name={name} />;
}

const concerns = (event: string): boolean => /^(device|session)/.test(event);
const linkOf = (name: string): string => `#/device/${encodeURIComponent(name)}`;

function State({ state, revoked, enrolled }: Pick<Device, 'state' | 'revoked' | 'enrolled'>) {
  if (revoked) return <Tag tone="bad">{t('revoked')}</Tag>;
  if (!enrolled) return <Tag tone="weak">{t('invited')}</Tag>;
  return <Tag tone={state === 'online' ? 'good' : 'plain'}>{t(state === 'online' ? 'online' : 'away')}</Tag>;
}

function DeviceList() {
  const { query, pager, isSearched, find } = usePage();
  const asked = useAnswer('device.list', { query }, concerns);
  const now = useNow(10_000);
  const [isEnrolling, setEnrolling] = useState(false);
  const [enrolled, setEnrolled] = useState<Enrolled>();
  return (
    <Page
      title={t('device')}
      tools={
        <button type="button" class="main" onClick={() => setEnrolling(true)}>
          {t('enroll')}
        </button>
      }
    >
      <Search label={t('searchDevices')} search={find}>
        {asked.value && (
          <span class="quiet" role="status">
            {asked.value.online} {t('online')} / {asked.value.total}
          </span>
        )}
      </Search>
      <Answer asked={asked}>
        {({ devices, total }) => (
          <>
            <Table
              label={t('device')}
              rows={devices}
              idOf={({ name }) => name}
              empty={isSearched ? t('noneFound') : t('noDevices')}
              columns={[
                { title: t('state'), show: device => <State {...device} /> },
                {
                  title: t('name'),
                  show: ({ name }) => (
                    <a href={linkOf(name)}>
                      <strong>{name}</strong>
                    </a>
                  ),
                },
                {
                  title: t('services'),
                  kind: 'code',
                  show: ({ services }) => Object.keys(services).join('  ') || <span class="quiet">{t('none')}</span>,
                },
                { title: t('from'), kind: 'code', show: ({ address }) => address },
                {
                  title: t('lastSeen'),
                  show: ({ lastSeen, state }) =>
                    state === 'online' ? t('now') : lastSeen && <time dateTime={lastSeen}>{ago(lastSeen, now)}</time>,
                },
                {
                  title: t('tags'),
                  show: ({ tags }) => (
                    <span class="quiet">
                      {Object.entries(tags)
                        .map(tag => tag.join('='))
                        .join('  ')}
                    </span>
                  ),
                },
              ]}
            />
            <Pager {...pager} total={total} />
          </>
        )}
      </Answer>
      {isEnrolling && (
        <Dialog title={t('enroll')} close={() => setEnrolling(false)}>
          <Form
            label={t('enroll')}
            cancel={() => setEnrolling(false)}
            submit={async ({ name = '', service = '', address = '' }) => {
              const services = service === '' ? {} : { services: { [service]: address } };
              setEnrolled(await call('device.enroll', { body: { name, ...services } }));
              setEnrolling(false);
              asked.again();
            }}
          >
            <Field label={t('name')} name="name" required autofocus placeholder="pump-7" />
            <Field label={t('service')} name="service" placeholder="ssh" defaultValue="ssh" />
            <Field label={t('serviceAddress')} name="address" placeholder="127.0.0.1:22" defaultValue="127.0.0.1:22" />
          </Form>
        </Dialog>
      )}
      {enrolled && <Joining enrolled={enrolled} close={() => setEnrolled(undefined)} />}
    </Page>
  );
}

/** The line to run, as text and for a camera; it says so when the device has come. */
function Joining({ enrolled, close }: { enrolled: Enrolled; close: () => void }) {
  const { name } = enrolled.device;
  const asked = useAnswer('device.show', { params: { name } }, concerns);
  const now = useNow();
  const line = enrolled.command ?? enrolled.code ?? '';
  return (
    <Dialog title={name} close={close} wide>
      {asked.value?.state === 'online' ? (
        <p class="good" role="status">
          {t('hasJoined')}
        </p>
      ) : (
        <>
          <p>{t('enrollText')}</p>
          <Copy text={line} />
          <div class="beside">
            <Qr text={line} label={t('qrLabel')} />
            <p class="quiet">
              {t('qrText')}
              {enrolled.expires && (
                <>
                  <br />
                  {t('until')} <time dateTime={enrolled.expires}>{when(enrolled.expires)}</time>
                  {Date.parse(enrolled.expires) < now && <span class="bad"> {t('over')}</span>}
                </>
              )}
              <br />
              {t('waitingForDevice')}
            </p>
          </div>
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

function OneDevice({ name }: { name: string }) {
  const asked = useAnswer('device.show', { params: { name } }, concerns);
  const keys = useAnswer('device.host-keys', { params: { name } }, event => event.startsWith('device.host-key'));
  const now = useNow(10_000);
  const [way, setWay] = useState<Way>();
  const [again, setAgain] = useState<Enrolled>();
  const close = (): void => setWay(undefined);
  return (
    <Page
      title={name}
      back={{ href: '#/device', label: t('device') }}
      tools={
        asked.value && (
          <>
            <Act
              label={t('enrollAgain')}
              run={() => call('device.enroll', { body: { name } }).then(setAgain)}
              sure={asked.value.state === 'online' ? t('sureEnrollAgain') : ''}
            />
            {asked.value.revoked === undefined && (
              <Act
                label={t('revoke')}
                sure={t('sureRevokeDevice')}
                danger
                run={() => call('device.revoke', { params: { name } }).then(asked.again)}
              />
            )}
          </>
        )
      }
    >
      <Answer asked={asked}>
        {device => (
          <>
            <Pairs
              of={[
                [t('state'), <State {...device} />],
                [t('from'), device.address && <code>{device.address}</code>],
                [t('lastSeen'), device.state === 'online' ? t('now') : device.lastSeen && ago(device.lastSeen, now)],
                [t('streams'), device.streams],
                [t('aliases'), device.aliases.map(alias => `${alias.name} (${alias.kind})`).join(', ')],
                [
                  t('tags'),
                  Object.entries(device.tags)
                    .map(tag => tag.join('='))
                    .join(', '),
                ],
                [
                  t('agent'),
                  device.agent && `${device.agent.version} · Node ${device.agent.node} · ${device.agent.platform}`,
                ],
                [t('since'), day(device.created)],
              ]}
            />
            <h2>{t('services')}</h2>
            <Table
              label={t('services')}
              rows={Object.entries(device.services)}
              idOf={([service]) => service}
              empty={t('noServices')}
              columns={[
                { title: t('service'), show: ([service]) => <strong>{service}</strong> },
                { title: t('serviceAddress'), kind: 'code', show: ([, address]) => address },
                {
                  title: '',
                  kind: 'tools',
                  show: ([service]) =>
                    device.state === 'online' && (
                      <>
                        <a class="button" href={`${linkOf(name)}/terminal/${encodeURIComponent(service)}`}>
                          {t('terminal')}
                        </a>
                        <Act
                          label={t('openEndpoint')}
                          run={() =>
                            call('endpoint.open', {
                              body: { target: `device://${name}/${service}`, tls: 'none' },
                            }).then(endpoint => setWay({ endpoint }))
                          }
                        />
                        <Act
                          label={t('openTunnel')}
                          run={() =>
                            call('tunnel.open', { body: { thing: name, services: [service] } }).then(tunnel =>
                              setWay({ tunnel }),
                            )
                          }
                        />
                      </>
                    ),
                },
              ]}
            />
            <h2>{t('cert')}</h2>
            <Table
              label={t('cert')}
              rows={device.certs}
              idOf={({ serial }) => serial}
              empty={t('noCerts')}
              columns={[
                {
                  title: t('state'),
                  show: ({ state }) => <Tag tone={certTones[state]}>{t(certWords[state])}</Tag>,
                },
                { title: t('serial'), kind: 'code', show: ({ serial }) => serial.slice(0, 24) },
                { title: t('notAfter'), show: ({ notAfter }) => day(notAfter) },
              ]}
            />
            <h2>{t('hostKeys')}</h2>
            <Table
              label={t('hostKeys')}
              rows={keys.value?.keys}
              idOf={({ service }) => service}
              empty={t('noHostKeys')}
              columns={[
                { title: t('service'), show: ({ service }) => <strong>{service}</strong> },
                {
                  title: t('fingerprint'),
                  kind: 'code',
                  show: ({ algorithm, fingerprint }) => `${algorithm} ${fingerprint}`,
                },
                { title: t('who'), show: ({ by }) => by },
                { title: t('since'), show: ({ pinned }) => day(pinned) },
                {
                  title: '',
                  kind: 'tools',
                  show: ({ service }) => (
                    <Act
                      label={t('forgetKey')}
                      sure={t('sureForgetKey')}
                      danger
                      run={() => call('device.host-key-remove', { params: { name, service } }).then(keys.again)}
                    />
                  ),
                },
              ]}
            />
          </>
        )}
      </Answer>
      {again && <Joining enrolled={again} close={() => setAgain(undefined)} />}
      {way && 'endpoint' in way && <Opened endpoint={way.endpoint} close={close} />}
      {way && 'tunnel' in way && <Tokens opened={way.tunnel} close={close} />}
    </Page>
  );
}

const certTones = { valid: 'good', expired: 'plain', revoked: 'bad' } as const;
const certWords = { valid: 'valid', expired: 'expired', revoked: 'revoked' } as const;

/** Both tokens of a tunnel, this once. */
export function Tokens({ opened, close }: { opened: AnswerOf<'tunnel.open'>; close: () => void }) {
  return (
    <Dialog title={opened.tunnel.thing ?? opened.tunnel.id} close={close}>
      <p>{t('tokensText')}</p>
      <h3>{t('source')}</h3>
      <Copy text={opened.sourceToken} />
      <h3>{t('destination')}</h3>
      <Copy text={opened.destinationToken} />
      <div class="tools">
        <button type="button" onClick={close}>
          {t('close')}
        </button>
      </div>
    </Dialog>
  );
}
