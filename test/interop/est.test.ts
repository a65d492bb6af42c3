// EST as curl and openssl speak it: the CA, a certificate for a link's code, the next one for the certificate, and who gets none.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { freePorts, startGate, until } from '../fixtures/gate-process.ts';
import { run } from '../fixtures/programs.ts';

test('a program enrols with a code and renews with its certificate, and nobody else does', {
  timeout: 240_000,
}, async t => {
  const [port = 0] = await freePorts(1);
  const configOf = (est: boolean): string =>
    `gate: { name: localhost, listen: "tls://127.0.0.1:${port}", workers: 0 }\ntrust: { est: ${est} }\n`;
  const gate = await startGate(t, { config: configOf(true) });
  const at = (name: string): string => join(gate.folder, name);
  writeFileSync(at('ca.pem'), (await gate.run('cert', 'ca')).stdout);
  const openssl = async (...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await run('openssl', args, { cwd: gate.folder });
    assert.equal(code, 0, `${args.join(' ')}: ${stderr}`);
    return stdout + stderr;
  };
  /** Status and header fields; the body goes to a file. */
  const est = async (operation: string, body?: string, ...more: string[]) => {
    const args = ['-sS', '--cacert', at('ca.pem'), '-D', '-', '-o', at('answer'), ...more];
    const post = body === undefined ? [] : ['-H', 'content-type: application/pkcs10', '--data-binary', `@${at(body)}`];
    const { code, stdout, stderr } = await run('curl', [
      ...[...args, ...post],
      `https://localhost:${port}/.well-known/est/${operation}`,
    ]);
    assert.equal(code, 0, stderr);
    const [head = ''] = stdout.split('\r\n\r\n').slice(-2);
    return { status: Number(head.split(' ')[1]), fields: head.toLowerCase(), text: readFileSync(at('answer'), 'utf8') };
  };
  const certificatesIn = async (answer: { fields: string; text: string }): Promise<string> => {
    assert.match(answer.fields, /content-type: application\/pkcs7-mime; smime-type=certs-only/);
    assert.match(answer.fields, /content-transfer-encoding: base64/);
    await openssl('base64', '-d', '-in', 'answer', '-out', 'answer.p7');
    assert.equal((await run('base64', ['-d', at('answer')])).code, 0);
    return openssl('pkcs7', '-inform', 'DER', '-in', 'answer.p7', '-print_certs');
  };
  const request = async (file: string, subject: string, ...more: string[]): Promise<void> => {
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', `${file}.key`];
    await openssl('req', '-new', ...key, '-utf8', '-subj', subject, '-outform', 'DER', '-out', `${file}.der`, ...more);
    writeFileSync(at(file), readFileSync(at(`${file}.der`)).toString('base64'));
  };
  const linkFor = async (name: string): Promise<string> => {
    const { stdout } = await gate.run('cert', 'enroll', name, '--ou', '医療事業部', '--json');
    return (JSON.parse(stdout) as { link: string }).link.split('code=')[1] ?? '';
  };
  const serialOf = async (file: string): Promise<string> =>
    (await openssl('x509', '-in', file, '-noout', '-serial')).trim().replace('serial=', '').toLowerCase();

  // What is for everybody.
  const all = await certificatesIn(await est('cacerts'));
  assert.equal(all.match(/BEGIN CERTIFICATE/g)?.length, 2);
  assert.match(all, /subject=.*Sekisho Root CA/);
  assert.equal((await est('csrattrs')).status, 204);

  // A link's code buys one certificate, for its person only.
  const code = await linkFor('staff01');
  await request('first', '/CN=whatever');
  const refused = await est('simpleenroll', 'first');
  assert.equal(refused.status, 401);
  assert.match(refused.fields, /www-authenticate: basic realm=/);
  assert.equal((await est('simpleenroll', 'first', '-u', `staff02:${code}`)).status, 401);
  assert.equal((await est('simpleenroll', 'first', '-u', 'staff01:skc_wrong')).status, 401);
  writeFileSync(at('broken'), 'bm90IGEgcmVxdWVzdA==');
  assert.equal((await est('simpleenroll', 'broken', '-u', `staff01:${code}`)).status, 400);
  writeFileSync(at('first.crt'), await certificatesIn(await est('simpleenroll', 'first', '-u', `staff01:${code}`)));
  assert.match(
    await openssl('x509', '-in', 'first.crt', '-noout', '-subject', '-nameopt', 'utf8'),
    /OU\s?=\s?医療事業部.*CN\s?=\s?staff01/,
    'the link says what stands in it',
  );
  const chain = ['-CAfile', 'ca.pem', '-untrusted', 'issuing.pem', '-purpose', 'sslclient'];
  writeFileSync(at('issuing.pem'), all);
  await openssl('verify', ...chain, 'first.crt');
  assert.equal((await est('simpleenroll', 'first', '-u', `staff01:${code}`)).status, 401, 'a code is good once');

  // The certificate buys the next one, with the same names.
  const withFirst = ['--cert', at('first.crt'), '--key', at('first.key')];
  const subject = '/OU=医療事業部/CN=staff01';
  await request('next', subject);
  assert.equal((await est('simplereenroll', 'next')).status, 403);
  await request('other', '/OU=医療事業部/CN=staff02');
  assert.equal((await est('simplereenroll', 'other', ...withFirst)).status, 400);
  await request('more', subject, '-addext', 'subjectAltName=URI:sekisho:user/admin');
  assert.equal((await est('simplereenroll', 'more', ...withFirst)).status, 400);
  await request('same', subject, '-addext', 'subjectAltName=URI:sekisho:user/staff01');
  assert.equal((await est('simplereenroll', 'same', ...withFirst)).status, 200);
  writeFileSync(at('next.crt'), await certificatesIn(await est('simplereenroll', 'next', ...withFirst)));
  await openssl('verify', ...chain, 'next.crt');
  const [old, young] = [await serialOf('first.crt'), await serialOf('next.crt')];
  const shown = JSON.parse((await gate.run('cert', 'show', young, '--json')).stdout) as Record<string, string>;
  assert.deepEqual([shown['replaces'], shown['name'], shown['state']], [old, 'staff01', 'valid']);

  // What a browser could be made to send, and what is no request.
  for (const field of ['origin: https://localhost', 'sec-fetch-site: same-origin', 'host: evil.example'])
    assert.equal((await est('simplereenroll', 'next', ...withFirst, '-H', field)).status, 403, field);
  assert.equal((await est('simplereenroll', 'next', ...withFirst, '-H', 'content-type: text/plain')).status, 415);
  writeFileSync(at('long'), 'A'.repeat(40_000));
  assert.equal((await est('simplereenroll', 'long', ...withFirst)).status, 413);
  const wrongMethod = await est('simplereenroll', undefined, ...withFirst);
  assert.equal(wrongMethod.status, 405);
  assert.match(wrongMethod.fields, /allow: post/);
  assert.equal((await est('serverkeygen', 'next', ...withFirst)).status, 501);
  assert.equal((await est('nothing')).status, 404);
  // It is for this one act: the API knows nobody by a certificate.
  const api = ['-sS', '--cacert', at('ca.pem'), ...withFirst, '-o', '/dev/null', '-w', '%{http_code}'];
  assert.equal((await run('curl', [...api, `https://localhost:${port}/v1/certs`])).stdout, '401');

  // A thing without our agent renews its certificate the same way, for as long as it is not revoked.
  await gate.run('device', 'enroll', 'pump-9', '--pem', gate.folder);
  const withPump = ['--cert', at('pump-9.crt'), '--key', at('pump-9.key')];
  await request('pump', '/CN=pump-9');
  writeFileSync(at('pump.crt'), await certificatesIn(await est('simplereenroll', 'pump', ...withPump)));
  assert.match(await openssl('x509', '-in', 'pump.crt', '-noout', '-ext', 'subjectAltName'), /sekisho:device\/pump-9/);
  await gate.run('device', 'revoke', 'pump-9');
  for (const one of [withPump, ['--cert', at('pump.crt'), '--key', at('pump.key')]])
    assert.equal((await est('simplereenroll', 'pump', ...one)).status, 403);

  // Revoking the first ends the line.
  await gate.run('cert', 'revoke', old);
  const withNext = ['--cert', at('next.crt'), '--key', at('next.key')];
  assert.equal((await est('simplereenroll', 'next', ...withNext)).status, 403);
  const rows = (await gate.run('audit', 'search', '--json', '--limit', '200')).stdout;
  for (const event of ['cert.enrolled', 'cert.renewed', 'cert.denied']) assert.ok(rows.includes(event), event);
  assert.ok(!rows.includes(code), 'the code stands nowhere');
  assert.ok(!gate.log.join('\n').includes(code));

  gate.write(configOf(false));
  assert.equal((await gate.run('reload')).status, 0);
  await until('EST is off', async () => (await est('cacerts')).status === 404);
});
