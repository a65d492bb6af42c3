// Promises of the API's verbs, on the real store, CA, users, gate and audit.
import assert from 'node:assert/strict';
import { createHash, createPrivateKey, X509Certificate } from 'node:crypto';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import type { Audit } from '../../src/access/index.ts';
import { Fault } from '../../src/core/fault.ts';
import { openHouse } from './api-house.ts';

test('a certificate is issued with its key once, listed, shown, revoked, and then on the CRL', async t => {
  const house = await openHouse(t);
  const order = { name: 'staff01', ou: ['医療事業部'], days: 10 };
  const { status, body } = await house.local('/v1/certs', { body: order });
  assert.equal(status, 200);
  const leaf = new X509Certificate(body.cert);
  assert.match(leaf.subject, /OU=医療事業部/);
  assert.ok(leaf.checkPrivateKey(createPrivateKey(body.key)));
  const issuing = new X509Certificate(body.chain[0]);
  assert.ok(leaf.verify(issuing.publicKey) && issuing.verify(new X509Certificate(body.ca).publicKey));

  const list = (await house.local('/v1/certs?user=staff01')).body;
  assert.equal(list.total, 1);
  assert.equal(list.certs[0].subject, 'cn=staff01, ou=医療事業部');
  assert.equal((await house.local(`/v1/certs/${body.serial}`)).body.fingerprint, body.fingerprint);
  assert.doesNotMatch(JSON.stringify((await house.local(`/v1/certs/${body.serial}`)).body), /PRIVATE/);

  const before = (await house.remote('/v1/crl')).body.crl;
  const upper = body.serial.toUpperCase();
  const revoked = await house.local(`/v1/certs/${upper}/revoke`, { body: { reason: 'keyCompromise' } });
  assert.equal(revoked.status, 200);
  const shown = (await house.local(`/v1/certs/${body.serial}`)).body;
  assert.deepEqual([shown.state, shown.revoked.reason], ['revoked', 'keyCompromise']);
  assert.notEqual((await house.remote('/v1/crl')).body.crl, before);
  assert.deepEqual(await house.told(), [
    'cert.allowed allowed',
    'cert.issued done',
    'cert.allowed allowed',
    'cert.revoked done',
  ]);
  const { rows } = await house.audit.search({ event: 'cert.issued' });
  assert.deepEqual(
    [rows[0]?.resource, rows[0]?.rule, rows[0]?.facts['serial'], rows[0]?.who.credential],
    ['cert/staff01', 'role:admin', body.serial, 'local'],
  );
  assert.doesNotMatch(JSON.stringify(rows), /PRIVATE/);
});

test('the CA is told to everybody, with the fingerprint of exactly that certificate', async t => {
  const { remote } = await openHouse(t);
  const { body } = await remote('/v1/certs/ca');
  const der = new X509Certificate(body.cert).raw;
  assert.equal(body.fingerprint.replaceAll(':', '').toLowerCase(), createHash('sha256').update(der).digest('hex'));
});

test('what does not go together in an order is refused, never ignored', async t => {
  const { local, told } = await openHouse(t);
  const orders: [object, RegExp][] = [
    [{ name: 'a', format: 'p12' }, /needs a password/],
    [{ name: 'a', names: ['b'] }, /no further names/],
    [{ name: 'a', kind: 'server', ou: ['x'] }, /names only/],
    [{ name: 'a', kind: 'server', csr: 'x' }, /signing requests are for client/],
    [{ name: 'a', csr: 'x', key: 'rsa' }, /brings its own key/],
    [{ name: 'a', csr: 'x', format: 'p12', password: 'p' }, /no key to put/],
    [{ name: 'a', csr: 'not one' }, /./],
    [{ name: 'a', days: 4000 }, /days/],
    [{ name: 'not a host!', kind: 'server' }, /./],
  ];
  for (const [body, text] of orders) {
    const answer = await local('/v1/certs', { body });
    assert.deepEqual([answer.status, answer.body.error.code], [400, 'invalid'], JSON.stringify(body));
    assert.match(answer.body.error.message, text);
  }
  assert.equal((await told()).filter(row => row.endsWith('done')).length, 0);
});

test('users, roles, groups, passwords and keys have their verbs, and each change its row', async t => {
  const house = await openHouse(t);
  const { local } = house;
  const added = await local('/v1/users', {
    body: { name: 'alice', roles: ['operator'], groups: ['night'], password: 'correct horse' },
  });
  assert.deepEqual(added.body.roles, ['operator']);
  assert.equal((await local('/v1/users', { body: { name: 'alice' } })).status, 409);
  assert.deepEqual((await local('/v1/users/alice/roles', { method: 'PUT', body: { roles: ['auditor'] } })).body.roles, [
    'auditor',
  ]);
  assert.deepEqual((await local('/v1/groups/day/members/alice', { method: 'PUT' })).body, {
    name: 'day',
    members: ['alice'],
  });
  assert.deepEqual(
    (await local('/v1/groups')).body.groups.map((group: { name: string }) => group.name),
    ['day', 'night'],
  );
  assert.equal((await local('/v1/groups/day/members/alice', { method: 'DELETE' })).status, 200);
  assert.equal((await local('/v1/groups/day/members/alice', { method: 'DELETE' })).status, 404);
  const key = (await local('/v1/users/operator1/keys', { method: 'POST' })).body;
  assert.match(key.accessKeyId, /^AKIA/);
  const shown = (await local('/v1/users/operator1')).body;
  assert.deepEqual([shown.roles, shown.keys[0].accessKeyId], [['operator'], key.accessKeyId]);
  assert.doesNotMatch(JSON.stringify(shown), new RegExp(key.secretAccessKey.replace(/[^\w]/g, '.')));
  assert.equal((await local(`/v1/users/alice/keys/${key.accessKeyId}`, { method: 'DELETE' })).status, 404);
  assert.equal((await local(`/v1/users/operator1/keys/${key.accessKeyId}`, { method: 'DELETE' })).status, 200);
  assert.equal((await local('/v1/users/alice', { method: 'DELETE' })).status, 200);
  assert.equal((await local('/v1/users/alice')).status, 404);
  const done = (await house.told()).filter(row => row.endsWith(' done'));
  assert.deepEqual(
    done.map(row => row.split(' ')[0]),
    [
      'user.added',
      'user.role-changed',
      'user.group-added',
      'user.group-removed',
      'user.key-created',
      'user.key-revoked',
      'user.removed',
    ],
  );
  const rows = JSON.stringify((await house.audit.search({ limit: 1000 })).rows);
  assert.doesNotMatch(rows, /correct horse/);
  assert.ok(!rows.includes(key.secretAccessKey));
});

test('signing in gives a short token, signing out ends it, and a wrong password says nothing but that', async t => {
  const house = await openHouse(t);
  await house.local('/v1/users', { body: { name: 'alice', roles: ['auditor'], password: 'correct horse' } });
  const wrong = await house.remote('/v1/login', { body: { user: 'alice', password: 'wrong horse' } });
  const nobody = await house.remote('/v1/login', { body: { user: 'nobody', password: 'wrong horse' } });
  assert.deepEqual([wrong.status, nobody.status], [401, 401]);
  assert.equal(wrong.body.error.message, nobody.body.error.message);
  const { body } = await house.remote('/v1/login', { body: { user: 'alice', password: 'correct horse', for: '1h' } });
  assert.equal(body.until, '2026-11-22T10:00:00.000Z');
  const me = (await house.remote('/v1/whoami', { token: body.token })).body;
  assert.deepEqual([me.id, me.roles, me.until, me.scope], ['alice', ['auditor'], body.until, undefined]);
  assert.equal((await house.remote('/v1/logout', { method: 'POST', token: body.token })).status, 200);
  assert.equal((await house.remote('/v1/whoami', { token: body.token })).status, 401);
  assert.equal(
    (await house.remote('/v1/login', { body: { user: 'alice', password: 'correct horse', for: '30d' } })).status,
    400,
  );
  const told = await house.told();
  assert.ok(told.includes('user.signed-in done') && told.includes('user.signed-out done'), told.join());
});

test('guessing passwords is slowed down', async t => {
  const { remote } = await openHouse(t);
  const statuses: number[] = [];
  for (let at = 0; at < 12; at++) {
    statuses.push((await remote('/v1/login', { body: { user: 'alice', password: `guess ${at}` } })).status);
  }
  assert.equal(statuses.at(-1), 429);
});

test('people change their own password with the current one, see themselves, and nobody else', async t => {
  const house = await openHouse(t);
  const token = await house.signedIn('bob', 'member');
  await house.directory.setPassword('bob', 'correct horse');
  await house.directory.add({ name: 'alice' });
  const again = (await house.directory.addToken({ user: 'bob', kind: 'login', for: 60_000 })).token;
  assert.equal((await house.remote('/v1/whoami', { token })).status, 401, 'a new password ends old sign-ins');
  assert.equal((await house.remote('/v1/users/bob', { token: again })).status, 200);
  assert.equal((await house.remote('/v1/users/alice', { token: again })).status, 403);
  const set = (name: string, body: object) =>
    house.remote(`/v1/users/${name}/password`, { method: 'PUT', token: again, body });
  assert.equal((await set('alice', { password: 'another horse', current: 'correct horse' })).status, 403);
  assert.equal((await set('bob', { password: 'another horse' })).status, 400);
  assert.equal((await set('bob', { password: 'another horse', current: 'wrong horse' })).status, 401);
  assert.equal((await set('bob', { password: 'another horse', current: 'correct horse' })).status, 200);
});

test('a token makes no token that may more, or lives longer, than itself', async t => {
  const house = await openHouse(t);
  await house.directory.add({ name: 'ci', roles: ['admin'] });
  const scope = ['user.token-create', 'cert.*'];
  const { token } = await house.directory.addToken({ user: 'ci', scope, for: 86_400_000 });
  const make = (wanted: string[], life = '1h') =>
    house.remote('/v1/tokens', { token, body: { user: 'ci', scope: wanted, for: life } });
  assert.equal((await make(['cert.*'], '366d')).status, 403);
  assert.equal((await make(['*'])).status, 403);
  assert.equal((await make(['cert.issue', 'user.remove'])).status, 403);
  assert.equal((await make(['cert.issue'])).status, 200);
  const narrow = (await make(['cert.*'])).body.token;
  assert.equal(
    (await house.remote('/v1/tokens', { token: narrow, body: { user: 'ci', scope: ['cert.*'], for: '30m' } })).status,
    403,
  );
});

test('members make tokens for themselves only, and those may no more than the member', async t => {
  const house = await openHouse(t);
  const token = await house.signedIn('bob', 'member');
  await house.directory.add({ name: 'alice', roles: ['admin'] });
  assert.equal((await house.remote('/v1/tokens', { token, body: { user: 'alice', scope: ['*'] } })).status, 403);
  const made = await house.remote('/v1/tokens', {
    token,
    body: { user: 'bob', scope: ['*'], for: '1h', note: 'laptop' },
  });
  assert.equal(made.status, 200);
  assert.equal((await house.remote('/v1/users', { token: made.body.token })).status, 403);
});

test('an administrator can neither remove themselves nor take their own role away', async t => {
  const house = await openHouse(t);
  const token = await house.signedIn('root', 'admin');
  assert.equal((await house.remote('/v1/users/root', { method: 'DELETE', token })).status, 409);
  assert.equal(
    (await house.remote('/v1/users/root/roles', { method: 'PUT', token, body: { roles: ['member'] } })).status,
    409,
  );
});

test('a gate that cannot write its audit changes nothing', async t => {
  let full = false;
  const audit = (real: Audit): Audit =>
    new Proxy(real, {
      get(target, key) {
        if (key === 'append' && full) return () => Promise.reject(new Fault('unreachable', 'the disk is full'));
        const value = Reflect.get(target, key, target);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
  const house = await openHouse(t, { audit });
  full = true;
  const { status, body } = await house.local('/v1/users', { body: { name: 'alice' } });
  assert.deepEqual([status, body.error.code], [502, 'unreachable']);
  assert.deepEqual((await house.local('/v1/users')).body.users, []);
  full = false;
});

test('status says what is open, to whom, until when and why; cutting a session ends it', async t => {
  const house = await openHouse(t);
  const who = { kind: 'anonymous', id: '', groups: [], attributes: new Map(), credential: '' } as const;
  const from = { host: '203.0.113.7', port: 4000 };
  const session = await house.gate.admit({
    who,
    action: 'proxy.connect',
    resource: 'proxy/db',
    from,
    opened: 'proxy/db',
  });
  session.count('up', 1536);
  session.note('target', 'tcp://10.0.0.5:5432');
  const { body } = await house.local('/v1/status');
  assert.equal(body.live, 1);
  assert.deepEqual(
    [body.sessions[0].resource, body.sessions[0].from, body.sessions[0].rule, body.sessions[0].bytes],
    ['proxy/db', '203.0.113.7:4000', 'proxy/db', { up: 1536, down: 0 }],
  );
  assert.deepEqual([body.name, body.routes[0].listens], ['gate.example.com', ['tls://0.0.0.0:6432']]);
  assert.equal((await house.local('/v1/sessions?resource=proxy/*')).body.total, 1);
  assert.equal((await house.local('/v1/sessions?resource=web/*')).body.total, 0);
  assert.equal((await house.local(`/v1/sessions/${session.id}`)).body.notes.target, 'tcp://10.0.0.5:5432');
  const cut = await house.local(`/v1/sessions/${session.id}/cut`, { body: { reason: 'laptop lost' } });
  assert.equal(cut.status, 200);
  assert.equal(session.signal.reason, 'closed');
  await session[Symbol.asyncDispose]();
  assert.equal((await house.local(`/v1/sessions/${session.id}`)).status, 404);
  assert.equal((await house.local('/v1/sessions/none/cut', { body: {} })).status, 404);
  const { rows } = await house.audit.search({ event: 'session.cut' });
  assert.equal(rows.find(row => row.outcome === 'done')?.facts['reason'], 'laptop lost');
});

test('people and certificates come by pages, and are searched, whatever width their letters have', async t => {
  const house = await openHouse(t);
  for (const [at, name] of ['anna', 'bert', 'carl', 'dora', '山本'].entries())
    await house.local('/v1/users', { body: { name, groups: [at < 2 ? 'Night' : 'day'], roles: ['member'] } });
  await house.local('/v1/users', { body: { name: 'eve', roles: ['auditor'] } });
  const names = async (query: string): Promise<[string[], number]> => {
    const { users, total } = (await house.local(`/v1/users?${query}`)).body;
    return [users.map(({ name }: { name: string }) => name), total];
  };
  const [all, count] = await names('');
  assert.equal(all.length, count);
  assert.deepEqual(await names('offset=2&limit=2'), [all.slice(2, 4), count]);
  assert.deepEqual(await names(`search=${encodeURIComponent('ｎｉｇｈｔ')}`), [['anna', 'bert'], 2]);
  assert.deepEqual(await names(`search=${encodeURIComponent('山')}`), [['山本'], 1]);
  assert.deepEqual(await names('role=auditor'), [['eve'], 1]);
  assert.deepEqual(await names('search=nobody'), [[], 0]);
  assert.equal((await house.local('/v1/users?limit=0')).status, 400);

  for (const user of ['anna', 'bert', 'carl'])
    await house.authority.issueClient({ user, ou: ['医療事業部'], key: 'ecdsa' });
  const certs = async (query: string) => (await house.local(`/v1/certs?${query}`)).body;
  const { total, certs: first } = await certs('limit=2');
  assert.deepEqual([total, first.length], [3, 2]);
  const { certs: rest } = await certs('limit=2&offset=2');
  assert.equal(new Set([...first, ...rest].map(({ serial }) => serial)).size, 3);
  assert.deepEqual([(await certs('search=BERT')).total, (await certs(`search=${first[0].serial}`)).total], [1, 1]);
  assert.equal((await certs(`search=${encodeURIComponent('医療')}`)).total, 3);
});

test('the record is searched, followed, checked, exported, and its head is signed', async t => {
  const house = await openHouse(t);
  for (const name of ['a', 'b', 'c']) await house.local('/v1/users', { body: { name } });
  const search = (await house.local('/v1/audit?event=user.added&limit=2')).body;
  assert.deepEqual([search.rows.length, search.rows[0].resource], [2, 'user/c']);
  const rest = (await house.local(`/v1/audit?event=user.added&limit=2&before=${search.next}`)).body;
  assert.deepEqual(
    rest.rows.map((row: { resource: string }) => row.resource),
    ['user/a'],
  );
  const tail = (await house.local('/v1/audit/tail?last=2')).body.trimEnd().split('\n');
  assert.deepEqual(
    tail.map((line: string) => JSON.parse(line).seq),
    [5, 6],
  );
  const { head } = (await house.local('/v1/audit/head')).body;
  assert.equal(head.seq, 6);
  const report = (await house.local('/v1/audit/verify', { body: { head } })).body;
  assert.deepEqual([report.ok, report.rows], [true, 6]);
  const forged = { ...head, hash: '0'.repeat(64) };
  assert.equal((await house.local('/v1/audit/verify', { body: { head: forged } })).body.ok, false);
  const lines = (await house.local('/v1/audit/export')).body.trimEnd().split('\n');
  assert.equal(JSON.parse(lines.at(-1)).scope, 'all');
});

test('an auditor may read the record and change nothing; an operator may not read it', async t => {
  const house = await openHouse(t);
  const auditor = await house.signedIn('alice', 'auditor');
  const operator = await house.signedIn('bob', 'operator');
  assert.equal((await house.remote('/v1/audit', { token: auditor })).status, 200);
  assert.equal((await house.remote('/v1/users', { token: auditor, body: { name: 'x' } })).status, 403);
  // Permission first, whatever was sent, and the refusal is written down.
  for (const body of [{}, { nonsense: true }, 'not json']) {
    const headers = { 'content-type': 'application/json' };
    assert.equal((await house.remote('/v1/users', { token: auditor, body, headers })).status, 403);
  }
  assert.equal((await house.remote('/v1/users/%00', { token: auditor, method: 'DELETE' })).status, 403);
  await house.gate.drain(AbortSignal.abort());
  assert.ok((await house.told()).includes('user.denied denied'));
  assert.equal((await house.remote('/v1/audit', { token: operator })).status, 403);
  assert.equal((await house.remote('/v1/audit/tail?follow=true', { token: operator })).status, 403);
  assert.equal((await house.remote('/v1/events', { token: operator })).status, 403);
});

test('following the record gives rows as they are written, is a live session, and ends with its token', async t => {
  const house = await openHouse(t);
  const token = await house.signedIn('alice', 'auditor');
  const answer = await house.open('/v1/audit/tail?last=0&follow=true', { token });
  assert.equal(answer.headers['content-type'], 'application/x-ndjson; charset=utf-8');
  const lines = createInterface({ input: answer })[Symbol.asyncIterator]();
  await house.local('/v1/users', { body: { name: 'bob' } });
  const events: string[] = [];
  while (!events.includes('user.added')) events.push(JSON.parse(String((await lines.next()).value)).event);
  assert.deepEqual(
    house.sessions.list().map(({ action, who }) => [action, who.id]),
    [['audit.tail', 'alice']],
  );
  const [own] = house.directory.tokens('alice');
  await house.directory.revokeToken(own?.id ?? '');
  while (!(await lines.next()).done);
  assert.equal(house.sessions.size, 0);
});

test('a followed record ends when the token that allowed it does', async t => {
  const house = await openHouse(t);
  const token = await house.signedIn('alice', 'auditor');
  const answer = await house.open('/v1/audit/tail?last=0&follow=true', { token });
  house.clock.move(3_600_000);
  for await (const _ of answer);
  assert.equal(house.sessions.size, 0);
});

test('a request that a rule wants approved waits, is approved by others, and says so to its caller', async t => {
  const access = [{ allow: 'cert.issue', who: { user: 'bob' }, approve: { group: 'chiefs', count: 1 } }];
  const house = await openHouse(t, { access });
  const bob = await house.signedIn('bob', 'member');
  const chief = await house.signedIn('carol', 'approver');
  await house.directory.join('chiefs', 'carol');
  const ask = () => house.remote('/v1/certs', { token: bob, body: { name: 'bob' } });
  const first = await ask();
  assert.equal(first.status, 403);
  assert.match(first.body.error.message, /needs approval by 1 of the group chiefs/);
  const waiting = (await house.remote('/v1/approvals?state=waiting', { token: chief })).body.approvals;
  assert.deepEqual([waiting.length, waiting[0].who.id, waiting[0].action], [1, 'bob', 'cert.issue']);
  assert.equal((await house.local('/v1/status')).body.approvals, 1);
  assert.equal(
    (await house.remote(`/v1/approvals/${waiting[0].id}/approve`, { method: 'POST', token: bob })).status,
    403,
  );
  const yes = await house.remote(`/v1/approvals/${waiting[0].id}/approve`, { method: 'POST', token: chief });
  assert.deepEqual([yes.body.state, yes.body.votes[0].user], ['approved', 'carol']);
  assert.equal((await ask()).status, 200);
});

test('reload, check and backup are the house’s, asked for by an administrator only', async t => {
  const house = await openHouse(t);
  assert.deepEqual((await house.local('/v1/reload', { method: 'POST' })).body.added, ['web']);
  assert.equal((await house.local('/v1/check')).body.ok, true);
  const backup = await house.local('/v1/backup', { body: { passphrase: 'a long passphrase' } });
  assert.deepEqual([backup.body, backup.headers['content-type']], ['sealed', 'application/octet-stream']);
  assert.equal((await house.local('/v1/backup', { body: { passphrase: 'short' } })).status, 400);
  const token = await house.signedIn('bob', 'operator');
  assert.equal((await house.remote('/v1/reload', { method: 'POST', token })).status, 403);
  assert.equal((await house.remote('/v1/backup', { body: { passphrase: 'a long passphrase' }, token })).status, 403);
  assert.equal(house.house.reloads, 1);
  assert.doesNotMatch(JSON.stringify((await house.audit.search({})).rows), /a long passphrase/);
});
