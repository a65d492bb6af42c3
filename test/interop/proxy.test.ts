// The proxy between programs that others wrote. A tap on every leg proves that plaintext appears only where it should.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { dialPlain, echo, openRig, plainServer, readAll } from '../e2e/proxy/rig.ts';
import { type Issued, makeCa, temporaryFolder } from '../fixtures/certificates.ts';
import { forwardTo, type Received, serveForward } from '../fixtures/fluentd.ts';
import { nginxPrologue, startNginx } from '../fixtures/nginx-process.ts';
import { freePort } from '../fixtures/ports.ts';
import { run, serving } from '../fixtures/programs.ts';
import { tap } from '../fixtures/tap.ts';
import { startPostgres } from './postgres.ts';

const ca = makeCa('Interop CA');
const localhost = ca.issue({ cn: 'localhost', san: ['DNS:localhost', 'IP:127.0.0.1'] });
const files = (one: Issued): object => ({ cert: `file:${one.certFile}`, key: `file:${one.keyFile}` });
const certificate = files(localhost);
const verify = { ca: `file:${ca.certFile}`, name: 'localhost' };
const secret = 'plaintext-that-must-not-leak';

/** Answers the first line, and ends. */
const answerLine = (socket: import('node:net').Socket): void => {
  socket.once('data', line => void socket.end(`you said ${line}`));
  socket.on('end', () => socket.end());
};

const sClient = (port: number, ...args: string[]): Parameters<typeof run> => [
  'openssl',
  [
    's_client',
    '-connect',
    `127.0.0.1:${port}`,
    '-servername',
    'localhost',
    '-CAfile',
    ca.certFile,
    '-verify_return_error',
  ]
    .concat(['-verify_hostname', 'localhost', '-quiet'])
    .concat(args),
  { input: `${secret}\n` },
];

test('openssl s_client speaks through a terminate route with TLS 1.2 and 1.3, and not with 1.1', async () => {
  await using server = await plainServer(answerLine);
  await using inside = await tap({ port: server.port, host: '127.0.0.1' });
  await using rig = await openRig({
    db: { listen: 'tls://127.0.0.1:0', certificate, to: `tcp://127.0.0.1:${inside.port}` },
  });
  await using outside = await tap({ port: rig.port('db'), host: '127.0.0.1' });
  for (const version of ['-tls1_2', '-tls1_3']) {
    const { stdout } = await run(...sClient(outside.port, version));
    assert.equal(stdout, `you said ${secret}\n`, version);
  }
  assert.ok(outside.looksLikeTls());
  assert.ok(!outside.seen().includes(secret), 'encrypted outside');
  assert.ok(inside.seen('up').includes(secret), 'plain inside');
  const old = await run(...sClient(rig.port('db'), '-tls1_1', '-cipher', 'DEFAULT@SECLEVEL=0'));
  assert.notEqual(old.code, 0);
  assert.match(old.stderr, /alert protocol version|unsupported protocol|no protocols available/);
});

test('openssl s_client resumes: five reconnects, five reused sessions', async () => {
  await using server = await plainServer(echo);
  await using rig = await openRig({
    db: { listen: 'tls://127.0.0.1:0', certificate, to: `tcp://127.0.0.1:${server.port}` },
  });
  const args = [
    's_client',
    '-connect',
    `127.0.0.1:${rig.port('db')}`,
    '-servername',
    'localhost',
    '-CAfile',
    ca.certFile,
  ];
  const { stdout } = await run('openssl', [...args, '-tls1_2', '-reconnect'], { input: 'Q\n' });
  assert.equal(stdout.match(/^Reused, TLSv1\.2/gm)?.length, 5);
});

test('openssl s_client is told which ALPN is not spoken, and which is', async () => {
  await using server = await plainServer(answerLine);
  await using rig = await openRig({
    db: { listen: 'tls://127.0.0.1:0', certificate, alpn: ['postgresql'], to: `tcp://127.0.0.1:${server.port}` },
  });
  const wrong = await run(...sClient(rig.port('db'), '-alpn', 'h2'));
  assert.match(wrong.stderr, /no application protocol/);
  const right = await run(...sClient(rig.port('db'), '-alpn', 'h2,postgresql'));
  assert.equal(right.stdout, `you said ${secret}\n`);
});

test('openssl s_client with and without a client certificate', async () => {
  const staff = ca.issue({ cn: 'staff01', client: true });
  const stranger = makeCa('Interop CA').issue({ cn: 'staff01', client: true });
  await using server = await plainServer(answerLine);
  await using rig = await openRig({
    db: {
      listen: 'tls://127.0.0.1:0',
      certificate,
      clients: { mode: 'required', ca: `file:${ca.certFile}` },
      to: `tcp://127.0.0.1:${server.port}`,
    },
  });
  const as = (one: Issued): string[] => ['-cert', one.certFile, '-key', one.keyFile];
  assert.equal((await run(...sClient(rig.port('db'), ...as(staff)))).stdout, `you said ${secret}\n`);
  assert.equal((await run(...sClient(rig.port('db')))).stdout, '');
  assert.equal((await run(...sClient(rig.port('db'), ...as(stranger)))).stdout, '');
  assert.equal(rig.gate.admissions.length, 1);
});

test('openssl s_server is reached from a plain client, verified, with a client certificate', async () => {
  const own = ca.issue({ cn: 'gate', client: true });
  const port = await freePort();
  await using server = await serving(
    'openssl',
    ['s_server', '-accept', `127.0.0.1:${port}`, '-cert', localhost.certFile, '-key', localhost.keyFile, '-rev'].concat(
      ['-Verify', '2', '-CAfile', ca.certFile, '-verify_return_error'],
    ),
    /ACCEPT/,
  );
  await using between = await tap({ port, host: '127.0.0.1' });
  await using rig = await openRig({
    out: {
      listen: 'tcp://127.0.0.1:0',
      to: `tls://127.0.0.1:${between.port}`,
      verify,
      upstream: { certificate: files(own) },
    },
  });
  const client = await dialPlain(rig.port('out'));
  client.write(`${secret}\n`);
  const [answer] = (await once(client, 'data')) as [Buffer];
  assert.equal(answer.toString(), `${[...secret].reverse().join('')}\n`);
  client.destroy();
  assert.ok(between.looksLikeTls());
  assert.ok(!between.seen().includes(secret));
  assert.match(server.output(), /CN ?= ?gate/);
});

test('nc on both ends: a file each way through originate and terminate, half-close included', async () => {
  const port = await freePort();
  const files = { question: `${secret} `.repeat(5000), answer: 'answer '.repeat(9000) };
  await using listening = await serving('nc', ['-N', '-l', '-v', '127.0.0.1', String(port)], /Listening/, {
    input: files.answer,
  });
  await using inside = await tap({ port, host: '127.0.0.1' });
  await using inner = await openRig({
    near: { listen: 'tls://127.0.0.1:0', certificate, to: `tcp://127.0.0.1:${inside.port}` },
  });
  await using between = await tap({ port: inner.port('near'), host: '127.0.0.1' });
  await using outer = await openRig({
    far: { listen: 'tcp://127.0.0.1:0', to: `tls://127.0.0.1:${between.port}`, verify },
  });
  const ended = once(listening.child, 'exit');
  const { stdout } = await run('nc', ['-N', '127.0.0.1', String(outer.port('far'))], { input: files.question });
  assert.equal(stdout, files.answer);
  await ended;
  assert.ok(listening.output().includes(files.question));
  assert.ok(between.looksLikeTls() && !between.seen().includes(secret));
  assert.ok(inside.seen('up') === files.question);
});

test('curl over HTTPS reaches a plain web server; over HTTP it reaches an encrypted one', async () => {
  await using web = await webServer();
  await using rig = await openRig({
    site: { listen: 'tls://127.0.0.1:0', certificate, alpn: ['http/1.1'], to: `tcp://127.0.0.1:${web.port}` },
  });
  const https = `https://localhost:${rig.port('site')}/${secret}`;
  const curl = (...args: string[]) => run('curl', ['-sS', '--noproxy', '*', ...args]);
  const got = await curl('--cacert', ca.certFile, https);
  assert.equal(got.stdout, `GET /${secret}`, got.stderr);
  const stranger = await curl('--cacert', makeCa('Elsewhere').certFile, https);
  assert.equal(stranger.code, 60, 'curl verifies, and knows our CA only when told');
  await using out = await openRig({
    site: {
      listen: 'tcp://127.0.0.1:0',
      to: `tls://127.0.0.1:${rig.port('site')}`,
      verify,
      upstream: { alpn: ['http/1.1'] },
    },
  });
  assert.equal((await curl(`http://127.0.0.1:${out.port('site')}/x`)).stdout, 'GET /x');
});

test('curl’s own PROXY header is taken from whom it may come', async () => {
  await using web = await webServer();
  await using rig = await openRig({
    site: {
      listen: 'tls://127.0.0.1:0',
      certificate,
      to: `tcp://127.0.0.1:${web.port}`,
      'proxy-protocol': { from: '127.0.0.1' },
    },
  });
  const url = `https://localhost:${rig.port('site')}/p`;
  const args = ['-sS', '--noproxy', '*', '--cacert', ca.certFile, url];
  assert.equal((await run('curl', ['--haproxy-protocol', ...args])).stdout, 'GET /p');
  assert.notEqual((await run('curl', args)).code, 0, 'without the header there is no way in');
});

test('redis-cli --tls reaches a plain redis-server; a plain redis-cli reaches it through originate', async () => {
  const folder = temporaryFolder('redis');
  const path = join(folder, 'redis.sock');
  await using _redis = await serving(
    'redis-server',
    ['--port', '0', '--unixsocket', path, '--save', '', '--appendonly', 'no', '--dir', folder],
    /Ready to accept connections|ready to accept connections at/,
  );
  await using inside = await tap({ path });
  await using inner = await openRig({
    redis: { listen: 'tls://127.0.0.1:0', certificate, to: `tcp://127.0.0.1:${inside.port}` },
  });
  await using between = await tap({ port: inner.port('redis'), host: '127.0.0.1' });
  await using outer = await openRig({
    redis: { listen: 'tcp://127.0.0.1:0', to: `tls://127.0.0.1:${between.port}`, verify },
  });
  await using outside = await tap({ port: outer.port('redis'), host: '127.0.0.1' });

  const tls = ['--tls', '--cacert', ca.certFile, '--sni', 'localhost', '-h', '127.0.0.1', '-p', String(between.port)];
  assert.equal((await run('redis-cli', [...tls, 'SET', 'key', secret])).stdout, 'OK\n');
  const plain = ['-h', '127.0.0.1', '-p', String(outside.port)];
  assert.equal((await run('redis-cli', [...plain, 'GET', 'key'])).stdout, `${secret}\n`);
  const many = await run('redis-cli', [...plain, '--pipe'], { input: 'INCR n\r\n'.repeat(5000) });
  assert.match(many.stdout, /errors: 0, replies: 5000/);
  assert.ok(inside.seen('up').includes(secret), 'plain to redis');
  assert.ok(outside.seen('down').includes(secret), 'plain to the plain client');
  assert.ok(between.looksLikeTls() && !between.seen().includes(secret), 'encrypted between');
});

test('psql reaches PostgreSQL through originate, terminate and a unix socket; only the middle is encrypted', async () => {
  using postgres = startPostgres();
  const url = new URL(postgres.database().replace('@/', '@localhost/'));
  const path = join(url.searchParams.get('host') ?? '', '.s.PGSQL.5432');
  await using inner = await openRig({ db: { listen: 'tls://127.0.0.1:0', certificate, to: `unix:${path}` } });
  await using between = await tap({ port: inner.port('db'), host: '127.0.0.1' });
  await using outer = await openRig({
    db: { listen: 'tcp://127.0.0.1:0', to: `tls://127.0.0.1:${between.port}`, verify },
  });
  await using outside = await tap({ port: outer.port('db'), host: '127.0.0.1' });
  const where = `host=127.0.0.1 port=${outside.port} user=gate dbname=${url.pathname.slice(1)} sslmode=disable`;
  const sql = `create table t (v text); insert into t select '${secret}' || n from generate_series(1, 5000) n; select count(*) from t where v like '${secret}%'; select v from t;`;
  const { stdout, stderr } = await run('psql', ['-X', '-At', '-v', 'ON_ERROR_STOP=1', where, '-c', sql]);
  const lines = stdout.trim().split('\n');
  assert.ok(lines.includes('5000'), stderr);
  assert.ok(lines.includes(`${secret}5000`));
  assert.ok(outside.seen('up').includes(secret));
  assert.ok(between.looksLikeTls() && !between.seen().includes(secret));
});

test('Fluentd’s forward protocol, acks included, through originate and terminate as in the article', async () => {
  const received: Received[] = [];
  await using fluentd = await plainServer(socket => void serveForward(socket, 'shared', one => received.push(one)));
  await using inside = await tap({ port: fluentd.port, host: '127.0.0.1' });
  await using inner = await openRig({
    'forward-in': { listen: 'tls://127.0.0.1:0', certificate, to: `tcp://127.0.0.1:${inside.port}` },
  });
  await using between = await tap({ port: inner.port('forward-in'), host: '127.0.0.1' });
  await using outer = await openRig({
    'forward-out': { listen: 'tcp://127.0.0.1:0', to: `tls://127.0.0.1:${between.port}`, verify },
  });
  await using outside = await tap({ port: outer.port('forward-out'), host: '127.0.0.1' });
  const batches = Array.from({ length: 50 }, (_, batch) =>
    Array.from({ length: 20 }, (_, line) => [1_700_000_000 + batch, { message: `${secret} ${batch}.${line}` }]),
  );
  const client = await dialPlain(outside.port);
  assert.equal(await forwardTo(client, 'shared', 'app.log', batches), 50);
  await readAll(client).catch(() => {});
  assert.equal(received.length, 50);
  assert.deepEqual(received[49]?.entries[19], [1_700_000_049, { message: `${secret} 49.19` }]);
  assert.ok(outside.seen('up').includes(secret) && inside.seen('up').includes(secret), 'plain where the programs are');
  assert.ok(between.looksLikeTls() && !between.seen().includes(secret), 'encrypted on the way');
  await assert.rejects(forwardTo(await dialPlain(outside.port), 'wrong', 'app.log', batches), /mismatch/);
});

test('the consistent hash sends each client where nginx sends it', async () => {
  const backends = await Promise.all(
    Array.from({ length: 4 }, (_, index) => plainServer(socket => void socket.end(`backend ${index}`))),
  );
  const folder = temporaryFolder('nginx');
  const port = await freePort();
  const weights = [1, 3, 1, 2];
  const servers = backends.map((one, index) => `server 127.0.0.1:${one.port} weight=${weights[index]};`).join(' ');
  await using _nginx = await startNginx(
    `${nginxPrologue(folder)} events {} stream { upstream u { hash $remote_addr consistent; ${servers} } server { listen 127.0.0.1:${port}; proxy_pass u; } }`,
    folder,
  );
  await using rig = await openRig({
    u: {
      listen: 'tcp://127.0.0.1:0',
      to: backends.map((one, index) => ({ url: `tcp://127.0.0.1:${one.port}`, weight: weights[index] })),
      balance: { hash: 'source-address' },
    },
  });
  const ask = async (to: number, from: string): Promise<string> => {
    const socket = connect({ port: to, host: '127.0.0.1', localAddress: from });
    return (await readAll(socket)).toString();
  };
  const met = new Set<string>();
  for (let client = 1; client <= 60; client++) {
    const from = `127.0.${client}.${client}`;
    const [theirs, ours] = [await ask(port, from), await ask(rig.port('u'), from)];
    assert.equal(ours, theirs, from);
    met.add(ours);
  }
  assert.equal(met.size, 4);
  for (const one of backends) await one[Symbol.asyncDispose]();
});

async function webServer(): Promise<{ port: number } & AsyncDisposable> {
  const server = createHttpServer((request, response) => response.end(`${request.method} ${request.url}`));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
    },
  };
}
