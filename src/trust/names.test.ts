// What is built reads back the same: names, addresses, times; and what nobody should send is refused.
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { oidOf, readDer, textOf, timeOf } from './der.ts';
import { addressBytes, attributeOids, parseAlternativeNames, parseName, valuesOf } from './names.ts';
import { derBlocks, toPem } from './pem.ts';
import { hostName, nameOf, timeValue } from './pki.ts';

const tlv = (tag: number, ...parts: readonly Uint8Array[]): Buffer => {
  const body = Buffer.concat(parts);
  const length = body.length < 128 ? [body.length] : [0x82, body.length >> 8, body.length & 255];
  return Buffer.concat([Buffer.of(tag, ...length), body]);
};
const sequence = (...parts: readonly Uint8Array[]): Buffer => tlv(0x30, ...parts);
const ou = Buffer.of(0x06, 3, 0x55, 4, 11);
const cn = Buffer.of(0x06, 3, 0x55, 4, 3);
const text = (tag: number, bytes: Uint8Array | string): Buffer => tlv(tag, Buffer.from(bytes as string));
const name = (...rdns: readonly Uint8Array[]): ReturnType<typeof parseName> => parseName(readDer(sequence(...rdns)));
const protocol = { code: 'protocol' };

suite('names in certificates', () => {
  test('any attribute value that may be written reads back as it was, in order', () => {
    const value = fc
      .string({ unit: 'grapheme', minLength: 1, maxLength: 30 })
      .filter(one => one.trim() !== '' && !/\p{Cc}/u.test(one) && [...one.normalize('NFC')].length <= 64);
    fc.assert(
      fc.property(value, fc.array(value, { maxLength: 4 }), (commonName, units) => {
        const parsed = parseName(readDer(new Uint8Array(nameOf({ cn: commonName, ou: units }).toSchema().toBER())));
        assert.deepEqual(
          valuesOf(parsed, attributeOids.ou),
          units.map(unit => unit.normalize('NFC')),
        );
        assert.deepEqual(valuesOf(parsed, attributeOids.cn), [commonName.normalize('NFC')]);
      }),
      { numRuns: 200 },
    );
  });

  test('every string type of old certificates is read, and composed forms are one form', () => {
    const cases: [number, Uint8Array | string, string][] = [
      [12, '医療', '医療'],
      [12, 'か\u3099', 'が'], // decomposed
      [19, 'Sales 1', 'Sales 1'],
      [20, Buffer.from('Büro', 'latin1'), 'Büro'],
      [22, 'x@y', 'x@y'],
      [30, Buffer.from('医療', 'utf16le').swap16(), '医療'],
      [28, Buffer.from([0, 0, 0x53, 0x3b, 0, 1, 0xf5, 0x11]), '医🔑'],
    ];
    for (const [tag, bytes, wanted] of cases) assert.equal(textOf(readDer(text(tag, bytes))), wanted, String(tag));
  });

  test('text that its type does not allow is refused', () => {
    const cases: [number, Uint8Array][] = [
      [12, Buffer.of(0xff, 0xfe)],
      [19, Buffer.of(0xe9)],
      [30, Buffer.of(0)],
      [30, Buffer.of(0xd8, 0)],
      [28, Buffer.of(0, 0x11, 0, 0)],
      [4, Buffer.from('x')],
    ];
    for (const [tag, bytes] of cases) assert.throws(() => textOf(readDer(text(tag, bytes))), protocol, String(tag));
  });

  test('all parts of a multi-valued RDN count, and types nobody knows do no harm', () => {
    const pair = (type: Uint8Array, value: Uint8Array): Buffer => sequence(type, value);
    const unknown = Buffer.of(0x06, 2, 0x2a, 3);
    const parsed = name(
      tlv(0x31, pair(cn, text(12, 'a')), pair(ou, text(12, 'b'))),
      tlv(0x31, pair(ou, text(19, 'c'))),
      tlv(0x31, pair(unknown, tlv(0x01, Buffer.of(255)))),
    );
    assert.deepEqual(valuesOf(parsed, attributeOids.ou), ['b', 'c']);
    assert.deepEqual(valuesOf(parsed, attributeOids.cn), ['a']);
  });

  test('one name in two spellings is one name, two names never are', () => {
    const of = (tag: number, value: string): string => name(tlv(0x31, sequence(cn, text(tag, value)))).canonical;
    assert.equal(of(19, 'Corp  CA'), of(12, ' corp ca '));
    assert.notEqual(of(12, 'a'), of(12, 'b'));
    const joined = name(tlv(0x31, sequence(cn, text(12, 'a')), sequence(ou, text(12, 'b')))).canonical;
    const apart = name(tlv(0x31, sequence(cn, text(12, 'a'))), tlv(0x31, sequence(ou, text(12, 'b')))).canonical;
    assert.notEqual(joined, apart);
    assert.notEqual(of(12, 'a"],["2.5.4.11","b'), joined);
  });

  test('alternative names carry their kind', () => {
    const parsed = parseAlternativeNames(
      readDer(
        sequence(
          text(0x82, 'a.example'),
          text(0x81, 'a@b.example'),
          text(0x86, 'sekisho:user/a'),
          text(0x87, Buffer.of(192, 0, 2, 1)),
          text(0x87, addressBytes('2001:db8::1')),
          tlv(0xa4, sequence()), // directoryName: left out
        ),
      ),
    );
    assert.deepEqual(parsed, [
      'DNS:a.example',
      'email:a@b.example',
      'URI:sekisho:user/a',
      'IP:192.0.2.1',
      'IP:2001:db8::1',
    ]);
    assert.throws(() => parseAlternativeNames(readDer(sequence(text(0x87, Buffer.alloc(5))))), protocol);
  });

  test('addresses go in and come out', () => {
    fc.assert(
      fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), address => {
        const [read] = parseAlternativeNames(readDer(sequence(text(0x87, addressBytes(address)))));
        assert.deepEqual(addressBytes(read?.slice(3) ?? ''), addressBytes(address));
      }),
      { numRuns: 300 },
    );
    assert.deepEqual([...addressBytes('::ffff:192.0.2.1')].slice(-6), [255, 255, 192, 0, 2, 1]);
  });

  test('times keep their second across 2050, and no other form is taken', () => {
    fc.assert(
      fc.property(fc.date({ min: new Date('1950-01-01'), max: new Date('9999-12-31'), noInvalidDate: true }), date => {
        const der = new Uint8Array(timeValue(date).toSchema().toBER());
        assert.equal(der[0], date.getUTCFullYear() < 2050 ? 0x17 : 0x18);
        assert.equal(timeOf(readDer(der)).getTime(), Math.floor(date.getTime() / 1000) * 1000);
      }),
      { numRuns: 300 },
    );
    for (const wrong of ['2601010000Z', '260101000000+0900', '20260230000000Z', '260101000000.5Z', '261301000000Z']) {
      for (const tag of [0x17, 0x18]) assert.throws(() => timeOf(readDer(text(tag, wrong))), protocol, wrong);
    }
  });

  test('object identifiers read as they are written', () => {
    assert.equal(oidOf(readDer(Buffer.from('06082b06010505070302', 'hex'))), '1.3.6.1.5.5.7.3.2');
    assert.equal(oidOf(readDer(Buffer.from('06032a8648', 'hex'))), '1.2.840');
    assert.equal(oidOf(readDer(Buffer.from('0603883703', 'hex'))), '2.999.3');
    for (const hex of ['0600', '060188', `0612${'ff'.repeat(17)}01`])
      assert.throws(() => oidOf(readDer(Buffer.from(hex, 'hex'))), protocol, hex);
  });

  test('host names become what certificates carry, and others are refused', () => {
    assert.equal(hostName('Gate.Example'), 'gate.example');
    assert.equal(hostName('*.日本.example'), '*.xn--wgv71a.example');
    for (const wrong of [
      '',
      'a b',
      'a..b',
      '*.*.example',
      'a/b',
      '-a.example',
      `${'a'.repeat(64)}.example`,
      'http://x',
      '0x7f.1',
      'a%2eb',
    ]) {
      assert.throws(() => hostName(wrong), { code: 'invalid' }, wrong);
    }
  });

  test('PEM goes in and comes out, and says what it holds instead', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 300 }), bytes => {
        const [read] = derBlocks(`noise\n${toPem('CERTIFICATE', bytes)}noise`, 'CERTIFICATE');
        assert.deepEqual(new Uint8Array(read ?? []), bytes);
      }),
      { numRuns: 100 },
    );
    assert.throws(() => derBlocks(toPem('PRIVATE KEY', Buffer.of(1)), 'CERTIFICATE'), {
      code: 'invalid',
      message: /but PRIVATE KEY/,
    });
  });
});
