// The page of the sign-in on top of a certificate, and who may post its form.
import { createHash } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { html, htmlPage, type Page } from './pages.ts';

/** What the browser is asked about a passkey, where the user has one. */
interface Asking {
  readonly passkey?: object | undefined;
}
export type SignInState =
  | ({ readonly state: 'form'; readonly user: string; readonly back: string; readonly isSignedIn: boolean } & Asking)
  | { readonly state: 'done'; readonly user: string }
  | ({ readonly state: 'refused'; readonly what: string; readonly form: boolean; readonly back: string } & Asking);

/**
 * Asks for the passkey and posts what it signed with the same form. Always the same text, let in by its hash; a browser
 * that cannot do it never sees the button.
 */
const script = `const button = document.getElementById('use-passkey');
if (window.PublicKeyCredential && PublicKeyCredential.parseRequestOptionsFromJSON) button.hidden = false;
button.addEventListener('click', async () => {
  try {
    const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(JSON.parse(button.dataset.options));
    const signed = await navigator.credentials.get({ publicKey });
    const form = button.form;
    form.elements.passkey.value = JSON.stringify(signed.toJSON());
    form.noValidate = true;
    form.requestSubmit();
  } catch (error) {
    document.getElementById('said').textContent = error.message;
  }
});`;
const scriptHash = createHash('sha256').update(script).digest('base64');

/** Plain HTML, and no script but the one above. */
export function signInPage(facts: SignInState): Page {
  const page = htmlPage(200, 'Sekisho: sign in', `<h1>Sign in · サインイン</h1>${bodyOf(facts)}`);
  const policy = page.headers['content-security-policy'] ?? '';
  return {
    ...page,
    headers: {
      ...page.headers,
      // Under no-referrer a browser posts the form with `Origin: null` (Fetch §3.2), which is anybody's.
      'referrer-policy': 'same-origin',
      'content-security-policy': `${policy}; script-src 'sha256-${scriptHash}'; form-action 'self' http: https:`,
    },
  };
}

function bodyOf(facts: SignInState): string {
  switch (facts.state) {
    case 'done':
      return `<p class="ok">Signed in as ${html(facts.user)}; the sites that ask for it are open to this certificate now.</p><p lang="ja">サインインしました。</p>`;
    case 'refused':
      return `<p class="no">${html(facts.what)}</p>${facts.form ? form(facts) : ''}`;
    case 'form': {
      const signed = facts.isSignedIn
        ? '<p class="ok">You are signed in; signing in again makes it last longer.</p>'
        : '';
      const what = facts.passkey
        ? 'your passkey, or your password and the code of your authenticator,'
        : 'your password and the code of your authenticator';
      return `${signed}<p>Your certificate says that you are <strong>${html(facts.user)}</strong>. This site asks for ${what} as well.</p><p lang="ja">この証明書は <strong>${html(facts.user)}</strong> のものです。さらに${facts.passkey ? 'パスキー、またはパスワードと認証コード' : 'パスワードと認証アプリのコード'}が必要です。</p>${form(facts)}`;
    }
  }
}

const form = ({ back, passkey }: { readonly back: string } & Asking): string =>
  `<form method="post" action="/sign-in"><input type="hidden" name="back" value="${html(back)}">${passkey ? passkeyButton(passkey) : ''}<p><label>Password · パスワード<br><input name="password" type="password" autocomplete="current-password" required autofocus></label></p><p><label>Code · 認証コード<br><input name="code" inputmode="numeric" pattern="[0-9 ]{6,7}" autocomplete="one-time-code" required></label></p><p><button>Sign in · サインイン</button></p></form>${passkey ? `<script>${script}</script>` : ''}`;

const passkeyButton = (options: object): string =>
  `<input type="hidden" name="passkey"><p><button type="button" id="use-passkey" hidden data-options="${html(JSON.stringify(options))}">Use a passkey · パスキーを使う</button> <span id="said" class="no" role="status"></span></p>`;

/**
 * Whether a form was posted by our own page: the exact Origin, which no other page can send, and what the browser says of
 * where the request comes from, where it says anything.
 */
export function sameSite({ origin, 'sec-fetch-site': site }: IncomingHttpHeaders, own: string): boolean {
  return origin === own && (site === undefined || site === 'same-origin');
}
