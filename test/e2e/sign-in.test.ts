// Signing in by hand: passkeys and everything that could be wrong with one, what ends sign-ins, second factors by role.
import assert from 'node:assert/strict';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { after, test } from 'node:test';
import { TOTP } from 'otpauth';
import { type Lies, softPasskey } from '../fixtures/authenticator.ts';
import { until } from '../fixtures/gate-process.ts';
import { type Owner, openGate } from './console-rig.ts';

const password = 'correct horse';

async function openHouse(t: Owner, more: string) {
  const house = await openGate(t, more);
  const { ask, own, origin } = house;
  const json = async (...args: Parameters<typeof ask>) => JSON.parse((await ask(...args)).text);
  /** What a page asks before it asks the passkey. */
  const asked = () => json('POST', '/v1/sign-in/passkey', own, {});
  const addPasskey = async (headers: Record<string, string>, user = 'alice', lies: Lies = {}) => {
    const passkey = softPasskey(origin);
    const options = await json('POST', `/v1/users/${user}/passkeys/ask`, headers, {});
    const body = { label: 'laptop', passkey: passkey.make(options, lies) };
    return { passkey, options, body, added: await ask('POST', `/v1/users/${user}/passkeys`, headers, body) };
  };
  const events = async (): Promise<string> => JSON.stringify(await house.local('GET', '/v1/audit?limit=1000'));
  return { ...house, json, asked, addPasskey, events };
}

/** One gate for what needs none of its own, with people of their own in each test. */
const shared = openHouse({ after, diagnostic() {} }, 'trust: { rate-limit: { address: { tries: 10000 } } }\n');
shared.catch(() => {}); // each test says so

test('a passkey signs in alone, once for each thing it was asked, and nobody else can set one up', async () => {
  const { gate, ask, add, own, asked, addPasskey, signIn, entered, json, events } = await shared;
  const { headers } = await signIn();
  const { passkey, added, body } = await addPasskey(headers);
  assert.equal(added.status, 200, added.text);
  assert.equal((await ask('POST', '/v1/users/alice/passkeys', headers, body)).status, 400, 'its challenge is spent');
  const shown = passkey.show(await asked());
  const first = await ask('POST', '/v1/sign-in', own, { passkey: shown });
  assert.equal(first.status, 200, first.text);
  assert.equal((await json('GET', '/v1/whoami', entered(first))).id, 'alice');
  assert.equal((await ask('POST', '/v1/sign-in', own, { passkey: shown })).status, 401, 'and so is this one');
  const { passkeys } = await json('GET', '/v1/users/alice/passkeys', headers);
  assert.deepEqual([passkeys.length, passkeys[0].label, passkeys[0].id], [1, 'laptop', passkey.id]);
  assert.ok(passkeys[0].used);

  await add('bob', 'member');
  const bob = (await signIn('bob')).headers;
  assert.equal((await ask('POST', '/v1/users/alice/passkeys/ask', bob, {})).status, 403);
  assert.equal((await ask('GET', '/v1/users/alice/passkeys', bob)).status, 403);
  assert.equal((await ask('POST', '/v1/users/bob/passkeys/ask', headers, {})).status, 403, 'no administrator either');
  const { options } = await addPasskey(bob, 'bob');
  const planted = { label: 'x', passkey: softPasskey(new URL(own.origin).origin).make(options) };
  assert.equal((await ask('POST', '/v1/users/alice/passkeys', headers, planted)).status, 400, 'asked by another');

  assert.match((await gate.run('user', 'passkey', 'alice')).stdout, /laptop/);
  assert.equal((await gate.run('user', 'passkey', 'alice', '--remove', passkey.id)).status, 0);
  assert.equal((await ask('GET', '/v1/whoami', headers)).status, 401, 'sign-ins end with it');
  assert.equal((await ask('POST', '/v1/sign-in', own, { passkey: passkey.show(await asked()) })).status, 401);
  const audit = await events();
  for (const event of ['user.passkey-created', 'user.signed-in', 'user.passkey-removed'])
    assert.ok(audit.includes(event), event);
});

test('whatever is wrong with a passkey, it does not sign in', async () => {
  const { ask, add, own, asked, addPasskey, signIn, origin, events, json } = await shared;
  await add('carol', 'member');
  const { headers } = await signIn('carol');
  const { passkey } = await addPasskey(headers, 'carol');
  const other = new URL(origin);
  other.port = String(Number(other.port) + 1);
  const stranger = softPasskey(origin);
  const wrong: Record<string, Lies> = {
    'an endpoint’s page on another port': { origin: other.origin },
    'a renamed site of this gate': { origin: 'https://site.localhost' },
    'a page without TLS': { origin: origin.replace('https', 'http') },
    'another gate': { rpId: 'gate.example.com' },
    'a frame': { crossOrigin: true },
    'no finger, no PIN': { verified: false },
    'a registration': { type: 'webauthn.create' },
    'a challenge of its own': { challenge: randomBytes(38).toString('base64url') },
    'another user': { userHandle: randomBytes(32).toString('base64url') },
    'another key': { key: generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey },
    'a copy in a cloud': { synced: true },
  };
  for (const [what, lies] of Object.entries(wrong)) {
    const answer = await ask('POST', '/v1/sign-in', own, { passkey: passkey.show(await asked(), lies) });
    assert.ok(answer.status === 401 || answer.status === 400, `${what}: ${answer.status} ${answer.text}`);
    assert.equal(answer.headers['set-cookie'], undefined, what);
  }
  const unknown = await ask('POST', '/v1/sign-in', own, { passkey: stranger.show(await asked(), { userHandle: 'x' }) });
  assert.equal(unknown.status, 401);
  const { challenge } = await json('POST', '/v1/users/carol/passkeys/ask', headers, {});
  const elsewhere = await ask('POST', '/v1/sign-in', own, { passkey: passkey.show(await asked(), { challenge }) });
  assert.equal(elsewhere.status, 401, 'what was asked for something else');
  for (const odd of [{}, { id: 1, type: 'x' }, { id: passkey.id, type: 'public-key', response: 'x' }])
    assert.equal((await ask('POST', '/v1/sign-in', own, { passkey: odd })).status, 400, JSON.stringify(odd));

  // A counter that goes back is a copy's: refused, and written down.
  assert.equal(
    (await ask('POST', '/v1/sign-in', own, { passkey: passkey.show(await asked(), { counter: 50 }) })).status,
    200,
  );
  for (const counter of [50, 49, 0]) {
    const copy = await ask('POST', '/v1/sign-in', own, { passkey: passkey.show(await asked(), { counter }) });
    assert.equal(copy.status, 403, String(counter));
  }
  assert.match(await events(), /user\.denied/);

  const chain = await addPasskey(headers, 'carol', { chain: [randomBytes(300)] });
  assert.equal(chain.added.status, 400, 'nobody makes the gate read what a stranger’s certificate names');
  for (const lies of [{ origin: other.origin }, { verified: false }, { crossOrigin: true }, { rpId: 'evil.example' }])
    assert.equal((await addPasskey(headers, 'carol', lies)).added.status, 400, JSON.stringify(lies));
});

test('a password needs the passkey or the code besides, where one is set up', async () => {
  const { ask, add, own, asked, addPasskey, signIn } = await shared;
  await add('dave', 'member');
  const { headers } = await signIn('dave');
  assert.equal((await ask('PUT', '/v1/users/dave/password', headers, { password })).status, 200);
  const again = (await signIn('dave')).headers;
  const { passkey, added } = await addPasskey(again, 'dave');
  assert.equal(added.status, 200);
  const user = 'dave';
  const alone = await ask('POST', '/v1/sign-in', own, { user, password });
  assert.deepEqual([alone.status, /body\.passkey/.test(alone.text)], [400, true]);
  assert.equal((await ask('POST', '/v1/login', {}, { user, password })).status, 400, 'programs neither');
  const both = await ask('POST', '/v1/sign-in', own, { user, password, passkey: passkey.show(await asked()) });
  assert.equal(both.status, 200);
  await add('erin', 'member');
  const erin = await addPasskey((await signIn('erin')).headers, 'erin');
  const mixed = { user, password, passkey: erin.passkey.show(await asked()) };
  assert.equal((await ask('POST', '/v1/sign-in', own, mixed)).status, 401, 'another’s passkey');
  const wrong = { user, password: 'wrong horse', passkey: passkey.show(await asked()) };
  assert.equal((await ask('POST', '/v1/sign-in', own, wrong)).status, 401);
});

test('a sign-in is this browser’s: its cookie is nothing without the key of the page, and the key nothing without it', async () => {
  const { ask, add, own, signIn } = await shared;
  const { headers } = await signIn();
  const { 'sekisho-key': key, cookie, ...rest } = headers;
  assert.equal((await ask('GET', '/v1/whoami', headers)).status, 200);
  assert.equal(
    (await ask('GET', '/v1/whoami', { ...rest, cookie })).status,
    401,
    'what an endpoint on another port sees',
  );
  assert.equal((await ask('GET', '/v1/whoami', { ...rest, cookie, 'sekisho-key': 'guessed' })).status, 401);
  assert.equal((await ask('GET', '/v1/whoami', { ...rest, 'sekisho-key': key })).status, 401);
  const token = cookie.split('=')[1] ?? '';
  const bearer = { authorization: `Bearer ${token}` };
  assert.equal((await ask('GET', '/v1/whoami', bearer)).status, 401, 'a browser’s token is a cookie only');
  assert.equal((await ask('GET', '/v1/whoami', { ...bearer, 'sekisho-key': key })).status, 401);
  // A session planted by somebody who can set cookies for this host, an endpoint's page for example.
  await add('mallory', 'member');
  const planted = (await signIn('mallory')).headers;
  assert.equal((await ask('GET', '/v1/whoami', { ...own, cookie: planted.cookie, 'sekisho-key': key })).status, 401);
});

test('a new password, codes set up anew, a passkey less, a role less, disabling: each ends the sign-ins at once', async () => {
  const { ask, add, own, signIn, json, addPasskey } = await shared;
  await add('frank', 'operator');
  const admin = (await signIn()).headers;
  const status = async (headers: Record<string, string>) => (await ask('GET', '/v1/whoami', headers)).status;
  const frank = () => signIn('frank').then(({ headers }) => headers);

  // What frank changes himself keeps the browser that he does it in, by a new cookie.
  const [mine, elsewhere] = [await frank(), await frank()];
  const changed = await ask('PUT', '/v1/users/frank/password', mine, { password });
  assert.deepEqual([changed.status, await status(mine), await status(elsewhere)], [200, 401, 401]);
  const renewed = { ...mine, cookie: String(changed.headers['set-cookie']).split(';')[0] ?? '' };
  assert.equal(await status(renewed), 200);
  const { signIns } = await json('GET', '/v1/sign-ins', renewed);
  assert.deepEqual(
    signIns.map((one: { how: string; current: boolean }) => [one.how, one.current]),
    [['link', true]],
  );

  const changes: [string, (headers: Record<string, string>) => Promise<unknown>][] = [
    ['password', () => ask('PUT', '/v1/users/frank/password', admin, { password: 'another horse' })],
    [
      'codes',
      () => ask('POST', '/v1/users/frank/totp', admin, {}).then(() => ask('DELETE', '/v1/users/frank/totp', admin)),
    ],
    [
      'passkey',
      async headers => {
        const { passkey } = await addPasskey(headers, 'frank');
        assert.equal(await status(headers), 200, 'one more ends nothing');
        assert.equal((await ask('DELETE', `/v1/users/frank/passkeys/${passkey.id}`, admin)).status, 200);
      },
    ],
    ['role', () => ask('PUT', '/v1/users/frank/roles', admin, { roles: ['member'] })],
    ['removal', () => ask('DELETE', '/v1/users/frank', admin)],
  ];
  for (const [what, change] of changes) {
    const headers = await frank();
    assert.equal(await status(headers), 200, what);
    await change(headers);
    assert.equal(await status(headers), 401, what);
  }
  await add('frank', 'member');
  assert.equal(await status(await frank()), 200);
  const byPassword = await ask('POST', '/v1/sign-in', own, { user: 'frank', password });
  assert.equal(byPassword.status, 401, 'a new frank has nothing of the old one');
});

test('people list their own sign-ins and end them, and see nobody else’s', async () => {
  const { ask, add, json, local, signIn } = await shared;
  await add('grace', 'member');
  const [one, two, three, alice] = [
    await signIn('grace'),
    await signIn('grace'),
    await signIn('grace'),
    await signIn(),
  ];
  const list = async (headers: Record<string, string>): Promise<{ id: string; current: boolean }[]> =>
    (await json('GET', '/v1/sign-ins', headers)).signIns;
  const own = await list(one.headers);
  assert.deepEqual([own.length, own.filter(({ current }) => current).length], [3, 1]);
  const aliceId = (await list(alice.headers))[0]?.id ?? '';
  assert.equal(
    (await ask('DELETE', `/v1/sign-ins/${aliceId}`, one.headers)).status,
    404,
    'alice’s is not there for grace',
  );
  const twoId = (await list(two.headers)).find(({ current }) => current)?.id;
  assert.equal((await ask('DELETE', `/v1/sign-ins/${twoId}`, one.headers)).status, 200);
  assert.equal((await ask('GET', '/v1/whoami', two.headers)).status, 401);
  assert.deepEqual((await json('DELETE', '/v1/sign-ins/others', one.headers)).ended.length, 1);
  assert.equal((await ask('GET', '/v1/whoami', three.headers)).status, 401);
  assert.equal((await ask('GET', '/v1/whoami', one.headers)).status, 200);
  const made = await local('POST', '/v1/tokens', { user: 'grace', scope: ['*'] });
  const bearer = { authorization: `Bearer ${made.token}` };
  assert.equal((await ask('GET', '/v1/sign-ins', bearer)).status, 403, 'an API token is no sign-in');
  assert.equal((await ask('POST', '/v1/users/grace/passkeys/ask', bearer, {})).status, 403);
  assert.equal((await ask('POST', '/v1/users/grace/totp', bearer, {})).status, 403);
});

test('whose roles want a second factor may do nothing without one but set it up', async t => {
  const { ask, own, json, signIn, addPasskey, asked, entered, add } = await openHouse(
    t,
    'trust: { second-factor: [ admin ], sign-in: { for: 30m } }\n',
  );
  const { headers } = await signIn();
  const left = (Date.parse((await json('GET', '/v1/whoami', headers)).until) - Date.now()) / 60_000;
  assert.ok(left > 25 && left <= 30, `${left} minutes, as configured`);
  assert.equal((await json('GET', '/v1/whoami', headers)).secondFactor, 'missing');
  for (const [method, path, body] of [
    ['GET', '/v1/users', undefined],
    ['POST', '/v1/users', { name: 'mallory' }],
    ['GET', '/v1/audit', undefined],
    ['POST', '/v1/tokens', { user: 'alice', scope: ['*'] }],
    ['GET', '/v1/events', undefined],
  ] as const)
    assert.equal((await ask(method, path, headers, body)).status, 403, path);
  assert.equal((await ask('PUT', '/v1/users/alice/password', headers, { password })).status, 200);
  const renewed = (await signIn()).headers;
  const { passkey, added } = await addPasskey(renewed);
  assert.equal(added.status, 200, added.text);
  assert.equal((await ask('GET', '/v1/users', renewed)).status, 403, 'and then signs in again');
  const full = await ask('POST', '/v1/sign-in', own, { passkey: passkey.show(await asked()) });
  assert.equal((await ask('GET', '/v1/users', entered(full))).status, 200);
  await add('bob', 'member');
  assert.equal((await json('GET', '/v1/whoami', (await signIn('bob')).headers)).secondFactor, undefined);
});

test('who has signed in already is asked for the second factor as soon as it is wanted: what is open ends', async t => {
  const { gate, ask, json, local, signIn, add, port, addPasskey, asked, own, entered } = await openHouse(t, '');
  const { headers } = await signIn();
  const { passkey } = await addPasskey(headers);
  const strong = entered(await ask('POST', '/v1/sign-in', own, { passkey: passkey.show(await asked()) }));
  await add('bob', 'member');
  const bob = (await signIn('bob')).headers;
  const made = await local('POST', '/v1/tokens', { user: 'alice', scope: ['*'] });
  const program = { authorization: `Bearer ${made.token}` };
  const isIn = async (who: Record<string, string>): Promise<number> => (await ask('GET', '/v1/users', who)).status;
  assert.deepEqual([await isIn(headers), await isIn(strong), await isIn(program)], [200, 200, 200]);
  const ended: string[] = [];
  const watching = [
    ask('GET', '/v1/events', headers).then(() => ended.push('weak')),
    ask('GET', '/v1/events', strong).then(
      () => ended.push('strong'),
      () => {},
    ),
  ];
  const watched = async (): Promise<number> => (await local('GET', '/v1/sessions?action=audit.*')).sessions.length;
  await until('both watch', async () => (await watched()) === 2);

  const listen = `gate: { listen: 'tls://127.0.0.1:${port}', workers: 0 }\n`;
  gate.write(`${listen}trust: { second-factor: [ admin ] }\n`);
  assert.equal((await gate.run('reload')).status, 0);
  await watching[0];
  assert.deepEqual(ended, ['weak'], 'who has shown two factors goes on watching');
  assert.deepEqual([await isIn(headers), await isIn(strong), await isIn(program)], [403, 200, 200]);
  assert.equal((await json('GET', '/v1/whoami', headers)).secondFactor, 'missing');
  assert.equal((await json('GET', '/v1/whoami', strong)).secondFactor, undefined);
  assert.equal((await ask('GET', '/v1/events', headers)).status, 403);

  // Another role ends what somebody is signed in with: nobody comes to it by an older sign-in.
  await local('PUT', '/v1/users/bob/roles', { roles: ['admin'] });
  assert.equal(await isIn(bob), 401);
  gate.write(listen);
  assert.equal((await gate.run('reload')).status, 0);
  assert.equal(await isIn(headers), 200, 'no longer wanted');
});

test('guessing at one user’s password or code locks out neither them where they signed in before nor anybody else', async t => {
  const { ask, add, own, local, signIn } = await openHouse(
    t,
    'trust: { rate-limit: { address: { tries: 60 }, subject: { tries: 5 } } }\n',
  );
  const { headers } = await signIn();
  assert.equal((await ask('PUT', '/v1/users/alice/password', headers, { password })).status, 200);
  const { secret } = await local('POST', '/v1/users/alice/totp');
  const totp = new TOTP({ secret, digits: 6, period: 30 });
  const code = totp.generate();
  assert.equal((await ask('POST', '/v1/sign-in', own, { user: 'alice', password, totp: code })).status, 200);
  // Somebody who knows the password, here, guesses at codes: five, and no more.
  const statuses: number[] = [];
  for (let tries = 0; tries < 8; tries++)
    statuses.push((await ask('POST', '/v1/sign-in', own, { user: 'alice', password, totp: '000000' })).status);
  assert.deepEqual([...new Set(statuses)].sort(), [401, 429]);
  assert.ok(statuses.filter(status => status === 401).length <= 5, statuses.join());
  // Links, passkeys and tokens have nothing that could be guessed: they pass whatever was tried.
  assert.equal((await ask('GET', '/v1/whoami', (await signIn()).headers)).status, 200);
  await add('bob', 'member');
  const bob = (await signIn('bob')).headers;
  assert.equal((await ask('PUT', '/v1/users/bob/password', bob, { password })).status, 200);
  assert.equal((await ask('POST', '/v1/sign-in', own, { user: 'bob', password })).status, 200, 'bob is not alice');
});
