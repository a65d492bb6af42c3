// Article 004's nginx.conf, run by nginx and, imported, by the gate: the same probes have the same outcomes.
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer as createTlsServer } from 'node:https';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { decode, encode } from 'dns-packet';
import { importNginxFile } from '../../src/daemon/import.ts';
import { openOrigin } from '../e2e/web/rig.ts';
import { type Ca, type Issued, makeCa, temporaryFolder } from '../fixtures/certificates.ts';
import { freePorts, startGate } from '../fixtures/gate-process.ts';
import { startNginx } from '../fixtures/nginx-process.ts';
import { run } from '../fixtures/programs.ts';

const fixture = join(import.meta.dirname, '../fixtures/nginx/article-004');

/** A name server that knows one answer, as the article's unbound does. */
async function openNames(t: TestContext): Promise<number> {
  const socket = createSocket('udp4');
  socket.on('message', (message, { port, address }) => {
    const question = decode(message);
    const [asked] = question.questions ?? [];
    const answers = asked?.type === 'A' ? [{ type: 'A' as const, name: asked.name, data: '127.0.0.1', ttl: 60 }] : [];
    socket.send(
      encode({ type: 'response', id: question.id ?? 0, flags: 1 << 7, questions: asked ? [asked] : [], answers }),
      port,
      address,
    );
  });
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  t.after(() => socket.close());
  return socket.address().port;
}

interface Sight {
  readonly status: string;
  readonly location: string;
  readonly body: string;
}

async function look(
  port: number,
  ca: Ca,
  identity: Issued | undefined,
  name: string,
  ...args: string[]
): Promise<Sight> {
  const { stdout, stderr } = await run('curl', [
    ...['-sS', '--max-time', '20', '--http1.1', '--cacert', ca.certFile, '--resolve', `${name}:${port}:127.0.0.1`],
    ...(identity ? ['--cert', identity.fullchainFile, '--key', identity.keyFile] : []),
    ...['-w', '\n%{http_code}\n%header{location}', ...args, `https://${name}:${port}/p?q=1`],
  ]);
  const lines = stdout.split('\n');
  return { status: lines.at(-2) ?? stderr, location: lines.at(-1) ?? '', body: lines.slice(0, -2).join('\n') };
}

test('the article’s http {} behaves the same, imported', async t => {
  const answer = (who: string) =>
    openOrigin((request, response) => {
      const { host } = request.headers;
      request.resume();
      request.on('end', () => {
        const wanted = request.headers['x-wanted'];
        if (wanted) response.writeHead(302, { location: String(wanted) });
        response.end(`${who} ${request.method} ${request.url} for ${host}`);
      });
    });
  await using wild = await answer('wild');
  await using first = await answer('first');
  await using second = await answer('second');
  const ca = makeCa('Company');
  const inner = ca.issue({ cn: 'inner', san: ['127.0.0.1'] });
  const tls = createTlsServer({ cert: inner.fullchain, key: inner.key }, (request, response) => {
    response.end(`tls ${request.url} for ${request.headers.host}`);
  }).listen(0, '127.0.0.1');
  await once(tls, 'listening');
  t.after(() => tls.close());
  const names = await openNames(t);
  const [nginxPort = 0, gatePort = 0, nginxPlain = 0, gatePlain = 0] = await freePorts(4);

  const folder = temporaryFolder('article-004');
  cpSync(fixture, folder, { recursive: true });
  mkdirSync(join(folder, 'certs'));
  for (const domain of ['example.com', 'example.org']) {
    const { fullchain, key } = ca.issue({ cn: domain, san: [`*.${domain}`] });
    writeFileSync(join(folder, `certs/wildcard.${domain}.crt`), fullchain);
    writeFileSync(join(folder, `certs/wildcard.${domain}.key`), key);
  }
  writeFileSync(join(folder, 'ssl-root.crt'), ca.cert);
  const written = (port: number, plain: number): string =>
    readFileSync(join(fixture, 'nginx.conf'), 'utf8')
      .replaceAll('listen 127.0.0.1:443', `listen 127.0.0.1:${port}`)
      .replace('listen 127.0.0.1:80;', `listen 127.0.0.1:${plain};`)
      .replaceAll('127.0.0.1:5353', `127.0.0.1:${names}`)
      .replaceAll('$host:8080', `$host:${wild.port}`)
      .replace('127.0.0.1:8081', `127.0.0.1:${first.port}`)
      .replace('127.0.0.1:8082', `127.0.0.1:${second.port}`)
      .replace('127.0.0.1:8443', `127.0.0.1:${(tls.address() as { port: number }).port}`)
      .replace('http {', `pid ${folder}/nginx.pid; error_log stderr notice; http {`);
  await using _ = await startNginx(written(nginxPort, nginxPlain), folder);
  writeFileSync(join(folder, 'imported.conf'), written(gatePort, gatePlain));
  const imported = importNginxFile(join(folder, 'imported.conf'));
  assert.equal(imported.refused, 0, JSON.stringify(imported.rows.filter(({ status }) => status === 'refused')));
  assert.ok(imported.findings.some(({ code }) => code === 'forgeable-subject'));
  await startGate(t, { config: imported.yaml });

  const staff = ca.issue({ cn: 'staff01', ou: 'Staff', client: true });
  const other = ca.issue({ cn: 'guest01', ou: 'Guests', client: true });
  const forged = ca.issue({ cn: 'x OU=Staff', ou: 'Guests', client: true });
  const all = [
    'foo.example.com',
    'ssl.example.com',
    'ssl2.example.com',
    'bar.example.org',
    'server1-8081.example.com',
    'server1.example.com',
  ];
  const both = async (identity: Issued | undefined, name: string, ...args: string[]): Promise<[Sight, Sight]> => {
    const [a, b] = await Promise.all([nginxPort, gatePort].map(port => look(port, ca, identity, name, ...args)));
    return [a as Sight, b as Sight];
  };
  for (const name of all) {
    const [a, b] = await both(staff, name);
    assert.equal(a.status, '200', `${name}: ${JSON.stringify(a)}`);
    assert.deepEqual(b, a, name);
    const [refusedThere, refusedHere] = await both(other, name);
    assert.deepEqual([refusedThere.status, refusedHere.status], ['403', '403'], name);
    // nginx says 400 where no certificate was shown; here a page says what is missing.
    const [nobodyThere, nobodyHere] = await both(undefined, name);
    assert.deepEqual([nobodyThere.status, nobodyHere.status], ['400', '403'], name);
    // The hole that the import warns about: it is not imported.
    const [passed, stopped] = await both(forged, name);
    assert.deepEqual([passed.status, stopped.status], ['200', '403'], name);
  }
  for (const location of ['http://server1/a?b=1', '/rel', 'rel', 'http://server10/a', 'http://other/a']) {
    const [a, b] = await both(staff, 'server1.example.com', '-H', `X-Wanted: ${location}`);
    assert.equal(a.status, '302');
    assert.equal(b.location.replace(`:${gatePort}`, ''), a.location, location);
  }
  for (const location of ['http://server1/a', 'http://foo.example.com/a']) {
    const [a, b] = await both(staff, 'server1-8081.example.com', '-H', `X-Wanted: ${location}`);
    assert.deepEqual(b, a, location);
  }
  const big = 'x'.repeat(1024 * 1024 + 1);
  writeFileSync(join(folder, 'big'), big);
  for (const [name, status] of [
    ['server1.example.com', '413'],
    ['foo.example.com', '200'],
  ] as const) {
    const [a, b] = await both(staff, name, '-H', 'Expect:', '--data-binary', `@${join(folder, 'big')}`);
    assert.deepEqual([a.status, b.status], [status, status], name);
  }
  for (const port of [nginxPlain, gatePlain]) {
    const { stdout } = await run('curl', [
      ...['-sS', '-o', '/dev/null', '-w', '%{http_code} %{redirect_url}', '-H', 'Host: server1.example.com'],
      `http://127.0.0.1:${port}/a`,
    ]);
    assert.match(stdout, /^308 https:\/\/server1\.example\.com(:\d+)?\/a$/);
  }
});
