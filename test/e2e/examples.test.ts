// Every file in examples/ runs as it stands, with its addresses replaced by free ones, and does what it says.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { copyFileSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { request } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, before, type TestContext, test } from 'node:test';
import { parseConfig } from '../../src/daemon/config-file.ts';
import { type Gateway, openGateway } from '../../src/daemon/gateway.ts';
import { type Ca, makeCa, temporaryFolder } from '../fixtures/certificates.ts';
import { freePorts, runSekisho, until } from '../fixtures/gate-process.ts';
import { ask, askUdp, backend, echo, handshake, tlsBackend, udpBackend } from '../fixtures/probes.ts';
import { knock } from '../fixtures/tunnel-peer.ts';

const examples = join(import.meta.dirname, '../../examples');
const tried = new Set<string>();
let ca: Ca;
before(() => {
  ca = makeCa('examples');
});
after(() => {
  const files = readdirSync(examples).filter(name => name.endsWith('.yaml') && !name.startsWith('web-')); // those are in interop/web-gate.test.ts
  assert.deepEqual([...tried].sort(), files.sort(), 'each example has a test');
});

interface Opened {
  readonly gateway: Gateway;
  readonly folder: string;
}

/** Opens an example. `replace`: what stands in the file → what stands there in the test. */
async function open(
  t: TestContext,
  name: string,
  replace: Readonly<Record<string, string>>,
  folder = temporaryFolder('example'),
): Promise<Opened> {
  tried.add(name);
  let text = readFileSync(join(examples, name), 'utf8').replace(/^ *#.*$/gm, '');
  for (const [from, to] of Object.entries(replace)) {
    assert.ok(text.includes(from), `${name} names ${from}`);
    text = text.replaceAll(from, to);
  }
  const file = parseConfig(text, { name, folder });
  const gateway = await openGateway({
    file,
    data: join(folder, 'data'),
    workers: 0,
    write: line => void (process.env['GATE_LOG'] && process.stderr.write(line)),
  });
  t.after(() => gateway[Symbol.asyncDispose]());
  return { gateway, folder };
}

function certificate(folder: string, name: string, names: readonly string[], passphrase?: string): void {
  const issued = ca.issue({ cn: names[0] ?? '', san: names, ...(passphrase ? { passphrase } : {}) });
  copyFileSync(issued.fullchainFile, join(folder, `${name}.crt`));
  copyFileSync(issued.keyFile, join(folder, `${name}.key`));
}

const trusting = (servername: string) => ({ ca: ca.cert, servername, rejectUnauthorized: true });
const answerOf = (result: unknown): unknown => (result as { answer?: string }).answer ?? result;

test('article-000.yaml: a client without TLS reaches a TLS address that is verified', async t => {
  const issued = ca.issue({ cn: 'localhost', san: ['localhost'] });
  await using device = await tlsBackend({ cert: issued.fullchain, key: issued.key });
  const [port = 0] = await freePorts(1);
  const { gateway } = await open(t, 'article-000.yaml', {
    '127.0.0.1:3000': `127.0.0.1:${port}`,
    '13-115-125-214.napter.soracom.io:45738': `localhost:${device.port}`,
    'limits:': `verify: { ca: "file:${ca.certFile}" }\n    limits:`, // the article's address has a public certificate
  });
  assert.equal(await ask(port, 'GET'), 'tls:GET');
  assert.deepEqual((device.seen[0] as { sni?: string }).sni, 'localhost');
  assert.deepEqual(gateway.warnings(), []);
});

test('article-001: the two files talk to each other, and a Fluentd record arrives unchanged', async t => {
  await using fluentd = await backend(echo('in_forward'));
  const [inside = 0, outside = 0] = await freePorts(2);
  const folder = temporaryFolder('example');
  certificate(folder, 'pair', ['aggregator.example.com'], 'correct horse');
  copyFileSync(join(folder, 'pair.crt'), join(folder, 'cert.pem'));
  copyFileSync(join(folder, 'pair.key'), join(folder, 'key.pem'));
  writeFileSync(join(folder, 'pass.txt'), 'wrong one\ncorrect horse\n');
  await open(
    t,
    'article-001-server.yaml',
    { '0.0.0.0:24284': `127.0.0.1:${outside}`, '127.0.0.1:24224': `127.0.0.1:${fluentd.port}` },
    folder,
  );
  const client = temporaryFolder('example');
  writeFileSync(join(client, 'ca.pem'), ca.cert);
  await open(
    t,
    'article-001-client.yaml',
    { '127.0.0.1:24224': `127.0.0.1:${inside}`, 'tls://aggregator.example.com:24284': `tls://127.0.0.1:${outside}` },
    client,
  );
  // Forward protocol: [tag, [[time, record]]] in msgpack.
  const record = Buffer.from([0x92, 0xa3, 0x61, 0x70, 0x70, 0x91, 0x92, 0x01, 0x81, 0xa1, 0x6d, 0xa2, 0x68, 0x69]);
  assert.equal(await ask(inside, record), `in_forward:${record}`);
  assert.equal(answerOf(await handshake(outside, trusting('aggregator.example.com'))), 'in_forward:hello');
});

test('postgres-client-certificates.yaml: only the department named gets in', async t => {
  await using database = await backend(echo('db'));
  const [port = 0] = await freePorts(1);
  const folder = temporaryFolder('example');
  await open(
    t,
    'postgres-client-certificates.yaml',
    {
      '0.0.0.0:6432': `127.0.0.1:${port}`,
      '127.0.0.1:8443': '127.0.0.1:0',
      '10.0.0.5:5432': `127.0.0.1:${database.port}`,
    },
    folder,
  );
  const data = join(folder, 'data');
  const cli = async (...args: string[]): Promise<void> => {
    const { status, stderr } = await runSekisho([...args, '--data', data]);
    assert.equal(status, 0, stderr);
  };
  await cli('cert', 'issue', 'staff01', '--ou', '医療事業部', '--pem', folder);
  await cli('cert', 'issue', 'staff02', '--ou', '総務部', '--pem', folder);
  const visit = (who: string | undefined) =>
    handshake(port, {
      ca: readFileSync(join(folder, 'ca.crt')),
      servername: 'gate.example.com',
      rejectUnauthorized: true,
      ALPNProtocols: ['postgresql'],
      ...(who ? { cert: readFileSync(join(folder, `${who}.crt`)), key: readFileSync(join(folder, `${who}.key`)) } : {}),
    });
  assert.equal(answerOf(await visit('staff01')), 'db:hello');
  assert.equal(await visit('staff02'), 'closed');
  assert.equal(await visit(undefined), 'closed');
});

test('tunnel.yaml: tunnels on the gate’s port, and MQTT for devices on a port of its own', async t => {
  const [port = 0, mqtt = 0] = await freePorts(2);
  const { folder } = await open(t, 'tunnel.yaml', {
    '0.0.0.0:443': `127.0.0.1:${port}`,
    'tls://:8883': `tls://127.0.0.1:${mqtt}`,
  });
  const data = ['--data', join(folder, 'data')];
  const { stdout } = await runSekisho(['cert', 'ca', ...data]);
  const opened = await runSekisho(['tunnel', 'open', 'TunnelTestDevice', '--service', 'ssh', ...data, '--json']);
  const { sourceToken } = JSON.parse(opened.stdout) as { sourceToken: string };
  const peer = await knock({ port, ca: stdout, mode: 'source', token: sourceToken });
  assert.ok('next' in peer);
  assert.deepEqual((await peer.next()).services, ['ssh']);
  peer.drop();
  assert.equal(
    await handshake(mqtt, { ca: stdout, servername: 'gate.example.com' }),
    'closed',
    'a device shows a certificate',
  );
});

test('redis.yaml: TLS outside, plain inside, and only for the addresses listed', async t => {
  await using redis = await backend(echo('redis'));
  const [port = 0] = await freePorts(1);
  const folder = temporaryFolder('example');
  certificate(folder, 'redis', ['redis.example.com']);
  await open(
    t,
    'redis.yaml',
    { '0.0.0.0:6380': `127.0.0.1:${port}`, '127.0.0.1:6379': `127.0.0.1:${redis.port}` },
    folder,
  );
  assert.equal(answerOf(await handshake(port, trusting('redis.example.com'))), 'redis:hello');
  const [other = 0] = await freePorts(1);
  const second = temporaryFolder('example');
  certificate(second, 'redis', ['redis.example.com']);
  const moved = {
    '0.0.0.0:6380': `127.0.0.1:${other}`,
    '127.0.0.1:6379': `127.0.0.1:${redis.port}`,
    '127.0.0.0/8': '192.0.2.0/24',
  };
  await open(t, 'redis.yaml', moved, second);
  assert.equal(await handshake(other, trusting('redis.example.com')), 'closed');
});

test('several-names-one-port.yaml: each name shows its own certificate; an unknown one goes to the default', async t => {
  await using app = await backend(echo('app'));
  await using mail = await backend(echo('mail'));
  const [port = 0] = await freePorts(1);
  const folder = temporaryFolder('example');
  certificate(folder, 'app', ['app.example.com']);
  certificate(folder, 'mail', ['mail.example.com', '*.mail.example.com']);
  await open(
    t,
    'several-names-one-port.yaml',
    {
      '0.0.0.0:443': `127.0.0.1:${port}`,
      '127.0.0.1:8001': `127.0.0.1:${app.port}`,
      '127.0.0.1:8002': `127.0.0.1:${mail.port}`,
    },
    folder,
  );
  assert.equal(answerOf(await handshake(port, trusting('app.example.com'))), 'app:hello');
  assert.equal(answerOf(await handshake(port, trusting('mail.example.com'))), 'mail:hello');
  assert.equal(answerOf(await handshake(port, trusting('smtp.mail.example.com'))), 'mail:hello');
  assert.equal(answerOf(await handshake(port, { servername: 'else.example.org' })), 'app:hello');
});

test('sni-passthrough.yaml: the certificates are those of the servers behind', async t => {
  const [shopPair, restPair] = [
    ca.issue({ cn: 'shop', san: ['shop.example.com'] }),
    ca.issue({ cn: 'rest', san: ['rest.example.com'] }),
  ];
  await using shop = await tlsBackend({ cert: shopPair.fullchain, key: shopPair.key });
  await using rest = await tlsBackend({ cert: restPair.fullchain, key: restPair.key });
  const [port = 0] = await freePorts(1);
  await open(t, 'sni-passthrough.yaml', {
    '0.0.0.0:443': `127.0.0.1:${port}`,
    '10.0.0.10:443': `127.0.0.1:${shop.port}`,
    '10.0.0.20:443': `127.0.0.1:${rest.port}`,
  });
  const visit = async (servername: string) => (await handshake(port, trusting(servername))) as { certificate: string };
  assert.equal((await visit('shop.example.com')).certificate, 'shop');
  assert.equal((await visit('rest.example.com')).certificate, 'rest');
});

test('balanced.yaml: the backup takes over when the others are gone', async t => {
  const [one, two] = [await backend(echo('one')), await backend(echo('two'))];
  await using spare = await backend(echo('spare'));
  const [port = 0] = await freePorts(1);
  await open(t, 'balanced.yaml', {
    '127.0.0.1:7000': `127.0.0.1:${port}`,
    '10.0.0.1:7000': `127.0.0.1:${one.port}`,
    '10.0.0.2:7000': `127.0.0.1:${two.port}`,
    '10.0.0.3:7000': `127.0.0.1:${spare.port}`,
  });
  const answers = new Set<string>();
  for (let count = 0; count < 6; count++) answers.add(await ask(port, 'x'));
  assert.ok(!answers.has('spare:x'), [...answers].join());
  await one[Symbol.asyncDispose]();
  await two[Symbol.asyncDispose]();
  assert.equal(await ask(port, 'x'), 'spare:x');
});

test('udp-dns.yaml: a question goes out and its answer comes back', async t => {
  await using dns = await udpBackend('dns');
  const [port = 0] = await freePorts(1);
  await open(t, 'udp-dns.yaml', { '127.0.0.1:5353': `127.0.0.1:${port}`, '10.0.0.53:53': `127.0.0.1:${dns.port}` });
  assert.equal(await askUdp(port, 'example.com?'), 'dns:example.com?');
  assert.equal(await askUdp(port, 'example.org?'), 'dns:example.org?');
});

test('unix-socket.yaml: TLS outside, a unix socket inside', async t => {
  const folder = temporaryFolder('example');
  const path = join(folder, 'app.sock');
  await using _ = await backend(echo('unix'), { path });
  const [port = 0] = await freePorts(1);
  certificate(folder, 'app', ['app.example.com']);
  await open(t, 'unix-socket.yaml', { '0.0.0.0:8444': `127.0.0.1:${port}`, '/run/app/app.sock': path }, folder);
  assert.equal(answerOf(await handshake(port, trusting('app.example.com'))), 'unix:hello');
});

test('endpoint.yaml: an endpoint waits for a lead, opens to whom it names, and the webhook hears of it', async t => {
  await using service = await backend(echo('ssh'));
  const heard: string[] = [];
  const hook = createServer((request, response) => {
    request.setEncoding('utf8').on('data', text => heard.push(JSON.parse(text).event));
    request.on('end', () => response.writeHead(204).end());
  });
  hook.listen(0, '127.0.0.1');
  await once(hook, 'listening');
  t.after(() => hook.close());
  const [port = 0] = await freePorts(1);
  const folder = temporaryFolder('example');
  writeFileSync(join(folder, 'hook.secret'), 'shared');
  await open(
    t,
    'endpoint.yaml',
    {
      '0.0.0.0:443': `127.0.0.1:${port}`,
      '203.0.113.0/24': '127.0.0.0/24',
      'https://hooks.example.com': `http://127.0.0.1:${(hook.address() as AddressInfo).port}`,
      '10.0.0.5:22': `127.0.0.1:${service.port}`,
    },
    folder,
  );
  const cli = async (...args: string[]): Promise<string> => {
    const { status, stdout, stderr } = await runSekisho([...args, '--data', join(folder, 'data')]);
    assert.equal(status, 0, stderr);
    return stdout;
  };
  const token = async (user: string, group: string, role: string): Promise<string> => {
    await cli('user', 'add', user, '--role', role, '--group', group);
    return JSON.parse(await cli('token', 'create', user, '--scope', '*', '--json')).token;
  };
  const [worker, lead] = [await token('worker', 'field-service', 'member'), await token('lead', 'leads', 'approver')];
  const root = await cli('cert', 'ca');
  const call = (as: string, method: string, path: string, body: object): Promise<{ status: number; body: Json }> =>
    new Promise((resolve, reject) => {
      const headers = {
        host: `gate.example.com:${port}`,
        authorization: `Bearer ${as}`,
        'content-type': 'application/json',
      };
      const options = { host: '127.0.0.1', port, servername: 'gate.example.com', ca: root, agent: false as const };
      const sending = request({ ...options, method, path, headers }, async answer => {
        const text = (await answer.setEncoding('utf8').toArray()).join('');
        resolve({ status: answer.statusCode ?? 0, body: JSON.parse(text) });
      });
      sending.on('error', reject).end(JSON.stringify(body));
    });
  const wanted = { target: `tcp://127.0.0.1:${service.port}`, for: '10m', reason: 'valve is stuck' };
  assert.equal((await call(lead, 'POST', '/v1/endpoints', wanted)).status, 403);
  assert.equal((await call(worker, 'POST', '/v1/endpoints', { ...wanted, from: ['0.0.0.0/0'] })).status, 400);
  const { body: asked } = await call(worker, 'POST', '/v1/endpoints', wanted);
  assert.equal(asked['state'], 'waiting');
  const path = `/v1/endpoints/${asked['id']}/approve`;
  assert.equal((await call(worker, 'POST', path, {})).status, 403);
  const { body: opened } = await call(lead, 'POST', path, {});
  assert.equal(opened['state'], 'open', JSON.stringify(opened));
  assert.deepEqual(opened['from'], ['127.0.0.1/32'], 'the asker’s own address');
  assert.equal(await ask(Number(opened['port']), 'hello'), 'ssh:hello');
  await until('the webhook has heard', () => heard.length === 3);
  assert.deepEqual(heard, ['endpoint.requested', 'endpoint.approved', 'endpoint.opened']);
});
type Json = Readonly<Record<string, unknown>>;
