// OCSP and the revocation list as the gate serves them in the clear, judged by openssl and curl.
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { TestClock } from '../../src/core/clock.ts';
import { gateHttp } from '../../src/daemon/gate-http.ts';
import { servePlainHttp } from '../../src/daemon/plain-http.ts';
import { listenTcp } from '../../src/net/tcp.ts';
import { openStore } from '../../src/store/index.ts';
import { type Issued, openAuthority } from '../../src/trust/index.ts';
import { run } from '../fixtures/programs.ts';
import { memoryLog, memoryMetrics } from '../fixtures/quiet.ts';

async function openHouse(t: TestContext, key: 'ecdsa' | 'rsa') {
  const dir = await mkdtemp(join(tmpdir(), 'sekisho-ocsp-'));
  const log = memoryLog();
  const clock = new TestClock(new Date());
  const store = await openStore({ url: 'sqlite::memory:', log, clock });
  const listener = await listenTcp({ host: '127.0.0.1', port: 0, log, metrics: memoryMetrics() });
  const url = `http://127.0.0.1:${'port' in listener.address ? listener.address.port : 0}`;
  const authority = await openAuthority({ store, dir, log, clock, key, httpUrl: url });
  const http = servePlainHttp(
    listener,
    gateHttp({
      ...{ origin: () => 'https://gate.test', challenge: () => undefined, root: () => authority.root().cert },
      ...{ crl: number => authority.crl(number), ocsp: request => authority.ocsp(request) },
    }),
  );
  t.after(async () => {
    await http[Symbol.asyncDispose]();
    await authority[Symbol.asyncDispose]();
    await store[Symbol.asyncDispose]();
    await rm(dir, { recursive: true });
  });
  const save = async (name: string, text: string | Uint8Array): Promise<string> => {
    await writeFile(join(dir, name), text);
    return join(dir, name);
  };
  await save('root.pem', authority.root().cert);
  await save('issuing.pem', authority.chain()[0] ?? '');
  const ask = async (issued: Issued, digest = '-sha1', ...more: string[]) => {
    const cert = await save('asked.pem', issued.cert);
    const args = ['ocsp', '-issuer', join(dir, 'issuing.pem'), digest, '-cert', cert, '-CAfile', join(dir, 'root.pem')];
    const { stdout, stderr } = await run('openssl', [...args, '-url', `${url}/ocsp`, '-resp_text', ...more]);
    return stdout + stderr;
  };
  return { authority, url, dir, save, ask };
}

for (const key of ['ecdsa', 'rsa'] as const) {
  test(`openssl asks by OCSP: good, revoked with its reason, unknown (${key})`, async t => {
    const { authority, url, dir, save, ask } = await openHouse(t, key);
    const kept = await authority.issueClient({ user: 'kept', key: 'ecdsa' });
    const lost = await authority.issueClient({ user: 'lost', key: 'ecdsa' });
    const text = (await run('openssl', ['x509', '-noout', '-text', '-in', await save('a.pem', kept.cert)])).stdout;
    assert.match(text, new RegExp(`OCSP - URI:${url}/ocsp`));
    assert.match(text, new RegExp(`URI:${url}/ca-1\\.crl`));

    const good = await ask(kept);
    assert.match(good, /Response verify OK/);
    assert.match(good, /asked\.pem: good/);
    assert.match(good, /OCSP Nonce:/, 'the nonce comes back');
    assert.doesNotMatch(good, /WARNING: no nonce|Nonce Verify error/);
    assert.match(await ask(kept, '-sha256'), /asked\.pem: good/);

    await authority.revoke(lost.serial, 'keyCompromise');
    const revoked = await ask(lost);
    assert.match(revoked, /asked\.pem: revoked[\s\S]*Reason: keyCompromise[\s\S]*Response verify OK/);
    const strange = await ask(lost, '-sha1', '-serial', '0x1234567890');
    assert.match(strange, /0x1234567890: unknown/);

    const crl = (await fetch(`${url}/ca-1.crl`)).arrayBuffer();
    const list = await save('list.crl', new Uint8Array(await crl));
    const read = await run('openssl', [
      'crl',
      '-inform',
      'DER',
      '-in',
      list,
      '-noout',
      '-text',
      '-CAfile',
      join(dir, 'issuing.pem'),
    ]);
    assert.match(read.stdout + read.stderr, /verify OK/);
    assert.match(read.stdout.toLowerCase(), new RegExp(lost.serial));
    assert.equal((await fetch(`${url}/ca-9.crl`, { redirect: 'manual' })).status, 404);
  });
}

test('OCSP by GET answers the same, and what cannot be read is said to be malformed, however long it is', async t => {
  const { authority, url, dir, save } = await openHouse(t, 'ecdsa');
  const issued = await authority.issueClient({ user: 'kept', key: 'ecdsa' });
  const request = join(dir, 'request.der');
  const made = await run('openssl', [
    'ocsp',
    '-issuer',
    join(dir, 'issuing.pem'),
    '-cert',
    await save('a.pem', issued.cert),
    '-no_nonce',
    '-reqout',
    request,
  ]);
  assert.equal(made.code, 0, made.stderr);
  const base64 = (await run('openssl', ['base64', '-A', '-in', request])).stdout;
  const got = await fetch(`${url}/ocsp/${encodeURIComponent(base64)}`);
  assert.equal(got.headers.get('content-type'), 'application/ocsp-response');
  const answer = await save('answer.der', new Uint8Array(await got.arrayBuffer()));
  const judged = await run('openssl', [
    'ocsp',
    '-no_nonce',
    '-respin',
    answer,
    '-issuer',
    join(dir, 'issuing.pem'),
    '-cert',
    join(dir, 'a.pem'),
    '-CAfile',
    join(dir, 'root.pem'),
  ]);
  assert.match(judged.stdout + judged.stderr, /a\.pem: good[\s\S]*Response verify OK/);

  const malformed = '30030a0101';
  const post = async (body: Uint8Array<ArrayBuffer>): Promise<string> =>
    Buffer.from(await (await fetch(`${url}/ocsp`, { method: 'POST', body })).arrayBuffer()).toString('hex');
  assert.equal(await post(new Uint8Array(0)), malformed);
  assert.equal(await post(new Uint8Array([0x30, 0x84, 0xff, 0xff, 0xff, 0xff])), malformed);
  assert.equal(await post(new Uint8Array(4097).fill(0x30)), malformed);
  assert.equal(Buffer.from(await (await fetch(`${url}/ocsp/%25%25`)).arrayBuffer()).toString('hex'), malformed);
});
