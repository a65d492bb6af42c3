// Signing in with Chromium's own authenticator (the DevTools protocol's): passkeys in the console, and on top of a certificate.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, type TestContext, test } from 'node:test';
import { TOTP } from 'otpauth';
import { openGate } from '../e2e/console-rig.ts';
import { openOrigin } from '../e2e/web/rig.ts';
import { type Browser, openBrowser } from '../fixtures/chromium.ts';
import { appears, enterByLink, fill, press } from '../fixtures/page.ts';

/** A telephone or a laptop that knows its owner's finger. */
async function addAuthenticator(browser: Browser): Promise<string> {
  await browser.command('WebAuthn.enable');
  const { authenticatorId } = await browser.command<{ authenticatorId: string }>('WebAuthn.addVirtualAuthenticator', {
    options: {
      ...{ protocol: 'ctap2', transport: 'internal', hasResidentKey: true, hasUserVerification: true },
      ...{ isUserVerified: true, automaticPresenceSimulation: true },
    },
  });
  return authenticatorId;
}

async function openHouse(t: TestContext, more = '', identity?: string) {
  const house = await openGate({ after, diagnostic() {} }, more);
  const ca = join(house.gate.folder, 'ca.pem');
  writeFileSync(ca, house.ca);
  let shown = {};
  if (identity) {
    const pem = join(house.gate.folder, 'pem');
    const issued = await house.gate.run('cert', 'issue', identity, '--ou', '医療事業部', '--pem', pem);
    assert.equal(issued.status, 0, issued.stderr);
    const [certFile, keyFile] = [join(pem, `${identity}.crt`), join(pem, `${identity}.key`)];
    shown = { identity: { certFile, keyFile, fullchainFile: certFile } };
  }
  const AutoSelectCertificateForUrls = ['localhost', 'payroll.sites.localhost'].map(host =>
    JSON.stringify({ pattern: `https://${host}:${house.port}`, filter: {} }),
  );
  const browser = await openBrowser({ trusts: [ca], policy: { AutoSelectCertificateForUrls }, ...shown });
  t.after(() => browser[Symbol.asyncDispose]());
  const byLink = async (user: string): Promise<void> =>
    enterByLink(browser, `${house.origin}/#code=${await house.link(user)}`);
  return { ...house, browser, byLink };
}

/** On the account page. */
async function makePasskey(browser: Browser, label: string): Promise<void> {
  await browser.run(`location.hash = '#/account'`);
  await press(browser, 'Add a passkey');
  await fill(browser, 'label', label);
  await browser.run(`document.querySelector('dialog form').requestSubmit()`);
  await appears(
    browser,
    `[...document.querySelectorAll('td strong')].find(one => one.innerText === ${JSON.stringify(label)})`,
  );
}

test('a passkey is set up in the console, signs in alone and as second factor, and a copy of it is found', async t => {
  const { browser, byLink, ask, own, local, add } = await openHouse(t);
  const authenticatorId = await addAuthenticator(browser);
  await add('bob', 'member');
  await byLink('bob');
  await makePasskey(browser, 'ノート PC');
  const { credentials } = await browser.command<{
    credentials: { credentialId: string; signCount: number; isResidentCredential: boolean }[];
  }>('WebAuthn.getCredentials', { authenticatorId });
  assert.deepEqual([credentials.length, credentials[0]?.isResidentCredential], [1, true]);
  const copy = { ...credentials[0] };

  await press(browser, 'Sign out');
  await press(browser, 'Use a passkey');
  await appears(browser, `document.querySelector('nav a.who')`);
  assert.equal(await browser.run(`document.querySelector('a.who').innerText.trim()`), 'bob');
  await browser.run(`location.hash = '#/account'`);
  await appears(browser, `[...document.querySelectorAll('td')].find(one => one.innerText === 'passkey')`);

  // With a password as well, the passkey is asked for by itself.
  await press(browser, 'Change password');
  await fill(browser, 'password', 'correct horse');
  await fill(browser, 'again', 'correct horse');
  await press(browser, 'Save');
  await appears(browser, `!document.querySelector('dialog')`);
  await press(browser, 'Sign out');
  await appears(browser, `document.querySelector('input[name=user]')`);
  await fill(browser, 'user', 'bob');
  await fill(browser, 'password', 'correct horse');
  await press(browser, 'Sign in');
  await appears(browser, `document.querySelector('nav a.who')`);
  await browser.run(`location.hash = '#/account'`);
  await appears(browser, `[...document.querySelectorAll('td')].find(one => one.innerText === 'password+passkey')`);
  assert.equal((await ask('POST', '/v1/sign-in', own, { user: 'bob', password: 'correct horse' })).status, 400);

  // A copy that was made before signs with a counter that the gate has seen.
  await browser.command('WebAuthn.clearCredentials', { authenticatorId });
  await browser.command('WebAuthn.addCredential', { authenticatorId, credential: { ...copy, signCount: 1 } });
  await press(browser, 'Sign out');
  await press(browser, 'Use a passkey');
  await appears(browser, `document.querySelector('[role=alert]')`);
  assert.match(JSON.stringify(await local('GET', '/v1/audit?event=user.denied')), /user\.denied/);
  // Without a finger or a PIN the browser itself gives nothing.
  await browser.command('WebAuthn.setUserVerified', { authenticatorId, isUserVerified: false });
  await press(browser, 'Use a passkey');
  await appears(browser, `document.querySelector('[role=alert]')?.innerText.includes('gave no passkey')`);
});

test('codes of an authenticator app are set up by their owner, who is asked again when the last proof is old', async t => {
  const { browser, byLink, ask, own, add } = await openHouse(t);
  await add('carol', 'member');
  await byLink('carol');
  await browser.run(`location.hash = '#/account'`);
  await press(browser, 'Set up');
  await appears(browser, `document.querySelector('dialog svg.qr path')`);
  const secret: string = await browser.run(`document.querySelector('dialog .copy code').innerText`);
  await press(browser, 'Done');
  await press(browser, 'Change password');
  await fill(browser, 'password', 'correct horse');
  await fill(browser, 'again', 'correct horse');
  await press(browser, 'Save');
  await appears(browser, `!document.querySelector('dialog')`);
  const totp = new TOTP({ secret, digits: 6, period: 30 }).generate();
  assert.equal((await ask('POST', '/v1/sign-in', own, { user: 'carol', password: 'correct horse', totp })).status, 200);
  await appears(browser, `document.querySelector('.tag.good')`);
  assert.deepEqual(
    browser.errors().filter(line => !/40[013]/.test(line)),
    [],
  );
});

test('on top of a certificate a passkey opens a site that wants a sign-in, for this certificate', async t => {
  await using origin = await openOrigin();
  const more = `access: [ { allow: web.request, who: { ou: 医療事業部 }, to: web/* } ]
web:
  domain: sites.localhost
  sites:
    payroll: { to: "http://payroll/", at: "tcp://127.0.0.1:${origin.port}", sign-in: { within: 8h } }
`;
  const house = await openHouse(t, more, 'staff01');
  const { browser, byLink, port, local } = house;
  await addAuthenticator(browser);
  await byLink('staff01');
  await makePasskey(browser, 'laptop');
  const asked = await browser.open(`https://payroll.sites.localhost:${port}/list`);
  assert.match(asked.url, /^https:\/\/localhost:\d+\/sign-in\?back=/);
  const landed = browser.loaded();
  await press(browser, 'Use a passkey · パスキーを使う');
  await landed;
  await appears(browser, `document.body.innerText.includes('hello from payroll')`);
  assert.match(await browser.run('location.href'), /^https:\/\/payroll\.sites\.localhost:\d+\/list$/);
  assert.match(JSON.stringify(await local('GET', '/v1/audit?limit=100')), /web\.signed-in/);

  // A new password ends it, in the middle of whatever is open.
  await local('PUT', '/v1/users/staff01/password', { password: 'another horse' });
  assert.match((await browser.open(`https://payroll.sites.localhost:${port}/list`)).url, /\/sign-in\?back=/);
});
