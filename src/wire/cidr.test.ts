// What the networks of rules and limits match.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { addressKey, compileRules, matchCidr, normalizeHost, parseCidr } from './cidr.ts';
import { formatIp, ipBytes, parseIp } from './ip.ts';

const inside = (cidr: string, host: string): boolean => matchCidr(parseCidr(cidr), host);

test('a network matches the addresses in it and no others', () => {
  assert.ok(inside('203.0.113.0/24', '203.0.113.7'));
  assert.ok(!inside('203.0.113.0/24', '203.0.114.7'));
  assert.ok(inside('10.1.2.3/8', '10.200.0.1'), 'host bits are ignored');
  assert.ok(inside('203.0.113.7', '203.0.113.7') && !inside('203.0.113.7', '203.0.113.8'));
  assert.ok(inside('2001:db8::/32', '2001:db8:ffff::1') && !inside('2001:db8::/32', '2001:db9::1'));
  assert.ok(inside('fe80::/10', 'fe80::1%eth0'));
  assert.ok(inside('0.0.0.0/0', '255.255.255.255') && !inside('0.0.0.0/0', '::1'));
});

test('a v4-mapped address matches as IPv4, on both sides', () => {
  assert.ok(inside('10.0.0.0/8', '::ffff:10.1.2.3'));
  assert.ok(inside('10.0.0.0/8', '::ffff:a01:203'));
  assert.ok(inside('::ffff:10.0.0.0/104', '10.9.9.9'));
  assert.ok(!inside('::/0', '::ffff:10.1.2.3'), 'an IPv6 rule does not let IPv4 in');
});

test('what is not an address is in no network', () => {
  for (const host of ['', 'localhost', '/run/app.sock', '10.0.0', '10.0.0.1.2', '::g']) {
    assert.ok(!inside('0.0.0.0/0', host) && !inside('::/0', host), host);
  }
});

test('a mistake in a network is said', () => {
  for (const text of [
    '',
    'x',
    '10.0.0.0/33',
    '::/129',
    '10.0.0.0/-1',
    '10.0.0.0/8/8',
    '10.0.0/8',
    'fe80::%eth0/64',
    '1.2.3.4/',
    '::ffff:1.2.3.4/95',
  ]) {
    assert.throws(() => parseCidr(text), { name: 'Fault', code: 'invalid' }, text);
  }
});

test('rules are taken in order, the first match wins, and none means no', () => {
  const pass = compileRules([{ deny: '10.0.0.66' }, { allow: '10.0.0.0/8' }, { allow: '2001:db8::/32' }]);
  assert.ok(pass('10.0.0.1') && pass('2001:db8::1') && pass('::ffff:10.0.0.2'));
  assert.ok(!pass('10.0.0.66') && !pass('::ffff:10.0.0.66') && !pass('11.0.0.1') && !pass('localhost'));
});

test('without rules everybody passes; a unix peer passes only by `all`', () => {
  assert.ok(compileRules([])('anything') && compileRules([])(undefined));
  assert.ok(!compileRules([{ allow: '0.0.0.0/0' }])(undefined));
  assert.ok(compileRules([{ deny: '10.0.0.0/8' }, { allow: 'all' }])(undefined));
  assert.ok(!compileRules([{ deny: 'all' }, { allow: 'all' }])('10.0.0.1'));
});

test('limits count IPv4 by address and IPv6 by its /64', () => {
  assert.equal(addressKey('::ffff:203.0.113.7'), addressKey('203.0.113.7'));
  assert.equal(addressKey('2001:db8:1:2:aaaa::1'), addressKey('2001:db8:1:2::ffff'));
  assert.notEqual(addressKey('2001:db8:1:2::1'), addressKey('2001:db8:1:3::1'));
  assert.equal(addressKey('2001:db8:1:2::1'), '2001:db8:1:2::/64');
});

test('hosts are normalized once', () => {
  assert.equal(normalizeHost('::ffff:127.0.0.1'), '127.0.0.1');
  assert.equal(normalizeHost('::FFFF:7f00:1'), '127.0.0.1');
  assert.equal(normalizeHost('[2001:DB8::1]'), '2001:db8::1');
  assert.equal(normalizeHost('example.com'), 'example.com');
});

test('addresses survive the way through bytes and text', () => {
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), text => {
      const ip = parseIp(text);
      assert.ok(ip);
      const width = ip.family === 4 ? 4 : 16;
      assert.deepEqual(parseIp(formatIp(ipBytes(ip, width))), ip);
      assert.deepEqual(parseIp(formatIp(ipBytes(ip, 16))), ip);
    }),
  );
});

test('an address is in every network that is cut from it', () => {
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), fc.nat(128), (text, bits) => {
      const ip = parseIp(text);
      const width = ip?.family === 4 && !text.includes(':') ? 32 : 128;
      const least = width === 128 && ip?.family === 4 ? 96 : 0;
      assert.ok(inside(`${text}/${Math.max(least, bits % (width + 1))}`, text));
    }),
  );
});
