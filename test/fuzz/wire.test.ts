// Hostile bytes into the decoders of first bytes: they answer or throw a `protocol` Fault, nothing else, and quickly.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Fault } from '../../src/core/fault.ts';
import { parseCidr } from '../../src/wire/cidr.ts';
import { readClientHello } from '../../src/wire/client-hello.ts';
import { readProxyHeader } from '../../src/wire/proxy-protocol.ts';

const numRuns = Number(process.env['FUZZ_RUNS'] ?? 2000);

function holds<T>(code: 'protocol' | 'invalid', read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    assert.ok(error instanceof Fault && error.code === code, String(error));
    return undefined;
  }
}
const behind = (start: number[], maxLength: number): fc.Arbitrary<Uint8Array> =>
  fc.uint8Array({ maxLength }).map(rest => Uint8Array.from([...start, ...rest]));

test('ClientHello', () => {
  const record = fc
    .uint8Array({ minLength: 1, maxLength: 300 })
    .map(body => [22, 3, 1, body.length >> 8, body.length & 255, ...body]);
  // A hello whose structure is right and whose extensions are anything.
  const extensions = fc.array(fc.tuple(fc.constantFrom(0, 16, 43, 10, 65281), fc.uint8Array({ maxLength: 40 })), {
    maxLength: 6,
  });
  const structured = extensions.map(list => {
    const all = list.flatMap(([type, data]) => [type >> 8, type & 255, 0, data.length, ...data]);
    const body = [
      3,
      3,
      ...new Array<number>(32).fill(7),
      0,
      0,
      2,
      0x13,
      1,
      1,
      0,
      all.length >> 8,
      all.length & 255,
      ...all,
    ];
    const message = [1, 0, body.length >> 8, body.length & 255, ...body];
    return Uint8Array.from([22, 3, 1, message.length >> 8, message.length & 255, ...message]);
  });
  const any = fc.oneof(
    fc.uint8Array({ maxLength: 600 }),
    behind([22, 3, 1], 600),
    fc.array(record, { maxLength: 8 }).map(records => Uint8Array.from(records.flat())),
    structured,
  );
  fc.assert(
    fc.property(any, bytes => {
      const read = holds('protocol', () => readClientHello(bytes));
      if (typeof read === 'object') assert.ok(read.sni === undefined || /^[\x21-\x7e]+$/.test(read.sni));
    }),
    { numRuns },
  );
});

test('PROXY header', () => {
  const signature = [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];
  const any = fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    behind([...Buffer.from('PROXY ')], 150),
    behind([...signature, 0x21], 600),
    behind([...signature, 0x21, 0x11, 0, 40], 100),
    fc.string({ maxLength: 120 }).map(text => Buffer.from(`PROXY TCP4 ${text}\r\n`)),
  );
  fc.assert(
    fc.property(any, bytes => {
      const read = holds('protocol', () => readProxyHeader(bytes));
      if (typeof read === 'object') assert.ok(read.length > 0 && read.length <= bytes.length);
    }),
    { numRuns },
  );
});

test('CIDR', () => {
  const any = fc.oneof(
    fc.string(),
    fc.ipV4(),
    fc.ipV6(),
    fc.tuple(fc.oneof(fc.ipV4(), fc.ipV6()), fc.integer()).map(([ip, bits]) => `${ip}/${bits}`),
  );
  fc.assert(
    fc.property(any, text => void holds('invalid', () => parseCidr(text))),
    { numRuns },
  );
});
