// OCSP stapling by the gate's own TLS: what openssl and curl make of the answer that comes with the certificate.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { freePorts, newFolder, startGate } from '../fixtures/gate-process.ts';
import { run } from '../fixtures/programs.ts';

async function openHouse(t: TestContext, more = '') {
  const [port = 0, http = 0] = await freePorts(2);
  const folder = newFolder();
  const gate = await startGate(t, {
    folder,
    config: `gate: { name: localhost, listen: "tls://127.0.0.1:${port}", http: "tcp://127.0.0.1:${http}", workers: 1${more} }\n`,
  });
  const root = join(folder, 'root.pem');
  writeFileSync(root, readFileSync(join(gate.data, 'ca/root.crt')));
  const look = async (...args: string[]): Promise<string> => {
    const asked = ['s_client', '-connect', `127.0.0.1:${port}`, '-servername', 'localhost', '-CAfile', root, ...args];
    const { stdout, stderr } = await run('openssl', asked, { input: '' });
    return stdout + stderr;
  };
  return { gate, port, http, folder, root, look };
}

const ways: readonly (readonly string[])[] = [
  ['-alpn', 'http/1.1'],
  ['-alpn', 'http/1.1', '-tls1_2'],
  ['-tls1_2', '-cipher', 'ECDHE-RSA-AES128-GCM-SHA256', '-alpn', 'http/1.1'],
  ['-sigalgs', 'rsa_pss_rsae_sha256:RSA+SHA256', '-alpn', 'http/1.1'],
  [], // without ALPN, as the oldest clients come
];

test('openssl and curl are shown an OCSP answer with the certificate, which the CA signed', async t => {
  const { gate, port, http, folder, root, look } = await openHouse(t);
  for (const way of ways) {
    const shown = await look('-status', ...way);
    assert.match(shown, /OCSP Response Status: successful \(0x0\)/, way.join(' '));
    assert.match(shown, /Cert Status: good/, way.join(' '));
    assert.doesNotMatch(shown, /Cert Status: (revoked|unknown)/);
    assert.match(shown, /Verify return code: 0 \(ok\)/);
    // GnuTLS looks at the first answer alone. In TLS 1.2 the suite decides, which nobody is told before: it is a guess.
    if (way.includes('-cipher')) continue;
    const [, first = ''] = /Serial Number: ([0-9A-F]+)/.exec(shown) ?? [];
    const { stdout } = await run('openssl', ['x509', '-noout', '-serial'], {
      input: shown.slice(shown.indexOf('Server certificate')),
    });
    assert.equal(
      first,
      stdout.trim().replace('serial=', ''),
      `the first answer is about what is shown ${way.join(' ')}`,
    );
  }
  assert.doesNotMatch(await look('-alpn', 'http/1.1'), /OCSP Response Status/, 'who does not ask gets none');

  // curl verifies the signature, the time and that the answer is about this very certificate.
  for (const way of [[], ['--tls-max', '1.2'], ['--tls-max', '1.2', '--ciphers', 'ECDHE-RSA-AES128-GCM-SHA256']]) {
    const args = ['-sS', '-o', '/dev/null', '-w', '%{http_code}', '--cacert', root, '--cert-status', ...way];
    const asked = await run('curl', [...args, `https://localhost:${port}/v1/health`]);
    assert.equal(asked.code, 0, `${way.join(' ')}: ${asked.stderr}`);
  }

  // The certificate says where to ask as well, and somebody answers there.
  const leaf = join(folder, 'leaf.pem');
  const shown = await look('-showcerts', '-alpn', 'http/1.1');
  const [first = '', second = ''] = shown.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? [];
  writeFileSync(leaf, first);
  writeFileSync(join(folder, 'issuing.pem'), second);
  const uri = (await run('openssl', ['x509', '-noout', '-ocsp_uri', '-in', leaf])).stdout.trim();
  assert.equal(uri, `http://localhost:${http}/ocsp`);
  const asking = ['ocsp', '-issuer', join(folder, 'issuing.pem'), '-cert', leaf, '-CAfile', root, '-url', uri];
  const asked = await run('openssl', asking);
  assert.match(asked.stdout + asked.stderr, /leaf\.pem: good/);
  assert.match(asked.stdout + asked.stderr, /Response verify OK/);

  // Revoked by hand, it is replaced: the answer is about the one that is shown now.
  const serial = (text: string): string => /^serial=(.*)$/m.exec(text)?.[1] ?? '';
  const revoked = serial((await run('openssl', ['x509', '-noout', '-serial', '-in', leaf])).stdout);
  const { status, stderr } = await gate.run('cert', 'revoke', revoked);
  assert.equal(status, 0, stderr);
  await gate.logged(/a renewed certificate is in use/);
  const now = await look('-status', '-alpn', 'http/1.1');
  assert.match(now, /Cert Status: good/);
  assert.doesNotMatch(now, /Cert Status: revoked/);
});

test('a certificate of another CA is shown without an answer', async t => {
  const folder = newFolder();
  const [cert, key] = [join(folder, 'own.crt'), join(folder, 'own.key')];
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'];
  await run('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', key, '-out', cert, ...subject]);
  const { look } = await openHouse(t, `, certificate: { cert: "file:${cert}", key: "file:${key}" }`);
  const shown = await look('-status', '-alpn', 'http/1.1');
  assert.match(shown, /OCSP response: no response sent/);
  assert.match(shown, /subject=CN ?= ?localhost/);
});
