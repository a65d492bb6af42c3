// What the CA makes, judged by OpenSSL and by Node's TLS: certificates, lists, PKCS#12 files, signing requests.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import tls from 'node:tls';
import { promisify } from 'node:util';
import type { Log } from '../../src/core/parts.ts';
import { openStore, type Store } from '../../src/store/index.ts';
import { type Authority, openAuthority } from '../../src/trust/authority.ts';

const run = promisify(execFile);
const log: Log = { child: () => log, debug() {}, info() {}, warn() {}, error() {} };

let dir: string;
let store: Store;
let authority: Authority;
const path = (name: string): string => join(dir, name);
const save = async (name: string, text: string | Uint8Array): Promise<string> => {
  await writeFile(path(name), text);
  return path(name);
};
const openssl = async (...words: string[]): Promise<string> => {
  const { stdout, stderr } = await run('openssl', words, { maxBuffer: 1 << 24 });
  return stdout + stderr;
};

for (const key of ['ecdsa', 'rsa'] as const) {
  suite(`a CA with ${key} keys`, () => {
    before(async () => {
      dir = await mkdtemp(join(tmpdir(), 'sekisho-trust-'));
      store = await openStore({ url: 'sqlite::memory:', log });
      authority = await openAuthority({ store, dir, log, key, crlUrl: 'http://gate.example/crl' });
      await save('root.pem', authority.root().cert);
      await save('issuing.pem', authority.chain()[0] ?? '');
    });
    after(async () => {
      await authority[Symbol.asyncDispose]();
      await store[Symbol.asyncDispose]();
      await rm(dir, { recursive: true });
    });

    for (const leaf of ['rsa', 'ecdsa'] as const) {
      test(`openssl verifies an ${leaf} server certificate by name and by address`, async () => {
        const names = ['gate.example', '*.web.example', '127.0.0.1', '::1', '2001:db8::ff:1', '日本.example'];
        const issued = await authority.issueServer({ names, key: leaf });
        const file = await save('server.pem', issued.cert);
        const strict = [
          'verify',
          '-x509_strict',
          '-CAfile',
          path('root.pem'),
          '-untrusted',
          path('issuing.pem'),
          '-purpose',
          'sslserver',
        ];
        assert.match(await openssl(...strict, '-verify_hostname', 'gate.example', file), /: OK/);
        assert.match(await openssl(...strict, '-verify_hostname', 'a.web.example', file), /: OK/);
        assert.match(await openssl(...strict, '-verify_ip', '2001:db8::ff:1', file), /: OK/);
        await assert.rejects(openssl(...strict, '-verify_hostname', 'other.example', file));
        const text = await openssl('x509', '-in', file, '-noout', '-text');
        assert.match(
          text,
          /DNS:gate\.example, DNS:\*\.web\.example, IP Address:127\.0\.0\.1, IP Address:0:0:0:0:0:0:0:1/,
        );
        assert.match(text, /DNS:xn--wgv71a\.example/);
        assert.match(text, /CA:FALSE/);
        assert.match(text, leaf === 'rsa' ? /Digital Signature, Key Encipherment\n/ : /Digital Signature\n/);
        assert.match(text, /TLS Web Server Authentication/);
        assert.match(text, /X509v3 Authority Key Identifier/);
        assert.match(text, /CRL Distribution Points:[\s\S]*URI:http:\/\/gate\.example\/crl/);
      });
    }

    test('openssl reads Japanese in a client certificate and accepts it for clients only', async () => {
      const issued = await authority.issueClient({
        user: '医療_太郎',
        cn: '太郎',
        ou: ['医療事業部', '第二,OU=係'],
        o: '東都',
      });
      const file = await save('client.pem', issued.cert);
      const strict = [
        'verify',
        '-x509_strict',
        '-CAfile',
        path('root.pem'),
        '-untrusted',
        path('issuing.pem'),
        '-purpose',
      ];
      assert.match(await openssl(...strict, 'sslclient', file), /: OK/);
      await assert.rejects(openssl(...strict, 'sslserver', file));
      const text = await openssl('x509', '-in', file, '-noout', '-text', '-nameopt', 'utf8,sep_comma_plus,esc_2253');
      assert.match(text, /Subject: O=東都,OU=医療事業部,OU=第二\\,OU=係,CN=太郎/);
      assert.match(text, /URI:sekisho:user\/%E5%8C%BB%E7%99%82_%E5%A4%AA%E9%83%8E/);
      const der = await openssl('asn1parse', '-in', file);
      assert.match(der, /UTF8STRING/);
      assert.match(der, /UTCTIME\s+:\d{12}Z/); // no fractions
    });

    test('the list says which certificates are revoked, and openssl refuses those', async () => {
      const kept = await authority.issueClient({ user: 'kept', key: 'ecdsa' });
      const lost = await authority.issueClient({ user: 'lost', key: 'ecdsa' });
      const first = await authority.crl();
      await authority.revoke(lost.serial.toUpperCase(), 'keyCompromise');
      const second = await authority.crl();
      const file = await save('crl.pem', second.pem);
      const text = await openssl('crl', '-in', file, '-noout', '-text', '-CAfile', path('issuing.pem'));
      assert.match(text, /verify OK/);
      assert.match(text, /Version 2/);
      assert.match(text.toLowerCase(), new RegExp(`serial number: ${lost.serial}`));
      assert.match(text, /Key Compromise/);
      const number = async (pem: string): Promise<number> =>
        Number(
          /crlNumber=(0x[0-9A-F]+)/.exec(
            await openssl('crl', '-noout', '-crlnumber', '-in', await save('n.pem', pem)),
          )?.[1],
        );
      assert.ok((await number(second.pem)) > (await number(first.pem)));
      const check = [
        'verify',
        '-crl_check',
        '-CRLfile',
        file,
        '-CAfile',
        path('root.pem'),
        '-untrusted',
        path('issuing.pem'),
      ];
      assert.match(await openssl(...check, await save('kept.pem', kept.cert)), /: OK/);
      await assert.rejects(openssl(...check, await save('lost.pem', lost.cert)), /certificate revoked/);
      assert.match(
        await openssl('crl', '-inform', 'DER', '-noout', '-issuer', '-in', await save('crl.der', second.der)),
        /Issuing CA 1/,
      );
    });

    test('openssl and Node open the PKCS#12 file with a Japanese password, and nobody with another', async () => {
      const issued = await authority.issueClient({ user: 'staff01', key });
      const password = 'かぎ🔑 päß';
      const p12 = await authority.exportP12(issued, password);
      const file = await save('staff01.p12', p12);
      const pass = await save('pass', `${password}\n`);
      const info = await openssl('pkcs12', '-in', file, '-info', '-nokeys', '-passin', `file:${pass}`);
      assert.match(info, /MAC: sha256, Iteration 100000/);
      assert.match(info, /MAC length: 32, salt length: 8/);
      assert.match(info, /PBES2, PBKDF2, AES-256-CBC, Iteration 100000, PRF hmacWithSHA256/);
      assert.match(info, /friendlyName: staff01/);
      assert.equal(info.match(/BEGIN CERTIFICATE/g)?.length, 3);
      const secret = await openssl('pkcs12', '-in', file, '-nocerts', '-noenc', '-passin', `file:${pass}`);
      assert.match(secret, /BEGIN PRIVATE KEY/);
      await assert.rejects(openssl('pkcs12', '-in', file, '-noout', '-passin', 'pass:other'), /invalid password/);
      tls.createSecureContext({ pfx: Buffer.from(p12), passphrase: password });
      await assert.rejects(authority.exportP12(issued, ''), { code: 'invalid' });
    });

    test('a signing request of openssl gets the names we choose, and proves its key', async () => {
      const request = path('request.pem');
      const made = ['req', '-new', '-newkey', 'rsa:2048', '-nodes', '-keyout', path('own.key'), '-out', request];
      await openssl(...made, '-subj', '/CN=root/O=evil', '-addext', 'subjectAltName=URI:sekisho:user/root');
      const pem = await openssl('req', '-in', request);
      const signed = await authority.signCsr({ csr: pem, device: 'pump-7' });
      const text = await openssl('x509', '-noout', '-text', '-in', await save('pump.pem', signed.cert));
      assert.match(text, /Subject: CN = pump-7\n/);
      assert.match(text, /URI:sekisho:device\/pump-7\n/);
      assert.doesNotMatch(text, /evil|root\b.*URI/);
      const [der] = [Buffer.from(pem.replace(/-----.*-----/g, ''), 'base64')];
      der.writeUInt8(der.readUInt8(der.length - 1) ^ 1, der.length - 1);
      await assert.rejects(authority.signCsr({ csr: der, device: 'pump-7' }), {
        code: 'invalid',
        message: /not signed by its own key|cannot be read/,
      });
      await openssl(
        'req',
        '-new',
        '-newkey',
        'rsa:1024',
        '-nodes',
        '-keyout',
        path('weak.key'),
        '-out',
        request,
        '-subj',
        '/CN=x',
      );
      await assert.rejects(authority.signCsr({ csr: await openssl('req', '-in', request), user: 'x' }), {
        message: /2048/,
      });
    });

    test('Node’s TLS accepts both ends, with the whole chain verified', async () => {
      const server = await authority.issueServer({ names: ['localhost', '127.0.0.1'] });
      const client = await authority.issueClient({ user: 'alice', key: 'ecdsa' });
      const { cas } = authority.trust();
      const listener = tls.createServer(
        {
          cert: server.cert + server.chain.join(''),
          key: server.key,
          ca: [...cas],
          requestCert: true,
          rejectUnauthorized: true,
        },
        socket => socket.end(socket.getPeerCertificate().subjectaltname ?? ''),
      );
      listener.listen(0, '127.0.0.1');
      await once(listener, 'listening');
      const { port } = listener.address() as AddressInfo;
      // Without the intermediate the server still finds it among its CAs.
      for (const cert of [client.cert + client.chain.join(''), client.cert]) {
        const socket = tls.connect({
          port,
          host: '127.0.0.1',
          ca: authority.root().cert,
          cert,
          key: client.key,
          servername: 'localhost',
        });
        const chunks: Buffer[] = [];
        for await (const chunk of socket) chunks.push(chunk as Buffer);
        assert.equal(Buffer.concat(chunks).toString(), 'URI:sekisho:user/alice');
      }
      listener.close();
    });

    test('the keys on disk are for their owner only', async () => {
      for (const name of ['root.key', 'issuing-1.key'])
        assert.equal((await stat(path(`ca/${name}`))).mode & 0o777, 0o600);
      assert.equal((await stat(path('ca'))).mode & 0o777, 0o700);
    });
  });
}
