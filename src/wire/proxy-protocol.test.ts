// The PROXY header, read and written.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatIp, ipBytes, parseIp } from './ip.ts';
import { readProxyHeader, writeProxyHeader } from './proxy-protocol.ts';

const source = { host: '203.0.113.7', port: 40000 };
const destination = { host: '198.51.100.1', port: 443 };
const bytes = (text: string): Buffer => Buffer.from(text, 'latin1');
const signature = '0d0a0d0a000d0a515549540a';

test('v1 is read and what follows it is left alone', () => {
  const line = 'PROXY TCP4 203.0.113.7 198.51.100.1 40000 443\r\n';
  assert.deepEqual(readProxyHeader(bytes(`${line}GET /`)), {
    header: { command: 'proxy', source, destination },
    length: line.length,
  });
  assert.deepEqual(readProxyHeader(bytes('PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n')), {
    header: { command: 'proxy' },
    length: 35,
  });
});

test('v2 as HAProxy sends it is read, TLVs and checksum too', () => {
  // TCP4, with a CRC-32C TLV and an authority TLV.
  const zeroed = Buffer.concat([
    Buffer.from(`${signature}21110021cb007107c63364019c4001bb`, 'hex'),
    Buffer.from('0300040000000002000b', 'hex'),
    bytes('example.com'),
  ]);
  assert.throws(() => readProxyHeader(zeroed), { code: 'protocol', message: /checksum/ });
  const whole = Buffer.from(zeroed);
  whole.writeUInt32BE(crc32c(zeroed), 31);
  assert.deepEqual(readProxyHeader(whole), { header: { command: 'proxy', source, destination }, length: 49 });
});

test('v2 LOCAL speaks for the balancer itself', () => {
  const local = Buffer.from(`${signature}20000000`, 'hex');
  assert.deepEqual(readProxyHeader(local), { header: { command: 'local' }, length: 16 });
});

test('a header that comes in pieces is waited for', () => {
  for (const whole of [
    writeProxyHeader('v1', { source, destination }),
    writeProxyHeader('v2', { source, destination }),
    writeProxyHeader('v2', { source: { path: '/a' }, destination: { path: '/b' } }),
  ]) {
    for (let length = 0; length < whole.length; length++)
      assert.equal(readProxyHeader(whole.subarray(0, length)), 'more');
    assert.equal((readProxyHeader(whole) as { length: number }).length, whole.length);
  }
});

test('what is not a header is refused at its first wrong byte', () => {
  for (const text of ['GET / HTTP/1.1', 'X', 'PROXX', '\r\n\r\nx', '\x16\x03\x01']) {
    assert.throws(() => readProxyHeader(bytes(text)), { name: 'Fault', code: 'protocol' }, text);
  }
});

test('a malformed v1 is refused', () => {
  for (const line of [
    'PROXY TCP4 203.0.113.7 198.51.100.1 40000\r\n',
    'PROXY TCP4 203.0.113.7 198.51.100.1 040000 443\r\n',
    'PROXY TCP4 203.0.113.7 198.51.100.1 65536 443\r\n',
    'PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n',
    'PROXY TCP6 203.0.113.7 198.51.100.1 1 2\r\n',
    'PROXY TCP4 203.0.113.7  198.51.100.1 1 2\r\n',
    'PROXY tcp4 203.0.113.7 198.51.100.1 1 2\r\n',
    'PROXY UNKNOWNX\r\n',
    `PROXY UNKNOWN ${'x'.repeat(120)}`,
  ]) {
    assert.throws(() => readProxyHeader(bytes(line)), { name: 'Fault', code: 'protocol' }, line);
  }
});

test('a malformed v2 is refused', () => {
  for (const rest of [
    '31110000',
    '22110000',
    '21410000',
    '21130000',
    '2111000b',
    '21111001',
    `2111000e${'00'.repeat(14)}`,
    `21110010${'00'.repeat(12)}03000500`,
  ]) {
    const whole = Buffer.concat([Buffer.from(signature + rest, 'hex'), Buffer.alloc(40)]);
    assert.throws(() => readProxyHeader(whole), { name: 'Fault', code: 'protocol' }, rest);
  }
});

test('mixed families are written v4-mapped, and unix ends as v1 UNKNOWN', () => {
  const mixed = { source, destination: { host: '2001:db8::1', port: 443 } };
  for (const version of ['v1', 'v2'] as const) {
    assert.deepEqual((readProxyHeader(writeProxyHeader(version, mixed)) as { header: object }).header, {
      command: 'proxy',
      ...mixed,
    });
  }
  assert.equal(writeProxyHeader('v1', { source: { path: '' }, destination }).toString(), 'PROXY UNKNOWN\r\n');
  assert.deepEqual(readProxyHeader(writeProxyHeader('v2', { source: { path: '' }, destination })), {
    header: { command: 'proxy' },
    length: 16,
  });
});

test('what is written reads back the same', () => {
  const port = fc.nat(65535);
  const end = fc.record({ host: fc.oneof(fc.ipV4(), fc.ipV6().map(shortest)), port }, { noNullPrototype: true });
  fc.assert(
    fc.property(fc.constantFrom('v1' as const, 'v2' as const), end, end, (version, from, to) => {
      const whole = writeProxyHeader(version, { source: from, destination: to });
      assert.deepEqual(readProxyHeader(whole), {
        header: { command: 'proxy', source: from, destination: to },
        length: whole.length,
      });
    }),
  );
});

function shortest(text: string): string {
  const ip = parseIp(text);
  assert.ok(ip);
  return formatIp(ipBytes(ip, ip.family === 4 ? 4 : 16));
}

function crc32c(input: Buffer): number {
  let crc = 0xffffffff;
  for (const byte of input) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return (crc ^ 0xffffffff) >>> 0;
}
