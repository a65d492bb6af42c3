// The shell: who is signed in, the words to choose from, the page of the one that is chosen.
import type { FunctionComponent } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { type AnswerOf, call, keepKey, Refusal } from './api.ts';
import { closeLive, isLive, openLive, watch } from './live.ts';
import { AccountPage } from './pages/account.tsx';
import { ApprovalPage } from './pages/approval.tsx';
import { AuditPage } from './pages/audit.tsx';
import { CertPage } from './pages/cert.tsx';
import { DevicePage } from './pages/device.tsx';
import { EndpointPage } from './pages/endpoint.tsx';
import { ProxyPage } from './pages/proxy.tsx';
import { comeFromProvider, SignIn } from './pages/sign-in.tsx';
import { StatusPage } from './pages/status.tsx';
import { TunnelPage } from './pages/tunnel.tsx';
import { UserPage } from './pages/user.tsx';
import { VpnPage } from './pages/vpn.tsx';
import { WebPage } from './pages/web.tsx';
import { Dialog, Field, Form, Problem } from './parts.tsx';
import { currentLanguage, setLanguage, t } from './text.ts';
import { usePath } from './use.ts';

export type Me = AnswerOf<'auth.whoami'>;

/** A page per word, in the order of the day's work. */
const pages = {
  status: StatusPage,
  device: DevicePage,
  endpoint: EndpointPage,
  tunnel: TunnelPage,
  proxy: ProxyPage,
  web: WebPage,
  vpn: VpnPage,
  approval: ApprovalPage,
  cert: CertPage,
  user: UserPage,
  audit: AuditPage,
} as const satisfies Record<string, FunctionComponent<{ me: Me }>>;
type Word = keyof typeof pages;

export function App() {
  const [me, setMe] = useState<Me | 'nobody'>();
  const [, setLanguageShown] = useState(currentLanguage());
  const [fromLink, setFromLink] = useState(false);
  const look = (): Promise<void> => call('auth.whoami').then(setMe, () => setMe('nobody'));
  useEffect(() => {
    setLanguage(currentLanguage());
    const [, how, oidc] = /^#(oidc|oidc\+mfa)=([\w-]+)$/.exec(location.hash) ?? [];
    if (how !== undefined && oidc !== undefined) {
      history.replaceState(null, '', '/');
      return void comeFromProvider(how as 'oidc' | 'oidc+mfa', oidc).then(look, look);
    }
    const code = /^#code=([\w-]+)$/.exec(location.hash)?.[1];
    if (code === undefined) return void look();
    // Out of the address bar and the history before anything else happens.
    history.replaceState(null, '', '/');
    void call('auth.sign-in', { body: { code } }).then(
      ({ key }) => {
        keepKey(key);
        setFromLink(true);
        return look();
      },
      () => look(),
    );
  }, []);
  useEffect(() => {
    if (me === undefined || me === 'nobody') return closeLive();
    if (seesEvents(me)) openLive();
    return closeLive;
  }, [me]);
  const speak = (): void => {
    const next = currentLanguage() === 'ja' ? 'en' : 'ja';
    setLanguage(next);
    setLanguageShown(next);
  };
  if (me === undefined) return <p class="quiet middle">{t('loading')}</p>;
  if (me === 'nobody') return <SignIn done={look} speak={speak} />;
  return (
    <>
      <Shell me={me} speak={speak} leave={() => void leave().finally(() => setMe('nobody'))} />
      {fromLink && <FirstPassword me={me} close={() => setFromLink(false)} />}
    </>
  );
}

/** The events are the audit's: whose roles do not show it would only be refused. */
const seesEvents = ({ roles }: Me): boolean => roles.some(role => role === 'admin' || role === 'auditor');

/** Who came by an OpenID provider leaves it too. */
async function leave(): Promise<void> {
  const { onward } = await call('auth.logout');
  if (onward?.startsWith('https://')) location.assign(onward);
}

function Shell({ me, speak, leave }: { me: Me; speak: () => void; leave: () => void }) {
  const [first = 'status'] = usePath();
  // Whose roles want a second factor sets one up before anything else.
  const isAccount = first === 'account' || me.secondFactor === 'missing';
  const word: Word | undefined = isAccount ? undefined : first in pages ? (first as Word) : 'status';
  const Page = (word ? pages[word] : AccountPage) as FunctionComponent<{ me: Me }>;
  return (
    <>
      <button type="button" class="skip" onClick={() => document.getElementById('content')?.focus()}>
        {t('skip')}
      </button>
      <nav aria-label="Sekisho">
        <a class="brand" href="#/status">
          <img src="/icon.svg" alt="" width="28" height="28" />
          関所 Sekisho
        </a>
        <ul>
          {(Object.keys(pages) as Word[]).map(name => (
            <li>
              <a href={`#/${name}`} aria-current={name === word ? 'page' : undefined}>
                {t(name)}
              </a>
            </li>
          ))}
        </ul>
        <div class="foot">
          {seesEvents(me) && <Dot />}
          <a class="who" href="#/account" title={t('account')} aria-current={isAccount ? 'page' : undefined}>
            {me.id || me.kind}
          </a>
          <button type="button" onClick={speak} lang={currentLanguage() === 'ja' ? 'en' : 'ja'}>
            {t('language')}
          </button>
          <button type="button" onClick={leave}>
            {t('signOut')}
          </button>
        </div>
      </nav>
      <main id="content" tabIndex={-1}>
        <Page me={me} />
      </main>
    </>
  );
}

/** Whether what is shown keeps itself up to date. */
function Dot() {
  const [isUp, setUp] = useState(isLive());
  useEffect(() => watch(event => event.kind === 'link' && setUp(event.isUp)), []);
  return (
    <span class={`dot ${isUp ? 'up' : ''}`} role="status">
      {t(isUp ? 'live' : 'offline')}
    </span>
  );
}

/** Whoever came by a one-time link has perhaps no other way back in. */
function FirstPassword({ me, close }: { me: Me; close: () => void }) {
  const [error, setError] = useState<Refusal>();
  return (
    <Dialog title={t('setPassword')} close={close}>
      <p>{t('passwordText')}</p>
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
