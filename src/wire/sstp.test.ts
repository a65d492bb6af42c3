// SSTP and PPP: what is written is read again however the stream is cut, and what is broken is refused.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  decodeOptions,
  decodePpp,
  decodePppPacket,
  encodeOptions,
  encodePppPacket,
  pppHead,
  pppProtocols,
} from './ppp.ts';
import {
  bindingMac,
  encodeSstpControl,
  encodeSstpData,
  judgeBinding,
  SstpDecoder,
  sstpAttributes,
  sstpTypes,
  statusAttribute,
  statusOf,
} from './sstp.ts';

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');
const bytes = (most: number): fc.Arbitrary<Buffer> => fc.uint8Array({ maxLength: most }).map(one => Buffer.from(one));
const record = <T>(of: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> =>
  fc.record(of, { noNullPrototype: true });
const attribute = record({ id: fc.nat(255), value: bytes(200) });

test('control messages and frames come out as they went in, wherever the stream is cut', () => {
  const message = fc.oneof(
    record({ type: fc.nat(65_535), attributes: fc.array(attribute, { maxLength: 5 }) }),
    record({ frame: bytes(1500) }),
  );
  fc.assert(
    fc.property(fc.array(message, { maxLength: 8 }), fc.array(fc.integer({ min: 1, max: 600 })), (list, cuts) => {
      const stream = Buffer.concat(
        list.map(one =>
          'frame' in one ? encodeSstpData([one.frame], new Uint8Array(0)) : encodeSstpControl(one.type, one.attributes),
        ),
      );
      const decoder = new SstpDecoder();
      const seen: unknown[] = [];
      for (let at = 0, turn = 0; at < stream.length; turn++) {
        const end = at + (cuts[turn] ?? stream.length);
        for (const packet of decoder.push(stream.subarray(at, end)))
          seen.push(
            packet.kind === 'data'
              ? { frame: Buffer.from(packet.frame) }
              : {
                  type: packet.type,
                  attributes: packet.attributes.map(({ id, value }) => ({ id, value: Buffer.from(value) })),
                },
          );
        at = end;
      }
      assert.deepEqual(seen, list);
    }),
    { numRuns: 200 },
  );
});

test('the bytes that sstpc sends and expects', () => {
  const request = encodeSstpControl(sstpTypes.connectRequest, [
    { id: sstpAttributes.protocol, value: Uint8Array.of(0, 1) },
  ]);
  assert.deepEqual(request, hex('1001 000e 0001 0001 0001 0006 0001'));
  assert.deepEqual(encodeSstpControl(sstpTypes.disconnectAck), hex('1001 0008 0007 0000'));
  const abort = encodeSstpControl(sstpTypes.abort, [statusAttribute(3, 4)]);
  assert.deepEqual(abort, hex('1001 0014 0005 0001 0002 000c 000000 03 00000004'));
  const [packet] = new SstpDecoder().push(abort);
  assert.equal(packet?.kind === 'control' && statusOf(packet.attributes), 4);
  assert.deepEqual(encodeSstpData([hex('4500')], pppHead(pppProtocols.ipv4)), hex('1000 000a ff03 0021 4500'));
});

test('what is no SSTP is refused', () => {
  for (const text of [
    '2001 0008 0001 0000', // version 2
    '1001 0003', // shorter than a head
    '1001 0006 0001', // no count
    '1001 0008 0001 0001', // an attribute that is not there
    '1001 000c 0001 0001 0001 0003', // an attribute shorter than its head
    '1001 000c 0001 0001 0001 0008', // longer than the message
    '1001 000c 0001 0000 0001 0004', // one too many
  ])
    assert.throws(() => new SstpDecoder().push(hex(text)), { code: 'protocol' }, text);
});

test('a binding holds for its nonce, certificate and key alone, bit by bit', () => {
  const facts = { nonce: randomBytes(32), certificate: randomBytes(400), key: randomBytes(32) };
  for (const [hash, number, size] of [
    ['sha256', 2, 32],
    ['sha1', 1, 20],
  ] as const) {
    const raw = bound(hash, number, facts);
    assert.equal(judgeBinding(raw, facts), undefined);
    assert.ok(judgeBinding(raw, { ...facts, nonce: randomBytes(32) }));
    assert.ok(judgeBinding(raw, { ...facts, certificate: randomBytes(400) }));
    assert.ok(judgeBinding(raw, { ...facts, key: Buffer.alloc(32) }));
    for (let at = 9; at < 80 + size; at++) {
      // Reserved bits, and the room that SHA-1 does not fill, are covered by the MAC as well.
      const turned = Buffer.from(raw);
      turned[at]! ^= 1;
      assert.ok(judgeBinding(turned, facts), `${hash}: byte ${at}`);
    }
    assert.ok(judgeBinding(raw.subarray(0, 111), facts));
  }
});
function bound(
  hash: 'sha1' | 'sha256',
  number: number,
  { nonce, certificate, key }: { nonce: Buffer; certificate: Buffer; key: Buffer },
): Buffer {
  const value = Buffer.alloc(100);
  value[3] = number;
  nonce.copy(value, 4);
  createHash(hash).update(certificate).digest().copy(value, 36);
  const raw = encodeSstpControl(sstpTypes.connected, [{ id: sstpAttributes.binding, value }]);
  bindingMac(raw, hash, key).copy(raw, 80);
  return raw;
}

test('PPP packets and options come out as they went in', () => {
  const option = record({ type: fc.nat(255), value: bytes(253) });
  fc.assert(
    fc.property(
      fc.nat(255),
      fc.nat(255),
      fc.array(option, { maxLength: 5 }),
      bytes(9),
      (code, id, options, padding) => {
        const packet = encodePppPacket({ code, id, data: encodeOptions(options) });
        const frame = Buffer.concat([pppHead(pppProtocols.lcp), packet, padding]);
        const { protocol, payload } = decodePpp(frame);
        assert.equal(protocol, pppProtocols.lcp);
        const read = decodePppPacket(payload);
        assert.deepEqual([read.code, read.id], [code, id]);
        assert.deepEqual(
          decodeOptions(read.data).map(({ type, value }) => ({ type, value: Buffer.from(value) })),
          options,
        );
      },
    ),
    { numRuns: 200 },
  );
});

test('what is no PPP is refused', () => {
  for (const text of ['', 'ff', 'ff03 00', 'ff03 0020', 'ff03 0121', '0021 4500', 'c021 0101 0004'])
    assert.throws(() => decodePpp(hex(text)), { code: 'protocol' }, text);
  for (const text of ['', '0101 00', '0101 0003', '0101 0009 0102'])
    assert.throws(() => decodePppPacket(hex(text)), { code: 'protocol' }, text);
  for (const text of ['01', '0101', '0100', '0103', '0102 0305 01'])
    assert.throws(() => decodeOptions(hex(text)), text);
});
