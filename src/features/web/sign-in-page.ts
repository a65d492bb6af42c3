// The page of the sign-in on top of a certificate, and who may post its form.
import type { IncomingHttpHeaders } from 'node:http';
import { html, htmlPage, type Page } from './pages.ts';

export type SignInState =
  | { readonly state: 'form'; readonly user: string; readonly back: string; readonly isSignedIn: boolean }
  | { readonly state: 'done'; readonly user: string }
  | { readonly state: 'refused'; readonly what: string; readonly form: boolean; readonly back: string };

/** Plain HTML: no script, so that there is none to be injected. */
export function signInPage(facts: SignInState): Page {
  const page = htmlPage(200, 'Sekisho: sign in', `<h1>Sign in · サインイン</h1>${bodyOf(facts)}`);
  const policy = page.headers['content-security-policy'] ?? '';
  return {
    ...page,
    headers: { ...page.headers, 'content-security-policy': `${policy}; form-action 'self' http: https:` },
  };
}

function bodyOf(facts: SignInState): string {
  switch (facts.state) {
    case 'done':
      return `<p class="ok">Signed in as ${html(facts.user)}; the sites that ask for it are open to this certificate now.</p><p lang="ja">サインインしました。</p>`;
    case 'refused':
      return `<p class="no">${html(facts.what)}</p>${facts.form ? form(facts.back) : ''}`;
    case 'form': {
      const signed = facts.isSignedIn
        ? '<p class="ok">You are signed in; signing in again makes it last longer.</p>'
        : '';
      return `${signed}<p>Your certificate says that you are <strong>${html(facts.user)}</strong>. This site asks for your password and the code of your authenticator as well.</p>${form(facts.back)}`;
    }
  }
}

const form = (back: string): string =>
  `<form method="post" action="/sign-in"><input type="hidden" name="back" value="${html(back)}"><p><label>Password · パスワード<br><input name="password" type="password" autocomplete="current-password" required autofocus></label></p><p><label>Code · 認証コード<br><input name="code" inputmode="numeric" pattern="[0-9 ]{6,7}" autocomplete="one-time-code" required></label></p><p><button>Sign in</button></p></form>`;

/**
 * Whether a form was posted by our own page: the exact Origin, which no other page can send, and what the browser says of
 * where the request comes from, where it says anything.
 */
export function sameSite({ origin, 'sec-fetch-site': site }: IncomingHttpHeaders, own: string): boolean {
  return origin === own && (site === undefined || site === 'same-origin');
}
