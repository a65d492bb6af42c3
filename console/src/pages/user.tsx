// Users: people, their roles, the links that let them in.
import { useState } from 'preact/hooks';
import { type AnswerOf, call } from '../api.ts';
import type { Me } from '../app.tsx';
import { Act, Answer, Copy, Dialog, Field, Form, Page, Table } from '../parts.tsx';
import { day, t } from '../text.ts';
import { useAnswer } from '../use.ts';

type User = AnswerOf<'user.list'>['users'][number];
const roles = ['admin', 'operator', 'approver', 'auditor', 'member'] as const;
type Role = (typeof roles)[number];

export function UserPage({ me }: { me: Me }) {
  const asked = useAnswer('user.list', undefined, event => event.startsWith('user'));
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
      <Answer asked={asked}>
        {({ users }) => (
          <Table
            label={t('user')}
            rows={users}
            idOf={({ name }) => name}
            empty={t('noUsers')}
            columns={[
              {
                title: t('name'),
                show: ({ name }) => (
                  <>
                    <strong>{name}</strong> {name === me.id && <span class="quiet">{t('me')}</span>}
                  </>
                ),
              },
              { title: t('roles'), show: ({ roles }) => roles.join(', ') || <span class="quiet">{t('none')}</span> },
              { title: t('groups'), show: ({ groups }) => groups.join(', ') },
              { title: t('since'), show: ({ created }) => day(created) },
              {
                title: '',
                kind: 'tools',
                show: user => (
                  <>
                    <button type="button" onClick={() => setDialog({ roles: user })}>
                      {t('roles')}
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
        )}
      </Answer>
      {dialog === 'add' && (
        <Dialog title={t('addUser')} close={close}>
          <Form
            label={t('addUser')}
            submit={async fields => {
              await call('user.add', { body: { name: fields['name'] ?? '', roles: chosen(fields) } });
              asked.again();
              close();
            }}
          >
            <Field label={t('userName')} name="name" required autofocus />
            <Roles of={['member']} />
          </Form>
          <button type="button" class="plain" onClick={close}>
            {t('cancel')}
          </button>
        </Dialog>
      )}
      {typeof dialog === 'object' && 'roles' in dialog && (
        <Dialog title={`${dialog.roles.name}: ${t('roles')}`} close={close}>
          <Form
            label={t('save')}
            submit={async fields => {
              await call('user.role', { params: { name: dialog.roles.name }, body: { roles: chosen(fields) } });
              asked.again();
              close();
            }}
          >
            <Roles of={dialog.roles.roles} />
          </Form>
          <button type="button" class="plain" onClick={close}>
            {t('cancel')}
          </button>
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

const chosen = (fields: Readonly<Record<string, string>>): Role[] =>
  roles.filter(role => fields[`role-${role}`] === 'on');

function Roles({ of }: { of: readonly Role[] }) {
  return (
    <fieldset>
      <legend>{t('roles')}</legend>
      {roles.map(role => (
        <label class="check">
          <input type="checkbox" name={`role-${role}`} defaultChecked={of.includes(role)} /> {role}
        </label>
      ))}
    </fieldset>
  );
}
