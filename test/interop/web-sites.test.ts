// Article 004's second way on a real gate, from the examples: curl with a client certificate reaches renamed sites.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { openOrigin } from '../e2e/web/rig.ts';
import { makeCa } from '../fixtures/certificates.ts';
import { freePorts, type GateProcess, newFolder, startGate } from '../fixtures/gate-process.ts';
import { run } from '../fixtures/programs.ts';

interface Setting {
  readonly gate: GateProcess;
  readonly port: number;
  readonly folder: string;
  /** curl to `https://NAME:port…` as staff01, or as nobody. */
  curl(...args: string[]): ReturnType<typeof run>;
  stranger(...args: string[]): ReturnType<typeof run>;
}

const names = [
  ...['server1', 'server1-8080', 'server1-8081', 'server1-8082', 'office1', 'ssl', 'test', 'gate', 'wiki'].map(
    name => `${name}.example.com`,
  ),
  'test.example.org',
];

async function openExample(
  t: TestContext,
  replace: Readonly<Record<string, string>>,
  prepare: (folder: string) => void = () => {},
): Promise<Setting> {
  const [port = 0] = await freePorts(1);
  let config = readFileSync(join(import.meta.dirname, '../../examples/web-renamed-sites.yaml'), 'utf8');
  for (const [from, to] of Object.entries({ 'tls://0.0.0.0:443': `tls://127.0.0.1:${port}`, ...replace })) {
    assert.ok(config.includes(from), `the example names ${from}`);
    config = config.replaceAll(from, to);
  }
  const folder = newFolder();
  prepare(folder);
  const gate = await startGate(t, { folder, config: `${config}log: { access: { file: access.log } }\n` });
  const issued = await gate.run('cert', 'issue', 'staff01', '--ou', '医療事業部', '--pem', join(folder, 'pem'));
  assert.equal(issued.status, 0, issued.stderr);
  const base = [
    ...['-sS', '--max-time', '60', '--cacert', join(folder, 'pem/ca.crt')],
    ...names.flatMap(name => ['--resolve', `${name}:${port}:127.0.0.1`]),
  ];
  const staff = ['--cert', join(folder, 'pem/staff01.crt'), '--key', join(folder, 'pem/staff01.key')];
  return {
    ...{ gate, port, folder },
    curl: (...args) => run('curl', [...base, ...staff, ...args]),
    stranger: (...args) => run('curl', [...base, ...args]),
  };
}

test('the article’s map works under renamed sites, and its original addresses beside it', async t => {
  await using first = await openOrigin((request, response) => {
    // An application that insists on its name, and redirects to it.
    if (request.headers.host !== 'server1') response.writeHead(400).end('strange Host');
    else if (request.url === '/old') response.writeHead(302, { location: 'http://server1/new' }).end();
    else if (request.url === '/port') response.writeHead(302, { location: 'http://server1:8080/moved' }).end();
    else response.end(`welcome to ${request.url}`);
  });
  await using second = await openOrigin((request, response) => {
    if (request.headers.host !== 'server1:8080') response.writeHead(400).end('strange Host');
    else response.end(`8080 ${request.url}`);
  });
  await using office = await openOrigin((request, response) => {
    response.writeHead(200, { 'content-type': 'text/html' });
    response.end(`<a href="http://office1/a">office ${request.headers.host}</a>`);
  });
  const company = makeCa('Company');
  const { cert, key } = company.issue({ cn: 'ssl', san: ['ssl.example.com'] });
  const secure = createTlsServer({ cert, key }, (_, response) => void response.end('already TLS')).listen(
    0,
    '127.0.0.1',
  );
  await once(secure, 'listening');
  t.after(() => secure.close());
  const { port: securePort } = secure.address() as { port: number };
  const [plainPort = 0] = await freePorts(1);
  const { gate, curl, stranger, port, folder } = await openExample(
    t,
    {
      'tcp://10.0.1.26:80 ': `tcp://127.0.0.1:${first.port} `,
      'tcp://10.0.1.26:8080': `tcp://127.0.0.1:${second.port}`,
      'tcp://10.0.1.26:8081': `tcp://127.0.0.1:${first.port}`,
      'tcp://10.0.1.30:80': `tcp://127.0.0.1:${office.port}`,
      'tcp://10.0.1.40:443': `tcp://127.0.0.1:${securePort}`,
      '"*.example.org": { to: "http://*.example.org/" }': `test.example.org: { to: "http://test.example.org/", at: "tcp://127.0.0.1:${office.port}" }`,
      'access:\n': `  http: tcp://127.0.0.1:${plainPort}\naccess:\n`,
    },
    where => writeFileSync(join(where, 'company.pem'), company.cert),
  );
  const at = (name: string, path = '/') => `https://${name}:${port}${path}`;
  for (const version of ['--http1.1', '--http2']) {
    const redirected = await curl(version, '-L', '-w', '\n%{url_effective}', at('server1.example.com', '/old'));
    assert.equal(redirected.stdout, `welcome to /new\n${at('server1.example.com', '/new')}`, redirected.stderr);
    const elsewhere = await curl(version, '-L', '-w', ' %{url_effective}', at('server1.example.com', '/port'));
    assert.equal(elsewhere.stdout, `8080 /moved ${at('server1-8080.example.com', '/moved')}`, elsewhere.stderr);
    assert.equal((await curl(version, at('server1-8081.example.com', '/x'))).stdout, 'welcome to /x');
    assert.equal((await curl(version, at('ssl.example.com'))).stdout, 'already TLS');
    assert.match((await curl(version, at('test.example.org'))).stdout, /office test\.example\.org/);
    const page = await curl(version, at('office1.example.com'));
    assert.equal(page.stdout, `<a href="https://office1.example.com:${port}/a">office office1</a>`);
    const refused = await stranger(version, '-w', '%{http_code}', '-H', 'Accept: text/html', at('server1.example.com'));
    assert.match(refused.stdout, /Ask the IT desk for a certificate\.[\s\S]*403$/);
  }

  // Port 80: names of sites to themselves with https, whatever the method, and no proxy's request anywhere.
  const plain = await run('curl', [
    ...['-sS', '-o', '/dev/null', '-w', '%{http_code} %{redirect_url}', '-d', 'x=1'],
    ...['-H', 'Host: server1.example.com', `http://127.0.0.1:${plainPort}/a?b=1`],
  ]);
  assert.equal(plain.stdout, `308 ${at('server1.example.com', '/a?b=1')}`);
  const asked = await new Promise<number>((resolve, reject) => {
    httpRequest({ port: plainPort, host: '127.0.0.1', path: 'http://server1.example.com/' }, answer => {
      answer.resume();
      resolve(answer.statusCode ?? 0);
    })
      .on('error', reject)
      .end();
  });
  assert.equal(asked, 403);

  const list = JSON.parse((await gate.run('web', 'list', '--json')).stdout);
  assert.deepEqual(
    list.sites.sites.map(({ key }: { key: string }) => key),
    ['server1', 'server1-8080', 'server1-8081', 'server1-8082', 'office1', 'ssl', '*', 'test.example.org'],
  );
  assert.match((await gate.run('web', 'list')).stdout, /https:\/\/server1-8081\.example\.com/);
  const good = await gate.run('web', 'check', at('server1-8081.example.com'), '--as', 'staff01');
  assert.match(good.stdout, /reached: allowed by access\[0\]/, good.stderr);
  const original = await gate.run('web', 'check', 'http://server1:8081/', '--as', 'staff01');
  assert.match(original.stdout, /reached: allowed by access\[0\]/, original.stderr);
  const audit = (await gate.run('audit', 'search', '--json')).stdout;
  for (const text of ['web.opened', 'web.closed', 'web.denied', 'web/server1-8081'])
    assert.ok(audit.includes(text), text);
  assert.match(
    readFileSync(join(folder, 'access.log'), 'utf8'),
    /staff01 \[[^\]]*\] "GET https:\/\/server1\.example\.com\/old HTTP\/1\.1" 302/,
  );
});
