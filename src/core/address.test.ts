// Addresses: what is written is what is meant, and nothing else passes.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatAddress, formatUrl, type ListenAddress, parseListen, parseTarget } from './address.ts';
import { Fault } from './fault.ts';

const invalid = (text: RegExp) => (error: unknown) =>
  error instanceof Fault && error.code === 'invalid' && text.test(error.message);

test('every kind of address is read', () => {
  const cases: [string, ListenAddress][] = [
    ['tcp://127.0.0.1:3000', { kind: 'tcp', host: '127.0.0.1', port: 3000 }],
    ['tls://:443', { kind: 'tls', host: '', port: 443 }],
    ['udp://[::1]:53', { kind: 'udp', host: '::1', port: 53 }],
    ['tls://[::]:0', { kind: 'tls', host: '::', port: 0 }],
    ['unix:/run/app.sock', { kind: 'unix', path: '/run/app.sock' }],
    ['unix:///run/app.sock', { kind: 'unix', path: '/run/app.sock' }],
    ['unix:app.sock', { kind: 'unix', path: 'app.sock' }],
    ['gate', { kind: 'gate' }],
  ];
  for (const [text, address] of cases) assert.deepEqual(parseListen(text), address, text);
});

test('a device and its service are a target, and no place to listen', () => {
  assert.deepEqual(parseTarget('device://pump%207/tcp/5432'), {
    kind: 'device',
    device: 'pump 7',
    service: 'tcp/5432',
  });
  assert.throws(() => parseListen('device://pump-7/ssh'), invalid(/is not an address/));
});

test('what is no address is refused by name, with an example', () => {
  for (const text of [
    '',
    '127.0.0.1:80',
    'http://127.0.0.1:80',
    'tcp://127.0.0.1',
    'tcp://127.0.0.1:65536',
    'tcp://127.0.0.1:123456',
    'tcp://127.0.0.1:80/path',
    'tcp://user@host/x:80',
    'tcp://::1:80',
    'TCP://127.0.0.1:80',
    ' tcp://127.0.0.1:80',
  ]) {
    assert.throws(() => parseListen(text), invalid(/is not an address; write tcp:\/\//), text);
  }
  assert.throws(() => parseListen('unix:'), invalid(/needs a path/));
});

test('a target needs a host and a port, and the gate is none', () => {
  for (const text of ['tcp://:80', 'tls://example.com:0']) {
    assert.throws(() => parseTarget(text), invalid(/needs a host and a port/), text);
  }
  assert.throws(() => parseTarget('gate'), invalid(/is not an address that can be reached/));
});

test('an IPv6 address is printed in brackets, a nameless unix peer as such', () => {
  assert.equal(formatAddress({ host: '::1', port: 80 }), '[::1]:80');
  assert.equal(formatAddress({ host: '127.0.0.1', port: 80 }), '127.0.0.1:80');
  assert.equal(formatAddress({ path: '/run/a.sock' }), '/run/a.sock');
  assert.equal(formatAddress({ path: '' }), '(unix)');
});

test('what is printed as a URL is read back as the same address', () => {
  const host = fc.oneof(fc.ipV4(), fc.ipV6(), fc.domain(), fc.constant(''));
  const address: fc.Arbitrary<ListenAddress> = fc.oneof(
    fc.record({ kind: fc.constantFrom('tcp', 'tls', 'udp'), host, port: fc.integer({ min: 0, max: 65535 }) }),
    fc.record({ kind: fc.constant('unix' as const), path: fc.constantFrom('/run/a.sock', 'a', '/a b') }),
    fc.constant({ kind: 'gate' as const }),
  );
  fc.assert(fc.property(address, one => assert.deepEqual(parseListen(formatUrl(one)), { ...one })));
  const device = { kind: 'device', device: 'pump-7', service: 'ssh' } as const;
  assert.deepEqual(parseTarget(formatUrl(device)), device);
});
