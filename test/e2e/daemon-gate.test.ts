// A gate's own port and what changes under live sessions: names, plain helpers, revocation, CA files, rules.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { type IncomingMessage, request as plainRequest } from 'node:http';
import { request } from 'node:https';
import { type Socket, connect as tcpConnect } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { connect as tlsConnect } from 'node:tls';
import { makeCa, temporaryFolder } from '../fixtures/certificates.ts';
import {
  echoServer,
  freePorts,
  type GateProcess,
  startGate,
  type Talk,
  talk,
  until,
} from '../fixtures/gate-process.ts';

const main = join(import.meta.dirname, '../../src/main.ts');

const text = async (url: string): Promise<{ status: number; body: string; location: string | null }> => {
  const answer = await fetch(url, { redirect: 'manual' });
  return { status: answer.status, body: await answer.text(), location: answer.headers.get('location') };
};

/** A TLS client with a certificate, talking. */
const withCertificate = (
  t: TestContext,
  port: number,
  pair: { cert: string; key: string },
  servername = 'localhost',
): Promise<Talk> =>
  talk(
    t,
    port,
    ({ port: to, host }) => tlsConnect({ port: to, host, servername, rejectUnauthorized: false, ...pair }) as Socket,
  );

async function issue(
  gate: GateProcess,
  user: string,
  ...more: string[]
): Promise<{ cert: string; key: string; serial: string }> {
  const { status, stdout, stderr } = await gate.run('cert', 'issue', user, ...more, '--pem', gate.folder, '--json');
  assert.equal(status, 0, stderr);
  const read = (name: string): string => readFileSync(join(gate.folder, name), 'utf8');
  const { serial } = JSON.parse(stdout) as { serial: string };
  return { cert: read(`${user}.crt`), key: read(`${user}.key`), serial };
}

test('one port for the gate and its routes: the name decides, an unknown one is the gate, plain bytes get a sentence', async t => {
  const echo = await echoServer(t);
  const [port = 0, http = 0, metrics = 0] = await freePorts(3);
  const gate = await startGate(t, {
    config: `gate: { name: gate.test, listen: "tls://127.0.0.1:${port}", http: "tcp://127.0.0.1:${http}", metrics: "tcp://127.0.0.1:${metrics}", workers: 1 }
proxy:
  app: { listen: gate, names: [ app.test ], certificate: auto, to: "tcp://127.0.0.1:${echo.port}" }
`,
  });
  const ca = (await gate.run('cert', 'ca')).stdout;
  const health = (servername: string | undefined): Promise<string> =>
    new Promise((resolve, reject) => {
      const options = {
        port,
        host: '127.0.0.1',
        path: '/healthz',
        ca,
        agent: false as const,
        headers: { host: `gate.test:${port}` },
      };
      request({ ...options, ...(servername ? { servername } : {}) }, async answer =>
        resolve((await answer.toArray()).join('')),
      )
        .on('error', reject)
        .end();
    });
  assert.deepEqual(JSON.parse(await health('gate.test')), { health: 'ok' });
  assert.deepEqual(JSON.parse(await health(undefined)), { health: 'ok' });
  const app = await talk(t, port, options => tlsConnect({ ...options, servername: 'app.test', ca }) as Socket);
  assert.equal(await app.say('through the gate port'), 'through the gate port');

  const plain = tcpConnect(port, '127.0.0.1').setEncoding('utf8');
  plain.write('GET / HTTP/1.1\r\nhost: gate.test\r\n\r\n');
  assert.match((await plain.toArray()).join(''), /^HTTP\/1\.1 400 [\s\S]*This port speaks TLS; use https:\/\//);

  // Its plain helpers.
  assert.deepEqual(await text(`http://127.0.0.1:${http}/a?b=c`), {
    status: 308,
    body: '',
    location: `https://gate.test:${port}/a?b=c`,
  });
  assert.equal((await text(`http://127.0.0.1:${http}/.well-known/acme-challenge/x`)).status, 404);
  assert.equal((await text(`http://127.0.0.1:${http}/ca.pem`)).body, ca);
  assert.equal((await text(`http://127.0.0.1:${http}/ca.crl`)).status, 200);
  assert.match(
    (await text(`http://127.0.0.1:${metrics}/metrics`)).body,
    /^sekisho_sessions\{action="proxy.connect"\} 1$/m,
  );
  assert.equal((await text(`http://127.0.0.1:${metrics}/`)).status, 404);
  // A page whose own name was made to lead here sends that name.
  const statusFor = (host: string): Promise<number | undefined> =>
    new Promise((resolve, reject) => {
      plainRequest({ host: '127.0.0.1', port: metrics, path: '/metrics', agent: false, headers: { host } }, answer => {
        resolve(answer.resume().statusCode);
      })
        .on('error', reject)
        .end();
    });
  for (const host of ['127.0.0.1', '[::1]:9464', 'localhost:9464', 'GATE.test', '192.0.2.1:9464'])
    assert.equal(await statusFor(host), 200, host);
  for (const host of ['evil.example', 'gate.test.evil.example:9464', '127.0.0.1.evil.example'])
    assert.equal(await statusFor(host), 421, host);
  assert.equal(statSync(join(gate.data, 'sekisho.sock')).mode & 0o777, 0o600);
  assert.equal(statSync(gate.data).mode & 0o777, 0o700);
});

for (const workers of [0, 1]) {
  test(`revoking a certificate ends every session made with it, and nobody else’s (workers: ${workers})`, async t => {
    const echo = await echoServer(t);
    const [port = 0] = await freePorts(1);
    const gate = await startGate(t, {
      config: `gate: { listen: "tls://127.0.0.1:0", workers: ${workers} }
access: [ { allow: proxy.connect, to: proxy/db } ]
proxy:
  db: { listen: "tls://127.0.0.1:${port}", certificate: auto, clients: required, to: "tcp://127.0.0.1:${echo.port}" }
`,
    });
    const [alice, bob] = [await issue(gate, 'alice'), await issue(gate, 'bob')];
    const [a, b] = [await withCertificate(t, port, alice), await withCertificate(t, port, bob)];
    assert.equal(await a.say('alice'), 'alice');
    assert.equal(await b.say('bob'), 'bob');
    const { status, stderr } = await gate.run('cert', 'revoke', alice.serial);
    assert.equal(status, 0, stderr);
    await a.over;
    assert.equal(await b.say('still bob'), 'still bob');
    const again = await withCertificate(t, port, alice);
    await again.over; // TLS 1.3 tells the client only after its handshake
    const { stdout } = await gate.run('audit', 'search', '--json');
    const { rows } = JSON.parse(stdout) as { rows: { event: string; facts: { cause?: string } }[] };
    assert.ok(rows.some(({ event, facts }) => event === 'proxy.closed' && facts.cause === 'revoked'));
  });

  test(`an expired client certificate reaches nothing where one is required (workers: ${workers})`, async t => {
    const echo = await echoServer(t);
    const [port = 0] = await freePorts(1);
    const staff = makeCa('staff');
    const gate = await startGate(t, {
      config: `gate: { listen: "tls://127.0.0.1:0", workers: ${workers} }
access: [ { allow: proxy.connect, who: { cn: "*" }, to: proxy/db } ]
proxy:
  db: { listen: "tls://127.0.0.1:${port}", certificate: auto, clients: { ca: [ "file:${staff.certFile}" ] }, to: "tcp://127.0.0.1:${echo.port}" }
`,
    });
    const pair = (days: number): { cert: string; key: string } => {
      const { fullchain, key } = staff.issue({ cn: `staff ${days}`, days, client: true });
      return { cert: fullchain, key };
    };
    assert.equal(await (await withCertificate(t, port, pair(1))).say('valid'), 'valid');
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
      const socket = tlsConnect({ port, host: '127.0.0.1', rejectUnauthorized: false, maxVersion, ...pair(-1) });
      t.after(() => socket.destroy());
      let heard = '';
      socket.on('data', data => {
        heard += String(data);
      });
      socket.on('error', () => {});
      socket.write('let me in');
      await new Promise(resolve => socket.once('close', resolve));
      assert.equal(heard, '', maxVersion);
    }
    const { stdout } = await gate.run('audit', 'search', '--event', 'proxy.*', '--json');
    const { rows } = JSON.parse(stdout) as { rows: { event: string }[] };
    assert.equal(rows.filter(({ event }) => event === 'proxy.opened').length, 1, stdout);
    assert.ok(
      rows.some(({ event }) => event === 'proxy.denied'),
      'and the refusal is written down',
    );
  });

  test(`a reload with a new revocation list, a CA less or a narrower rule ends exactly what it no longer lets in (workers: ${workers})`, async t => {
    const echo = await echoServer(t);
    const [port = 0] = await freePorts(1);
    const folder = temporaryFolder('reload');
    const [one, two] = [makeCa('one'), makeCa('two')];
    const [staff, guest, other] = [
      one.issue({ cn: 'staff', ou: 'a', client: true }),
      one.issue({ cn: 'guest', ou: 'b', client: true }),
      two.issue({ cn: 'other', ou: 'a', client: true }),
    ];
    const config = (
      cas: string,
      crl: string,
      ou: string,
    ): string => `gate: { listen: "tls://127.0.0.1:0", workers: ${workers} }
access: [ { allow: proxy.connect, who: { ou: ${ou} }, to: proxy/db } ]
proxy:
  db:
    listen: "tls://127.0.0.1:${port}"
    certificate: auto
    clients: { ca: [ ${cas} ]${crl === '' ? '' : `, crl: [ ${crl} ]`} }
    to: "tcp://127.0.0.1:${echo.port}"
`;
    const [first, second] = [`"file:${one.certFile}"`, `"file:${two.certFile}"`];
    const gate = await startGate(t, { folder, config: config(`${first}, ${second}`, '', '[ a, b ]') });
    const reload = async (text: string): Promise<void> => {
      gate.write(text);
      const { status, stderr } = await gate.run('reload');
      assert.equal(status, 0, stderr);
    };
    const pairs = [staff, guest, other].map(({ fullchain, key }) => ({ cert: fullchain, key }));
    const [s, g, o] = (await Promise.all(pairs.map(pair => withCertificate(t, port, pair)))) as [Talk, Talk, Talk];
    for (const each of [s, g, o]) await each.say('in');

    writeFileSync(join(folder, 'one.crl'), one.crl({ revoked: [guest] }).pem);
    writeFileSync(join(folder, 'two.crl'), two.crl({ revoked: [] }).pem);
    await reload(config(`${first}, ${second}`, 'file:one.crl, file:two.crl', '[ a, b ]'));
    await g.over;
    assert.equal(await s.say('staff'), 'staff');
    assert.equal(await o.say('other'), 'other');

    await reload(config(first, 'file:one.crl', '[ a, b ]'));
    await o.over;
    assert.equal(await s.say('staff'), 'staff');

    await reload(config(first, 'file:one.crl', 'b'));
    await s.over;
  });
}

test('behind a balancer, the gate port takes the PROXY header from whom it must come and nobody else', async t => {
  const [port = 0] = await freePorts(1);
  await startGate(t, {
    config: `gate: { listen: "tls://127.0.0.1:${port}", workers: 0, proxy-protocol: { from: [ 127.0.0.1 ] } }\n`,
  });
  const raw = tcpConnect(port, '127.0.0.1');
  t.after(() => raw.destroy());
  raw.write('PROXY TCP4 203.0.113.9 127.0.0.1 5555 443\r\n');
  const through = tlsConnect({ socket: raw, servername: 'localhost', rejectUnauthorized: false });
  await once(through, 'secureConnect');
  const bare = tlsConnect({ port, host: '127.0.0.1', servername: 'localhost', rejectUnauthorized: false });
  const [error] = await once(bare, 'error');
  assert.ok(error);
});

test('old ciphers are for whom the file names them: on the gate’s port, under names with and without ALPN, after a reload', async t => {
  const [port = 0] = await freePorts(1);
  const file = (more: string): string =>
    `gate: { name: gate.test, listen: "tls://127.0.0.1:${port}", workers: 0${more} }\nweb: { domain: sites.test, certificate: auto, sites: { app: { to: "http://127.0.0.1:1/" } } }\n`;
  const gate = await startGate(t, { config: file('') });
  const old = async (servername: string, ALPNProtocols?: string[]): Promise<string> => {
    const socket = tlsConnect({
      ...{ port, host: '127.0.0.1', servername, rejectUnauthorized: false },
      ...{ maxVersion: 'TLSv1.2', ciphers: 'ECDHE+AES128+SHA', ...(ALPNProtocols ? { ALPNProtocols } : {}) },
    });
    const [error] = await Promise.race([once(socket, 'secureConnect'), once(socket, 'error')]).catch(error => [error]);
    const { name } = error ? { name: (error as { code: string }).code } : socket.getCipher();
    socket.destroy();
    return name;
  };
  const each = () =>
    Promise.all([old('gate.test'), old('gate.test', ['http/1.1']), old('app.sites.test', ['http/1.1'])]);
  for (const answer of await each()) assert.match(answer, /HANDSHAKE_FAILURE/);
  gate.write(file(', ciphers: "ECDHE+AESGCM:ECDHE+AES"'));
  assert.equal((await gate.run('reload')).status, 0);
  for (const answer of await each()) assert.match(answer, /^ECDHE-(RSA|ECDSA)-AES128-SHA/);
  gate.write(file(', ciphers: NONE-SUCH'));
  const wrong = await gate.run('reload');
  assert.notEqual(wrong.status, 0);
  assert.match(wrong.stderr, /gate\.ciphers.*OpenSSL knows no cipher of this list/);
});

test('a renewed certificate file is shown to newcomers, and whoever is in stays in (--watch)', async t => {
  const echo = await echoServer(t);
  const [port = 0] = await freePorts(1);
  const folder = temporaryFolder('hot');
  const ca = makeCa('hot');
  const install = (cn: string): void => {
    const issued = ca.issue({ cn, san: ['hot.test'] });
    writeFileSync(join(folder, 'hot.key'), issued.key);
    writeFileSync(join(folder, 'hot.crt'), issued.fullchain);
  };
  install('first');
  const gate = await startGate(t, {
    folder,
    args: ['--watch'],
    config: `proxy: { db: { listen: "tls://127.0.0.1:${port}", certificate: { cert: file:hot.crt, key: file:hot.key }, to: "tcp://127.0.0.1:${echo.port}" } }\n`,
  });
  const shown = async (): Promise<string> => {
    const socket = tlsConnect({ port, host: '127.0.0.1', servername: 'hot.test', ca: ca.cert });
    await once(socket, 'secureConnect');
    const { CN } = socket.getPeerCertificate().subject;
    socket.destroy();
    return String(CN);
  };
  const inside = await talk(
    t,
    port,
    options => tlsConnect({ ...options, servername: 'hot.test', ca: ca.cert }) as Socket,
  );
  assert.equal(await inside.say('first'), 'first');
  assert.equal(await shown(), 'first');
  install('second');
  await until('the new certificate is shown', async () => (await shown()) === 'second');
  assert.equal(await inside.say('still in'), 'still in');
  await gate.logged(/"changed":\["proxy\/db"\]/);
});

test('a new password ends the sign-ins made with the old one, and what they follow, but no API token', async t => {
  const [port = 0] = await freePorts(1);
  const gate = await startGate(t, { config: `gate: { listen: "tls://127.0.0.1:${port}", workers: 0 }\n` });
  const ca = (await gate.run('cert', 'ca')).stdout;
  const ask = (path: string, { token, body }: { token?: string; body?: object } = {}): Promise<IncomingMessage> =>
    new Promise((resolve, reject) => {
      const headers = {
        host: 'localhost',
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      };
      const method = body === undefined ? 'GET' : 'POST';
      request({ port, host: '127.0.0.1', servername: 'localhost', ca, path, method, headers, agent: false }, resolve)
        .on('error', reject)
        .end(body === undefined ? undefined : JSON.stringify(body));
    });
  const json = async (answer: IncomingMessage): Promise<Record<string, string>> =>
    JSON.parse((await answer.toArray()).join('')) as Record<string, string>;
  const whoami = async (token: string): Promise<number | undefined> =>
    (await ask('/v1/whoami', { token })).resume().statusCode;
  const setPassword = async (password: string): Promise<void> => {
    const child = spawn(process.execPath, [main, 'user', 'passwd', 'alice', '--data', gate.data], {
      stdio: ['pipe', 'ignore', 'pipe'],
      env: { ...process.env, NODE_TEST_CONTEXT: undefined },
    });
    child.stdin.end(`${password}\n`);
    const [status] = (await once(child, 'exit')) as [number];
    assert.equal(status, 0, (await child.stderr.toArray()).join(''));
  };
  assert.equal((await gate.run('user', 'add', 'alice', '--role', 'auditor')).status, 0);
  await setPassword('correct horse battery');
  const login = async (password: string) => ask('/v1/login', { body: { user: 'alice', password } });
  const { token = '' } = await json(await login('correct horse battery'));
  const made = await gate.run('token', 'create', 'alice', '--scope', 'audit.*', '--json');
  assert.equal(made.status, 0, made.stderr);
  const api = (JSON.parse(made.stdout) as { token: string }).token;
  assert.deepEqual([await whoami(token), await whoami(api)], [200, 200]);
  const followed = await ask('/v1/audit/tail?follow=true', { token });
  assert.equal(followed.statusCode, 200);
  const over = new Promise(resolve => followed.resume().once('close', resolve));
  await setPassword('another battery staple');
  await over;
  assert.deepEqual([await whoami(token), await whoami(api)], [401, 200]);
  assert.equal((await login('correct horse battery')).resume().statusCode, 401);
  assert.equal((await login('another battery staple')).resume().statusCode, 200);
});
