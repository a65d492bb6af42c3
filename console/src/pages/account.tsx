// One's own account: passkeys, the authenticator app, the password, and where one is signed in.

import { useState } from 'preact/hooks';
import qrcode from 'qrcode-generator';
import { type AnswerOf, call, Refusal } from '../api.ts';
import type { Me } from '../app.tsx';
import { Act, Answer, Copy, Dialog, Field, Form, Page, Problem, Table, Tag } from '../parts.tsx';
import { knowsPasskeys, makePasskey, showPasskey } from '../passkey.ts';
import { day, t, when } from '../text.ts';
import { useAnswer } from '../use.ts';

type Codes = AnswerOf<'user.totp'>;

export function AccountPage({ me }: { me: Me }) {
  const params = { name: me.id };
  const kept = useAnswer('user.passkey-list', { params }, event => event.startsWith('user'));
  const signIns = useAnswer('auth.list', undefined, event => event.startsWith('user'));
  const [dialog, setDialog] = useState<'passkey' | 'password' | Codes | { readonly again: () => Promise<unknown> }>();
  const close = (): void => setDialog(undefined);
  const refresh = (): void => {
    kept.again();
    signIns.again();
  };
  /** Where the last proof is too old, it is asked for, and then the same is tried once more. */
  const proven = (run: () => Promise<unknown>) => async (): Promise<void> => {
    await run().catch(error => {
      if (!(error instanceof Refusal) || error.code !== 'conflict') throw error;
      setDialog({ again: run });
    });
    refresh();
  };
  const makeCodes = proven(() => call('user.totp', { params }).then(setDialog));
  return (
    <Page title={t('account')}>
      {me.secondFactor === 'missing' && (
        <p class="problem" role="status">
          {t('secondFactorMissing')}
        </p>
      )}
      <h2>{t('passkeys')}</h2>
      <p class="quiet">{t('passkeysText')}</p>
      <Answer asked={kept}>
        {({ passkeys, totp }) => (
          <>
            <Table
              label={t('passkeys')}
              rows={passkeys}
              idOf={({ id }) => id}
              empty={t('noPasskeys')}
              columns={[
                { title: t('name'), show: ({ label }) => <strong>{label}</strong> },
                { title: t('since'), show: ({ created }) => day(created) },
                {
                  title: t('lastUsed'),
                  show: ({ used }) => (used ? when(used) : <span class="quiet">{t('none')}</span>),
                },
                {
                  title: t('kind'),
                  show: ({ synced }) => <Tag tone="plain">{t(synced ? 'synced' : 'oneDevice')}</Tag>,
                },
                {
                  title: '',
                  kind: 'tools',
                  show: ({ id }) => (
                    <Act
                      label={t('remove')}
                      sure={t('sureRemovePasskey')}
                      danger
                      run={proven(() => call('user.passkey-remove', { params: { ...params, id } }))}
                    />
                  ),
                },
              ]}
            />
            <div class="tools">
              {knowsPasskeys() ? (
                <button type="button" class="main" onClick={() => setDialog('passkey')}>
                  {t('addPasskey')}
                </button>
              ) : (
                <p class="quiet">{t('passkeyCannot')}</p>
              )}
            </div>
            <h2>{t('authenticator')}</h2>
            <p>
              <Tag tone={totp ? 'good' : 'weak'}>{t(totp ? 'setUp' : 'notSetUp')}</Tag>
            </p>
            <div class="tools">
              <Act
                label={t(totp ? 'setUpAnew' : 'setUpCodes')}
                {...(totp ? { sure: t('sureCodes') } : {})}
                run={makeCodes}
              />
              {totp && (
                <Act
                  label={t('removeCodes')}
                  sure={t('sureRemoveCodes')}
                  danger
                  run={proven(() => call('user.totp-remove', { params }))}
                />
              )}
            </div>
          </>
        )}
      </Answer>
      <h2>{t('password')}</h2>
      <div class="tools">
        <button type="button" onClick={() => setDialog('password')}>
          {t('changePassword')}
        </button>
      </div>
      <h2>{t('signIns')}</h2>
      <Answer asked={signIns}>
        {({ signIns: rows }) => (
          <>
            <Table
              label={t('signIns')}
              rows={rows}
              idOf={({ id }) => id}
              empty={t('none')}
              columns={[
                { title: t('from'), kind: 'code', show: ({ address }) => address },
                { title: t('how'), show: ({ how }) => how },
                { title: t('since'), show: ({ since }) => when(since) },
                { title: t('until'), show: ({ until }) => (until ? when(until) : t('never')) },
                {
                  title: '',
                  kind: 'tools',
                  show: ({ id, current }) =>
                    current ? (
                      <Tag tone="good">{t('thisOne')}</Tag>
                    ) : (
                      <Act label={t('signOut')} run={() => call('auth.end', { params: { id } }).then(refresh)} />
                    ),
                },
              ]}
            />
            {rows.length > 1 && (
              <div class="tools">
                <Act
                  label={t('signOutOthers')}
                  danger
                  run={() => call('auth.end', { params: { id: 'others' } }).then(refresh)}
                />
              </div>
            )}
          </>
        )}
      </Answer>
      {dialog === 'passkey' && (
        <NewPasskey
          me={me}
          close={close}
          done={() => {
            refresh();
            close();
          }}
          again={run => setDialog({ again: run })}
        />
      )}
      {dialog === 'password' && <NewPassword me={me} close={close} />}
      {typeof dialog === 'object' && 'secret' in dialog && <NewCodes codes={dialog} close={close} />}
      {typeof dialog === 'object' && 'again' in dialog && (
        <ProveAgain
          close={close}
          done={async () => {
            close();
            await dialog.again();
            refresh();
          }}
        />
      )}
    </Page>
  );
}

function NewPasskey(props: {
  me: Me;
  close: () => void;
  done: () => void;
  again: (run: () => Promise<unknown>) => void;
}) {
  const { me, close, done, again } = props;
  const make = async ({ label = '' }: Readonly<Record<string, string>>): Promise<void> => {
    const passkey = await makePasskey(me.id);
    await call('user.passkey', { params: { name: me.id }, body: { label, passkey } });
    done();
  };
  return (
    <Dialog title={t('addPasskey')} close={close}>
      <p>{t('addPasskeyText')}</p>
      <Form
        label={t('addPasskey')}
        submit={fields =>
          make(fields).catch(error => {
            if (!(error instanceof Refusal) || error.code !== 'conflict') throw error;
            again(() => make(fields));
          })
        }
      >
        <Field label={t('passkeyName')} name="label" maxLength={64} required autofocus />
      </Form>
      <button type="button" class="plain" onClick={close}>
        {t('cancel')}
      </button>
    </Dialog>
  );
}

function NewCodes({ codes, close }: { codes: Codes; close: () => void }) {
  const code = qrcode(0, 'M');
  code.addData(codes.uri);
  code.make();
  const count = code.getModuleCount();
  const dark = Array.from({ length: count * count }, (_, at) => [Math.floor(at / count), at % count] as const)
    .filter(([row, column]) => code.isDark(row, column))
    .map(([row, column]) => `M${column + 4} ${row + 4}h1v1h-1z`);
  return (
    <Dialog title={t('authenticator')} close={close}>
      <p>{t('codesText')}</p>
      <svg class="qr" viewBox={`0 0 ${count + 8} ${count + 8}`} width="200" height="200" role="img" aria-label="QR">
        <rect width="100%" height="100%" fill="#fff" />
        <path d={dark.join('')} fill="#000" />
      </svg>
      <Copy text={codes.secret} />
      <div class="tools">
        <button type="button" class="main" onClick={close}>
          {t('done')}
        </button>
      </div>
    </Dialog>
  );
}

function NewPassword({ me, close }: { me: Me; close: () => void }) {
  const [error, setError] = useState<Refusal>();
  return (
    <Dialog title={t('changePassword')} close={close}>
      <p>{t('changePasswordText')}</p>
      <Form
        label={t('save')}
        submit={async ({ password = '', again = '', current = '' }) => {
          setError(undefined);
          if (password !== again) return setError(new Refusal('invalid', t('mismatch')));
          const known = current === '' ? {} : { current };
          await call('user.passwd', { params: { name: me.id }, body: { password, ...known } });
          close();
        }}
      >
        <input type="hidden" name="user" value={me.id} autocomplete="username" />
        <Field label={t('current')} name="current" type="password" autocomplete="current-password" autofocus />
        <Field
          label={t('password')}
          name="password"
          type="password"
          autocomplete="new-password"
          minLength={8}
          required
        />
        <Field label={t('passwordAgain')} name="again" type="password" autocomplete="new-password" required />
        {error && <Problem error={error} />}
      </Form>
      <button type="button" class="plain" onClick={close}>
        {t('cancel')}
      </button>
    </Dialog>
  );
}

function ProveAgain({ close, done }: { close: () => void; done: () => Promise<void> }) {
  return (
    <Dialog title={t('proveAgain')} close={close}>
      <p>{t('proveAgainText')}</p>
      <Form
        label={t('proveAgain')}
        submit={async ({ password = '', totp = '' }) => {
          await call('auth.prove', { body: { password, ...(totp === '' ? {} : { totp }) } });
          await done();
        }}
      >
        <Field
          label={t('password')}
          name="password"
          type="password"
          autocomplete="current-password"
          required
          autofocus
        />
        <Field label={t('code')} name="totp" autocomplete="one-time-code" inputMode="numeric" pattern="[0-9]{6}" />
      </Form>
      {knowsPasskeys() && (
        <Act
          label={t('usePasskey')}
          run={async () => {
            await call('auth.prove', { body: { passkey: await showPasskey() } });
            await done();
          }}
        />
      )}
      <button type="button" class="plain" onClick={close}>
        {t('cancel')}
      </button>
    </Dialog>
  );
}
