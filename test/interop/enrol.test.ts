// From a link to a working certificate with the real programs: a browser that makes key and file, openssl, NSS's pk12util,
// and the browser again, that shows the certificate to a route which asks for one.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash, createPrivateKey, X509Certificate } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import tls from 'node:tls';
import { chromium } from 'playwright-core';
import { fromPem } from '../../console/src/enrol/der.ts';
import { makeProfile } from '../../console/src/enrol/mobileconfig.ts';
import { makeP12 } from '../../console/src/enrol/p12.ts';
import { makeRequest } from '../../console/src/enrol/request.ts';
import { sha256 } from '../../console/src/enrol/sha256.ts';
import { temporaryFolder } from '../fixtures/certificates.ts';
import { openBrowser } from '../fixtures/chromium.ts';
import { freePorts, runSekisho, startGate } from '../fixtures/gate-process.ts';
import { run } from '../fixtures/programs.ts';

const password = 'pässword 門';

/** A new NSS database with this file in it, as the page's steps for Linux say. */
async function importInto(folder: string, p12: string, secret: string): Promise<string> {
  mkdirSync(folder, { recursive: true });
  execFileSync('certutil', ['-d', `sql:${folder}`, '-N', '--empty-password']);
  const { code, stdout, stderr } = await run('pk12util', ['-d', `sql:${folder}`, '-i', p12, '-W', secret]);
  assert.equal(code, 0, stdout + stderr);
  return (await run('certutil', ['-d', `sql:${folder}`, '-L'])).stdout;
}

/** A gate with a route that asks for certificates, in front of a server that knows nothing of them. */
async function openHouse(t: TestContext) {
  const backend = createServer((_, response) => response.end('inside'));
  await new Promise<void>(done => void backend.listen(0, '127.0.0.1', done));
  t.after(() => backend.close());
  const [port = 0, route = 0] = await freePorts(2);
  const gate = await startGate(t, {
    config: `gate: { listen: 'tls://127.0.0.1:${port}', workers: 0 }
proxy: { inner: { listen: 'tls://127.0.0.1:${route}', clients: required, to: 'tcp://127.0.0.1:${(backend.address() as AddressInfo).port}' } }
access: [ { allow: proxy.connect, who: { user: staff01, ou: 医療事業部 }, to: proxy/inner } ]
`,
  });
  const ca = join(gate.folder, 'ca.pem');
  writeFileSync(ca, (await gate.run('cert', 'ca')).stdout);
  const enroll = async (...more: string[]) => {
    const { stdout, stderr } = await gate.run('cert', 'enroll', 'staff01', '--ou', '医療事業部', '--json', ...more);
    assert.equal(stderr, '');
    return JSON.parse(stdout) as { id: string; link: string; until: string };
  };
  return { gate, ca, enroll, origin: `https://localhost:${port}`, route };
}

test('the browser’s own SHA-256 agrees with OpenSSL’s', () => {
  for (const length of [0, 1, 55, 56, 63, 64, 65, 119, 120, 1000]) {
    const bytes = new Uint8Array(length).fill(length);
    assert.equal(Buffer.from(sha256(bytes)).toString('hex'), createHash('sha256').update(bytes).digest('hex'));
  }
});

test('openssl, Node and NSS read the file that the page makes, with Japanese in name and password', async () => {
  const folder = temporaryFolder('enrol');
  const { key, csr } = await makeRequest('医療太郎');
  writeFileSync(join(folder, 'a.csr'), csr);
  writeFileSync(join(folder, 'a.key'), key);
  const asked = await run('openssl', [
    'req',
    '-in',
    join(folder, 'a.csr'),
    '-noout',
    '-verify',
    '-subject',
    '-nameopt',
    'utf8',
  ]);
  assert.match(asked.stdout + asked.stderr, /verify OK/);
  assert.match(asked.stdout, /CN\s?=\s?医療太郎/);
  execFileSync(
    'openssl',
    [
      ...['req', '-x509', '-in', join(folder, 'a.csr'), '-key', join(folder, 'a.key'), '-keyform', 'DER'],
      ...['-days', '2', '-out', join(folder, 'a.crt')],
    ],
    { stdio: ['ignore', 'ignore', 'ignore'] },
  );
  const certificates = fromPem(readFileSync(join(folder, 'a.crt'), 'utf8'), 'CERTIFICATE');
  const p12 = await makeP12({ key, certificates, name: '医療太郎' }, password);
  const file = join(folder, 'a.p12');
  writeFileSync(file, p12);
  const info = await run('openssl', ['pkcs12', '-in', file, '-passin', `pass:${password}`, '-info', '-noout']);
  assert.equal(info.code, 0, info.stderr);
  assert.match(info.stderr, /MAC: sha256, Iteration 100000\nMAC length: 32, salt length: 8/);
  assert.match(info.stderr, /Shrouded Keybag: PBES2, PBKDF2, AES-256-CBC, Iteration 100000/);
  tls.createSecureContext({ pfx: Buffer.from(p12), passphrase: password });
  assert.match(await importInto(join(folder, 'nss'), file, password), /医療太郎\s+u,u,u/);
  const other = await run('pk12util', ['-l', file, '-W', 'wrong']);
  assert.notEqual(other.code, 0);

  const profile = makeProfile({ gate: 'gate.example', user: 'a<b>&"', p12, root: certificates[0] ?? new Uint8Array() });
  const plist = await run('python3', ['-c', 'import sys, plistlib; print(plistlib.loads(sys.stdin.buffer.read()))'], {
    input: profile,
  });
  assert.equal(plist.code, 0, plist.stderr);
  assert.match(plist.stdout, /com\.apple\.security\.pkcs12/);
  assert.match(plist.stdout, /a<b>&"/);
});

test('a person opens the link, imports the file into a fresh NSS database, and passes with it', {
  timeout: 120_000,
}, async t => {
  const { gate, ca, enroll, origin, route } = await openHouse(t);
  const { link } = await enroll('--for', '1h');
  assert.ok(link.startsWith(`${origin}/enrol#code=skc_`), link);
  const home = temporaryFolder('enrol-browser');
  const [saved, fresh] = [temporaryFolder('enrol-saved'), join(home, '.pki/nssdb')];
  mkdirSync(fresh, { recursive: true });
  execFileSync('certutil', ['-d', `sql:${fresh}`, '-N', '--empty-password']);
  execFileSync('certutil', ['-d', `sql:${fresh}`, '-A', '-n', 'ca', '-t', 'C,,', '-i', ca]);
  const context = await chromium.launchPersistentContext(join(home, 'profile'), {
    executablePath: '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu'],
    locale: 'ja',
    env: { ...process.env, HOME: home } as Record<string, string>,
  });
  t.after(() => context.close());
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on('console', message => message.type() === 'error' && complaints.push(message.text()));
  page.on(
    'request',
    request => request.url().startsWith(origin) || request.url().startsWith('blob:') || complaints.push(request.url()),
  );
  await page.goto(link);
  await page.getByText('あなたの証明書').waitFor();
  assert.equal(new URL(page.url()).hash, '', 'the code is out of the address bar');
  await page.getByText('ou=医療事業部').waitFor();
  await page.getByRole('button', { name: 'English' }).click();
  await page.getByText('Your certificate').waitFor();
  await page.locator('input[name=password]').fill(password);
  await page.locator('input[name=again]').fill('something else');
  await page.getByRole('button', { name: 'Make my certificate' }).click();
  await page.getByText('The two passwords differ.').waitFor();
  await page.locator('input[name=again]').fill(password);
  await page.getByRole('button', { name: 'Make my certificate' }).click();
  await page.getByText('Your certificate is ready').waitFor({ timeout: 60_000 });
  const fetched: Record<string, string> = {};
  for (const name of ['staff01.p12', 'staff01.mobileconfig', 'staff01.pem', 'ca.crt']) {
    const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name }).click()]);
    fetched[name] = join(saved, name);
    await download.saveAs(fetched[name]);
  }
  if (process.env['SEKISHO_SCREENSHOTS'])
    await page.screenshot({ path: join(process.env['SEKISHO_SCREENSHOTS'], 'enrol.png'), fullPage: true });
  assert.deepEqual(complaints, []);
  await page.goto('about:blank');
  await page.goto(link);
  await page.getByText('was used already').waitFor();
  await context.close();

  const text = readFileSync(fetched['staff01.pem'] ?? '', 'utf8');
  const { subject, subjectAltName } = new X509Certificate(text);
  assert.match(subject, /OU=医療事業部\nCN=staff01/);
  assert.match(subjectAltName ?? '', /URI:sekisho:user\/staff01/);
  const answer = await new Promise<string>((resolve, reject) => {
    const pfx = readFileSync(fetched['staff01.p12'] ?? '');
    const options = {
      host: '127.0.0.1',
      port: route,
      servername: 'localhost',
      ca: readFileSync(ca),
      pfx,
      passphrase: password,
    };
    const socket = tls.connect(options, () => socket.write('GET / HTTP/1.0\r\n\r\n'));
    socket.on('data', chunk => resolve(String(chunk))).on('error', reject);
  });
  assert.match(answer, /inside/);

  const browser = await openBrowser({
    trusts: [ca],
    p12: { file: fetched['staff01.p12'] ?? '', password },
    policy: { AutoSelectCertificateForUrls: [`{"pattern":"https://localhost:${route}","filter":{}}`] },
  });
  t.after(() => browser[Symbol.asyncDispose]());
  assert.equal((await browser.open(`https://localhost:${route}/`)).text, 'inside');
  const told = (await gate.run('audit', 'search', '--json')).stdout;
  for (const event of ['cert.link-created', 'cert.enrolled', 'cert.denied'])
    assert.match(told, new RegExp(`"${event}"`));
  assert.doesNotMatch(told + gate.log.join('\n'), new RegExp(link.split('code=')[1] ?? ''));
});

test('the form for old programs is 3DES and SHA-1, which NSS and Node import', async t => {
  const { gate, enroll, origin, ca } = await openHouse(t);
  const { link } = await enroll();
  const body = JSON.stringify({ code: link.split('code=')[1], format: 'p12-legacy', password });
  const fetched = await run(
    'curl',
    [
      ...['-sS', '--cacert', ca, '-H', 'content-type: application/json', '--data-binary', '@-'],
      `${origin}/v1/certs/enrolment/certificate`,
    ],
    { input: body },
  );
  const { p12 } = JSON.parse(fetched.stdout) as { p12: string };
  const file = join(gate.folder, 'old.p12');
  writeFileSync(file, Buffer.from(p12, 'base64'));
  const legacy = ['-legacy', '-in', file, '-passin', `pass:${password}`];
  const info = await run('openssl', ['pkcs12', ...legacy, '-info', '-noout']);
  assert.equal(info.code, 0, info.stderr);
  assert.match(info.stderr, /MAC: sha1/);
  assert.match(info.stderr, /Shrouded Keybag: pbeWithSHA1And3-KeyTripleDES-CBC/);
  assert.match(info.stderr, /PKCS7 Encrypted data: pbeWithSHA1And3-KeyTripleDES-CBC/);
  const pair = await run('openssl', ['pkcs12', ...legacy, '-nodes']);
  assert.match(pair.stdout, /BEGIN PRIVATE KEY/);
  assert.equal(pair.stdout.match(/BEGIN CERTIFICATE/g)?.length, 3);
  tls.createSecureContext({ pfx: Buffer.from(p12, 'base64'), passphrase: password });
  assert.match(await importInto(join(gate.folder, 'nss'), file, password), /staff01\s+u,u,u/);
});

test('the command line makes, lists and revokes links, and a revoked one buys nothing', async t => {
  const { gate, enroll, origin, ca } = await openHouse(t);
  const { id, link } = await enroll('--days', '30');
  assert.match((await gate.run('cert', 'links')).stdout, new RegExp(`${id}\\s+staff01.*open`));
  assert.match((await gate.run('cert', 'unlink', id)).stdout, /works no more/);
  const { enrolments } = JSON.parse((await gate.run('cert', 'links', '--json')).stdout);
  assert.equal(enrolments[0].state, 'revoked');
  assert.doesNotMatch(JSON.stringify(enrolments), /skc_/);
  const asked = await run(
    'curl',
    [
      ...['-sS', '--cacert', ca, '-o', '/dev/null', '-w', '%{http_code}', '-H', 'content-type: application/json'],
      ...['--data-binary', '@-', `${origin}/v1/certs/enrolment`],
    ],
    { input: JSON.stringify({ code: link.split('code=')[1] }) },
  );
  assert.equal(asked.stdout, '401');
  const refused = await gate.run('cert', 'enroll', 'staff01', '--for', '8d');
  assert.match(refused.stderr, /between 1m and 7d/);
});

test('the command line does what the page does: a key made here, or a file for importers, and a link works once', async t => {
  const { gate, ca, enroll, route } = await openHouse(t);
  const dir = join(gate.folder, 'mine');
  const fetch = (link: string, ...more: string[]) =>
    runSekisho(['cert', 'fetch', link, ...more], { input: `${password}\n` });
  const { link } = await enroll('--for', '1h');
  const unknown = await fetch(link, '--pem', dir);
  assert.equal(unknown.status, 3, 'nobody said that this CA is the right one');
  const { fingerprint } = await gate.json<{ fingerprint: string }>('cert', 'ca');
  const pem = await fetch(link, '--pem', dir, '--fingerprint', fingerprint, '--json');
  assert.equal(pem.status, 0, pem.stderr);
  const read = (name: string): string => readFileSync(join(dir, name), 'utf8');
  const cert = new X509Certificate(read('staff01.crt'));
  assert.deepEqual(
    [JSON.parse(pem.stdout).serial, cert.checkPrivateKey(createPrivateKey(read('staff01.key')))],
    [cert.serialNumber.toLowerCase(), true],
  );
  const url = `https://localhost:${route}/`;
  const curl = await run('curl', [
    '-sS',
    '--cacert',
    join(dir, 'ca.crt'),
    '--cert',
    join(dir, 'staff01.crt'),
    '--key',
    join(dir, 'staff01.key'),
    url,
  ]);
  assert.equal(curl.stdout, 'inside', curl.stderr);
  const again = await fetch(link, '--pem', join(gate.folder, 'again'), '--ca', ca);
  assert.deepEqual([again.status, existsSync(join(gate.folder, 'again'))], [3, false]);
  const p12 = join(gate.folder, 'staff01.p12');
  const file = await fetch((await enroll('--for', '1h')).link, '--out', p12, '--ca', ca);
  assert.equal(file.status, 0, file.stderr);
  assert.match(await importInto(join(gate.folder, 'nss'), p12, password), /staff01/);
  const wrong = await fetch('https://gate.example.com/', '--out', p12);
  assert.match(wrong.stderr, /that is no enrolment link/);
});
