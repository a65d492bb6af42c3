// Article 004 on a real gate, from the examples: curl with a client certificate reaches the original addresses.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer as createTlsServer } from 'node:https';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { connect as tlsConnect } from 'node:tls';
import { header, openOrigin } from '../e2e/web/rig.ts';
import { makeCa } from '../fixtures/certificates.ts';
import { freePorts, type GateProcess, newFolder, startGate } from '../fixtures/gate-process.ts';
import { run } from '../fixtures/programs.ts';

interface Setting {
  readonly gate: GateProcess;
  readonly port: number;
  readonly folder: string;
  /** curl through the proxy as staff01, or as nobody. */
  curl(...args: string[]): ReturnType<typeof run>;
  stranger(...args: string[]): ReturnType<typeof run>;
}

async function openExample(
  t: TestContext,
  example: string,
  replace: Readonly<Record<string, string>>,
  proxy = 'gate.example.com',
  ou = '医療事業部',
): Promise<Setting> {
  const [port = 0] = await freePorts(1);
  let config = readFileSync(join(import.meta.dirname, '../../examples', example), 'utf8').replace(
    'tls://0.0.0.0:443',
    `tls://127.0.0.1:${port}`,
  );
  for (const [from, to] of Object.entries(replace)) {
    assert.ok(config.includes(from), `${example} names ${from}`);
    config = config.replaceAll(from, to);
  }
  const folder = newFolder();
  const gate = await startGate(t, { folder, config: `${config}log: { access: { file: access.log } }\n` });
  const issued = await gate.run('cert', 'issue', 'staff01', '--ou', ou, '--pem', join(folder, 'pem'));
  assert.equal(issued.status, 0, issued.stderr);
  const resolve = ['gate.example.com', 'proxy.example.com'].flatMap(name => ['--resolve', `${name}:${port}:127.0.0.1`]);
  const base = [
    '-sS',
    '--max-time',
    '60',
    ...resolve,
    '--proxy',
    `https://${proxy}:${port}`,
    '--proxy-cacert',
    join(folder, 'pem/ca.crt'),
  ];
  const staff = ['--proxy-cert', join(folder, 'pem/staff01.crt'), '--proxy-key', join(folder, 'pem/staff01.key')];
  return {
    ...{ gate, port, folder },
    curl: (...args) => run('curl', [...base, ...staff, ...args]),
    stranger: (...args) => run('curl', [...base, ...args]),
  };
}

test('the article’s map works with its original addresses', async t => {
  await using plain = await openOrigin((request, response) => {
    // An application that insists on its name, and redirects to it.
    if (request.headers.host !== 'server1:8081') response.writeHead(400).end('strange Host');
    else if (request.url === '/old') response.writeHead(302, { location: 'http://server1:8081/new' }).end();
    else response.end(`welcome to ${request.url}`);
  });
  await using office = await openOrigin((request, response) => void response.end(`office ${request.headers.host}`));
  const company = makeCa('Company');
  const { cert, key } = company.issue({ cn: 'ssl', san: ['ssl.example.com'] });
  const secure = createTlsServer({ cert, key }, (_, response) => void response.end('already TLS')).listen(
    0,
    '127.0.0.1',
  );
  await once(secure, 'listening');
  t.after(() => secure.close());
  const { port: securePort } = secure.address() as { port: number };
  const { gate, curl, stranger, port, folder } = await openExample(t, 'web-original-urls.yaml', {
    'tcp://10.0.1.26:8081': `tcp://127.0.0.1:${plain.port}`,
    'tcp://10.0.1.30:80': `tcp://127.0.0.1:${office.port}`,
    'tcp://10.0.1.40:443': `tcp://127.0.0.1:${securePort}`,
    '"*.example.org": resolve': `"*.example.org": tcp://127.0.0.1:${office.port}`,
  });

  const redirected = await curl('-L', '-w', '\n%{url_effective}', 'http://server1:8081/old');
  assert.equal(redirected.stdout, 'welcome to /new\nhttp://server1:8081/new', redirected.stderr);
  assert.equal((await curl('http://office1/')).stdout, 'office office1');
  assert.equal((await curl('http://test.example.org/')).stdout, 'office test.example.org');
  assert.equal((await curl('--cacert', company.certFile, 'https://ssl.example.com/')).stdout, 'already TLS');
  assert.equal((await curl('-p', 'http://server1:8081/by-connect')).stdout, 'welcome to /by-connect');

  const page = await stranger('-w', '%{http_code}', '-H', 'Accept: text/html', 'http://server1:8081/');
  assert.match(page.stdout, /Ask the IT desk for a certificate\.[\s\S]*403$/);
  const refused = await stranger('-p', 'http://server1:8081/');
  assert.match(refused.stderr, /403/);
  assert.equal(
    (await curl('-o', '/dev/null', '-w', '%{http_code}', 'http://very-important-information/')).stdout,
    '403',
  );
  assert.equal((await curl('-o', '/dev/null', '-w', '%{http_code}', `http://localhost:${port}/`)).stdout, '403');

  // The PAC file and the check page stand on the gate's own address, over HTTP/1.1 and HTTP/2.
  const direct = ['-sS', '--cacert', join(folder, 'pem/ca.crt'), '--resolve', `gate.example.com:${port}:127.0.0.1`];
  for (const version of ['--http1.1', '--http2']) {
    const pac = await run('curl', [
      ...direct,
      version,
      '-w',
      '%{content_type}',
      `https://gate.example.com:${port}/proxy.pac`,
    ]);
    assert.match(pac.stdout, /FindProxyForURL[\s\S]*application\/x-ns-proxy-autoconfig$/);
    const check = await run('curl', [
      ...direct,
      version,
      '-H',
      'Accept: application/json',
      `https://gate.example.com:${port}/check`,
    ]);
    assert.equal(JSON.parse(check.stdout).proxy, 'off');
    const api = await run('curl', [
      ...direct,
      version,
      '-w',
      ' %{http_code}',
      `https://gate.example.com:${port}/v1/status`,
    ]);
    assert.match(api.stdout, /unknown-caller[\s\S]* 401$/);
  }

  const list = JSON.parse((await gate.run('web', 'list', '--json')).stdout);
  assert.equal(list.forward.proxy, `gate.example.com:${port}`);
  const good = await gate.run('web', 'check', 'http://server1:8081/', '--as', 'staff01');
  assert.match(good.stdout, /reached: allowed by access\[0\]/);
  const bad = await gate.run('web', 'check', 'http://server1:22/', '--as', 'staff01', '--json');
  assert.deepEqual([bad.status, JSON.parse(bad.stdout).verdict], [3, 'not-mapped']);
  const audit = (await gate.run('audit', 'search', '--json')).stdout;
  for (const event of ['web.opened', 'web.closed', 'web.denied']) assert.ok(audit.includes(event), event);
});

test('revoking a certificate ends its tunnels and downloads at once', async t => {
  await using slow = await openOrigin((_, response) => {
    response.writeHead(200).write('for ever');
  });
  const { gate, port, folder } = await openExample(t, 'web-original-urls.yaml', {
    'tcp://10.0.1.26:8081': `tcp://127.0.0.1:${slow.port}`,
  });
  const [cert, key, ca] = ['staff01.crt', 'staff01.key', 'ca.crt'].map(file => readFileSync(join(folder, 'pem', file)));
  const open = async (text: string) => {
    const socket = tlsConnect({
      host: '127.0.0.1',
      port,
      servername: 'gate.example.com',
      cert,
      key,
      ca,
      ALPNProtocols: ['http/1.1'],
    });
    socket.on('error', () => {});
    const closed = new Promise(resolve => socket.once('close', resolve));
    socket.write(text);
    const [chunk] = await once(socket, 'data');
    assert.match(String(chunk), /^HTTP\/1\.1 200/);
    return { closed };
  };
  const tunnel = await open('CONNECT server1:8081 HTTP/1.1\r\nHost: server1:8081\r\n\r\n');
  const download = await open('GET http://server1:8081/ HTTP/1.1\r\nHost: server1:8081\r\n\r\n');
  const listed = JSON.parse((await gate.run('cert', 'list', '--json')).stdout);
  const { serial } = listed.certs.find(({ name }: { name: string }) => name === 'staff01');
  assert.equal((await gate.run('cert', 'revoke', serial)).status, 0);
  await Promise.all([tunnel.closed, download.closed]);
});

test('a gigabyte goes up and comes down whole, and the gate stays small', async t => {
  const size = 1024 * 1024 * 1024;
  const block = Buffer.alloc(1 << 20, 'sekisho ');
  const stream = () =>
    Readable.from(
      (function* () {
        for (let at = 0; at < size; at += block.length) yield block;
      })(),
    );
  await using origin = await openOrigin((request, response) => {
    if (request.method === 'GET') {
      response.writeHead(200, { 'content-length': size });
      stream().pipe(response);
      return;
    }
    let got = 0;
    request.on('data', chunk => {
      got += chunk.length;
    });
    request.on('end', () => response.end(String(got)));
  });
  const { gate, curl, folder } = await openExample(t, 'web-original-urls.yaml', {
    'tcp://10.0.1.26:8081': `tcp://127.0.0.1:${origin.port}`,
  });
  const down = await curl('-o', '/dev/null', '-w', '%{size_download}', 'http://server1:8081/big');
  assert.equal(down.stdout, String(size));
  const file = join(folder, 'sparse');
  await run('truncate', ['-s', String(size), file]);
  const up = await curl('-T', file, 'http://server1:8081/up');
  assert.equal(up.stdout, String(size));
  const peak = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${gate.child.pid}/status`, 'utf8'))?.[1];
  assert.ok(Number(peak) < 600_000, `the gate grew to ${peak} kB`);
});

test('the proxy under a name of its own: only that name asks for a certificate', async t => {
  await using wiki = await openOrigin(
    (request, response) => void response.end(header(request.rawHeaders, 'x-sekisho-user') ?? 'nobody'),
  );
  const { gate, curl, port, folder } = await openExample(
    t,
    'web-own-name.yaml',
    { 'tcp://10.0.1.50:80': `tcp://127.0.0.1:${wiki.port}` },
    'proxy.example.com',
  );
  assert.equal((await gate.run('group', 'add', 'operators', 'staff01')).status, 0);
  assert.equal((await curl('-H', 'X-Sekisho-User: root', 'http://wiki.corp.example/')).stdout, 'staff01');
  const asks = async (name: string) =>
    (await run('openssl', ['s_client', '-connect', `127.0.0.1:${port}`, '-servername', name, '-alpn', 'http/1.1']))
      .stdout;
  assert.match(await asks('proxy.example.com'), /Acceptable client certificate CA names/);
  assert.match(await asks('gate.example.com'), /No client certificate CA names sent/);
  const { forward } = JSON.parse((await gate.run('web', 'list', '--json')).stdout);
  assert.match(forward.pac.url, /^https:\/\/gate\.example\.com:\d+\/proxy-[\w-]{24}\.pac$/);
  const direct = ['-sS', '--cacert', join(folder, 'pem/ca.crt'), '--resolve', `gate.example.com:${port}:127.0.0.1`];
  assert.match(
    (await run('curl', [...direct, forward.pac.url])).stdout,
    new RegExp(`HTTPS proxy\\.example\\.com:${port}`),
  );
  assert.match((await run('curl', [...direct, forward.pac.url.replace(/-[\w-]{24}/, '')])).stdout, /missing/);
});
