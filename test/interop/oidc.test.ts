// Signing in by a real OpenID provider, and by one that lies: the code flow, whom its people become, and what they may.
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { openGate } from '../e2e/console-rig.ts';
import { newFolder } from '../fixtures/gate-process.ts';
import { client, httpBrowser, openProvider, type Person } from '../fixtures/oidc-provider.ts';

const folder = newFolder();

async function openHouse() {
  const owner = { after, diagnostic() {} };
  const secret = join(folder, 'secret');
  writeFileSync(secret, `${client.secret}\n`);
  const house = await openGate(owner, 'trust: { rate-limit: { address: { tries: 10000 } } }\n');
  const provider = await openProvider(`${house.origin}/oidc/callback`, `${house.origin}/`);
  after(() => provider[Symbol.asyncDispose]());
  const reload = async (more: object): Promise<void> => {
    const trust = {
      'rate-limit': { address: { tries: 10_000 } },
      ...more,
      oidc: {
        ...{ issuer: provider.issuer, 'client-id': client.id, 'client-secret': `file:${secret}`, name: 'Example ID' },
        ca: `file:${provider.ca.certFile}`,
        ...(more as { oidc?: object }).oidc,
      },
    };
    house.gate.write(
      `gate: { listen: 'tls://127.0.0.1:${house.port}', workers: 0 }\ntrust: ${JSON.stringify(trust)}\n`,
    );
    await house.local('POST', '/v1/reload');
  };
  const cas = [house.ca, provider.ca.cert];
  const { ask, own } = house;
  const start = async (browser = httpBrowser(cas)) => {
    const answer = await ask('POST', '/v1/sign-in/oidc', own, {});
    if (answer.status === 200) for (const line of [answer.headers['set-cookie']].flat()) browser.keep(String(line));
    return { browser, answer, ...(JSON.parse(answer.text) as { url: string; binding: string }) };
  };
  const redeem = (back: string, binding: string) => {
    const [, how = '', oidc = ''] = /#(oidc(?:\+mfa)?)=(.+)$/.exec(back) ?? [];
    return ask('POST', '/v1/sign-in', own, { oidc, how, binding });
  };
  /** All of it, as a person does. */
  const signIn = async (person: Person) => {
    provider.person = person;
    const { browser, url, binding } = await start();
    const end = await browser.follow(url);
    if (!end.url.includes('#')) return { ...end, headers: undefined };
    const answer = await redeem(end.url, binding);
    return {
      ...end,
      status: answer.status,
      text: answer.text,
      headers: answer.status === 200 ? house.entered(answer) : undefined,
    };
  };
  return { ...house, provider, reload, start, redeem, signIn, cas };
}
const opening = openHouse();
opening.catch(() => {});

const person = (name: string, more: object = {}): Person => ({
  sub: `sub-${name}`,
  claims: { preferred_username: name, ...more },
});

test('a person of the provider becomes a member, when the configuration adds people, and stays the same person', async () => {
  const { reload, signIn, ask, local, own } = await opening;
  await reload({});
  const ways = JSON.parse((await ask('GET', '/v1/sign-in', own)).text);
  assert.deepEqual(ways.oidc, { name: 'Example ID' });
  const unknown = await signIn(person('suzuki'));
  assert.equal(unknown.status, 403);
  assert.match(unknown.text, /there is no user .*suzuki/);

  await reload({ oidc: { create: true } });
  const first = await signIn(person('suzuki'));
  assert.equal(first.status, 200, first.text);
  const me = JSON.parse((await ask('GET', '/v1/whoami', first.headers)).text);
  assert.deepEqual([me.id, me.roles], ['suzuki', ['member']]);
  const renamed = await signIn({ sub: 'sub-suzuki', claims: { preferred_username: 'suzuki-h' } });
  assert.equal(
    JSON.parse((await ask('GET', '/v1/whoami', renamed.headers)).text).id,
    'suzuki',
    'the subject is who it is',
  );
  const taken = await signIn({ sub: 'sub-other', claims: { preferred_username: 'suzuki' } });
  assert.deepEqual([taken.status, /somebody else/.test(taken.text)], [403, true], 'a name taken over is nobody');
  const odd = await signIn({ sub: 'sub-odd', claims: { preferred_username: '<img src=x onerror=alert(1)>' } });
  assert.equal(odd.status, 400);
  assert.doesNotMatch(odd.text, /<img/);

  // Signing out leads on to the provider.
  const out = JSON.parse((await ask('POST', '/v1/logout', first.headers, {})).text);
  assert.match(out.onward, /^https:\/\/localhost:\d+\/session\/end\?client_id=sekisho&post_logout_redirect_uri=/);
  assert.match(JSON.stringify(await local('GET', '/v1/audit?limit=200')), /"how":"oidc"/);
});

test('groups and roles come from the provider as far as the configuration says, and go again', async () => {
  const { reload, signIn, ask, local } = await opening;
  await reload({ oidc: { create: true, groups: { 'ops-team': 'on-call' }, roles: { 'gate-admins': 'operator' } } });
  const who = async (groups: unknown) => {
    const { headers, text, status } = await signIn(person('tanaka', { groups }));
    assert.equal(status, 200, text);
    return JSON.parse((await ask('GET', '/v1/whoami', headers)).text);
  };
  const all = await who(['ops-team', 'gate-admins', 'admin', 'on-call']);
  assert.deepEqual([all.groups, [...all.roles].sort()], [['on-call'], ['member', 'operator']]);
  const none = await who([]);
  assert.deepEqual([none.groups, none.roles], [[], ['member']]);
  await local('PUT', '/v1/users/tanaka/roles', { roles: ['member', 'admin'] });
  const beyond = await signIn(person('tanaka', { groups: [] }));
  assert.deepEqual(
    [beyond.status, /is admin here/.test(beyond.text)],
    [403, true],
    'what the map does not give is not reached',
  );
  const takeover = await signIn({ sub: 'sub-evil', claims: { preferred_username: 'alice' } });
  assert.deepEqual([takeover.status, /alice.* is admin/.test(takeover.text)], [403, true], 'nor is the administrator');

  // Roles that want a second factor want the provider to have asked for one.
  await reload({ 'second-factor': ['operator'], oidc: { create: true, roles: { ops: 'operator' } } });
  const weak = await signIn(person('sato', { groups: ['ops'] }));
  assert.equal(JSON.parse((await ask('GET', '/v1/whoami', weak.headers)).text).secondFactor, 'missing');
  const strong = await signIn({ ...person('sato', { groups: ['ops'] }), amr: ['pwd', 'mfa'] });
  assert.equal(JSON.parse((await ask('GET', '/v1/whoami', strong.headers)).text).secondFactor, undefined);
});

test('what was begun in one browser ends in no other, works once, and a planted cookie signs nobody in', async () => {
  const { reload, start, redeem, provider, cas } = await opening;
  await reload({ oidc: { create: true } });
  provider.person = person('mallory');
  const isBack = (url: URL): boolean => url.pathname === '/oidc/callback';
  const begun = await start();
  const back = await begun.browser.follow(begun.url, isBack);
  const elsewhere = await httpBrowser(cas).follow(back.url);
  assert.deepEqual([elsewhere.status, /not begun in this browser/.test(elsewhere.text)], [400, true]);
  const other = await start();
  assert.match((await other.browser.follow(back.url)).text, /not begun in this browser/, 'another state');
  const end = await begun.browser.follow(back.url);
  assert.match(end.url, /#oidc=/);
  assert.match((await begun.browser.follow(back.url)).text, /not begun|could not be verified/, 'once');
  // Whoever plants cookies for this host, from an endpoint's port: the page does not have what belongs to them.
  const victim = await start();
  assert.equal((await redeem(end.url, victim.binding)).status, 401);
  assert.equal(
    (await redeem(end.url.replace('#oidc=', '#oidc+mfa='), begun.binding)).status,
    401,
    'no factor is made up',
  );
  assert.equal((await redeem(end.url, begun.binding)).status, 200);
  assert.equal((await redeem(end.url, begun.binding)).status, 401);
  const refused = await start();
  const { state } = Object.fromEntries(new URL(refused.url).searchParams);
  const said = await refused.browser.follow(
    back.url.replace(/\?.*/, `?state=${state}&error=access_denied&error_description=%3Cscript%3E`),
  );
  assert.deepEqual([said.status, /<script>/.test(said.text)], [400, false]);
  assert.match(said.text, /did not let you in/);
});

test('an ID token that is not right in every point signs nobody in', async () => {
  const { reload, signIn, provider } = await opening;
  await reload({ oidc: { create: true } });
  const now = Math.floor(Date.now() / 1000);
  const who = person('yamada', { groups: [] });
  const wrong: Record<string, (right: Readonly<Record<string, unknown>>) => Record<string, unknown>> = {
    'of another issuer': right => ({ ...right, iss: 'https://evil.example' }),
    'for another client': right => ({ ...right, aud: 'another' }),
    'for several, another authorised': right => ({ ...right, aud: [client.id, 'another'], azp: 'another' }),
    'of another sign-in': right => ({ ...right, nonce: 'another' }),
    'without nonce': ({ nonce: _, ...right }) => right,
    'long ended': right => ({ ...right, iat: now - 1000, exp: now - 600 }),
    'from the future': right => ({ ...right, nbf: now + 600 }),
    'of nobody': ({ sub: _, ...right }) => right,
  };
  try {
    for (const [what, forge] of Object.entries(wrong)) {
      provider.forge = forge;
      const { status, text } = await signIn(who);
      assert.deepEqual([status, /could not be verified/.test(text)], [400, true], `${what}: ${text}`);
    }
    provider.forge = right => ({ ...right });
    provider.forgeKey = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
    assert.equal((await signIn(who)).status, 400, 'another key');
    provider.forgeKey = undefined;
    provider.forgeHeader = { alg: 'none' };
    assert.equal((await signIn(who)).status, 400, 'no signature');
    provider.forgeHeader = {};
    assert.equal((await signIn(who)).status, 200, 'and right in every point, it does');
    provider.forge = right => ({ ...right, iat: now - 330, exp: now - 20 });
    assert.equal((await signIn(who)).status, 200, 'clocks differ by less than a minute');
  } finally {
    Object.assign(provider, { forge: undefined, forgeKey: undefined, forgeHeader: {} });
  }
});

test('the provider may change its keys at any time, and be down without anything worse than a sentence', async () => {
  const { reload, signIn, provider, start, ask, own } = await opening;
  await reload({ oidc: { create: true } });
  assert.equal((await signIn(person('kato'))).status, 200);
  provider.rotate();
  assert.equal((await signIn(person('kato'))).status, 200, 'new keys');
  const begun = await start();
  provider.person = person('kato');
  const back = await begun.browser.follow(begun.url, url => url.pathname === '/oidc/callback');
  provider.isDown = true;
  try {
    const end = await begun.browser.follow(back.url);
    assert.deepEqual([end.status >= 400, /try again/.test(end.text)], [true, true]);
    await reload({ oidc: { create: true, scopes: ['openid'] } });
    const answer = await ask('POST', '/v1/sign-in/oidc', own, {});
    assert.deepEqual([answer.status, /does not answer/.test(answer.text)], [502, true]);
    assert.equal((await ask('GET', '/v1/sign-in', own)).status, 200);
  } finally {
    provider.isDown = false;
  }
});
