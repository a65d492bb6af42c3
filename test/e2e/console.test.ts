// The console's door: its headers, its cookie, and pages of others that would like to use it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TOTP } from 'otpauth';
import { calls } from '../../console/src/api.ts';
import { verbs } from '../../src/api/contract/routes.ts';
import { openGate } from './console-rig.ts';

test('every call of the console is a verb of the API', () => {
  for (const [name, text] of Object.entries(calls)) {
    const { method, path } = verbs[name as keyof typeof verbs];
    assert.equal(text, `${method} ${path}`);
  }
});

test('the page comes with a policy that lets nothing else in, and is not sent twice', async t => {
  const { ask } = await openGate(t);
  const page = await ask('GET', '/');
  assert.equal(page.status, 200);
  const policy = String(page.headers['content-security-policy']);
  for (const part of ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"])
    assert.ok(policy.includes(part), part);
  assert.doesNotMatch(policy, /unsafe|\*/);
  assert.doesNotMatch(page.text, /<script(?![^>]*src=)/);
  assert.equal((await ask('GET', '/', { 'if-none-match': String(page.headers['etag']) })).status, 304);
  let size = 0;
  for (const path of ['/', '/console.js', '/console.css', '/icon.svg']) {
    const { status, headers } = await ask('HEAD', path, { 'accept-encoding': 'br' });
    assert.equal(status, 200, path);
    size += Number(headers['content-length']);
  }
  assert.ok(size < 200_000, `the first load takes ${size} bytes`);
});

test('the cookie is bound to this host, and unreadable for scripts', async t => {
  const { signIn } = await openGate(t);
  const { cookie } = await signIn();
  assert.match(cookie, /^__Host-sekisho=[^;]+; Path=\/; Secure; HttpOnly; SameSite=Strict$/);
});

test('the cookie counts only for pages of the console itself', async t => {
  const { ask, signIn, origin } = await openGate(t);
  const { headers: all } = await signIn();
  const { cookie, 'sekisho-key': key } = all;
  assert.equal((await ask('GET', '/v1/whoami', all)).status, 200);
  const others: Record<string, string>[] = [
    {}, // a program, or a browser that says nothing
    { 'sec-fetch-site': 'same-site' }, // a renamed site or an endpoint of this gate
    { 'sec-fetch-site': 'cross-site' },
    { 'sec-fetch-site': 'none' }, // typed into the address bar: no page of ours asked
    { origin: 'https://evil.example', 'sec-fetch-site': 'same-origin' },
    { origin: 'null', 'sec-fetch-site': 'same-origin' },
    { origin: origin.replace('https', 'http'), 'sec-fetch-site': 'same-origin' },
  ];
  for (const headers of others) {
    assert.equal(
      (await ask('GET', '/v1/status', { cookie, 'sekisho-key': key, ...headers })).status,
      403,
      JSON.stringify(headers),
    );
    assert.equal(
      (await ask('POST', '/v1/users', { cookie, 'sekisho-key': key, ...headers }, { name: 'mallory' })).status,
      403,
    );
  }
  const twice = `${cookie}; ${cookie.slice(0, -1)}x`;
  assert.equal((await ask('GET', '/v1/whoami', { ...all, cookie: twice })).status, 401, 'two cookies: none counts');
});

test('a code works once, signing out ends the sign-in, and a fixed session is never taken over', async t => {
  const { ask, own, link, entered } = await openGate(t);
  const code = await link('alice');
  const planted = '__Host-sekisho=planted-by-somebody';
  const first = await ask('POST', '/v1/sign-in', { ...own, cookie: planted }, { code });
  assert.equal(first.status, 200);
  const all = entered(first);
  assert.notEqual(all.cookie, planted);
  assert.equal((await ask('POST', '/v1/sign-in', own, { code })).status, 401);
  assert.doesNotMatch(first.text, /skt_|token/, 'the token is in the cookie alone');

  const out = await ask('POST', '/v1/logout', all, {});
  assert.match(String(out.headers['set-cookie']), /Max-Age=0/);
  assert.equal((await ask('GET', '/v1/whoami', all)).status, 401);
});

test('a page elsewhere can not sign somebody in here', async t => {
  const { ask, link } = await openGate(t);
  const code = await link('alice');
  const foreign = { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' };
  assert.equal((await ask('POST', '/v1/sign-in', foreign, { code })).status, 403);
  assert.equal((await ask('POST', '/v1/sign-in', { origin: 'https://evil.example' }, { code })).status, 403);
});

test('whoever has an authenticator app set up needs its code besides the password, and a code works once', async t => {
  const { ask, own, add, link, local, entered } = await openGate(t);
  await add('bob', 'member');
  const first = await ask('POST', '/v1/sign-in', own, { code: await link('bob') });
  const password = 'correct horse';
  assert.equal((await ask('PUT', '/v1/users/bob/password', entered(first), { password })).status, 200);
  const { secret } = await local('POST', '/v1/users/bob/totp');

  const without = await ask('POST', '/v1/sign-in', own, { user: 'bob', password });
  assert.equal(without.status, 400);
  assert.match(without.text, /authenticator app/);
  assert.equal(without.headers['set-cookie'], undefined);
  const code = new TOTP({ secret, digits: 6, period: 30 }).generate();
  const wrong = String((Number(code) + 1) % 1_000_000).padStart(6, '0');
  assert.equal((await ask('POST', '/v1/sign-in', own, { user: 'bob', password, totp: wrong })).status, 401);
  assert.equal((await ask('POST', '/v1/sign-in', own, { user: 'bob', password, totp: code })).status, 200);
  assert.equal((await ask('POST', '/v1/login', {}, { user: 'bob', password, totp: code })).status, 401, 'taken once');
  const stranger = await ask('POST', '/v1/sign-in', own, { user: 'bob', password: 'wrong horse' });
  assert.equal(stranger.status, 401, 'nobody learns of the app without the password');
});
