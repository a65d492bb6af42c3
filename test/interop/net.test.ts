// net/ against programs we did not write: openssl both ways, curl, HAProxy, nc.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Conn, Listener } from '../../src/core/parts.ts';
import { expectProxyHeader } from '../../src/net/proxy-header.ts';
import { splice } from '../../src/net/splice.ts';
import { dialTcp, listenTcp } from '../../src/net/tcp.ts';
import { type ClientTlsOptions, dialTls, type ServerTlsOptions, upgradeTls } from '../../src/net/tls.ts';
import { parseCidr } from '../../src/wire/cidr.ts';
import { writeProxyHeader } from '../../src/wire/proxy-protocol.ts';
import { text } from '../conformance/streams.ts';
import { makeCa, temporaryFolder } from '../fixtures/certificates.ts';
import { freePort } from '../fixtures/ports.ts';
import { memoryLog, memoryMetrics } from '../fixtures/quiet.ts';

const never = new AbortController().signal;
const ca = makeCa('Interop CA');
const foreign = makeCa('Foreign CA');
const identity = ca.issue({ cn: 'localhost', san: ['localhost', '127.0.0.1'] });
const staff = ca.issue({ cn: 'staff01', client: true });
const session = { tickets: true, cache: 0, timeout: 300_000, keys: Buffer.alloc(48, 7) };
const base: ServerTlsOptions = { identities: [identity], session, context: 'interop', handshake: 10_000 };
const mutual: ServerTlsOptions = { ...base, clients: { mode: 'required', ca: [ca.cert], depth: 1 } };
const versions = { 'TLSv1.2': '-tls1_2', 'TLSv1.3': '-tls1_3' } as const;

interface Ran {
  readonly out: string;
  readonly code: number | null;
}
/** Runs a program to its end; what it said on both outputs, together. */
async function run(program: string, args: readonly string[], input = ''): Promise<Ran> {
  const child = spawn(program, args, { stdio: 'pipe', timeout: 20_000 });
  let out = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', data => (out += data));
  child.stdin.on('error', () => {});
  child.stdin.end(input);
  const [code] = await once(child, 'close');
  return { out, code };
}
/** Starts a server program and waits until it accepts on the port. */
async function start(program: string, args: readonly string[], port: number): Promise<ChildProcess & Disposable> {
  const child = spawn(program, args, { stdio: ['pipe', 'ignore', 'ignore'] });
  for (;;) {
    const answer = await new Promise<string>(resolve => {
      const probe = connect(port, '127.0.0.1', () => resolve('up')).on('error', () => resolve('down'));
      probe.once('connect', () => probe.destroy());
    });
    if (answer === 'up') break;
    assert.equal(child.exitCode, null, `${program} ended at once`);
    await new Promise(setImmediate);
  }
  return Object.assign(child, { [Symbol.dispose]: () => void child.kill('SIGKILL') });
}

const portOf = ({ address }: Listener): number => ('port' in address ? address.port : 0);

/** Serves each conn; failures are kept as text. */
async function serving(
  handle: (conn: Conn) => Promise<void>,
): Promise<AsyncDisposable & { readonly port: number; readonly failures: string[] }> {
  const listener = await listenTcp({ host: '127.0.0.1', port: 0, log: memoryLog(), metrics: memoryMetrics() });
  const failures: string[] = [];
  void (async () => {
    for await (const conn of listener) {
      handle(conn).catch((error: Error) => {
        failures.push(error.message);
        conn.stream.destroy();
      });
    }
  })();
  return { port: portOf(listener), failures, [Symbol.asyncDispose]: () => listener[Symbol.asyncDispose]() };
}
/** Says who came, after the client's half-close. */
const echo =
  (options: ServerTlsOptions): ((raw: Conn) => Promise<void>) =>
  async raw => {
    const conn = await upgradeTls(options)(raw, never);
    const said = await text(conn);
    conn.stream.end(`${conn.tls?.protocol} ${conn.tls?.alpn ?? '-'} ${conn.tls?.leaf ? 'known' : 'anonymous'} ${said}`);
    await conn.close(AbortSignal.timeout(5000));
  };
const sClient = (port: number, ...args: string[]): Promise<Ran> =>
  run(
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
      ...args,
    ],
    'hello\n',
  );

for (const [version, flag] of Object.entries(versions)) {
  test(`openssl s_client verifies us, ${version}`, async () => {
    await using server = await serving(async raw => {
      const conn = await upgradeTls(base)(raw, never);
      conn.stream.end(`${conn.tls?.protocol} ${conn.tls?.sni}\n`);
      await conn.close(AbortSignal.timeout(5000));
    });
    const { out } = await sClient(server.port, flag, '-verify_hostname', 'localhost', '-ign_eof');
    assert.match(out, /Verify return code: 0 \(ok\)/);
    assert.match(out, new RegExp(`${version} localhost`));
    assert.deepEqual(server.failures, []);
  });

  test(`openssl s_client is told by an alert why its certificate does not pass, ${version}`, async () => {
    await using server = await serving(echo(mutual));
    const expired = ca.issue({ cn: 'staff01', client: true, days: -1 });
    const stranger = foreign.issue({ cn: 'staff01', client: true });
    const cases = [
      [[], version === 'TLSv1.3' ? /alert certificate required/ : /alert handshake failure/, /no certificate/],
      [['-cert', stranger.certFile, '-key', stranger.keyFile], /alert unknown ca/, /not trusted here/],
      [['-cert', expired.certFile, '-key', expired.keyFile], /alert certificate expired/, /has expired/],
    ] as const;
    for (const [args, alert, failure] of cases) {
      const { out } = await sClient(server.port, flag, '-ign_eof', ...args);
      assert.match(out, alert);
      assert.match(server.failures.pop() ?? '', failure);
    }
  });

  test(`openssl s_client: a session is resumed in its own context and in no other, ${version}`, async () => {
    const greet = (options: ServerTlsOptions) => async (raw: Conn) => {
      const conn = await upgradeTls(options)(raw, never);
      conn.stream.end(`resumed ${conn.tls?.resumed} leaf ${conn.tls?.leaf !== undefined}\n`);
      await conn.close(AbortSignal.timeout(5000));
    };
    await using one = await serving(greet(mutual));
    await using same = await serving(greet(mutual));
    await using other = await serving(greet({ ...mutual, context: 'another route' }));
    const file = join(temporaryFolder(), 'session');
    const client = (port: number, ...args: string[]): Promise<Ran> =>
      sClient(port, flag, '-ign_eof', '-cert', staff.certFile, '-key', staff.keyFile, ...args);
    assert.match((await client(one.port, '-sess_out', file)).out, /resumed false leaf true/);
    assert.match((await client(same.port, '-sess_in', file)).out, /resumed true leaf true/);
    assert.match((await client(other.port, '-sess_in', file)).out, /resumed false leaf true/);
  });

  test(`openssl s_server is reached and verified, ${version}`, async () => {
    const port = await freePort();
    using _server = await start(
      'openssl',
      [
        's_server',
        '-accept',
        String(port),
        '-cert',
        identity.certFile,
        '-key',
        identity.keyFile,
        '-CAfile',
        ca.certFile,
        '-Verify',
        '1',
        '-verify_return_error',
        '-rev',
        '-quiet',
        flag,
      ],
      port,
    );
    const options: ClientTlsOptions = {
      host: '127.0.0.1',
      port,
      connect: 5000,
      handshake: 5000,
      verify: { ca: [ca.cert], name: 'localhost' },
      identity: staff,
    };
    const conn = await dialTls(options, never);
    assert.equal(conn.tls?.protocol, version);
    conn.stream.write('stressed\n');
    assert.equal(String((await once(conn.stream, 'data'))[0]), 'desserts\n');
    await conn.close(AbortSignal.timeout(2000));
    await assert.rejects(dialTls({ ...options, verify: { ca: [foreign.cert], name: 'localhost' } }, never), {
      code: 'unreachable',
      message: /not trusted here/,
    });
  });
}

test('openssl s_client without a common application protocol gets no_application_protocol', async () => {
  await using server = await serving(echo({ ...base, alpn: ['postgresql'] }));
  assert.match((await sClient(server.port, '-alpn', 'h2')).out, /alert no application protocol/);
  assert.match(server.failures[0] ?? '', /ALPN/);
  const { out } = await sClient(server.port, '-alpn', 'h2,postgresql');
  assert.match(out, /ALPN protocol: postgresql/);
});

test('openssl s_client is refused a renegotiation of TLS 1.2, and the conn ends', async () => {
  await using server = await serving(async raw => {
    const conn = await upgradeTls(base)(raw, never);
    conn.stream.write('welcome\n');
    for await (const _ of conn.stream) conn.stream.write('still here\n');
    await conn.close(AbortSignal.timeout(5000));
  });
  const child = spawn('openssl', [
    's_client',
    '-connect',
    `127.0.0.1:${server.port}`,
    '-tls1_2',
    '-CAfile',
    ca.certFile,
  ]);
  let out = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', data => {
      out += data;
      // Its command R: a line of that alone.
      if (`${data}`.includes('welcome')) child.stdin.write('R\n');
    });
  }
  child.stdin.on('error', () => {});
  const late = setTimeout(() => child.kill('SIGKILL'), 20_000);
  await once(child, 'close');
  clearTimeout(late);
  assert.match(out, /RENEGOTIATING[\s\S]*no.renegotiation/i);
});
test('openssl s_client of the old versions is refused', async () => {
  await using server = await serving(echo(base));
  const { code } = await sClient(server.port, '-tls1_1', '-cipher', 'DEFAULT@SECLEVEL=0');
  assert.notEqual(code, 0);
});

test('a TLS server that dies is an abort for whoever wants close_notify', async () => {
  const port = await freePort();
  using server = await start(
    'openssl',
    ['s_server', '-accept', String(port), '-cert', identity.certFile, '-key', identity.keyFile, '-rev', '-quiet'],
    port,
  );
  const verify = { ca: [ca.cert], name: 'localhost' };
  const conn = await dialTls(
    { host: '127.0.0.1', port, connect: 5000, handshake: 5000, verify, closeNotify: 'required' },
    never,
  );
  conn.stream.write('abc\n');
  await once(conn.stream, 'data');
  conn.stream.once('end', () => assert.fail('a truncation looked like an end'));
  const broken = once(conn.stream, 'error');
  conn.stream.resume();
  server.kill('SIGKILL'); // the kernel sends FIN, and nobody sends close_notify
  assert.equal((await broken)[0].code, 'ECONNRESET');
});

test('nc half-closes, and gets its answer through a splice', async () => {
  await using backend = await serving(async conn => {
    const question = await text(conn);
    conn.stream.end(`answer to ${question}`);
    await conn.close(AbortSignal.timeout(5000));
  });
  await using gate = await serving(async near => {
    const far = await dialTcp({ host: '127.0.0.1', port: backend.port, timeout: 5000 }, never);
    await splice(near, far, { signal: never, idle: 0, halfClose: true, count: () => {} });
  });
  assert.equal((await run('nc', ['-N', '127.0.0.1', String(gate.port)], 'question')).out, 'answer to question');
});

test('curl speaks HTTPS through us, and its PROXY v1 header is believed', async () => {
  const answer = 'HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: ';
  const expect = expectProxyHeader({ from: [parseCidr('127.0.0.0/8')] });
  await using server = await serving(async raw => {
    const announced = await expect(raw, never);
    assert.deepEqual(announced.peer, raw.peer);
    const conn = await upgradeTls({ ...base, alpn: ['http/1.1'] })(announced, never);
    await once(conn.stream, 'data');
    const body = JSON.stringify(conn.peer);
    conn.stream.end(`${answer}${body.length}\r\n\r\n${body}`);
    await conn.close(AbortSignal.timeout(5000));
  });
  const args = [
    '-s',
    '--haproxy-protocol',
    '--cacert',
    ca.certFile,
    '-w',
    ' %{local_port}',
    `https://localhost:${server.port}/`,
    '--resolve',
    `localhost:${server.port}:127.0.0.1`,
  ];
  const { out } = await run('curl', args);
  assert.match(out, /^\{"host":"127\.0\.0\.1","port":(\d+)\} \1$/);
  assert.deepEqual(server.failures, []);
  const { code } = await run(
    'curl',
    args.filter(arg => arg !== '--haproxy-protocol'),
  );
  assert.notEqual(code, 0);
  assert.match(server.failures[0] ?? '', /PROXY header is missing/);
});

test('HAProxy and we understand each other’s PROXY headers', async () => {
  const expect = expectProxyHeader({ from: [parseCidr('127.0.0.0/8')] });
  await using server = await serving(async raw => {
    const conn = await expect(raw, never);
    assert.notDeepEqual(conn.peer, raw.peer);
    conn.stream.end(JSON.stringify(conn.peer));
    await conn.close(AbortSignal.timeout(5000));
  });
  const [first, second, reader] = [await freePort(), await freePort(), await freePort()];
  const config = join(temporaryFolder(), 'haproxy.cfg');
  writeFileSync(
    config,
    `defaults
  timeout client 10s
  timeout server 10s
  timeout connect 10s
listen v1
  mode tcp
  bind 127.0.0.1:${first}
  server us 127.0.0.1:${server.port} send-proxy
listen v2
  mode tcp
  bind 127.0.0.1:${second}
  server us 127.0.0.1:${server.port} send-proxy-v2 proxy-v2-options crc32c,unique-id
  unique-id-format some-id
frontend reader
  mode http
  bind 127.0.0.1:${reader} accept-proxy
  http-request return status 200 content-type text/plain lf-string "%[src] %[src_port] %[dst] %[dst_port]"
`,
  );
  using _haproxy = await start('haproxy', ['-db', '-f', config], reader);
  for (const port of [first, second]) {
    const conn = await dialTcp({ host: '127.0.0.1', port, timeout: 5000 }, never);
    assert.deepEqual(JSON.parse(await text(conn)), conn.local);
    conn.stream.destroy();
  }
  for (const version of ['v1', 'v2'] as const) {
    for (const [from, to] of [
      ['203.0.113.7', '198.51.100.1'],
      ['2001:db8::7', '2001:db8::1'],
    ] as const) {
      const conn = await dialTcp({ host: '127.0.0.1', port: reader, timeout: 5000 }, never);
      conn.stream.write(
        writeProxyHeader(version, { source: { host: from, port: 4000 }, destination: { host: to, port: 443 } }),
      );
      conn.stream.write('GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n');
      assert.match(await text(conn), new RegExp(`\r\n\r\n${from} 4000 ${to} 443`));
      conn.stream.destroy();
    }
  }
});
