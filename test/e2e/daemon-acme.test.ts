// `certificate: acme` in a running gate: pebble's probes reach the listeners of workers and gate.http, and the real
// certificate replaces the stand-in without dropping a connection.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import { connect } from 'node:tls';
import { makeCa, temporaryFolder } from '../fixtures/certificates.ts';
import { echoServer, freePorts, runSekisho, startGate, until } from '../fixtures/gate-process.ts';

/** A resolver for which every name is 127.0.0.1. */
async function resolver(t: TestContext): Promise<number> {
  const socket = createSocket('udp4');
  t.after(() => socket.close());
  socket.on('message', (query, from) => {
    let end = 12;
    while (query[end]) end += query.readUInt8(end) + 1;
    const isA = query.readUInt16BE(end + 1) === 1;
    const head = Buffer.from([query[0] ?? 0, query[1] ?? 0, 0x81, 0x80, 0, 1, 0, isA ? 1 : 0, 0, 0, 0, 0]);
    const answer = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, 1]);
    socket.send(Buffer.concat([head, query.subarray(12, end + 5), ...(isA ? [answer] : [])]), from.port, from.address);
  });
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  return socket.address().port;
}

/** Its directory, and the CA of that directory's own certificate. */
async function pebble(
  t: TestContext,
  httpPort: number,
  tlsPort: number,
  more: object = {},
): Promise<{ directory: string; ca: string }> {
  const folder = temporaryFolder('pebble');
  const [port, management] = await freePorts(2);
  const ca = makeCa('pebble');
  const own = ca.issue({ cn: '127.0.0.1', san: ['127.0.0.1'] });
  const config = join(folder, 'pebble.json');
  const listen = { listenAddress: `127.0.0.1:${port}`, managementListenAddress: `127.0.0.1:${management}` };
  const files = { certificate: own.fullchainFile, privateKey: own.keyFile };
  const pebbleConfig = { ...listen, ...files, httpPort, tlsPort, ocspResponderURL: '', ...more };
  writeFileSync(config, JSON.stringify({ pebble: pebbleConfig }));
  const child = spawn('pebble', ['-config', config, '-dnsserver', `127.0.0.1:${await resolver(t)}`], {
    env: { ...process.env, PEBBLE_VA_NOSLEEP: '1', PEBBLE_WFE_NONCEREJECT: '0' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  t.after(() => child.kill('SIGKILL'));
  const ready = Promise.withResolvers<void>();
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', line => line.includes('ACME directory available') && ready.resolve());
  }
  await ready.promise;
  return { directory: `https://127.0.0.1:${port}/dir`, ca: ca.certFile };
}

function issuerAt(port: number, servername: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', servername, rejectUnauthorized: false });
    socket.once('secureConnect', () => {
      resolve(String(socket.getPeerCertificate().issuer.CN));
      socket.destroy();
    });
    socket.once('error', reject);
  });
}

test('tls-alpn-01 on the route’s own listener and http-01 on gate.http, routes carried by a worker', async t => {
  const echo = await echoServer(t);
  const [db = 0, http = 0, web = 0] = await freePorts(3);
  const { directory, ca } = await pebble(t, http, db);
  const acme = (name: string, challenge: string): string =>
    `{ acme: { directory: "${directory}", ca: "file:${ca}", names: [ ${name} ], challenge: ${challenge} } }`;
  const gate = await startGate(t, {
    config: `gate: { listen: "tls://127.0.0.1:0", workers: 1, http: "tcp://127.0.0.1:${http}" }
proxy:
  db: { listen: "tls://127.0.0.1:${db}", to: "tcp://127.0.0.1:${echo.port}", certificate: ${acme('db.test', 'tls-alpn-01')} }
  web: { listen: "tls://127.0.0.1:${web}", to: "tcp://127.0.0.1:${echo.port}", certificate: ${acme('web.test', 'http-01')} }
`,
  });
  const early = connect({ port: db, host: '127.0.0.1', servername: 'db.test', rejectUnauthorized: false });
  t.after(() => early.destroy());
  await once(early, 'secureConnect');
  await until('pebble’s certificates are shown', async () =>
    (await Promise.all([issuerAt(db, 'db.test'), issuerAt(web, 'web.test')])).every(issuer =>
      /Pebble Intermediate/.test(issuer),
    ),
  );
  early.write('still here');
  const [data] = await once(early, 'data');
  assert.equal(String(data), 'still here');
  await gate.logged(/a renewed certificate is in use/);
});

test('an account of the CA is bound by eab; a certificate that the file no longer asks for is given up at reload', async t => {
  const echo = await echoServer(t);
  const [a = 0, b = 0] = await freePorts(2);
  const key = 'zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W';
  const account = { externalAccountBindingRequired: true, externalAccountMACKeys: { 'kid-1': key } };
  const { directory, ca } = await pebble(t, 1, a, account);
  const keyFile = join(temporaryFolder('eab'), 'eab.key');
  const route = (name: string, port: number, challenge = 'tls-alpn-01'): string =>
    `  ${name}: { listen: "tls://127.0.0.1:${port}", to: "tcp://127.0.0.1:${echo.port}", certificate: { acme: { directory: "${directory}", ca: "file:${ca}", names: [ ${name}.test ], challenge: ${challenge}, eab: { kid: kid-1, key: "file:${keyFile}" } } } }\n`;
  const head = 'gate: { listen: "tls://127.0.0.1:0", workers: 0 }\nproxy:\n';
  writeFileSync(keyFile, 'too short\n');
  const folder = temporaryFolder('acme');
  writeFileSync(join(folder, 'bad.yaml'), head + route('a', a));
  const refused = await runSekisho(['check', '-c', join(folder, 'bad.yaml')]);
  assert.notEqual(refused.status, 0);
  assert.match(refused.stdout + refused.stderr, /acme\.eab\.key: .* holds no HMAC key in base64url/);

  writeFileSync(keyFile, `${key}\n`);
  const gate = await startGate(t, { config: head + route('a', a) + route('b', b, 'http-01') });
  await until('the certificate has come', async () => /Pebble Intermediate/.test(await issuerAt(a, 'a.test')));
  const warnings = async (): Promise<string> => (await gate.run('status', '--json')).stdout;
  assert.match(await warnings(), /b\.test: the ACME certificate has not come yet/); // nobody answers at its port
  gate.write(head + route('a', a));
  assert.equal((await gate.run('reload')).status, 0);
  await gate.logged(/b\.test.*no longer wanted/);
  assert.doesNotMatch(await warnings(), /b\.test/);
});

for (const challenge of ['tls-alpn-01', 'http-01']) {
  test(`names of endpoints get certificates of their own by ${challenge}, on the gate’s own port`, async t => {
    const echo = await echoServer(t);
    const [port = 0, http = 0] = await freePorts(2);
    const { directory, ca } = await pebble(t, http, port);
    const gate = await startGate(t, {
      config: `gate: { name: gate.test, listen: "tls://127.0.0.1:${port}", http: "tcp://127.0.0.1:${http}", workers: 0 }
endpoint: { certificate: { acme: { directory: "${directory}", ca: "file:${ca}", challenge: ${challenge} } } }
`,
    });
    const args = ['endpoint', 'open', `tcp://127.0.0.1:${echo.port}`, '--tls', '--from', '127.0.0.1', '--json'];
    const { status, stdout, stderr } = await gate.run(...args);
    assert.equal(status, 0, stderr);
    const { name } = JSON.parse(stdout) as { name: string };
    assert.match(await issuerAt(port, name), /Pebble Intermediate/, 'the handshake waits for it');
    assert.doesNotMatch(await issuerAt(port, 'gate.test'), /Pebble/);
  });
}
