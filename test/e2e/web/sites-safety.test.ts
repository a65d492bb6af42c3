// What nobody may do through a renamed site, and what services may not do to those who come.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { TestClock } from '../../../src/core/clock.ts';
import type { Fault } from '../../../src/core/fault.ts';
import { planSites, webConfig } from '../../../src/features/web/index.ts';
import { header, openOrigin, openSitesRig } from './sites-rig.ts';

const to = (port: number, more: object = {}) => ({ to: `http://127.0.0.1:${port}/`, ...more });
const name = 'server1.example.com';

test('hop-by-hop fields stay here, identity cannot be forged, and the gate’s cookies reach no service', async () => {
  await using origin = await openOrigin();
  await using rig = await openSitesRig({
    sites: { server1: to(origin.port, { identity: true, forwarded: true }) },
  });
  await rig.raw(
    name,
    [
      `GET / HTTP/1.1\r\nHost: ${name}:${rig.port}\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nTE: trailers, gzip`,
      'X-Sekisho-User: root\r\nx_sekisho_user: root\r\nX-Forwarded-For: 1.2.3.4\r\nX-Real-IP: 1.2.3.4\r\nForwarded: for=1.2.3.4',
      'X-Request-Id: forged\r\nX-Kept: yes\r\nCookie: a=1; __Host-sekisho=secret\r\nProxy-Authorization: Basic x\r\n\r\n',
    ].join('\r\n'),
  );
  const fields = origin.seen[0]?.headers ?? [];
  const values = (wanted: string) => fields.filter((_, at) => at % 2 === 1 && fields[at - 1]?.toLowerCase() === wanted);
  assert.deepEqual(values('x-sekisho-user'), ['staff01']);
  assert.deepEqual(values('x_sekisho_user'), []);
  assert.deepEqual(values('x-forwarded-for'), ['127.0.0.1']);
  assert.deepEqual(values('x-forwarded-host'), [`${name}:${rig.port}`]);
  assert.deepEqual(values('x-forwarded-proto'), ['https']);
  assert.deepEqual(
    [values('x-real-ip'), values('forwarded'), values('x-hop'), values('proxy-authorization')],
    [[], [], [], []],
  );
  assert.deepEqual([values('cookie'), values('te'), values('x-kept')], [['a=1'], ['trailers'], ['yes']]);
  assert.equal(values('x-request-id').length, 1);
  assert.notEqual(values('x-request-id')[0], 'forged');
});

test('HSTS stands on renamed sites only, never on names of the forward map, never over subdomains', async () => {
  await using origin = await openOrigin((_, response) => {
    response.writeHead(200, { 'Strict-Transport-Security': 'max-age=63072000; includeSubDomains; preload' }).end();
  });
  await using rig = await openSitesRig({
    sites: {
      server1: to(origin.port),
      both: to(origin.port),
      same: { to: 'http://same.example.com/', at: `tcp://127.0.0.1:${origin.port}` },
      off: to(origin.port, { hsts: 'off' }),
    },
    world: { isForwarded: host => host === 'both.example.com' },
  });
  const of = async (site: string) => (await rig.get(`${site}.example.com`)).fields['strict-transport-security'];
  assert.deepEqual(await of('server1'), ['max-age=15552000']);
  for (const site of ['both', 'same', 'off']) assert.equal(await of(site), undefined, site);
});

test('a name leads nowhere inside the machine; an address that is written does; the gate itself never', async () => {
  await using origin = await openOrigin();
  await using rig = await openSitesRig({
    sites: {
      '*': { to: `http://*.corp:${origin.port}/` },
      named: { to: `http://named:${origin.port}/` },
      written: to(origin.port),
      loop: to(1),
    },
    names: {
      'meta.corp': ['169.254.169.254'],
      'loopback.corp': ['127.0.0.1'],
      'mapped.corp': ['::ffff:127.0.0.1'],
      'zero.corp': ['0.0.0.0'],
      named: ['127.0.0.1'],
    },
  });
  const status = async (site: string) => (await rig.get(`${site}.example.com`)).status;
  for (const site of ['meta', 'loopback', 'mapped', 'zero', 'named']) assert.equal(await status(site), 403, site);
  assert.equal(await status('written'), 200);
  assert.ok(rig.gate.refusals.some(({ reason }) => reason.includes('metadata')));
  await rig.replace({
    sites: { loop: to(rig.port), named: { to: `http://named:${origin.port}/` } },
    addresses: ['127.0.0.0/8'],
  });
  assert.equal(await status('loop'), 403);
  assert.equal(await status('named'), 200);
});

test('a revoked certificate ends what is under way, and later requests are told', async () => {
  const clock = new TestClock();
  await using origin = await openOrigin((_, response) => {
    response.writeHead(200).write('for ever');
  });
  await using rig = await openSitesRig({ sites: { server1: to(origin.port) }, clock });
  const socket = await rig.tls(name);
  socket.write(`GET / HTTP/1.1\r\nHost: ${name}\r\n\r\n`);
  await once(socket, 'data');
  rig.revoked.add('staff01');
  const closed = once(socket, 'close');
  for (const admission of rig.gate.open()) admission.end('revoked');
  await closed;
  clock.move(2000);
  const text = await rig.raw(name, `GET / HTTP/1.1\r\nHost: ${name}\r\nAccept: text/html\r\nConnection: close\r\n\r\n`);
  assert.match(text, /^HTTP\/1\.1 403 [\s\S]*does not count[\s\S]*revoked/);
  await Promise.all(rig.gate.admissions.map(({ ended }) => ended));
});

test('a certificate that stops counting is noticed although nobody is told', async () => {
  const clock = new TestClock();
  await using origin = await openOrigin((_, response) => {
    response.writeHead(200).write('for ever');
  });
  await using rig = await openSitesRig({ sites: { server1: to(origin.port) }, clock });
  const socket = await rig.tls(name);
  socket.write(`GET / HTTP/1.1\r\nHost: ${name}\r\n\r\n`);
  await once(socket, 'data');
  rig.revoked.add('staff01');
  const closed = once(socket, 'close');
  clock.move(20_000);
  await closed;
});

test('policy and addresses decide per site; a site without certificates is open to whom its from names', async () => {
  await using origin = await openOrigin();
  await using rig = await openSitesRig({
    sites: {
      a: to(origin.port),
      b: to(origin.port),
      far: to(origin.port, { from: ['203.0.113.0/24'] }),
      open: to(origin.port, { clients: 'none' }),
    },
    decide: ({ resource, opened }) => (resource === 'web/b' && opened === undefined ? 'not this one' : undefined),
  });
  const status = async (site: string) => (await rig.get(`${site}.example.com`)).status;
  assert.deepEqual(
    [await status('a'), await status('b'), await status('far'), await status('open')],
    [200, 403, 403, 200],
  );
  const opened = rig.gate.admissions.find(({ request }) => request.resource === 'web/open');
  assert.equal(opened?.request.opened, 'web/open');
  assert.ok(rig.gate.refusals.some(({ request }) => request.resource === 'web/far'));
  assert.equal(origin.seen.length, 2);
});

test('another map ends what it does not cover, and keeps what stays the same', async () => {
  await using origin = await openOrigin((_, response) => {
    response.writeHead(200).write('for ever');
  });
  await using rig = await openSitesRig({ sites: { a: to(origin.port), b: to(origin.port) } });
  const open = async (site: string) => {
    const socket = await rig.tls(`${site}.example.com`);
    socket.write(`GET / HTTP/1.1\r\nHost: ${site}.example.com\r\n\r\n`);
    await once(socket, 'data');
    return socket;
  };
  const [a, b] = [await open('a'), await open('b')];
  const closed = once(b, 'close');
  await rig.replace({ sites: { a: to(origin.port) } });
  await closed;
  assert.equal(a.destroyed, false);
  assert.equal(rig.gate.open().length, 1);
  a.destroy();
});

test('what is under way ends with the sign-in that it was let in by', async () => {
  const clock = new TestClock();
  await using origin = await openOrigin((_, response) => {
    response.writeHead(200).write('for ever');
  });
  await using rig = await openSitesRig({
    sites: { server1: { ...to(origin.port), 'sign-in': { within: '8h' } } },
    clock,
    world: { before: () => new Date(clock.now().getTime() + 3_600_000) },
  });
  const socket = await rig.tls(name);
  socket.write(`GET / HTTP/1.1\r\nHost: ${name}\r\n\r\n`);
  await once(socket, 'data');
  clock.move(3_599_000);
  assert.equal(socket.destroyed, false);
  const closed = once(socket, 'close');
  clock.move(1000);
  await closed;
  const { notes, ended } = await rig.gate.admission(0, 'web.request');
  await ended;
  assert.equal(notes.get('cause'), 'expired');
});

test('floods of HTTP/2 resets end their connection', async () => {
  await using origin = await openOrigin(() => {});
  await using rig = await openSitesRig({ sites: { server1: to(origin.port) } });
  const session = await rig.http2(name);
  const closed = new Promise(resolve => session.once('close', resolve));
  for (let count = 0; count < 5000 && !session.destroyed; count++) {
    const stream = session.request({ ':authority': name, ':path': '/' });
    stream.on('error', () => {});
    await new Promise(resolve => setImmediate(resolve));
    stream.close(8);
  }
  await closed;
  const again = await rig.http2(name);
  again.destroy();
});

const refused: Readonly<Record<string, readonly [web: object, text: RegExp]>> = {
  'two keys that are one name': [{ sites: { a: to(1), 'a.example.com': to(1) } }, /same name/],
  'the gate’s own name': [{ sites: { gate: to(1) } }, /gate’s own name/],
  'a name of a route': [{ sites: { db: to(1) } }, /proxy route/],
  'an address that leads anywhere': [{ sites: { '*': { to: 'http://*/' } } }, /would lead anywhere/],
  'a hole that nothing fills': [
    { sites: { a: { to: 'http://*.corp/' } } },
    /stands in the address but not in the name/,
  ],
  'TLS options without TLS': [{ sites: { a: { to: 'http://a/', verify: 'off' } } }, /means nothing without/],
  'one address for many': [{ sites: { '*': { to: 'http://*.corp/', at: 'tcp://10.0.0.1:80' } } }, /one address/],
  'ACME for a wildcard': [{ sites: { '*': { to: 'http://*.corp/' } }, certificate: 'acme' }, /name every site/],
  'a domain without sites': [{ domain: 'example.com' }, /means nothing without sites/],
  'a network that is none': [{ sites: { a: to(1, { from: ['10.0.0.0/99'] }) } }, /sites\.a\.from\.0/],
  'a short name without a domain': [{ domain: undefined, sites: { a: to(1) } }, /needs web\.domain/],
};
for (const [what, [web, text]] of Object.entries(refused)) {
  test(`the configuration is refused: ${what}`, async () => {
    const config = webConfig.parse({ domain: 'example.com', ...web });
    const plan = planSites(config, async () => Buffer.alloc(0), {
      own: ['gate.example.com'],
      routes: ['db.example.com'],
    });
    await assert.rejects(plan, (error: Fault) => error.code === 'invalid' && text.test(error.message));
  });
}

test('what is weak is said', async () => {
  const config = webConfig.parse({
    domain: 'example.com',
    sites: { a: { to: 'https://a/', verify: 'off' }, b: { to: 'http://b/', clients: 'none' } },
  });
  const plan = await planSites(config, async () => Buffer.alloc(0), { own: [], routes: [] });
  assert.match(plan?.warnings.join('\n') ?? '', /web\.sites\.a\.verify: off[\s\S]*web\.sites\.b\.clients: none/);
});

test('a service never learns a Host that nobody wrote', async () => {
  await using origin = await openOrigin();
  await using rig = await openSitesRig({
    sites: { kept: to(origin.port, { host: 'keep' }), told: to(origin.port, { host: 'server1:8081' }) },
  });
  await rig.get('kept.example.com');
  await rig.get('told.example.com');
  assert.deepEqual(
    origin.seen.map(({ headers }) => header(headers, 'host')),
    [`kept.example.com:${rig.port}`, 'server1:8081'],
  );
});
