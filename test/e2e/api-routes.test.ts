// Every route of the API × everybody who may come: the table is the contract's, who may is written here by hand.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import { boundTo } from '../../src/api/caller.ts';
import { type VerbName, verbs } from '../../src/api/contract/routes.ts';
import type { Verb } from '../../src/api/contract/verb.ts';
import { type Ask, type OpenHouse, openHouse, send } from './api-house.ts';

const everybody = ['admin', 'operator', 'approver', 'auditor', 'member'] as const;
const looking = 'admin operator approver auditor';

/** `public`: anybody; `known`: whoever has proven who they are; else the roles. */
const may: Record<VerbName, string> = {
  'status.show': looking,
  'session.list': looking,
  'session.show': looking,
  'session.cut': 'admin operator',
  'proxy.list': looking,
  'web.list': looking,
  'web.pac': looking,
  'web.check': 'admin operator',
  'device.list': looking,
  'device.show': looking,
  'device.enroll': 'admin operator',
  'device.join': 'public',
  'device.change': 'admin operator',
  'device.rename': 'admin operator',
  'device.revoke': 'admin operator',
  'device.remove': 'admin operator',
  'device.host-keys': looking,
  'device.host-key-remove': 'admin operator',
  'endpoint.open': 'known',
  'endpoint.list': 'known',
  'endpoint.show': 'known',
  'endpoint.extend': 'known',
  'endpoint.close': 'known',
  'endpoint.approve': 'admin approver',
  'endpoint.link': 'known',
  'endpoint.evidence': 'known',
  'tunnel.open': 'admin operator',
  'tunnel.list': looking,
  'tunnel.show': looking,
  'tunnel.rotate': 'admin operator',
  'tunnel.close': 'admin operator',
  'tunnel.notify': 'admin operator',
  'vpn.hub-list': looking,
  'vpn.hub-show': looking,
  'vpn.hub-create': 'admin',
  'vpn.hub-change': 'admin',
  'vpn.hub-delete': 'admin',
  'vpn.tables': looking,
  'vpn.user-list': looking,
  'vpn.user-add': 'admin',
  'vpn.user-change': 'admin',
  'vpn.user-remove': 'admin',
  'vpn.group-list': looking,
  'vpn.group-change': 'admin',
  'vpn.group-remove': 'admin',
  'vpn.session-list': looking,
  'vpn.session-cut': 'admin operator',
  'vpn.openvpn-show': 'admin',
  'vpn.admin-show': looking,
  'vpn.admin-passwd': 'admin',
  'cert.ca': 'public',
  'cert.issue': 'admin',
  'cert.list': 'admin operator auditor',
  'cert.show': 'admin operator auditor',
  'cert.revoke': 'admin',
  'cert.crl': 'public',
  'cert.rotation': 'admin operator auditor',
  'cert.rotate': 'admin',
  'cert.enroll': 'admin',
  'cert.renew': 'admin',
  'cert.enrolments': 'admin operator auditor',
  'cert.unlink': 'admin',
  'cert.link': 'public',
  'cert.fetch': 'public',
  'user.add': 'admin',
  'user.list': 'admin operator auditor',
  'user.show': 'admin operator auditor',
  'user.remove': 'admin',
  'user.passwd': 'admin',
  'user.link': 'admin',
  'user.key': 'admin',
  'user.key-revoke': 'admin',
  'user.totp': 'admin',
  'user.totp-remove': 'admin',
  'user.passkey-list': 'admin operator auditor',
  // People set up their own passkeys and nobody else's.
  'user.passkey-ask': '',
  'user.passkey': 'admin',
  'user.passkey-remove': 'admin',
  'user.role': 'admin',
  'group.list': 'admin operator auditor',
  'group.add': 'admin',
  'group.remove': 'admin',
  'group.show': 'admin operator auditor',
  'token.create': 'admin',
  'token.list': 'admin operator auditor',
  'token.revoke': 'admin',
  'approval.list': looking,
  'approval.approve': 'admin approver',
  'approval.refuse': 'admin approver',
  'audit.search': 'admin auditor',
  'audit.tail': 'admin auditor',
  'audit.verify': 'admin auditor',
  'audit.export': 'admin auditor',
  'audit.recording-list': 'admin auditor',
  'audit.recording': 'admin auditor',
  'audit.head': 'admin auditor',
  'auth.login': 'public',
  'auth.sign-in': 'public',
  'auth.ways': 'public',
  'auth.passkey-ask': 'public',
  'auth.oidc': 'public',
  'auth.prove': 'known',
  'auth.list': 'known',
  'auth.end': 'known',
  'auth.logout': 'known',
  'auth.whoami': 'known',
  'gate.health': 'public',
  'gate.check': 'admin operator auditor',
  'gate.reload': 'admin',
  'gate.backup': 'admin',
  'gate.events': 'admin auditor',
  'gate.openapi': 'public',
};

const rows = Object.entries(verbs) as [VerbName, Verb][];
const pathOf = ({ path }: Verb): string => path.replace(/:\w+/g, 'nobody');
const hasBody = ({ method }: Verb): boolean => method === 'POST' || method === 'PUT';

/** The status of an answer, whatever it would go on to say. */
async function statusOf(house: OpenHouse, row: Verb, ask: Ask = {}): Promise<number> {
  const answer = await house.open(pathOf(row), { method: row.method, ...(hasBody(row) ? { body: {} } : {}), ...ask });
  answer.destroy();
  return answer.statusCode ?? 0;
}

test('every route answers those whom the table names, and nobody else', async t => {
  const house = await openHouse(t);
  for (const role of everybody) {
    for (const [name, row] of rows) {
      // A sign-in of its own for each: signing out is one of the routes.
      const token = await house.signedIn(`a-${role}`, role);
      const status = await statusOf(house, row, { token });
      const isAllowed = may[name] === 'public' || may[name] === 'known' || may[name].split(' ').includes(role);
      // Public routes prove somebody by themselves, and say 401 to an empty proof at most.
      if (isAllowed)
        assert.ok(may[name] === 'public' || (status !== 401 && status !== 403), `${role} ${name}: ${status}`);
      else assert.equal(status, 403, `${role} ${name}`);
    }
  }
});

test('nobody in particular gets no further than what is public, whatever they send', async t => {
  const house = await openHouse(t);
  for (const [name, row] of rows) {
    if (may[name] === 'public') continue;
    assert.equal(await statusOf(house, row), 401, `nobody ${name}`);
    const huge = hasBody(row) ? { body: 'x'.repeat(2_000_000) } : {};
    assert.equal(await statusOf(house, row, huge).catch(() => 401), 401, `nobody, at length ${name}`);
    assert.equal(
      await statusOf(house, row, { headers: { authorization: 'Basic YWRtaW46YWRtaW4=' } }),
      401,
      `Basic ${name}`,
    );
  }
});

test('a client certificate that a browser adds by itself authorises nothing, an administrator’s neither', async t => {
  const house = await openHouse(t);
  await house.directory.ensure({ name: 'root', roles: ['admin'] });
  const { cert } = await house.authority.issueClient({ user: 'root', cn: 'root' });
  const leaf = Buffer.from(cert.replace(/-----[^-]+-----/g, ''), 'base64');
  const sockets = new Set<Socket>();
  const server = createServer(stream => {
    sockets.add(stream);
    stream.on('error', () => {});
    const tls = { leaf, protocol: 'TLSv1.3', sni: 'gate.example.com' };
    const close = async (): Promise<void> => void stream.destroy();
    void house.api.handle({ stream, peer: { host: '127.0.0.1', port: 1 }, tls, close });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const { port } = server.address() as { port: number };
  for (const [name, row] of rows) {
    if (may[name] === 'public') continue;
    const ask = { method: row.method, ...(hasBody(row) ? { body: {} } : {}) };
    const answer = await send({ host: '127.0.0.1', port }, pathOf(row), ask);
    answer.destroy();
    assert.equal(answer.statusCode, 401, name);
  }
});

test('a token does what its scope says and no more, also an administrator’s, and nothing once it has ended', async t => {
  const house = await openHouse(t);
  await house.directory.ensure({ name: 'root', roles: ['admin'] });
  const make = (scope: string[], more = {}) => house.directory.addToken({ user: 'root', scope, ...more });
  const { token } = await make(['session.list']);
  for (const [name, row] of rows) {
    if (may[name] === 'public' || may[name] === 'known') continue;
    const status = await statusOf(house, row, { token });
    if (row.action === 'session.list') assert.ok(status !== 401 && status !== 403, `${name}: ${status}`);
    else assert.equal(status, 403, name);
  }
  // One's own things stand in nobody's scope by themselves.
  for (const path of ['/v1/users/root/password', '/v1/users/root/totp', '/v1/tokens'])
    assert.equal(
      (await house.remote(path, { token, method: path.endsWith('password') ? 'PUT' : 'POST', body: { user: 'root' } }))
        .status,
      403,
      path,
    );
  const [late, revoked] = [await make(['*'], { for: 1000 }), await make(['*'])];
  house.clock.move(2000);
  await house.directory.revokeToken(revoked.id);
  for (const one of [late, revoked])
    for (const [name, row] of rows.filter(([name]) => may[name].startsWith('admin')).slice(0, 8))
      assert.equal(await statusOf(house, row, { token: one.token }), 401, name);
});

/** What a page of somebody else's could make a browser send, one way each. */
const foreign: Record<string, Record<string, string>> = {
  'another site': { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' },
  'another site, an old browser': { origin: 'https://evil.example' },
  'a renamed site of this gate': { origin: 'http://server1.gate.example.com', 'sec-fetch-site': 'same-site' },
  'an endpoint on another port': { origin: 'http://gate.example.com:20001', 'sec-fetch-site': 'same-site' },
  'this name without TLS or with': { origin: 'https://gate.example.com', 'sec-fetch-site': 'same-site' },
  'a sandboxed frame': { origin: 'null', 'sec-fetch-site': 'cross-site' },
  'a sandboxed frame, an old browser': { origin: 'null' },
  'a name that begins like ours': { origin: 'http://gate.example.com.evil.example' },
  'no page at all': {},
  'the address bar': { 'sec-fetch-site': 'none' },
  'a link on another site': { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate' },
  'a rebound name': { host: 'evil.example', origin: 'http://evil.example', 'sec-fetch-site': 'same-origin' },
};

test('no page but the console’s own does anything with the console’s cookie, by any route', async t => {
  const house = await openHouse(t);
  await house.directory.ensure({ name: 'root', roles: ['admin'] });
  const wanted = { user: 'root', kind: 'login', for: 3_600_000, bound: boundTo('key') } as const;
  const { token } = await house.directory.addToken(wanted);
  // The key too, which no other page has: each of the two must hold alone.
  const cookie = { cookie: `__Host-sekisho=${token}`, 'sekisho-key': 'key' };
  const own = { origin: 'http://gate.example.com', 'sec-fetch-site': 'same-origin' };
  assert.equal((await house.remote('/v1/whoami', { headers: { ...cookie, ...own } })).status, 200);
  const before = house.directory.all().length;
  for (const [what, headers] of Object.entries(foreign)) {
    for (const [name, row] of rows) {
      const isPublic = may[name] === 'public';
      // Who sends no Origin and no Sec-Fetch-Site is a program, and what is public is public to programs.
      if (isPublic && (row.method === 'GET' || headers['origin'] === undefined)) continue;
      const status = await statusOf(house, row, { headers: { ...cookie, ...headers } });
      assert.equal(status, 403, `${what}: ${name}`);
    }
  }
  const form = { 'content-type': 'application/x-www-form-urlencoded' };
  const posted = await house.remote('/v1/users', {
    method: 'POST',
    body: 'name=mallory',
    headers: { ...cookie, ...own, ...form },
  });
  assert.equal(posted.status, 400, 'no form is read as JSON');
  const text = { 'content-type': 'text/plain' };
  const plain = await house.remote('/v1/users', {
    method: 'POST',
    body: '{"name":"mallory"}',
    headers: { ...cookie, ...own, ...text },
  });
  assert.equal(plain.status, 400, 'nor is text, which needs no preflight');
  assert.equal(house.directory.all().length, before);
  assert.equal(
    (await house.remote('/v1/whoami', { headers: { ...cookie, ...own } })).status,
    200,
    'nobody was signed out',
  );
  const preflight = await house.remote('/v1/users', {
    method: 'OPTIONS',
    headers: { ...foreign['another site'], 'access-control-request-method': 'POST' },
  });
  assert.equal(preflight.headers['access-control-allow-origin'], undefined);
});

test('WebSockets of the API answer no page of somebody else’s', async t => {
  const house = await openHouse(t);
  const upgrade = {
    connection: 'Upgrade',
    upgrade: 'websocket',
    'sec-websocket-version': '13',
    'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
  };
  for (const path of ['/v1/tunnels/stream', '/v1/events']) {
    for (const [what, headers] of Object.entries(foreign)) {
      const status = await new Promise<number>((resolve, reject) => {
        send({ host: '127.0.0.1', port: house.port }, path, { headers: { ...upgrade, ...headers } }).then(answer => {
          answer.destroy();
          resolve(answer.statusCode ?? 0);
        }, reject);
      });
      assert.ok(status >= 400, `${what} ${path}: ${status}`);
    }
  }
});

test('no answer of the API can be framed, sniffed or kept', async t => {
  const house = await openHouse(t);
  const token = await house.signedIn('root', 'admin');
  for (const [path, ask] of [
    ['/v1/status', { token }],
    ['/v1/nothing', {}],
    ['/v1/users', {}],
    ['/v1/openapi.json', {}],
  ] as const) {
    const { headers } = await house.remote(path, ask);
    assert.equal(headers['x-content-type-options'], 'nosniff', path);
    assert.equal(headers['cache-control'], 'no-store', path);
    assert.match(String(headers['content-security-policy']), /frame-ancestors 'none'/, path);
    assert.match(String(headers['content-type']), /^application\/json/, path);
  }
});
