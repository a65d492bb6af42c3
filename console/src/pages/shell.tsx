// A shell on a device: who one is there, the device's key when it is new, what it asks, and the terminal itself.
import { useEffect, useRef, useState } from 'preact/hooks';
import { call, Refusal } from '../api.ts';
import { Dialog, Field, Form, Page, Problem, Tag } from '../parts.tsx';
import type { Screen } from '../terminal.ts';
import { type Link, openLink, type Told } from '../terminal-link.ts';
import { t } from '../text.ts';

type End = Extract<Told, { kind: 'end' }>;
type State = { readonly at: 'form' | 'joining' } | Extract<Told, { kind: 'host-key' | 'ask' | 'open' | 'end' }>;
type Login = Omit<Extract<Parameters<Link['say']>[0], { kind: 'start' }>, 'kind' | 'columns' | 'rows'>;

/** Characters; whoever has more to bring has scp. */
const longestPaste = 100_000;

export function ShellPage({ device, service }: { device: string; service: string }) {
  const place = useRef<HTMLDivElement>(null);
  const screen = useRef<Screen | undefined>(undefined);
  const link = useRef<Link | undefined>(undefined);
  const [state, setState] = useState<State>({ at: 'form' });
  const [paste, setPaste] = useState<{ readonly text: string; readonly answer: (isGood: boolean) => void }>();
  const [isTooLong, setTooLong] = useState(false);
  const [isLoud, setLoud] = useState(false);
  useEffect(
    () => () => {
      link.current?.close();
      screen.current?.dispose();
    },
    [],
  );
  const mayPaste = (text: string): boolean | Promise<boolean> => {
    setTooLong(text.length > longestPaste);
    if (text.length > longestPaste) return false;
    if (!/[\r\n]/.test(text.trimEnd())) return true;
    return new Promise(resolve =>
      setPaste({
        text,
        answer: isGood => {
          setPaste(undefined);
          resolve(isGood);
        },
      }),
    );
  };
  const join = async (login: Login): Promise<void> => {
    const { openScreen } = await loadTerminal();
    screen.current?.dispose();
    const view = openScreen({ place: place.current as HTMLDivElement, label: t('terminalInput'), mayPaste });
    screen.current = view;
    setState({ at: 'joining' });
    let isOver = false;
    const told = (message: Told): void => {
      isOver ||= message.kind === 'end';
      if (message.kind === 'host-key' && message.state === 'known') return;
      setState(message);
      if (message.kind !== 'open') return;
      if (link.current) view.attach(link.current);
    };
    const over = (): void => {
      link.current = undefined;
      if (!isOver) setState({ kind: 'end', cause: 'unreachable', text: t('terminalLost') });
    };
    // What the gate answers to an upgrade that it refuses, a page cannot see; the same question as a call says it.
    const way = await openLink({ device, service }, { told, over, printed: bytes => view.print(bytes) }).catch(() =>
      call('device.host-keys', { params: { name: device } }).then(
        () => t('terminalDenied'),
        (error: Refusal) => (error.code === 'denied' ? t('terminalDenied') : error.message),
      ),
    );
    if (typeof way === 'string') return setState({ kind: 'end', cause: 'denied', text: way });
    link.current = way;
    way.say({ kind: 'start', ...login, columns: view.columns, rows: view.rows });
  };
  const kind = 'at' in state ? state.at : state.kind;
  const leave = (): void => link.current?.close();
  // Once it is shown: what is hidden takes no focus.
  useEffect(() => {
    if (kind === 'open') screen.current?.focus();
  }, [kind]);
  return (
    <Page
      title={`${device} · ${service}`}
      tools={
        <>
          {kind === 'open' && (
            <>
              {(state as Extract<State, { kind: 'open' }>).recorded && <Tag tone="bad">{t('recorded')}</Tag>}
              <button
                type="button"
                aria-pressed={isLoud}
                onClick={() => {
                  screen.current?.readAloud(!isLoud);
                  setLoud(!isLoud);
                }}
              >
                {t('screenReader')}
              </button>
              <button type="button" class="danger" onClick={leave}>
                {t('endShell')}
              </button>
            </>
          )}
          <a class="button" href={`#/device/${encodeURIComponent(device)}`}>
            {t('backToDevice')}
          </a>
        </>
      }
    >
      {kind === 'form' && <LoginForm join={join} />}
      {kind === 'joining' && <p class="quiet">{t('connecting')}</p>}
      {'kind' in state && state.kind === 'end' && (
        <Ended end={state} again={() => setState({ at: 'form' })} device={device} service={service} />
      )}
      {isTooLong && <p class="problem">{t('pasteTooLong')}</p>}
      <div class={`screen ${kind === 'open' || kind === 'end' ? '' : 'unseen'}`} ref={place} />
      {'kind' in state && state.kind === 'host-key' && (
        <NewKey
          shown={state}
          answer={yes => {
            setState({ at: 'joining' });
            link.current?.say({ kind: 'trust', yes });
          }}
        />
      )}
      {'kind' in state && state.kind === 'ask' && (
        <Asked
          key={state.prompts.map(({ text }) => text).join()}
          asked={state}
          answer={answers => {
            setState({ at: 'joining' });
            link.current?.say({ kind: 'answers', answers });
          }}
          leave={leave}
        />
      )}
      {paste && (
        <Dialog title={t('pasteLines')} close={() => paste.answer(false)}>
          <p>{t('pasteText')}</p>
          <pre class="preview">{paste.text.slice(0, 2000)}</pre>
          <div class="tools">
            <button type="button" onClick={() => paste.answer(false)}>
              {t('cancel')}
            </button>
            <button type="button" class="main" onClick={() => paste.answer(true)}>
              {t('paste')}
            </button>
          </div>
        </Dialog>
      )}
    </Page>
  );
}

/** Its script and its style sheet, once. */
export async function loadTerminal(): Promise<typeof import('../terminal.ts')> {
  if (!document.querySelector('link[href="/terminal.css"]')) {
    document.head.append(Object.assign(document.createElement('link'), { rel: 'stylesheet', href: '/terminal.css' }));
  }
  return import('../terminal.ts').catch(() => {
    throw new Refusal('unreachable', t('loadAgain'));
  });
}

function LoginForm({ join }: { join: (login: Login) => Promise<void> }) {
  const [isByKey, setByKey] = useState(false);
  return (
    <div class="card narrow">
      <Form
        label={t('connect')}
        submit={({ user = '', password = '', key = '', passphrase = '' }) =>
          join({
            user,
            ...(password === '' ? {} : { password }),
            ...(key === '' ? {} : { key: `${key.trim()}\n` }),
            ...(passphrase === '' ? {} : { passphrase }),
          })
        }
      >
        <p class="quiet">{t('shellText')}</p>
        <Field label={t('loginUser')} name="user" required autofocus autocapitalize="off" spellcheck={false} />
        <div class="tools left">
          <button type="button" aria-pressed={!isByKey} onClick={() => setByKey(false)}>
            {t('password')}
          </button>
          <button type="button" aria-pressed={isByKey} onClick={() => setByKey(true)}>
            {t('privateKey')}
          </button>
        </div>
        {isByKey ? (
          <>
            <label class="field">
              <span>{t('privateKey')}</span>
              <textarea name="key" rows={5} required autocomplete="off" spellcheck={false} placeholder={begin} />
            </label>
            <Field label={t('passphrase')} name="passphrase" type="password" />
          </>
        ) : (
          <Field label={t('devicePassword')} name="password" type="password" />
        )}
      </Form>
    </div>
  );
}

const begin = '-----BEGIN OPENSSH PRIVATE KEY-----';

function NewKey({ shown, answer }: { shown: Extract<Told, { kind: 'host-key' }>; answer: (yes: boolean) => void }) {
  return (
    <Dialog title={t('newKey')} close={() => answer(false)}>
      <p>{t('newKeyText')}</p>
      <p>
        <code>{shown.algorithm}</code>
        <br />
        <code class="wrap">{shown.fingerprint}</code>
      </p>
      <p class="quiet">
        {t('compareKey')} <code>ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub</code>
      </p>
      <div class="tools">
        <button type="button" onClick={() => answer(false)}>
          {t('refuse')}
        </button>
        <button type="button" class="main" onClick={() => answer(true)}>
          {t('acceptKey')}
        </button>
      </div>
    </Dialog>
  );
}

function Asked({
  asked,
  answer,
  leave,
}: {
  asked: Extract<Told, { kind: 'ask' }>;
  answer: (answers: string[]) => void;
  leave: () => void;
}) {
  return (
    <Dialog title={asked.title || t('deviceAsks')} close={leave}>
      {asked.text && <p>{asked.text}</p>}
      <Form
        label={t('answer')}
        submit={async fields => answer(asked.prompts.map((_, at) => fields[`answer${at}`] ?? ''))}
      >
        {asked.prompts.map(({ text, echo }, at) => (
          <Field
            label={text}
            name={`answer${at}`}
            {...(echo ? { type: 'text' } : { type: 'password' })}
            autofocus={at === 0}
          />
        ))}
      </Form>
    </Dialog>
  );
}

function Ended({ end, again, device, service }: { end: End; again: () => void; device: string; service: string }) {
  const [isForgotten, setForgotten] = useState(false);
  const [error, setError] = useState<Refusal>();
  const forget = (): void => {
    call('device.host-key-remove', { params: { name: device, service } }).then(() => setForgotten(true), setError);
  };
  return (
    <div class="card" role="status">
      {end.changed ? (
        <>
          <h2>{t('keyChanged')}</h2>
          <p>{t('keyChangedText')}</p>
          <dl class="pairs">
            <dt>{t('keyKnown')}</dt>
            <dd class="code">
              {end.changed.known.algorithm} {end.changed.known.fingerprint}
            </dd>
            <dt>{t('keyShown')}</dt>
            <dd class="code">
              {end.changed.shown.algorithm} {end.changed.shown.fingerprint}
            </dd>
          </dl>
        </>
      ) : (
        <p>
          {t('shellEnded')} <span class={end.cause === 'exit' ? 'quiet' : 'weak'}>{wordsOf(end)}</span>
        </p>
      )}
      {error && <Problem error={error} />}
      <div class="tools left">
        <button type="button" class="main" onClick={again}>
          {t('connectAgain')}
        </button>
        {end.changed && !isForgotten && (
          <button type="button" class="danger" onClick={forget}>
            {t('forgetKey')}
          </button>
        )}
        {isForgotten && <span class="good">{t('keyForgotten')}</span>}
      </div>
    </div>
  );
}

/** What the gate says is English; for its common ends there are words. */
function wordsOf({ cause, text, status }: End): string {
  const known = {
    exit: 'endExit',
    idle: 'endIdle',
    closed: 'endCut',
    expired: 'endExpired',
    revoked: 'endRevoked',
    drain: 'endDrain',
  } as const;
  const word = known[cause as keyof typeof known];
  return word === undefined ? text : `${t(word)}${status === undefined ? '' : ` (${status})`}`;
}
