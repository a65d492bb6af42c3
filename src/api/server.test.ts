// Promises of the API at its door: who gets in, who does not, what strangers learn, and that nobody can hold it up.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { test } from 'node:test';
import { openHouse } from '../../test/e2e/api-house.ts';
import { memoryPair } from '../net/memory.ts';

test('the peer of the unix socket is the administrator', async t => {
  const { local } = await openHouse(t);
  const { status, body } = await local('/v1/whoami');
  assert.equal(status, 200);
  assert.deepEqual(body.roles, ['admin']);
});

test('elsewhere a token is needed, and a wrong one, none, and another scheme get the same words', async t => {
  const { remote } = await openHouse(t);
  const asks = [
    {},
    { token: 'sks_wrong' },
    { token: `sks_${'x'.repeat(43)}` },
    { headers: { authorization: 'Basic YTpi' } },
    { headers: { cookie: 'token=sks_x' } },
  ];
  const answers = await Promise.all(asks.map(ask => remote('/v1/status', ask)));
  for (const { status, body, headers } of answers) {
    assert.equal(status, 401);
    assert.deepEqual(body.error, { code: 'unknown-caller', message: body.error.message, request: body.error.request });
    assert.equal(body.error.message, 'prove who you are: sign in, or send a valid token');
    assert.equal(headers['www-authenticate'], 'Bearer realm="sekisho"');
  }
});

test('a token in the query proves nothing', async t => {
  const house = await openHouse(t);
  const token = await house.signedIn('alice', 'admin');
  assert.equal((await house.remote(`/v1/whoami?access_token=${token}&token=${token}`)).status, 401);
  assert.equal((await house.remote('/v1/whoami', { token })).body.id, 'alice');
});

test('a token over the unix socket counts for what it is, not for the socket', async t => {
  const house = await openHouse(t);
  const token = await house.signedIn('bob', 'member');
  assert.deepEqual((await house.local('/v1/whoami', { token })).body.roles, ['member']);
  assert.equal((await house.local('/v1/users', { token })).status, 403);
  assert.equal((await house.local('/v1/users', { token: 'sks_wrong' })).status, 401);
});

test('what no role grants is refused without saying why, and the refusal goes to the audit', async t => {
  const house = await openHouse(t);
  const token = await house.signedIn('bob', 'operator');
  const { status, body } = await house.remote('/v1/users/alice', { method: 'DELETE', token });
  assert.equal(status, 403);
  assert.equal(body.error.message, 'not allowed');
  await house.gate.drain(AbortSignal.abort()); // writes what was held back to be coalesced
  const { rows } = await house.audit.search({});
  assert.deepEqual(
    rows.map(({ event, who, resource }) => [event, who.id, resource]),
    [['user.denied', 'bob', 'user/alice']],
  );
});

test('a token with a scope may no more than its scope, whatever its user may', async t => {
  const house = await openHouse(t);
  await house.directory.add({ name: 'ci', roles: ['admin'] });
  const { token } = await house.directory.addToken({ user: 'ci', scope: ['session.*'], for: 60_000 });
  assert.equal((await house.remote('/v1/sessions', { token })).status, 200);
  assert.equal((await house.remote('/v1/users', { token })).status, 403);
  assert.deepEqual((await house.remote('/v1/whoami', { token })).body.scope, ['session.*']);
});

test('a revoked token is unknown from the next call on', async t => {
  const house = await openHouse(t);
  const token = await house.signedIn('alice', 'admin');
  const { body } = await house.remote('/v1/tokens', { token });
  assert.equal((await house.remote(`/v1/tokens/${body.tokens[0].id}`, { method: 'DELETE', token })).status, 200);
  assert.equal((await house.remote('/v1/whoami', { token })).status, 401);
});

test('strangers get no validation messages and none of our memory for their bodies', async t => {
  const { remote } = await openHouse(t);
  const answer = await remote('/v1/users', { body: { name: '../../etc', roles: ['king'] } });
  assert.equal(answer.status, 401);
  const large = await remote('/v1/users', { method: 'POST', body: 'x'.repeat(3_000_000) }).catch(error => error.code);
  assert.ok(large === 'EPIPE' || large === 'ECONNRESET' || large.status === 401, String(large.status ?? large));
});

test('a foreign Host is refused: a rebound name reaches nothing', async t => {
  const { local, remote, port } = await openHouse(t);
  for (const host of ['evil.example', 'gate.example.com.evil.example', '10.1.2.3', 'localhost.evil.example']) {
    assert.equal((await remote('/healthz', { headers: { host } })).status, 403, host);
  }
  assert.equal((await local('/v1/status', { headers: { host: 'evil.example' } })).status, 403);
  for (const host of ['gate.example.com', 'GATE.example.com:8443', 'localhost', `127.0.0.1:${port}`]) {
    assert.equal((await remote('/healthz', { headers: { host } })).status, 200, host);
  }
});

test('a page of another site gets nothing, with whatever credentials', async t => {
  const house = await openHouse(t);
  const token = await house.signedIn('alice', 'admin');
  const foreign = [
    { origin: 'https://evil.example' },
    { origin: 'null' },
    { origin: 'https://gate.example.com.evil.example' },
    { origin: 'https://gate.example.com' }, // this conn is not TLS: the page is not of this very address
    { 'sec-fetch-site': 'cross-site' },
    { 'sec-fetch-site': 'same-site' },
  ];
  for (const headers of foreign) {
    const { status } = await house.remote('/v1/users', { token, body: { name: 'mallory' }, headers });
    assert.equal(status, 403, JSON.stringify(headers));
  }
  const own = { origin: 'http://gate.example.com', 'sec-fetch-site': 'same-origin' };
  assert.equal((await house.remote('/v1/users', { token, body: { name: 'bob' }, headers: own })).status, 200);
});

test('health says one word to everybody', async t => {
  const house = await openHouse(t);
  assert.deepEqual((await house.remote('/healthz')).body, { health: 'ok' });
  house.house.healthy = 'degraded';
  assert.deepEqual((await house.remote('/healthz')).body, { health: 'degraded' });
  house.house.healthy = 'down';
  assert.equal((await house.remote('/healthz')).status, 503);
});

test('what does not fit the contract is refused with the place and the reason', async t => {
  const { local } = await openHouse(t);
  const cases = [
    [{ body: { name: '-x' } }, 'invalid', /body\.name: a name starts with/],
    [{ body: { name: 'x', admin: true } }, 'invalid', /body: Unrecognized key/],
    [{ body: '{"name":' }, 'invalid', /not JSON/],
    [{ body: '{"__proto__":{"x":1},"name":"x"}' }, 'invalid', /./],
    [{ body: 'name=x', headers: { 'content-type': 'application/x-www-form-urlencoded' } }, 'invalid', /must be JSON/],
    [{ body: { name: 'x', pad: 'x'.repeat(1_100_000) } }, 'limit', /1 MiB/],
  ] as const;
  for (const [ask, code, text] of cases) {
    const { body } = await local('/v1/users', ask);
    assert.equal(body.error.code, code);
    assert.match(body.error.message, text);
  }
  const { status, body } = await local('/v1/nothing');
  assert.deepEqual([status, body.error.code], [404, 'missing']);
  assert.match((await local('/v1/sessions?limit=0')).body.error.message, /query\.limit/);
});

test('every answer forbids caching and sniffing and carries a request id that the caller cannot choose', async t => {
  const { local } = await openHouse(t);
  const { headers } = await local('/v1/status', { headers: { 'x-request-id': 'mine', 'request-id': 'mine' } });
  assert.equal(headers['cache-control'], 'no-store');
  assert.equal(headers['x-content-type-options'], 'nosniff');
  assert.match(String(headers['x-request-id']), /^[\w-]{12}$/);
});

test('a bug says nothing of itself, and has an id to find it by', async t => {
  const house = await openHouse(t);
  house.house.listeners = () => {
    throw new TypeError('secret inside');
  };
  const { status, body } = await house.local('/v1/status');
  assert.equal(status, 500);
  assert.equal(body.error.code, 'bug');
  assert.doesNotMatch(JSON.stringify(body), /secret/);
});

test('a client that sends its header a byte at a time is let go', async t => {
  const { port } = await openHouse(t, { limits: { headerTime: 150 } });
  const socket = connect(port, '127.0.0.1');
  socket.write('GET /healthz HTTP/1.1\r\nHos');
  const [answer] = await once(socket, 'data');
  assert.match(String(answer), /^HTTP\/1\.1 408 /);
  await once(socket, 'close');
});

test('a header block that is too long, and bytes that are not HTTP, end the conn with one line', async t => {
  const { port } = await openHouse(t);
  const cases: [string, RegExp][] = [
    [`GET / HTTP/1.1\r\nHost: localhost\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`, /^HTTP\/1\.1 431 /],
    ['\x16\x03\x01 hello\r\n\r\n', /^HTTP\/1\.1 400 /],
    ['GET / HTTP/1.1\r\n\r\n', /^HTTP\/1\.1 400 /],
  ];
  for (const [bytes, text] of cases) {
    const socket = connect(port, '127.0.0.1');
    socket.end(bytes);
    const [answer] = await once(socket, 'data');
    assert.match(String(answer), text);
    socket.destroy();
  }
});

test('more conns than the limit are closed at once, and a place that becomes free is used', async t => {
  const { port, remote } = await openHouse(t, { limits: { conns: 1 } });
  const first = connect(port, '127.0.0.1');
  first.write('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n');
  await once(first, 'data');
  await assert.rejects(remote('/healthz'), { code: 'ECONNRESET' });
  first.destroy();
  await once(first, 'close');
  // The other end notices a little later; a refused try only means not yet.
  for (;;) {
    const answer = await remote('/healthz').catch(() => undefined);
    if (answer) break;
  }
});

test('a memory conn is served like any other', async t => {
  const { api } = await openHouse(t);
  const [near, far] = memoryPair();
  const handled = api.handle(far, 'local');
  near.stream.write('GET /v1/whoami HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n');
  const text = Buffer.concat(await Array.fromAsync(near.stream as AsyncIterable<Buffer>)).toString();
  assert.match(text, /^HTTP\/1\.1 200 [\s\S]*"roles":\["admin"\]/);
  near.stream.end();
  await handled;
});

test('draining lets a request under way finish, and takes no further ones', async t => {
  const started = Promise.withResolvers<void>();
  const go = Promise.withResolvers<void>();
  const house = await openHouse(t);
  house.house.check = async () => {
    started.resolve();
    await go.promise;
    return { ok: true, opens: [], findings: [] };
  };
  const asked = house.local('/v1/check');
  await started.promise;
  const drained = house.api.drain(AbortSignal.timeout(5000));
  go.resolve();
  const { status, headers } = await asked;
  assert.equal(status, 200);
  assert.equal(headers.connection, 'close');
  await drained;
  await assert.rejects(house.local('/healthz'));
});
