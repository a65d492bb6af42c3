// The sign-in page itself: one file, no library, in English and Japanese, as the browser prefers.

/** Says nothing about any endpoint: whoever has not signed in learns nothing here. */
export const signInPage = (nonce: string): string => `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sekisho</title>
<style nonce="${nonce}">
  :root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
  body { max-width: 24rem; margin: 12vh auto; padding: 0 1rem; }
  h1 { font-size: 1.25rem; }
  label { display: block; margin: .75rem 0 .25rem; }
  input, button { font: inherit; width: 100%; box-sizing: border-box; padding: .5rem; }
  button { margin-top: 1rem; }
  #result { margin-top: 1rem; min-height: 3rem; }
</style>
<h1 data-text="title">Let this address in</h1>
<p data-text="what">After you sign in, connections from the address you are at now are let in, until the endpoint ends.</p>
<form id="form">
  <div id="fields">
    <label for="user" data-text="user">User</label>
    <input id="user" autocomplete="username" required>
    <label for="password" data-text="password">Password</label>
    <input id="password" type="password" autocomplete="current-password" required>
  </div>
  <button data-text="go">Let me in</button>
</form>
<p id="result" role="status"></p>
<script nonce="${nonce}">
  const ja = { title: 'このアドレスからの接続を許可', what: 'サインインすると、今お使いのアドレスからの接続が、エンドポイントの終了まで許可されます。', user: 'ユーザー', password: 'パスワード', go: '許可する', done: '許可しました:', until: '終了:', no: '許可されませんでした。リンクは一度だけ、15 分以内に使えます。' };
  const en = { done: 'Let in:', until: 'until', no: 'Not let in. A link works once, within 15 minutes.' };
  const text = navigator.language.startsWith('ja') ? ja : en;
  if (text === ja) document.documentElement.lang = 'ja';
  for (const one of document.querySelectorAll('[data-text]')) one.textContent = text[one.dataset.text] ?? one.textContent;
  const code = location.hash.slice(1);
  const field = id => document.getElementById(id);
  if (code) {
    history.replaceState(null, '', location.pathname); // a code does not stay in the history
    field('fields').remove();
  }
  field('form').addEventListener('submit', async event => {
    event.preventDefault();
    const body = code ? { code } : { user: field('user').value, password: field('password').value };
    const answer = await fetch(location.pathname, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
    const said = await answer.json().catch(() => ({}));
    field('result').textContent = answer.ok ? text.done + ' ' + said.address + ', ' + text.until + ' ' + new Date(said.until).toLocaleString() : text.no;
    if (answer.ok) field('form').remove();
  });
</script>
`;
