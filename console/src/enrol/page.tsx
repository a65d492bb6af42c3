// From a link to a working certificate: whose it is, a password for the file, the file, what to do with it.
import { useEffect, useState } from 'preact/hooks';
import { Refusal } from '../api.ts';
import { Field, Form, Problem } from '../parts.tsx';
import { save } from '../save.ts';
import { currentLanguage, setLanguage, when } from '../text.ts';
import { fetchLegacy, fetchWithOwnKey, type Link, lookAt, type Made } from './fetch.ts';
import { type Platform, platformHere, platforms, steps } from './platforms.ts';
import { say } from './words.ts';

export function EnrolPage({ code }: { code: string | undefined }) {
  const [, setShown] = useState(currentLanguage());
  const [link, setLink] = useState<Link>();
  const [made, setMade] = useState<Made>();
  const [error, setError] = useState<Refusal | undefined>(code === undefined ? new Refusal('missing', '') : undefined);
  useEffect(() => {
    setLanguage(currentLanguage());
    if (code !== undefined) lookAt(code).then(setLink, setError);
  }, []);
  useEffect(() => {
    document.title = `${say('title')} · Sekisho`;
  });
  const speak = (): void => {
    const next = currentLanguage() === 'ja' ? 'en' : 'ja';
    setLanguage(next);
    setShown(next);
  };
  return (
    <main class="middle card" id="content">
      <h1>
        <img src="/icon.svg" alt="" width="36" height="36" /> {say('title')}
      </h1>
      {error && <Refused error={error} />}
      {!error && !link && <p class="quiet">{say('loading')}</p>}
      {link && !made && code !== undefined && <Ask link={link} code={code} done={setMade} />}
      {link && made && <Ready link={link} made={made} />}
      <button type="button" class="plain" onClick={speak} lang={currentLanguage() === 'ja' ? 'en' : 'ja'}>
        {say('language')}
      </button>
    </main>
  );
}

/** The gate says the same to every wrong link; here it can only mean one thing. */
function Refused({ error }: { error: Refusal }) {
  if (error.code === 'missing') return <p>{say('noCode')}</p>;
  return <Problem error={error.code === 'unknown-caller' ? new Refusal(error.code, say('wrongLink')) : error} />;
}

function Ask({ link, code, done }: { link: Link; code: string; done: (made: Made) => void }) {
  const submit = async ({ password = '', again = '', legacy }: Readonly<Record<string, string>>): Promise<void> => {
    if (password !== again) throw new Refusal('invalid', say('mismatch'));
    done(await (legacy === 'on' ? fetchLegacy : fetchWithOwnKey)(link, code, password));
  };
  return (
    <>
      <dl>
        <dt>{say('for')}</dt>
        <dd>
          <strong>{link.user}</strong> <span class="quiet">{link.subject}</span>
        </dd>
        <dt>{say('gate')}</dt>
        <dd>{link.gate}</dd>
        <dt>{say('until')}</dt>
        <dd>{when(link.until)}</dd>
      </dl>
      <p>{say('explain')}</p>
      <Form label={say('make')} submit={submit}>
        <Field
          label={say('password')}
          name="password"
          type="password"
          autocomplete="new-password"
          minLength={8}
          required
        />
        <Field label={say('again')} name="again" type="password" autocomplete="new-password" minLength={8} required />
        <label class="field">
          <span>
            <input type="checkbox" name="legacy" /> {say('legacy')}
          </span>
          <small class="quiet">{say('legacyText')}</small>
        </label>
      </Form>
    </>
  );
}

function Ready({ link, made }: { link: Link; made: Made }) {
  const [platform, setPlatform] = useState<Platform>(platformHere(navigator.userAgent));
  const [isSaved, setSaved] = useState(false);
  useEffect(() => {
    if (isSaved) return;
    // The key is nowhere else: closing the page now would lose it.
    const warn = (event: BeforeUnloadEvent): void => event.preventDefault();
    addEventListener('beforeunload', warn);
    return () => removeEventListener('beforeunload', warn);
  }, [isSaved]);
  const keep = (name: string, content: string | Uint8Array<ArrayBuffer>, type: string) => () => {
    setSaved(true);
    save(name, content, type);
  };
  const stem = link.user.replace(/[^\p{L}\p{N}._-]/gu, '_');
  const { profile, pem } = made;
  return (
    <>
      <p role="status">{say('ready')}</p>
      <div class="tools">
        <button type="button" class="main" onClick={keep(`${stem}.p12`, made.p12, 'application/x-pkcs12')}>
          {stem}.p12
        </button>
        <button type="button" onClick={keep(`${stem}.mobileconfig`, profile, 'application/x-apple-aspen-config')}>
          {stem}.mobileconfig
        </button>
        {pem !== undefined && (
          <button type="button" onClick={keep(`${stem}.pem`, pem, 'application/x-pem-file')}>
            {stem}.pem
          </button>
        )}
        <button type="button" onClick={() => save('ca.crt', made.ca, 'application/x-x509-ca-cert')}>
          ca.crt
        </button>
      </div>
      <p class="quiet">
        {say('root')}: <code>{link.fingerprint.match(/../g)?.join(':')}</code>
      </p>
      <label class="field">
        <span>{say('system')}</span>
        <select name="platform" value={platform} onChange={event => setPlatform(event.currentTarget.value as Platform)}>
          {platforms.map(name => (
            <option value={name}>{steps(name).title}</option>
          ))}
        </select>
      </label>
      <ol>
        {steps(platform).lines.map(line => (
          <li>{line}</li>
        ))}
      </ol>
      {!steps(platform).isTried && <p class="quiet">{say('untried')}</p>}
    </>
  );
}
