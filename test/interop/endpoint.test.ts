// Endpoints before programs that others wrote: netcat, openssl, curl, ssh — and article 000, whole.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { makeCa, temporaryFolder } from '../fixtures/certificates.ts';
import { echoServer, freePorts, type GateProcess, isClosed, startGate, until } from '../fixtures/gate-process.ts';
import { run, serving } from '../fixtures/programs.ts';
import { tap } from '../fixtures/tap.ts';

const main = join(import.meta.dirname, '../../src/main.ts');

interface Opened {
  readonly id: string;
  readonly port: number;
  readonly name: string;
  readonly namePort: number;
  readonly until: string;
  readonly state: string;
  readonly link?: string;
}

const rules = `access:
  - { allow: endpoint.open, who: { user: operator1 }, to: device/pump-*, for: 30m }
`;

async function openGate(t: TestContext, more = rules): Promise<GateProcess & { ca: string; port: number; open: Open }> {
  const [port = 0] = await freePorts(1);
  const gate = await startGate(t, {
    config: `gate: { name: gate.test, listen: "tls://127.0.0.1:${port}", workers: 0 }\n${more}`,
  });
  const ca = join(gate.folder, 'ca.pem');
  writeFileSync(ca, (await gate.run('cert', 'ca')).stdout);
  return { ...gate, ca, port, open: (...args) => json<Opened>(gate, 'endpoint', 'open', ...args) };
}
type Open = (...args: string[]) => Promise<Opened>;

async function json<T>(gate: GateProcess, ...args: string[]): Promise<T> {
  const { status, stdout, stderr } = await gate.run(...args, '--json');
  assert.equal(status, 0, `${args.join(' ')}: ${stderr}`);
  return JSON.parse(stdout) as T;
}

/** A device with our agent; resolves when it is linked. */
async function device(
  t: TestContext,
  gate: GateProcess,
  port: number,
  services: Record<string, number>,
): Promise<ChildProcess> {
  const listed = Object.entries(services).flatMap(([name, at]) => ['--service', `${name}=127.0.0.1:${at}`]);
  const { code } = await json<{ code: string }>(gate, 'device', 'enroll', 'pump-7', ...listed);
  const dir = temporaryFolder('agent');
  const args = ['agent', '--gate', `https://localhost:${port}`, '--enroll', code, '--dir', dir];
  const { child } = await serving(process.execPath, [main, ...args], /linked/, { env: { NODE_TEST_CONTEXT: '' } });
  t.after(() => child.kill('SIGKILL'));
  return child;
}

/** What a program that keeps running has said so far. */
function keep(t: TestContext, program: string, args: readonly string[]): { child: ChildProcess; said(): string } {
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] });
  t.after(() => child.kill('SIGKILL'));
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', chunk => {
      said += chunk;
    });
  }
  return { child, said: () => said };
}

test('article 000: nc → wrap → endpoint → agent → nc, and only the legs that the article shows plain are plain', async t => {
  const gate = await openGate(t);
  const [serverPort = 0, wrapPort = 0] = await freePorts(2);
  const server = keep(t, 'nc', ['-l', '-s', '127.0.0.1', '-p', String(serverPort)]);
  await until('the server listens', async () => !(await isListening(serverPort)));
  await using last = await tap({ port: serverPort, host: '127.0.0.1' });
  await using link = await tap({ port: gate.port, host: '127.0.0.1' });
  await device(t, gate, link.port, { app: last.port });
  const endpoint = await gate.open('device://pump-7/app', '--for', '30m', '--from', '127.0.0.1/32', '--tls');
  await using outside = await tap({ port: endpoint.port, host: '127.0.0.1' });
  const wrapping = ['wrap', '--listen', `tcp://127.0.0.1:${wrapPort}`, '--to', `tls://127.0.0.1:${outside.port}`];
  await using wrap = await serving(
    process.execPath,
    [main, ...wrapping, '--ca', gate.ca, '--name', 'gate.test'],
    /Ctrl-C/,
    {
      env: { NODE_TEST_CONTEXT: '' },
    },
  );
  await using inside = await tap({ port: wrapPort, host: '127.0.0.1' });

  const client = keep(t, 'nc', ['-N', '127.0.0.1', String(inside.port)]);
  client.child.stdin?.write('test from pc\n');
  await until('the device has it', () => server.said().includes('test from pc'));
  server.child.stdin?.write('answer from the raspberry pi\n');
  await until('the client has the answer', () => client.said().includes('answer from the raspberry pi'));
  client.child.stdin?.end();
  await once(client.child, 'exit');

  for (const [leg, plain] of [
    [inside, true],
    [outside, false],
    [link, false],
    [last, true],
  ] as const) {
    assert.equal(leg.seen('up').includes('test from pc') || leg.seen('down').includes('test from pc'), plain);
    assert.equal(leg.seen().includes('raspberry pi'), plain);
    assert.equal(leg.looksLikeTls(), !plain);
  }
  assert.ok(wrap);
  await gate.run('endpoint', 'close', endpoint.id);
  assert.equal(await isClosed(endpoint.port), true);
  const { rows } = await json<{ rows: { event: string; facts: Record<string, unknown> }[] }>(
    gate,
    ...['audit', 'search', '--resource', `endpoint/${endpoint.id}`],
  );
  const closed = rows.find(({ event }) => event === 'endpoint.disconnected');
  assert.deepEqual([closed?.facts['up'], closed?.facts['down']], [13, 29]);
});

/** Looks at /proc, so that nc's only connection is not spent on looking. */
async function isListening(port: number): Promise<boolean> {
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  return !readFileSync('/proc/net/tcp', 'utf8').includes(`:${hex} 00000000:0000 0A`);
}

test('curl reaches a plain HTTP service under the endpoint’s own name, whose certificate says this name alone', async t => {
  const gate = await openGate(t);
  const folder = temporaryFolder('www');
  writeFileSync(join(folder, 'index.html'), 'hello from inside');
  const [port = 0] = await freePorts(1);
  const web = keep(t, 'python3', ['-m', 'http.server', String(port), '--bind', '127.0.0.1', '--directory', folder]);
  await until('it serves', async () => !(await isListening(port)));
  const one = await gate.open(`tcp://127.0.0.1:${port}`, '--tls');
  const other = await gate.open(`tcp://127.0.0.1:${port}`, '--tls', '--no-port');
  assert.match(one.name, /^[a-z0-9]{12}\.ep\.gate\.test$/);
  assert.equal(other.port, undefined);
  const get = (name: string, at: number) =>
    run('curl', ['-sS', '--cacert', gate.ca, '--resolve', `${name}:${at}:127.0.0.1`, `https://${name}:${at}/`]);
  for (const { name, namePort } of [one, other]) assert.equal((await get(name, namePort)).stdout, 'hello from inside');
  const port443 = await get('gate.test', one.port);
  assert.equal(port443.stdout, 'hello from inside', port443.stderr);
  // Another name under the same domain is the gate, and its certificate does not say so.
  assert.match((await get('nothing.ep.gate.test', gate.port)).stderr, /certificate|SSL/);
  const shown = await run('openssl', ['s_client', '-connect', `127.0.0.1:${gate.port}`, '-servername', one.name], {
    input: '',
  });
  assert.match(shown.stdout, new RegExp(`subject=CN ?= ?${one.name}`));
  assert.ok(web);
});

test('a TLS service is passed through: port and name show its own certificate', async t => {
  const gate = await openGate(t);
  const ca = makeCa('inside');
  const own = ca.issue({ cn: 'device.internal', san: ['device.internal'] });
  const [port = 0] = await freePorts(1);
  const args = ['s_server', '-accept', `127.0.0.1:${port}`, '-cert', own.certFile, '-key', own.keyFile, '-www'];
  keep(t, 'openssl', args);
  await until('it serves', async () => !(await isListening(port)));
  const endpoint = await gate.open(`tcp://127.0.0.1:${port}`, '--pass-through');
  for (const [at, name] of [
    [endpoint.port, 'device.internal'],
    [endpoint.namePort, endpoint.name],
  ] as const) {
    const { stdout } = await run(
      'openssl',
      ['s_client', '-connect', `127.0.0.1:${at}`, '-servername', name, '-CAfile', ca.certFile, '-ign_eof'],
      { input: 'GET / HTTP/1.0\r\n\r\n' },
    );
    assert.match(stdout, /subject=CN ?= ?device\.internal/);
    assert.match(stdout, /Verify return code: 0/);
    assert.match(stdout, /HTTP\/1\.0 200/);
  }
});

test('a client certificate: only of these users, and not of a revoked one', async t => {
  const gate = await openGate(t);
  const echo = await echoServer(t);
  const serials: Record<string, string> = {};
  for (const who of ['alice', 'bob']) {
    serials[who] = (await json<{ serial: string }>(gate, 'cert', 'issue', who, '--pem', gate.folder)).serial;
  }
  const endpoint = await gate.open(`tcp://127.0.0.1:${echo.port}`, '--tls', '--client-certificate', '--user', 'alice');
  const say = async (port: number, name: string, who?: string): Promise<boolean> => {
    const pair = who ? ['-cert', join(gate.folder, `${who}.crt`), '-key', join(gate.folder, `${who}.key`)] : [];
    const child = spawn('openssl', [
      ...['s_client', '-connect', `127.0.0.1:${port}`, '-servername', name, '-CAfile', gate.ca, '-quiet'],
      ...pair,
    ]);
    t.after(() => child.kill('SIGKILL'));
    let heard = '';
    child.stdout.on('data', chunk => {
      heard += chunk;
    });
    child.stdin.on('error', () => {});
    child.stdin.write('hello\n');
    const ended = once(child, 'exit').then(() => true);
    let isOver = false;
    void ended.then(() => {
      isOver = true;
    });
    await until('an answer or an end', () => heard.includes('hello') || isOver);
    child.kill('SIGKILL');
    return heard.includes('hello');
  };
  assert.equal(await say(endpoint.port, 'gate.test', 'alice'), true);
  assert.equal(await say(endpoint.namePort, endpoint.name, 'alice'), true);
  assert.equal(await say(endpoint.port, 'gate.test', 'bob'), false);
  assert.equal(await say(endpoint.namePort, endpoint.name), false);
  await gate.run('cert', 'revoke', serials['alice'] ?? '');
  assert.equal(await say(endpoint.port, 'gate.test', 'alice'), false);
});

test('a sign-in on the page lets the address in, once a link, and nobody else’s', async t => {
  const gate = await openGate(t, 'access: [ { allow: endpoint.open, who: { user: ann } } ]\n');
  const echo = await echoServer(t);
  await gate.run('user', 'add', 'ann');
  const { token } = await json<{ token: string }>(gate, 'token', 'create', 'ann', '--scope', 'endpoint.*');
  const call = async (path: string, body: object, headers: readonly string[] = []) => {
    const at = ['--resolve', `gate.test:${gate.port}:127.0.0.1`, `https://gate.test:${gate.port}${path}`];
    const json = ['-H', 'content-type: application/json', '-d', JSON.stringify(body)];
    const extra = headers.flatMap(header => ['-H', header]);
    const { stdout } = await run('curl', [
      '-sS',
      '--cacert',
      gate.ca,
      '-w',
      '\n%{http_code}',
      ...json,
      ...extra,
      ...at,
    ]);
    const [text = '', status = ''] = stdout.split(/\n(?=\d+$)/);
    return { status: Number(status), body: text === '' ? {} : JSON.parse(text) };
  };
  const opened = await call(
    '/v1/endpoints',
    { target: `tcp://127.0.0.1:${echo.port}`, signIn: true, from: ['127.0.0.0/8'] },
    [`authorization: Bearer ${token}`],
  );
  assert.equal(opened.status, 200, JSON.stringify(opened.body));
  const { id, port, link } = opened.body as Opened;
  const say = async (): Promise<string> =>
    (await run('nc', ['-N', '127.0.0.1', String(port)], { input: 'hello' })).stdout;
  assert.equal(await say(), '');
  const code = String(link).split('#')[1];
  assert.equal((await call(`/endpoint/${id}`, { code: 'skc_wrong' })).status, 401);
  assert.equal((await call(`/endpoint/${id}`, { code }, ['origin: https://evil.example'])).status, 403);
  const done = await call(`/endpoint/${id}`, { code });
  assert.deepEqual([done.status, done.body.address], [200, '127.0.0.1']);
  assert.equal(await say(), 'hello');
  assert.equal((await call(`/endpoint/${id}`, { code })).status, 401, 'a link works once');
  const page = await run('curl', [
    '-sS',
    '-i',
    '--cacert',
    gate.ca,
    '--resolve',
    `gate.test:${gate.port}:127.0.0.1`,
    `https://gate.test:${gate.port}/endpoint/${id}`,
  ]);
  assert.match(page.stdout, /content-security-policy: default-src 'none'/i);
  assert.doesNotMatch(page.stdout, new RegExp(String(echo.port)), 'the page says nothing about the endpoint');
});

test('killed and started anew, the gate opens the same port and the same name again', async t => {
  const echo = await echoServer(t);
  const gate = await openGate(t);
  const endpoint = await gate.open(`tcp://127.0.0.1:${echo.port}`, '--tls', '--latch');
  const say = async (port: number, name: string): Promise<string> => {
    const { child, said } = keep(t, 'openssl', [
      's_client',
      '-connect',
      `127.0.0.1:${port}`,
      '-servername',
      name,
      '-CAfile',
      gate.ca,
      '-verify_return_error',
      '-quiet',
    ]);
    child.stdin?.write('hello\n');
    await until('an answer', () => said().includes('hello'));
    child.kill('SIGKILL');
    return said();
  };
  assert.match(await say(endpoint.port, 'gate.test'), /hello/);
  gate.signal('SIGKILL');
  await gate.ended;
  const again = await startGate(t, { folder: gate.folder, config: readFileSync(gate.config, 'utf8') });
  const shown = await json<Opened & { latched?: string }>(again, 'endpoint', 'show', endpoint.id);
  assert.deepEqual(
    [shown.state, shown.port, shown.name, shown.until, shown.latched],
    ['open', endpoint.port, endpoint.name, endpoint.until, '127.0.0.1'],
  );
  assert.match(await say(endpoint.port, 'gate.test'), /hello/);
  assert.match(await say(gate.port, endpoint.name), /hello/);
});

test('the evidence of an endpoint is one JSON document that sed and openssl verify, and a changed one they do not', async t => {
  const gate = await openGate(t);
  const echo = await echoServer(t);
  const endpoint = await gate.open(`tcp://127.0.0.1:${echo.port}`, '--reason', 'ticket 4711');
  assert.equal((await run('nc', ['-N', '127.0.0.1', String(endpoint.port)], { input: 'hello' })).stdout, 'hello');
  await gate.run('endpoint', 'close', endpoint.id);
  const file = join(gate.folder, 'evidence.json');
  assert.equal((await gate.run('endpoint', 'evidence', endpoint.id, '--out', file)).status, 0);
  const { evidence } = JSON.parse(readFileSync(file, 'utf8'));
  assert.equal(evidence.request.reason, 'ticket 4711');
  assert.equal(evidence.endpoint.cause, 'closed');
  assert.deepEqual([evidence.connections.count, evidence.connections.up, evidence.connections.down], [1, 5, 5]);

  // The lines of docs/endpoint.md, as they stand there.
  const guide = readFileSync(join(import.meta.dirname, '../../docs/endpoint.md'), 'utf8');
  const lines = /```sh\n((?:.*\n)*?.*openssl pkeyutl -verify.*\n)```/.exec(guide)?.[1] ?? '';
  assert.match(lines, /sed -n 2p evidence\.json/);
  const { stdout } = await gate.run('audit', 'head');
  writeFileSync(join(gate.folder, 'audit.pub'), stdout.slice(stdout.indexOf('-----BEGIN')));
  const verify = () => run('sh', ['-e', '-c', lines.replace(/^.*sekisho .*\n/gm, '')], { cwd: gate.folder });
  const good = await verify();
  assert.match(good.stdout, /Signature Verified Successfully/, good.stderr);
  assert.equal(good.code, 0);
  writeFileSync(file, readFileSync(file, 'utf8').replace('ticket 4711', 'ticket 4712'));
  assert.notEqual((await verify()).code, 0);
});

test('scripts for Napter change their endpoint and nothing else: auth, create, list, get, delete, and the eight events', async t => {
  const gate = await openGate(t);
  const echo = await echoServer(t);
  const [dead = 0] = await freePorts(1);
  const agent = await device(t, gate, gate.port, { app: echo.port, dead });
  await json(gate, 'device', 'set', 'pump-7', '--imsi', '440101234567890');
  const key = await json<{ accessKeyId: string; secretAccessKey: string }>(gate, 'user', 'key', 'operator1');
  const api = `https://gate.test:${gate.port}/v1`;
  const call = async (method: string, path: string, body?: object, headers: readonly string[] = []) => {
    const sent = body ? ['-H', 'content-type: application/json', '-d', JSON.stringify(body)] : [];
    const extra = headers.flatMap(header => ['-H', header]);
    const at = ['--resolve', `gate.test:${gate.port}:127.0.0.1`, '--cacert', gate.ca, '-X', method];
    const { stdout } = await run('curl', ['-sS', '-D', '-', ...at, ...sent, ...extra, `${api}${path}`]);
    const [head = '', text = ''] = stdout.split('\r\n\r\n');
    return {
      status: Number(head.split(' ')[1]),
      next: /x-soracom-next-key: (.*)/i.exec(head)?.[1],
      body: text ? JSON.parse(text) : undefined,
    };
  };
  assert.equal((await call('POST', '/auth', { authKeyId: key.accessKeyId, authKey: 'wrong' })).status, 401);
  const { body: auth } = await call('POST', '/auth', { authKeyId: key.accessKeyId, authKey: key.secretAccessKey });
  assert.match(auth.apiKey, /^api-[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$/);
  assert.match(auth.operatorId, /^OP\d{10}$/);
  const mine = [`X-Soracom-API-Key: ${auth.apiKey}`, `X-Soracom-Token: ${auth.token}`];
  assert.equal((await call('GET', '/port_mappings')).status, 401);
  assert.equal((await call('GET', '/status', undefined, mine)).status, 401, 'these headers count on these paths only');

  const wanted = {
    destination: { simId: 'pump-7', port: echo.port, service: 'arc' },
    duration: 600,
    tlsRequired: false,
  };
  const made = await call('POST', '/port_mappings', { ...wanted, source: { ipRanges: ['127.0.0.1/32'] } }, mine);
  assert.equal(made.status, 201, JSON.stringify(made.body));
  const { port, createdTime, expiredTime } = made.body;
  assert.equal(expiredTime - createdTime, 600_000);
  assert.deepEqual(
    { ...made.body, createdTime: 0, expiredTime: 0 },
    {
      ipAddress: '127.0.0.1',
      port,
      hostname: 'gate.test',
      endpoint: `127.0.0.1:${port}`,
      createdTime: 0,
      expiredTime: 0,
      expired: false,
      duration: 600,
      simId: 'pump-7',
      operatorId: auth.operatorId,
      placement: 'default',
      source: { ipRanges: ['127.0.0.1/32'] },
      tlsRequired: false,
      destination: { simId: 'pump-7', port: echo.port, destinationChoosingStrategy: 'ARC_PRIORITIZED' },
    },
  );
  const say = async (at: number): Promise<string> =>
    (await run('nc', ['-N', '127.0.0.1', String(at)], { input: 'hello' })).stdout;
  assert.equal(await say(port), 'hello');
  const refused = await call(
    'POST',
    '/port_mappings/sims/pump-7',
    { destination: { port: dead }, source: { ipRanges: ['127.0.0.1/32'] } },
    mine,
  );
  assert.equal(await say(refused.body.port), '');
  const closed = await call('POST', '/port_mappings', { ...wanted, source: { ipRanges: ['203.0.113.7/32'] } }, mine);
  assert.equal(await say(closed.body.port), '');

  const first = await call('GET', '/port_mappings?limit=2', undefined, mine);
  assert.equal(first.body.length, 2);
  const second = await call('GET', `/port_mappings?limit=2&last_evaluated_key=${first.next}`, undefined, mine);
  assert.deepEqual([second.body.length, second.next], [1, undefined]);
  assert.equal((await call('GET', `/port_mappings/127.0.0.1/${port}`, undefined, mine)).body.port, port);
  assert.equal((await call('GET', '/port_mappings/sims/pump-7', undefined, mine)).body.length, 3);
  assert.equal((await call('GET', '/port_mappings/subscribers/440101234567890', undefined, mine)).body.length, 3);
  assert.equal((await call('GET', '/port_mappings/sims/pump-8', undefined, mine)).status, 404);
  assert.equal((await call('DELETE', `/port_mappings/127.0.0.1/${port}`, undefined, mine)).status, 204);
  assert.equal((await call('DELETE', `/port_mappings/127.0.0.1/${port}`, undefined, mine)).status, 404);
  assert.equal(await isClosed(port), true);
  for (const bad of [
    {},
    { destination: {} },
    { destination: { simId: 'pump-7', port: 0 } },
    { ...wanted, duration: 99_999 },
  ]) {
    const { status, body } = await call('POST', '/port_mappings', bad, mine);
    assert.equal(status, 400);
    assert.match(body.message, /\w/);
  }
  assert.equal((await call('POST', '/port_mappings', { destination: { simId: 'fan-1', port: 22 } }, mine)).status, 403);
  const short = await call('POST', '/port_mappings', { ...wanted, duration: 1 }, mine);
  await until(
    'it runs out',
    async () => (await call('GET', `/port_mappings/127.0.0.1/${short.body.port}`, undefined, mine)).status === 404,
  );
  const types = async (): Promise<string[]> =>
    (await call('GET', '/audit_logs/napter?limit=1000', undefined, mine)).body.map(
      ({ type }: { type: string }) => type,
    );
  const all = ['ACCESS', 'CLOSED', 'CONNECTED', 'CREATED', 'DELETED', 'DENIED', 'EXPIRED', 'REFUSED'];
  await until('all eight are there', async () => [...new Set(await types())].sort().join() === all.join());
  const { body: log } = await call('GET', '/audit_logs/napter?limit=1000', undefined, mine);
  const access = log.find(({ type }: { type: string }) => type === 'ACCESS');
  assert.deepEqual(
    [access.direction.sourceIPAddress, access.operatorId, access.tls, typeof access.createdAt],
    ['127.0.0.1', auth.operatorId, false, 'number'],
  );
  agent.kill('SIGKILL');
});

test('ssh through a plain port: a command, and 20 MB each way', async t => {
  const gate = await openGate(t);
  const folder = temporaryFolder('ssh');
  const file = (name: string): string => join(folder, name);
  for (const name of ['host', 'user']) await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', file(name)]);
  const [port = 0] = await freePorts(1);
  writeFileSync(
    file('config'),
    `Port ${port}\nListenAddress 127.0.0.1\nHostKey ${file('host')}\nAuthorizedKeysFile ${file('user.pub')}\nStrictModes no\nUsePAM no\nPidFile none\n`,
  );
  mkdirSync('/run/sshd', { recursive: true });
  keep(t, '/usr/sbin/sshd', ['-D', '-e', '-f', file('config')]);
  await until('sshd listens', async () => !(await isListening(port)));
  await device(t, gate, gate.port, { ssh: port });
  const endpoint = await gate.open('device://pump-7/ssh', '--for', '30m', '--from', '127.0.0.1/32');
  const ssh = (command: string, input = '') =>
    run(
      'ssh',
      [
        ...['-p', String(endpoint.port), '-i', file('user'), '-o', 'StrictHostKeyChecking=no', '-o', 'BatchMode=yes'],
        ...[
          '-o',
          `UserKnownHostsFile=${file('known')}`,
          '-o',
          'LogLevel=ERROR',
          `${userInfo().username}@127.0.0.1`,
          command,
        ],
      ],
      { input },
    );
  const said = await ssh('echo hello from the device');
  assert.equal(said.stdout, 'hello from the device\n', said.stderr);
  const big = 'x'.repeat(20_000_000);
  assert.equal((await ssh('wc -c', big)).stdout.trim(), '20000000');
  assert.equal((await ssh('head -c 20000000 /dev/zero | tr "\\0" y')).stdout.length, 20_000_000);
});
