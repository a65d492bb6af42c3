// Devices: online or not, what they offer, letting one join, opening an endpoint to a service from here.
import { useState } from 'preact/hooks';
import { type AnswerOf, call } from '../api.ts';
import { Act, Answer, Copy, Dialog, Field, Form, Page, Table, Tag } from '../parts.tsx';
import { t, when } from '../text.ts';
import { useAnswer } from '../use.ts';
import { Opened } from './endpoint.tsx';

type Enrolled = AnswerOf<'device.enroll'>;

export function DevicePage() {
  const asked = useAnswer('device.list', undefined, event => /^(device|session)/.test(event));
  const [isEnrolling, setEnrolling] = useState(false);
  const [enrolled, setEnrolled] = useState<Enrolled>();
  const [opened, setOpened] = useState<AnswerOf<'endpoint.open'>>();
  const open = (target: string): Promise<void> =>
    call('endpoint.open', { body: { target, tls: 'none' } }).then(setOpened);
  return (
    <Page
      title={t('device')}
      tools={
        <button type="button" class="main" onClick={() => setEnrolling(true)}>
          {t('enroll')}
        </button>
      }
    >
      <Answer asked={asked}>
        {({ devices }) => (
          <Table
            label={t('device')}
            rows={devices}
            idOf={({ name }) => name}
            empty={t('noDevices')}
            columns={[
              {
                title: t('state'),
                show: ({ state, revoked }) => (
                  <Tag tone={revoked ? 'bad' : state === 'online' ? 'good' : 'plain'}>
                    {revoked ? t('revoked') : t(state === 'online' ? 'online' : 'away')}
                  </Tag>
                ),
              },
              { title: t('name'), show: ({ name }) => <strong>{name}</strong> },
              {
                title: t('services'),
                show: ({ name, state, services }) =>
                  Object.entries(services).map(([service, address]) => (
                    <div class="row">
                      <code title={address}>{service}</code>{' '}
                      {state === 'online' && (
                        <Act label={t('openEndpoint')} run={() => open(`device://${name}/${service}`)} />
                      )}
                    </div>
                  )),
              },
              { title: t('from'), kind: 'code', show: ({ address }) => address },
              { title: t('lastSeen'), show: ({ lastSeen }) => lastSeen && when(lastSeen) },
              { title: t('version'), show: ({ agent }) => agent && <span class="quiet">{agent.version}</span> },
              {
                title: '',
                kind: 'tools',
                show: ({ name, revoked }) =>
                  revoked === undefined && (
                    <Act
                      label={t('revoke')}
                      sure={t('sureRevokeDevice')}
                      danger
                      run={() => call('device.revoke', { params: { name } }).then(asked.again)}
                    />
                  ),
              },
            ]}
          />
        )}
      </Answer>
      {isEnrolling && (
        <Dialog title={t('enroll')} close={() => setEnrolling(false)}>
          <Form
            label={t('enroll')}
            submit={async ({ name = '', service = '', address = '' }) => {
              const services = service === '' ? {} : { services: { [service]: address } };
              setEnrolled(await call('device.enroll', { body: { name, ...services } }));
              setEnrolling(false);
              asked.again();
            }}
          >
            <Field label={t('name')} name="name" required autofocus placeholder="pump-7" />
            <Field label={t('service')} name="service" placeholder="ssh" />
            <Field label={t('serviceAddress')} name="address" placeholder="127.0.0.1:22" />
          </Form>
          <button type="button" class="plain" onClick={() => setEnrolling(false)}>
            {t('cancel')}
          </button>
        </Dialog>
      )}
      {enrolled && (
        <Dialog title={enrolled.device.name} close={() => setEnrolled(undefined)}>
          <p>{t('enrollText')}</p>
          <Copy text={enrolled.command ?? enrolled.code ?? ''} />
          <div class="tools">
            <button type="button" onClick={() => setEnrolled(undefined)}>
              {t('close')}
            </button>
          </div>
        </Dialog>
      )}
      {opened && <Opened endpoint={opened} close={() => setOpened(undefined)} />}
    </Page>
  );
}
