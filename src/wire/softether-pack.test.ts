// PACKs: the bytes that SoftEther's own programs write, and nothing that hostile ones could do.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  decodePack,
  encodePack,
  ipFields,
  type PackFields,
  packBig,
  packData,
  packInt,
  packIp,
  packLength,
  packText,
  packTime,
  unistr,
} from './softether-pack.ts';

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(/\s/g, ''), 'hex');

test('every kind of value is written as SoftEther writes it', () => {
  assert.deepEqual(
    encodePack({ error: 13, d: Buffer.from([1, 2]), s: 'ab', u: unistr('é'), q: 5n }),
    hex(`00000005
      00000006 6572726f72 00000000 00000001 0000000d
      00000002 64 00000001 00000001 00000002 0102
      00000002 73 00000002 00000001 00000002 6162
      00000002 75 00000003 00000001 00000003 c3a900
      00000002 71 00000004 00000001 0000000000000005`),
  );
});

test('what is undefined, and an empty list, are left out', () => {
  assert.deepEqual(encodePack({ a: undefined, b: [], c: 1 }), encodePack({ c: 1 }));
});

test('an address is an int whose lowest byte is the first octet, with companions for IPv6', () => {
  // 10.99.1.2 as it was captured: 33645322
  const pack = decodePack(encodePack(ipFields('ClientIp', '10.99.1.2')));
  assert.equal(packInt(pack, 'ClientIp'), 33_645_322);
  assert.equal(packIp(pack, 'ClientIp'), '10.99.1.2');
  const wide = decodePack(encodePack(ipFields('Ip', ['fe80::1', '192.168.30.1', ''])));
  assert.deepEqual(
    [0, 1, 2].map(index => packIp(wide, 'Ip', index)),
    ['fe80::1', '192.168.30.1', ''],
  );
  assert.equal(packLength(wide, 'Ip'), 3);
});

test('times are milliseconds less nine hours, and 0 is never', () => {
  // CurrentTime 1795293875828 was captured at 05:44:35 UTC.
  const pack = decodePack(
    encodePack({ now: 1_795_293_875_828n, never: 0n, back: new Date('2026-11-22T05:44:35.828Z') }),
  );
  assert.equal(packTime(pack, 'now')?.toISOString(), '2026-11-22T05:44:35.828Z');
  assert.equal(packTime(pack, 'never'), undefined);
  assert.equal(packBig(pack, 'back'), 1_795_293_875_828n);
});

test('names are found in any case, and what is missing or of another type reads as nothing', () => {
  const pack = decodePack(encodePack({ HubName: ' lab ', Count: 3 }));
  assert.equal(packText(pack, 'hubname'), 'lab');
  assert.equal(packInt(pack, 'HUBNAME'), 0);
  assert.equal(packData(pack, 'nowhere'), undefined);
  assert.equal(packTime(pack, 'Count'), undefined);
});

test('text ends at a NUL, so that nothing hides behind it', () => {
  assert.equal(packText(decodePack(encodePack({ u: unistr('a') })), 'u'), 'a');
  const raw = hex('00000001 00000002 73 00000002 00000001 00000003 610062');
  assert.equal(packText(decodePack(raw), 's'), 'a');
});

const refused: Readonly<Record<string, string>> = {
  'more elements than there are bytes for': '0003ffff 00000002',
  'an element without a name': '00000001 00000001 00000000 00000001 00000001',
  'a name that is too long': `00000001 00000041 ${'61'.repeat(64)} 00000000 00000001 00000001`,
  'an unknown type': '00000001 00000002 61 00000009 00000001 00000001',
  'an element without values': '00000001 00000002 61 00000000 00000000 00000000',
  'more values than there are bytes for': '00000001 00000002 61 00000000 7fffffff 00000001',
  'a value that ends too early': '00000001 00000002 61 00000001 00000001 000000ff 00',
  'a name that comes twice, in another case':
    '00000002 00000002 61 00000000 00000001 00000001 00000002 41 00000000 00000001 00000001',
};
for (const [what, bytes] of Object.entries(refused)) {
  test(`refuses ${what}`, () => assert.throws(() => decodePack(hex(bytes)), { code: 'protocol' }));
}

const scalar = fc.oneof(
  fc.nat(0xffffffff).map(value => [value, value]),
  fc.array(fc.nat(0xffffffff), { minLength: 1, maxLength: 5 }),
  fc.string({ maxLength: 40 }).filter(text => !text.includes('\0')),
  fc.uint8Array({ maxLength: 60 }).map(bytes => Buffer.from(bytes)),
  fc.bigInt(0n, 2n ** 64n - 1n),
  fc
    .string({ maxLength: 40 })
    .filter(text => !text.includes('\0'))
    .map(unistr),
);
const name = fc.stringMatching(/^[A-Za-z][A-Za-z0-9_.:@]{0,40}$/);

test('what was encoded is decoded as it was', () => {
  const fields = fc
    .uniqueArray(fc.tuple(name, scalar), { selector: ([key]) => key.toLowerCase(), maxLength: 12 })
    .map(entries => Object.fromEntries(entries) as PackFields);
  fc.assert(
    fc.property(fields, written => {
      const pack = decodePack(encodePack(written));
      assert.equal(pack.size, Object.keys(written).length);
      for (const [key, value] of Object.entries(written)) {
        const list = (Array.isArray(value) ? value : [value]).map(one =>
          typeof one === 'object' && 'unistr' in one ? one.unistr : one,
        );
        // A lone surrogate has no UTF-8; what it becomes is what it stays.
        const whole = list.map(one => (typeof one === 'string' ? Buffer.from(one).toString() : one));
        assert.deepEqual(pack.get(key.toLowerCase())?.values, whole);
      }
    }),
  );
});
