// The console in a real browser: signing in by the one-time link, every page in both languages, and what it does at the gate.
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type Browser, openBrowser } from '../fixtures/chromium.ts';
import { freePorts, type GateProcess, startGate } from '../fixtures/gate-process.ts';

/** Screenshots are kept here when it is set; they are for eyes, not for comparing. */
const shots = process.env['SEKISHO_SCREENSHOTS'];

async function openConsole(t: TestContext, options: { language?: string; dark?: boolean } = {}) {
  const [port = 0] = await freePorts(1);
  const gate = await startGate(t, {
    config: `gate: { listen: 'tls://127.0.0.1:${port}', workers: 0 }
proxy: { echo: { listen: 'tcp://127.0.0.1:0', to: 'tcp://127.0.0.1:9' } }
`,
  });
  const ca = join(gate.folder, 'ca.pem');
  writeFileSync(ca, (await gate.run('cert', 'ca')).stdout);
  const browser = await openBrowser({ trusts: [ca], ...options });
  t.after(() => browser[Symbol.asyncDispose]());
  return { gate, browser, origin: `https://localhost:${port}` };
}

/** Waits in the page, by looking again after each change of it. */
const appears = (browser: Browser, what: string): Promise<string> =>
  browser.run(`new Promise((resolve, reject) => {
    const look = () => { const found = ${what}; if (found) { watcher.disconnect(); clearTimeout(late); resolve(String(found.innerText ?? found)); } };
    const watcher = new MutationObserver(look);
    watcher.observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
    const late = setTimeout(() => reject(new Error('never came: ' + ${JSON.stringify(what)} + ' in ' + document.body.innerText)), 15000);
    look();
  })`);
const button = (label: string): string =>
  `[...document.querySelectorAll('button')].findLast(one => one.innerText.trim() === ${JSON.stringify(label)} && one.checkVisibility())`;
const press = async (browser: Browser, label: string): Promise<void> => {
  await appears(browser, button(label));
  await browser.run(`${button(label)}.click()`);
};
const fill = (browser: Browser, name: string, value: string): Promise<void> =>
  browser.run(`{ const field = [...document.querySelectorAll('input[name=' + ${JSON.stringify(name)} + ']')].at(-1);
    field.value = ${JSON.stringify(value)}; field.dispatchEvent(new Event('input', { bubbles: true })); }`);

async function signIn(gate: GateProcess, browser: Browser, user: string, role: string): Promise<void> {
  await gate.run('user', 'add', user, '--role', role);
  const { stdout } = await gate.run('user', 'link', user, '--json');
  await browser.open((JSON.parse(stdout) as { link: string }).link);
  await appears(browser, `document.querySelector('dialog[open]')`);
  await browser.run(`document.querySelector('dialog .plain').click()`); // no password this time
  await appears(browser, `!document.querySelector('dialog')`);
}

async function shoot(browser: Browser, name: string): Promise<void> {
  if (shots === undefined) return;
  mkdirSync(shots, { recursive: true });
  await browser.screenshot(join(shots, `${name}.png`));
}

test('a one-time link signs in, asks for a password, and works once', async t => {
  const { gate, browser, origin } = await openConsole(t);
  await gate.run('user', 'add', 'alice', '--role', 'admin');
  const { link } = JSON.parse((await gate.run('user', 'link', 'alice', '--json')).stdout) as { link: string };
  assert.ok(link.startsWith(`${origin}/#code=`), link);
  await browser.open(link);
  await appears(browser, `document.querySelector('dialog[open]')`);
  assert.equal(await browser.run('location.hash'), '', 'the code is out of the address bar');
  await shoot(browser, 'first-password');
  await fill(browser, 'password', 'correct horse');
  await fill(browser, 'again', 'correct horse');
  await press(browser, 'Save');
  await appears(browser, `!document.querySelector('dialog')`);
  await press(browser, 'Sign out');
  await appears(browser, `document.querySelector('input[name=user]')`);

  await browser.open('about:blank');
  await browser.open(link);
  await appears(browser, `document.querySelector('input[name=user]')`);
  await shoot(browser, 'sign-in');
  await fill(browser, 'user', 'alice');
  await fill(browser, 'password', 'wrong horse');
  await press(browser, 'Sign in');
  assert.match(await appears(browser, `document.querySelector('[role=alert]')`), /password or the code is wrong/);
  await fill(browser, 'password', 'correct horse');
  await press(browser, 'Sign in');
  await appears(browser, `document.querySelector('nav')`);
  assert.match(await browser.run('document.body.innerText'), /alice/);
});

for (const [language, status] of [
  ['en', 'Open right now'],
  ['ja', 'いま開いているもの'],
] as const) {
  test(`every page opens in ${language}, and the browser has nothing to complain about`, async t => {
    const { gate, browser } = await openConsole(t, { language, dark: language === 'ja' });
    await signIn(gate, browser, 'alice', 'admin');
    await browser.run(`location.hash = '#/status'`);
    assert.match(await appears(browser, `document.querySelector('h2')`), new RegExp(status));
    await appears(browser, `document.querySelector('.dot.up')`);
    for (const word of [
      'status',
      'device',
      'endpoint',
      'tunnel',
      'proxy',
      'web',
      'vpn',
      'approval',
      'cert',
      'user',
      'audit',
    ]) {
      await browser.run(`location.hash = '#/${word}'`);
      await appears(browser, `document.querySelector('nav a[href="#/${word}"][aria-current]')`);
      await appears(browser, `!document.querySelector('main').innerText.match(/Loading|読み込み中/)`);
      assert.equal(await browser.run(`document.querySelectorAll('[role=alert]').length`), 0, word);
      await shoot(browser, `${word}-${language}`);
    }
    assert.equal(await browser.run('document.documentElement.lang'), language);
    assert.deepEqual(browser.errors(), []);
  });
}

test('an administrator adds a user, issues a certificate, revokes it, and the audit has it all', async t => {
  const { gate, browser } = await openConsole(t);
  await signIn(gate, browser, 'alice', 'admin');
  await browser.run(`location.hash = '#/user'`);
  await press(browser, 'Add a user');
  await fill(browser, 'name', '山本');
  await browser.run(`document.querySelector('dialog form').requestSubmit()`);
  await appears(browser, `[...document.querySelectorAll('td strong')].find(one => one.innerText === '山本')`);

  await browser.run(`location.hash = '#/cert'`);
  await press(browser, 'Issue');
  await fill(browser, 'name', '山本');
  await fill(browser, 'ou', '医療事業部');
  await fill(browser, 'password', 'secret-of-file');
  await browser.run(`document.querySelector('dialog form').requestSubmit()`);
  await appears(browser, button('Download 山本.p12'));
  await shoot(browser, 'cert-issued');
  await press(browser, 'Close');
  // Links: one for a certificate to come, one that renews what is there. What they are for, the gate itself says.
  const link = async (): Promise<string> => {
    const text = await appears(
      browser,
      `document.querySelector('dialog[open]')?.innerText.match(/https:\\S+#code=\\S+/)?.[0]`,
    );
    await press(browser, 'Close');
    await appears(browser, `!document.querySelector('dialog')`);
    return text;
  };
  await press(browser, 'Enrolment link');
  await fill(browser, 'name', '鈴木');
  await fill(browser, 'ou', '医療事業部');
  await browser.run(`document.querySelector('dialog form').requestSubmit()`);
  const first = await link();
  await press(browser, 'Renewal link');
  const second = await link();
  assert.match(first, /^https:\/\/localhost:\d+\/enrol#code=skc_/);
  assert.notEqual(first, second);
  const { enrolments } = JSON.parse((await gate.run('cert', 'links', '--json')).stdout) as {
    enrolments: { subject: string; state: string; replaces?: string }[];
  };
  assert.deepEqual(
    enrolments.map(({ subject, state, replaces }) => [subject, state, replaces !== undefined]),
    [
      ['cn=山本, ou=医療事業部', 'open', true],
      ['cn=鈴木, ou=医療事業部', 'open', false],
    ],
  );
  await press(browser, 'Revoke');
  await appears(browser, `document.querySelector('dialog[open]')`);
  await press(browser, 'Revoke');
  await appears(browser, `[...document.querySelectorAll('.tag')].find(one => one.innerText === 'revoked')`);

  await browser.run(`location.hash = '#/audit'`);
  await appears(browser, `[...document.querySelectorAll('td code')].find(one => one.innerText === 'cert.revoked')`);
  await press(browser, 'Verify the chain');
  assert.match(await appears(browser, `document.querySelector('p[role=status]')`), /The chain holds/);
});

test('a member sees a sentence where their roles end', async t => {
  const { gate, browser } = await openConsole(t);
  await signIn(gate, browser, 'bob', 'member');
  await browser.run(`location.hash = '#/user'`);
  assert.match(await appears(browser, `document.querySelector('[role=alert]')`), /roles do not allow/);
});

test('what people typed is shown as text, whatever it looks like', async t => {
  const { gate, browser } = await openConsole(t);
  await signIn(gate, browser, 'alice', 'admin');
  await appears(browser, `document.querySelector('nav')`);
  const nasty = '<img src=x onerror=document.title=1>';
  await gate.run('cert', 'issue', 'eve', '--cn', nasty.slice(0, 60), '--pem', gate.folder);
  await browser.run(`location.hash = '#/cert'`);
  await appears(browser, `document.querySelector('main').innerText.includes('<img')`);
  assert.equal(await browser.run(`document.querySelectorAll('main img').length`), 0);
});
