// Users: people, their roles, the links that let them in.
import { useState } from 'preact/hooks';
import { type AnswerOf, call } from '../api.ts';
import type { Me } from '../app.tsx';
import { Act, Answer, Copy, Dialog, Field, Form, Page, Pager, Search, Table, usePage } from '../parts.tsx';
import { day, t } from '../text.ts';
import { useAnswer } from '../use.ts';

type User = AnswerOf<'user.list'>['users'][number];
const roles = ['admin', 'operator', 'approver', 'auditor', 'member'] as const;
type Role = (typeof roles)[number];
const roleWords = {
  admin: 'roleAdmin',
  operator: 'roleOperator',
  approver: 'roleApprover',
  auditor: 'roleAuditor',
  member: 'roleMember',
} as const;
const mayWords = {
  admin: 'mayAdmin',
  operator: 'mayOperator',
  approver: 'mayApprover',
  auditor: 'mayAuditor',
  member: 'mayMember',
} as const;

export function UserPage({ me }: { me: Me }) {
  const { query, pager, isSearched, find } = usePage();
  const asked = useAnswer('user.list', { query }, event => event.startsWith('user'));
  const [dialog, setDialog] = useState<
    'add' | { readonly roles: User } | { readonly link: string; readonly user: string }
  >();
  const close = (): void => setDialog(undefined);
  return (
    <Page
      title={t('user')}
      tools={
        <button type="button" class="main" onClick={() => setDialog('add')}>
          {t('addUser')}
        </button>
      }
    >
      <Search label={t('searchUsers')} search={find} />
      <Answer asked={asked}>
        {({ users, total }) => (
          <>
            <Table
              label={t('user')}
              rows={users}
              idOf={({ name }) => name}
              empty={isSearched ? t('noneFound') : t('noUsers')}
              columns={[
                {
                  title: t('name'),
                  show: ({ name }) => (
                    <>
                      <strong>{name}</strong> {name === me.id && <span class="quiet">{t('me')}</span>}
                    </>
                  ),
                },
                {
                  title: t('roles'),
                  show: ({ roles }) =>
                    roles.map(role => t(roleWords[role])).join(', ') || <span class="quiet">{t('none')}</span>,
                },
                { title: t('groups'), show: ({ groups }) => groups.join(', ') },
                { title: t('since'), show: ({ created }) => day(created) },
                {
                  title: '',
                  kind: 'tools',
                  show: user => (
                    <>
                      <button type="button" onClick={() => setDialog({ roles: user })}>
                        {t('rolesAndGroups')}
                      </button>
                      <Act
                        label={t('link')}
                        run={() =>
                          call('user.link', { params: { name: user.name } }).then(({ link }) =>
                            setDialog({ link, user: user.name }),
                          )
                        }
                      />
                      {user.name !== me.id && (
                        <Act
                          label={t('remove')}
                          sure={t('sureRemove')}
                          danger
                          run={() => call('user.remove', { params: { name: user.name } }).then(asked.again)}
                        />
                      )}
                    </>
                  ),
                },
              ]}
            />
            <Pager {...pager} total={total} />
          </>
        )}
      </Answer>
      <Groups />
      {dialog === 'add' && (
        <Dialog title={t('addUser')} close={close}>
          <Form
            label={t('addUser')}
            cancel={close}
            submit={async fields => {
              await call('user.add', {
                body: { name: fields['name'] ?? '', roles: chosen(fields), groups: groupsOf(fields) },
              });
              asked.again();
              close();
            }}
          >
            <Field label={t('userName')} name="name" required autofocus />
            <Field label={t('groupsToJoin')} name="groups" placeholder="staff, operators" />
            <Roles of={['member']} />
          </Form>
        </Dialog>
      )}
      {typeof dialog === 'object' && 'roles' in dialog && (
        <Dialog title={`${dialog.roles.name}: ${t('rolesAndGroups')}`} close={close}>
          <Form
            label={t('save')}
            cancel={close}
            submit={async fields => {
              const { name, groups } = dialog.roles;
              await call('user.role', { params: { name }, body: { roles: chosen(fields) } });
              const wanted = groupsOf(fields);
              for (const group of wanted.filter(one => !groups.includes(one)))
                await call('group.add', { params: { name: group, user: name } });
              for (const group of groups.filter(one => !wanted.includes(one)))
                await call('group.remove', { params: { name: group, user: name } });
              asked.again();
              close();
            }}
          >
            <Roles of={dialog.roles.roles} />
            <Field
              label={t('groupsToJoin')}
              name="groups"
              placeholder="staff, operators"
              defaultValue={dialog.roles.groups.join(', ')}
            />
          </Form>
        </Dialog>
      )}
      {typeof dialog === 'object' && 'link' in dialog && (
        <Dialog title={`${dialog.user}: ${t('link')}`} close={close}>
          <p>{t('linkText')}</p>
          <Copy text={dialog.link} />
          <div class="tools">
            <button type="button" onClick={close}>
              {t('close')}
            </button>
          </div>
        </Dialog>
      )}
    </Page>
  );
}

const groupsOf = (fields: Readonly<Record<string, string>>): string[] =>
  (fields['groups'] ?? '').split(/[\s,、]+/).filter(Boolean);

const chosen = (fields: Readonly<Record<string, string>>): Role[] =>
  roles.filter(role => fields[`role-${role}`] === 'on');

function Roles({ of }: { of: readonly Role[] }) {
  return (
    <fieldset>
      <legend>{t('roles')}</legend>
      {roles.map(role => (
        <label class="check line">
          <input type="checkbox" name={`role-${role}`} defaultChecked={of.includes(role)} />
          <span>
            <strong>{t(roleWords[role])}</strong> <span class="quiet">{t(mayWords[role])}</span>
          </span>
        </label>
      ))}
    </fieldset>
  );
}

/** Who is in which group; rules and approvals name groups. */
function Groups() {
  const asked = useAnswer('group.list', undefined, event => event.startsWith('user'));
  return (
    <>
      <h2>{t('groups')}</h2>
      <Table
        label={t('groups')}
        rows={asked.error ? [] : asked.value?.groups}
        idOf={({ name }) => name}
        empty={t('noGroups')}
        columns={[
          { title: t('name'), show: ({ name }) => <strong>{name}</strong> },
          { title: t('count'), kind: 'number', show: ({ members }) => members.length },
          {
            title: t('members'),
            show: ({ members }) => (
              <small>
                {members.slice(0, 20).join(', ')}
                {members.length > 20 && ' …'}
              </small>
            ),
          },
        ]}
      />
    </>
  );
}
