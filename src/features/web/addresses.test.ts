import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addressFault, isOwnListener } from './addresses.ts';

test('addresses of this machine, of the link and of metadata services are known in every form', () => {
  const bad = ['127.0.0.1', '127.9.9.9', '0.0.0.0', '169.254.169.254', '169.254.1.1', '224.0.0.1', '255.255.255.255'];
  const six = [
    '::1',
    '::',
    'fe80::1',
    'fe80::1%eth0',
    'ff02::1',
    'fd00:ec2::254',
    '::ffff:127.0.0.1',
    '::ffff:a9fe:a9fe',
  ];
  const carried = ['64:ff9b::127.0.0.1', '64:ff9b::a9fe:a9fe', '2002:7f00:1::', '2002:a9fe:a9fe::1', '::127.0.0.1'];
  const local = ['64:ff9b:1::a9fe:a9fe', '64:ff9b:1:a9fe:a9:fe00::', '64:ff9b:1:7f00:0:100::', '::ffff:0:7f00:1'];
  for (const address of [...bad, ...six, ...carried, ...local])
    assert.notEqual(addressFault(address), undefined, address);
});

test('ordinary internal and outside addresses are not', () => {
  for (const address of [
    '10.0.0.5',
    '192.168.1.1',
    '172.16.0.1',
    '203.0.113.7',
    '2001:db8::1',
    'fd12:3456::1',
    '64:ff9b::a00:5',
    '64:ff9b:1:a00:0:500:a00:5',
  ]) {
    assert.equal(addressFault(address), undefined, address);
  }
});

test('a listener on every address is reached by each address of this machine', () => {
  const listeners = [{ host: '0.0.0.0', port: 443 }, { host: '10.0.0.9', port: 8443 }, { path: '/run/x.sock' }];
  assert.equal(isOwnListener('127.0.0.1', 443, listeners), true);
  assert.equal(isOwnListener('::1', 443, [{ host: '::', port: 443 }]), true);
  assert.equal(isOwnListener('::ffff:10.0.0.9', 8443, listeners), true);
  assert.equal(isOwnListener('64:ff9b::a00:9', 8443, listeners), true);
  assert.equal(isOwnListener('0.0.0.0', 8080, [{ host: '127.0.0.1', port: 8080 }]), true);
  assert.equal(isOwnListener('::', 8080, [{ host: '::1', port: 8080 }]), true);
  assert.equal(isOwnListener('10.0.0.9', 80, listeners), false);
  assert.equal(isOwnListener('203.0.113.7', 443, listeners), false);
});
