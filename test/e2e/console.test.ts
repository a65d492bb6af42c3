// The console's door: its headers, its cookie, and pages of others that would like to use it.
import assert from 'node:assert/strict';
import { request } from 'node:https';
import { type TestContext, test } from 'node:test';
import { TOTP } from 'otpauth';
import { calls } from '../../console/src/api.ts';
import { verbs } from '../../src/api/contract/routes.ts';
import { freePorts, startGate } from '../fixtures/gate-process.ts';

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
}

async function openGate(t: TestContext) {
  const [port = 0] = await freePorts(1);
  const gate = await startGate(t, { config: `gate: { listen: 'tls://127.0.0.1:${port}', workers: 0 }\n` });
  const ca = (await gate.run('cert', 'ca')).stdout;
  const origin = `https://localhost:${port}`;
  const ask = (method: string, path: string, headers: Record<string, string> = {}, body?: unknown): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const json = body === undefined ? {} : { 'content-type': 'application/json' };
      const asked = request(
        {
          host: '127.0.0.1',
          servername: 'localhost',
          port,
          ca,
          method,
          path,
          headers: { host: `localhost:${port}`, ...json, ...headers },
        },
        response => {
          const chunks: Buffer[] = [];
          response.on('data', chunk => chunks.push(chunk));
          response.on('end', () =>
            resolve({
              status: response.statusCode ?? 0,
              headers: response.headers,
              text: Buffer.concat(chunks).toString(),
            }),
          );
        },
      ).on('error', reject);
      asked.end(body === undefined ? undefined : JSON.stringify(body));
    });
  const link = async (user: string): Promise<string> => {
    const { stdout } = await gate.run('user', 'link', user, '--json');
    return new URL((JSON.parse(stdout) as { link: string }).link).hash.replace('#code=', '');
  };
  await gate.run('user', 'add', 'alice', '--role', 'admin');
  const own = { origin, 'sec-fetch-site': 'same-origin' };
  const signIn = async (): Promise<string> => {
    const { headers } = await ask('POST', '/v1/sign-in', own, { code: await link('alice') });
    return String(headers['set-cookie']);
  };
  return { gate, ask, link, own, origin, signIn };
}

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
  const cookie = await signIn();
  assert.match(cookie, /^__Host-sekisho=[^;]+; Path=\/; Secure; HttpOnly; SameSite=Strict$/);
});

test('the cookie counts only for pages of the console itself', async t => {
  const { ask, own, signIn, origin } = await openGate(t);
  const cookie = (await signIn()).split(';')[0] ?? '';
  assert.equal((await ask('GET', '/v1/whoami', { cookie, ...own })).status, 200);
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
    assert.equal((await ask('GET', '/v1/status', { cookie, ...headers })).status, 403, JSON.stringify(headers));
    assert.equal((await ask('POST', '/v1/users', { cookie, ...headers }, { name: 'mallory' })).status, 403);
  }
  const twice = `${cookie}; ${cookie.slice(0, -1)}x`;
  assert.equal((await ask('GET', '/v1/whoami', { cookie: twice, ...own })).status, 401, 'two cookies: none counts');
});

test('a code works once, signing out ends the sign-in, and a fixed session is never taken over', async t => {
  const { ask, own, link } = await openGate(t);
  const code = await link('alice');
  const planted = '__Host-sekisho=planted-by-somebody';
  const first = await ask('POST', '/v1/sign-in', { ...own, cookie: planted }, { code });
  assert.equal(first.status, 200);
  const cookie = String(first.headers['set-cookie']).split(';')[0] ?? '';
  assert.notEqual(cookie, planted);
  assert.equal((await ask('POST', '/v1/sign-in', own, { code })).status, 401);
  assert.doesNotMatch(first.text, /skt_|token/, 'the token is in the cookie alone');

  const out = await ask('POST', '/v1/logout', { cookie, ...own }, {});
  assert.match(String(out.headers['set-cookie']), /Max-Age=0/);
  assert.equal((await ask('GET', '/v1/whoami', { cookie, ...own })).status, 401);
});

test('a page elsewhere can not sign somebody in here', async t => {
  const { ask, link } = await openGate(t);
  const code = await link('alice');
  const foreign = { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' };
  assert.equal((await ask('POST', '/v1/sign-in', foreign, { code })).status, 403);
  assert.equal((await ask('POST', '/v1/sign-in', { origin: 'https://evil.example' }, { code })).status, 403);
});

test('whoever has an authenticator app set up needs its code besides the password, and a code works once', async t => {
  const { gate, ask, own } = await openGate(t);
  await gate.run('user', 'add', 'bob', '--role', 'member');
  const link = JSON.parse((await gate.run('user', 'link', 'bob', '--json')).stdout) as { link: string };
  const first = await ask('POST', '/v1/sign-in', own, { code: new URL(link.link).hash.replace('#code=', '') });
  const cookie = String(first.headers['set-cookie']).split(';')[0] ?? '';
  const password = 'correct horse';
  assert.equal((await ask('PUT', '/v1/users/bob/password', { cookie, ...own }, { password })).status, 200);
  const { secret } = JSON.parse((await gate.run('user', 'totp', 'bob', '--json')).stdout) as { secret: string };

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
