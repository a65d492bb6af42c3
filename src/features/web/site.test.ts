import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Fault } from '../../core/fault.ts';
import { hostHeader, parseAbsolute, parseAuthority, siteName } from './site.ts';

const refused = (code: string) => (error: unknown) => error instanceof Fault && error.code === code;

test('one site has one form, however it was written', () => {
  const forms: readonly (readonly [string, string])[] = [
    ['Server1:8081', 'server1:8081'],
    ['server1.:80', 'server1:80'],
    ['my_host.Corp.example:443', 'my_host.corp.example:443'],
    ['10.0.1.26:080', '10.0.1.26:80'],
    ['[2001:DB8:0::1]:80', '[2001:db8::1]:80'],
    ['[::ffff:10.0.0.1]:80', '10.0.0.1:80'],
  ];
  for (const [text, name] of forms) assert.equal(siteName(parseAuthority(text)), name, text);
});

test('what is no host and port is refused', () => {
  const bad = [
    '',
    ':80',
    'server1',
    'server1:',
    'server1:0',
    'server1:65536',
    'server1:8x',
    'a b:80',
    'a..b:80',
    '-a:80',
  ];
  const tricks = [
    `${'a'.repeat(64)}:80`,
    `${'a.'.repeat(127)}a:80`,
    '127.0.0.1.:x',
    'a%00b:80',
    'xn--:0',
    '\u2488\uff0e:80',
    '127.1:80',
    '0x7f.1:80',
    '2130706433:80',
    '0177.0.0.1:80',
    'user@server1:80',
    '%73:80',
    'sërver:80',
    '[::1%eth0]:80',
    '[::1:80',
    'a:80:90',
    'a/b:80',
  ];
  for (const text of [...bad, ...tricks]) assert.throws(() => parseAuthority(text), refused('protocol'), text);
});

test('absolute form keeps path and query byte for byte', () => {
  const { site, path } = parseAbsolute("http://Server1:8081/a%2F../b?c=%zz&d='x'", 'GET');
  assert.equal(siteName(site), 'server1:8081');
  assert.equal(path, "/a%2F../b?c=%zz&d='x'");
  assert.equal(parseAbsolute('http://server1', 'GET').path, '/');
  assert.equal(parseAbsolute('http://server1?q', 'GET').path, '/?q');
  assert.equal(parseAbsolute('http://server1', 'OPTIONS').path, '*');
  assert.equal(hostHeader(site), 'server1:8081');
  assert.equal(hostHeader({ host: '::1', port: 80 }), '[::1]');
});

test('only http is forwarded, and the sentence says what to do instead', () => {
  assert.throws(() => parseAbsolute('https://server1/', 'GET'), /use CONNECT/);
  assert.throws(() => parseAbsolute('ftp://server1/', 'GET'), refused('invalid'));
});

test('any text gives a site or a protocol fault, and a site parses back to itself', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string({ unit: 'binary' }), fc.stringMatching(/^[a-z0-9.:[\]_-]{1,30}$/)), text => {
      try {
        const site = parseAuthority(text, 80);
        assert.deepEqual(parseAuthority(siteName(site)), site);
      } catch (error) {
        assert.ok(refused('protocol')(error), String(error));
      }
    }),
  );
});
