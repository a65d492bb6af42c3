// VPN: hubs, a drawing of one with its live traffic, members, sessions, tables.
import { useState } from 'preact/hooks';
import { type AnswerOf, call } from '../api.ts';
import { Act, Answer, Dialog, Field, Form, Page, Spark, Table, Tag } from '../parts.tsx';
import { bytes, t, when } from '../text.ts';
import { useAnswer, useEvery, useRates } from '../use.ts';

type Session = AnswerOf<'vpn.session-list'>['sessions'][number];
type Rates = ReadonlyMap<string, readonly number[]>;
const concerns = (event: string): boolean => /^(vpn|session)/.test(event);

export function VpnPage() {
  const hubs = useAnswer('vpn.hub-list', undefined, concerns);
  const sessions = useAnswer('vpn.session-list', { query: {} }, concerns);
  useEvery(3000, sessions.again);
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
        <Hub key={hub} name={hub} answer={sessions.value} again={sessions.again} />
      )}
      {dialog === 'hub' && (
        <Dialog title={t('addHub')} close={() => setDialog(undefined)}>
          <Form
            label={t('addHub')}
            cancel={() => setDialog(undefined)}
            submit={async ({ name = '' }) => {
              await call('vpn.hub-create', { body: { name } });
              setDialog(undefined);
              setChosen(name);
              hubs.again();
            }}
          >
            <Field label={t('name')} name="name" required autofocus />
          </Form>
        </Dialog>
      )}
      {dialog === 'member' && hub !== undefined && (
        <Dialog title={`${hub}: ${t('addMember')}`} close={() => setDialog(undefined)}>
          <Form
            label={t('addMember')}
            cancel={() => setDialog(undefined)}
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
        </Dialog>
      )}
    </Page>
  );
}

function Hub({ name, answer, again }: { name: string; answer: { sessions: readonly Session[] }; again: () => void }) {
  const sessions = answer.sessions.filter(one => one.hub === name);
  const tables = useAnswer('vpn.tables', { params: { hub: name } }, concerns);
  const users = useAnswer('vpn.user-list', { params: { hub: name } }, event => event.startsWith('vpn'));
  const rates = useRates(answer, () => sessions.map(({ name: id, bytes: { up, down } }) => [id, up + down] as const));
  const userOf = (session: string): string => sessions.find(one => one.name === session)?.user ?? session;
  return (
    <>
      <h2>{name}</h2>
      <Drawing name={name} sessions={sessions} rates={rates} />
      <h3>{t('sessions')}</h3>
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
            title: t('throughput'),
            show: ({ name: id }) => <Spark values={rates.get(id) ?? []} label={t('throughput')} />,
          },
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
      <h3>{t('members')}</h3>
      <Table
        label={t('members')}
        rows={users.value?.users}
        idOf={({ user }) => user}
        empty={t('noMembers')}
        columns={[
          {
            title: t('userName'),
            show: ({ user, realname }) => (
              <>
                <strong>{user}</strong> <span class="quiet">{realname}</span>
              </>
            ),
          },
          { title: t('proof'), show: ({ proof }) => proof },
          { title: t('groups'), show: ({ group }) => group },
          { title: t('logins'), kind: 'number', show: ({ logins }) => logins },
          { title: t('lastSeen'), show: ({ lastLogin }) => lastLogin && when(lastLogin) },
          {
            title: '',
            kind: 'tools',
            show: ({ user }) => (
              <Act
                label={t('remove')}
                sure={t('sureRemoveMember')}
                danger
                run={() => call('vpn.user-remove', { params: { hub: name, user } }).then(users.again)}
              />
            ),
          },
        ]}
      />
      <Answer asked={tables}>
        {({ leases, macs, ips, flows }) => (
          <>
            <h3>{t('leases')}</h3>
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
            <h3>{t('macTable')}</h3>
            <Table
              label={t('macTable')}
              rows={macs.slice(0, mostRows)}
              idOf={({ mac, vlan }) => `${mac}/${vlan}`}
              empty={t('tableEmpty')}
              columns={[
                { title: 'MAC', kind: 'code', show: ({ mac }) => mac },
                { title: 'VLAN', kind: 'number', show: ({ vlan }) => vlan || '' },
                { title: t('who'), show: ({ session }) => userOf(session) },
                { title: t('lastSeen'), show: ({ updated }) => when(updated) },
              ]}
            />
            <h3>{t('ipTable')}</h3>
            <Table
              label={t('ipTable')}
              rows={ips.slice(0, mostRows)}
              idOf={({ address, session }) => `${address} ${session}`}
              empty={t('tableEmpty')}
              columns={[
                { title: 'IP', kind: 'code', show: ({ address }) => address },
                { title: 'DHCP', show: ({ dhcp }) => dhcp && <Tag tone="plain">DHCP</Tag> },
                { title: t('who'), show: ({ session }) => userOf(session) },
                { title: t('lastSeen'), show: ({ updated }) => when(updated) },
              ]}
            />
            <p class="quiet">
              {t('natFlows')}: {flows.length}
            </p>
          </>
        )}
      </Answer>
    </>
  );
}

/** Of each table; sekisho vpn table has all. */
const mostRows = 200;
const mostDrawn = 24;

/** The hub in the middle, members around it; a line is as thick as what goes over it now, and moves where something does. */
function Drawing({ name, sessions, rates }: { name: string; sessions: readonly Session[]; rates: Rates }) {
  const shown = sessions.slice(0, mostDrawn);
  const place = (at: number): { x: number; y: number } => {
    const angle = (at / Math.max(1, shown.length)) * 2 * Math.PI - Math.PI / 2;
    return { x: 300 + 230 * Math.cos(angle), y: 130 + 95 * Math.sin(angle) };
  };
  const rateOf = (id: string): number => rates.get(id)?.at(-1) ?? 0;
  const label = shown.map(({ user, name: id }) => `${user} ${bytes(rateOf(id))}/s`).join(', ');
  return (
    <figure class="card">
      <svg class="hub" viewBox="0 0 600 260" role="img" aria-label={`${name}: ${label || t('nobodyHere')}`}>
        {shown.map(({ name: id }, at) => {
          const { x, y } = place(at);
          const rate = rateOf(id);
          const width = 1 + Math.min(7, Math.log10(1 + rate));
          return <line key={id} class={rate > 0 ? 'busy' : ''} x1="300" y1="130" x2={x} y2={y} stroke-width={width} />;
        })}
        <circle cx="300" cy="130" r="42" class="core" />
        <text x="300" y="134">
          {name.length > 9 ? `${name.slice(0, 8)}…` : name}
        </text>
        {shown.map(({ name: id, user }, at) => {
          const { x, y } = place(at);
          return (
            <g key={id}>
              <title>{user}</title>
              <circle cx={x} cy={y} r="26" />
              <text x={x} y={y + 2}>
                {user.length > 8 ? `${user.slice(0, 7)}…` : user}
              </text>
              <text x={x} y={y + 14} class="rate">
                {bytes(rateOf(id))}/s
              </text>
            </g>
          );
        })}
      </svg>
      {sessions.length > mostDrawn && (
        <figcaption class="quiet">
          {mostDrawn} / {sessions.length}
        </figcaption>
      )}
    </figure>
  );
}
