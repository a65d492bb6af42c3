// VPN: hubs, a drawing of one with its live traffic, members, sessions, tables.
import { useState } from 'preact/hooks';
import { type AnswerOf, call } from '../api.ts';
import { Act, Answer, Dialog, Field, Form, Page, Table, Tag } from '../parts.tsx';
import { bytes, t, when } from '../text.ts';
import { useAnswer } from '../use.ts';

type Session = AnswerOf<'vpn.session-list'>['sessions'][number];

export function VpnPage() {
  const hubs = useAnswer('vpn.hub-list', undefined, event => /^(vpn|session)/.test(event));
  const sessions = useAnswer('vpn.session-list', { query: {} }, event => /^(vpn|session)/.test(event));
  const [chosen, setChosen] = useState<string>();
  const [dialog, setDialog] = useState<'hub' | 'member'>();
  const hub = chosen ?? hubs.value?.hubs[0]?.name;
  return (
    <Page
      title={t('vpn')}
      tools={
        <>
          {hub !== undefined && (
            <button type="button" onClick={() => setDialog('member')}>
              {t('addMember')}
            </button>
          )}
          <button type="button" class="main" onClick={() => setDialog('hub')}>
            {t('addHub')}
          </button>
        </>
      }
    >
      <Answer asked={hubs}>
        {({ hubs: all }) => (
          <Table
            label={t('hubs')}
            rows={all}
            idOf={({ name }) => name}
            empty={t('noHubs')}
            columns={[
              {
                title: t('state'),
                show: ({ online }) => <Tag tone={online ? 'good' : 'plain'}>{t(online ? 'online' : 'away')}</Tag>,
              },
              {
                title: t('name'),
                show: ({ name }) => (
                  <button type="button" class="plain" aria-pressed={name === hub} onClick={() => setChosen(name)}>
                    {name}
                  </button>
                ),
              },
              { title: t('members'), kind: 'number', show: ({ members }) => members },
              { title: t('sessions'), kind: 'number', show: one => one.sessions },
              { title: 'MAC', kind: 'number', show: ({ macs }) => macs },
              { title: 'IP', kind: 'number', show: ({ ips }) => ips },
            ]}
          />
        )}
      </Answer>
      {hub !== undefined && sessions.value && (
        <Hub name={hub} sessions={sessions.value.sessions.filter(one => one.hub === hub)} again={sessions.again} />
      )}
      {dialog === 'hub' && (
        <Dialog title={t('addHub')} close={() => setDialog(undefined)}>
          <Form
            label={t('addHub')}
            submit={async ({ name = '' }) => {
              await call('vpn.hub-create', { body: { name } });
              setDialog(undefined);
              setChosen(name);
              hubs.again();
            }}
          >
            <Field label={t('name')} name="name" required autofocus />
          </Form>
          <button type="button" class="plain" onClick={() => setDialog(undefined)}>
            {t('cancel')}
          </button>
        </Dialog>
      )}
      {dialog === 'member' && hub !== undefined && (
        <Dialog title={`${hub}: ${t('addMember')}`} close={() => setDialog(undefined)}>
          <Form
            label={t('addMember')}
            submit={async ({ user = '', password = '' }) => {
              await call('vpn.user-add', { params: { hub }, body: { user, secret: { password } } });
              setDialog(undefined);
              hubs.again();
            }}
          >
            <Field label={t('userName')} name="user" required autofocus />
            <Field
              label={t('password')}
              name="password"
              type="password"
              autocomplete="new-password"
              minLength={8}
              required
            />
          </Form>
          <button type="button" class="plain" onClick={() => setDialog(undefined)}>
            {t('cancel')}
          </button>
        </Dialog>
      )}
    </Page>
  );
}

function Hub({ name, sessions, again }: { name: string; sessions: readonly Session[]; again: () => void }) {
  const tables = useAnswer('vpn.tables', { params: { hub: name } }, event => /^(vpn|session)/.test(event));
  return (
    <>
      <h2>{name}</h2>
      <Drawing name={name} sessions={sessions} />
      <Table
        label={t('sessions')}
        rows={sessions}
        idOf={one => one.name}
        empty={t('nobodyHere')}
        columns={[
          { title: t('who'), show: ({ user }) => <strong>{user}</strong> },
          { title: t('from'), kind: 'code', show: ({ from }) => from },
          { title: 'IP', kind: 'code', show: ({ ips }) => ips.join(' ') },
          { title: 'MAC', kind: 'code', show: ({ macs }) => macs.join(' ') },
          { title: t('since'), show: ({ since }) => when(since) },
          { title: t('bytes'), kind: 'number', show: one => `${bytes(one.bytes.up)} / ${bytes(one.bytes.down)}` },
          {
            title: '',
            kind: 'tools',
            show: one => (
              <Act
                label={t('cut')}
                sure={t('sureCut')}
                danger
                run={() => call('vpn.session-cut', { params: { hub: name, name: one.name } }).then(again)}
              />
            ),
          },
        ]}
      />
      <h2>{t('leases')}</h2>
      <Answer asked={tables}>
        {({ leases }) => (
          <Table
            label={t('leases')}
            rows={leases}
            idOf={({ mac }) => mac}
            empty={t('noLeases')}
            columns={[
              { title: 'IP', kind: 'code', show: ({ address }) => address },
              { title: 'MAC', kind: 'code', show: ({ mac }) => mac },
              { title: t('name'), show: ({ hostname }) => hostname },
              { title: t('until'), show: ({ expires }) => when(expires) },
            ]}
          />
        )}
      </Answer>
    </>
  );
}

/** The hub in the middle, members around it; a line is as thick as what went over it. */
function Drawing({ name, sessions }: { name: string; sessions: readonly Session[] }) {
  const shown = sessions.slice(0, 24);
  const place = (at: number): { x: number; y: number } => {
    const angle = (at / Math.max(1, shown.length)) * 2 * Math.PI - Math.PI / 2;
    return { x: 300 + 230 * Math.cos(angle), y: 130 + 95 * Math.sin(angle) };
  };
  return (
    <svg
      class="hub"
      viewBox="0 0 600 260"
      role="img"
      aria-label={`${name}: ${sessions.map(({ user }) => user).join(', ')}`}
    >
      {shown.map(({ name: id, bytes: { up, down } }, at) => {
        const { x, y } = place(at);
        return (
          <line key={id} x1="300" y1="130" x2={x} y2={y} stroke-width={1 + Math.min(8, Math.log10(1 + up + down))} />
        );
      })}
      <circle cx="300" cy="130" r="42" class="core" />
      <text x="300" y="135">
        {name}
      </text>
      {shown.map(({ name: id, user }, at) => {
        const { x, y } = place(at);
        return (
          <g key={id}>
            <circle cx={x} cy={y} r="26" />
            <text x={x} y={y + 4}>
              {user.slice(0, 8)}
            </text>
          </g>
        );
      })}
    </svg>
  );
}
