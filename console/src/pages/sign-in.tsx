// The sign-in page: a passkey, or a password and where it is wanted a second factor.
import { useEffect, useState } from 'preact/hooks';
import { type AnswerOf, call, keepKey, Refusal } from '../api.ts';
import { Act, Field, Form } from '../parts.tsx';
import { knowsPasskeys, showPasskey } from '../passkey.ts';
import { t } from '../text.ts';

type Ways = AnswerOf<'auth.ways'>;

export function SignIn({ done, speak }: { done: () => Promise<void>; speak: () => void }) {
  const [ways, setWays] = useState<Ways>();
  const [needsCode, setNeedsCode] = useState(false);
  useEffect(() => {
    call('auth.ways').then(setWays, () => {});
  }, []);
  const enter = async ({ key }: { key: string }): Promise<void> => {
    keepKey(key);
    await done();
  };
  const byPassword = async ({ user = '', password = '', totp }: Readonly<Record<string, string>>): Promise<void> => {
    const code = totp === undefined || totp === '' ? {} : { totp };
    const signIn = (more: object) => call('auth.sign-in', { body: { user, password, ...more } });
    const answer = await signIn(code).catch(async error => {
      if (!(error instanceof Refusal) || error.code !== 'invalid') return inWords(error);
      if (error.message.startsWith('body.passkey') && knowsPasskeys())
        return signIn({ passkey: await showPasskey() }).catch(inWords);
      if (needsCode || !error.message.startsWith('body.totp')) return inWords(error);
      setNeedsCode(true);
      throw new Refusal('invalid', t('codeToo'));
    });
    await enter(answer);
  };
  return (
    <main class="middle card" id="content">
      <h1>
        <img src="/icon.svg" alt="" width="36" height="36" /> 関所 Sekisho
      </h1>
      <p class="quiet">
        {t('signInWith')} {location.host}
      </p>
      <Form label={t('signIn')} submit={byPassword}>
        <Field label={t('userName')} name="user" autocomplete="username" required autofocus />
        <Field label={t('password')} name="password" type="password" autocomplete="current-password" required />
        {needsCode && (
          <Field
            label={t('code')}
            name="totp"
            autocomplete="one-time-code"
            inputMode="numeric"
            pattern="[0-9]{6}"
            required
          />
        )}
      </Form>
      {ways?.passkey && knowsPasskeys() && (
        <Act
          label={t('usePasskey')}
          run={async () => {
            const passkey = await showPasskey();
            await enter(await call('auth.sign-in', { body: { passkey } }).catch(noPasskey));
          }}
        />
      )}
      {ways?.oidc && <Act label={`${t('signInBy')} ${ways.oidc.name}`} run={goToProvider} />}
      <button type="button" class="plain" onClick={speak}>
        {t('language')}
      </button>
    </main>
  );
}

/** What this tab keeps while its owner is at the provider: the code that comes back counts beside it alone. */
const bindingName = 'sekisho-oidc';

async function goToProvider(): Promise<void> {
  const { url, binding } = await call('auth.oidc');
  sessionStorage.setItem(bindingName, binding);
  location.assign(url);
}

/** With the code in the fragment of the way back. */
export async function comeFromProvider(how: 'oidc' | 'oidc+mfa', oidc: string): Promise<void> {
  const binding = sessionStorage.getItem(bindingName) ?? 'none';
  sessionStorage.removeItem(bindingName);
  keepKey((await call('auth.sign-in', { body: { oidc, how, binding } })).key);
}

/** The gate says the same to every stranger; here it can only mean one thing. */
function inWords(error: unknown): never {
  throw error instanceof Refusal && error.code === 'unknown-caller' ? new Refusal(error.code, t('wrong')) : error;
}

function noPasskey(error: unknown): never {
  throw error instanceof Refusal && (error.code === 'unknown-caller' || error.code === 'denied')
    ? new Refusal(error.code, t('passkeyUnknown'))
    : error;
}
