// The agent's own parts: its list, its codes, its folder, its patience.
import assert from 'node:assert/strict';
import { createPublicKey } from 'node:crypto';
import { mkdtempSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { makeRequest, newDeviceKey } from './csr.ts';
import { parseCode, skewText } from './enrol.ts';
import { checkedIdentity, openAgentFolder } from './folder.ts';
import { pause } from './run.ts';
import { openServices, parseAddress, parseServiceOption, parseServices } from './services.ts';

const newFolder = (): string => mkdtempSync(join(tmpdir(), 'sekisho-agent-'));

test('the list of services: names, numbers, comments; mistakes by file and line', () => {
  const list = parseServices(
    '# mine\nssh: 127.0.0.1:22 # shell\n"app": unix:/run/app.sock\nv6: "[::1]:80"\n',
    'services.yaml',
  );
  assert.deepEqual(
    [...list],
    [
      ['ssh', '127.0.0.1:22'],
      ['app', 'unix:/run/app.sock'],
      ['v6', '[::1]:80'],
    ],
  );
  for (const [text, line] of [
    ['ssh 127.0.0.1:22', 1],
    ['a: 1.2.3.4:5\na: 1.2.3.4:6', 2],
    ['\nb: nowhere', 2],
    ['c: 1.2.3.4:70000', 1],
  ] as const)
    assert.throws(() => parseServices(text, 'services.yaml'), {
      code: 'invalid',
      message: new RegExp(`^services.yaml:${line}: `),
    });
  assert.deepEqual(parseServiceOption('ssh=localhost:22'), ['ssh', 'localhost:22']);
  assert.throws(() => parseServiceOption('ssh'), { code: 'invalid' });
  assert.deepEqual(parseAddress('tcp://[::1]:22'), { host: '::1', port: 22 });
});

test('a service is found by name, by its local port, and no longer when the file has changed or is broken', () => {
  const file = join(newFolder(), 'services.yaml');
  const complaints: string[] = [];
  writeFileSync(file, 'ssh: 127.0.0.1:22\nSSH: 127.0.0.1:2222\n22: 127.0.0.1:9\n');
  const services = openServices(file, text => complaints.push(text));
  assert.deepEqual(services.find('SSH'), { host: '127.0.0.1', port: 2222 });
  assert.deepEqual(services.find('22'), { host: '127.0.0.1', port: 9 }, 'a name comes before a port');
  assert.deepEqual(services.find('2222'), { host: '127.0.0.1', port: 2222 });
  assert.equal(services.find('Ssh'), undefined);
  writeFileSync(file, 'no list at all\n');
  utimesSync(file, 1, 1);
  assert.equal(services.find('ssh'), undefined);
  assert.equal(complaints.length, 1);
});

test('any text as a list is a list or a Fault, never anything else', () => {
  fc.assert(
    fc.property(fc.string(), text => {
      try {
        for (const address of parseServices(text, 'f').values()) parseAddress(address);
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'invalid');
      }
    }),
  );
});

test('a code is whole or refused; a clock is named with both times from a day on', () => {
  const print = Buffer.alloc(32, 7).toString('base64url');
  assert.deepEqual(parseCode(`skc_${'a'.repeat(27)}.${print}`), {
    code: `skc_${'a'.repeat(27)}`,
    fingerprint: '07'.repeat(32),
  });
  for (const text of ['', `skc_${'a'.repeat(27)}`, `${print}`, `skc_${'a'.repeat(27)}.${print}x`])
    assert.throws(() => parseCode(text), { code: 'invalid' });
  assert.equal(skewText(86_400_000), undefined);
  assert.match(
    skewText(-90_000_000, 0) ?? '',
    /says 1970-01-01T00:00:00.000Z, the gate’s says 1969-12-30T23:00:00.000Z/,
  );
});

test('the folder keeps its key to its owner and notices damage', async () => {
  const folder = openAgentFolder(join(newFolder(), 'own'));
  assert.equal(folder.home(), undefined);
  folder.saveHome({ url: 'https://gate.example.com', device: 'pump-7' });
  assert.deepEqual(folder.home(), { url: 'https://gate.example.com', device: 'pump-7' });
  assert.throws(() => folder.identity(), { code: 'invalid', message: /enrol this device again/ });
  folder.saveIdentity({ key: 'k', cert: 'c' });
  assert.equal(statSync(join(folder.path, 'identity.pem')).mode & 0o777, 0o600);
  assert.throws(() => folder.identity(), { code: 'invalid' });
  const key = await newDeviceKey();
  assert.throws(() => checkedIdentity(key, 'no certificate', []), { code: 'protocol' });
  assert.match(makeRequest(key, 'x'.repeat(200)), /^-----BEGIN CERTIFICATE REQUEST-----\n/);
  assert.equal(createPublicKey(key).asymmetricKeyDetails?.namedCurve, 'prime256v1');
});

test('waiting grows with failures, stays under a minute, and is slow where the gate said no', () => {
  assert.ok(pause('lost', 0, () => 1) <= 1200);
  assert.ok(pause('lost', 50, () => 1) <= 60_200);
  assert.ok(pause('lost', 5, () => 0) >= 200);
  assert.ok(pause('refused', 0, () => 0) >= 30_000);
});
