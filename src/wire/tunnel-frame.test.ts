// The tunnel message against bytes written down by hand, and against itself.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Fault } from '../core/fault.ts';
import {
  decodeMessage,
  encodeFrame,
  FrameReader,
  longestPayload,
  messageTypes,
  type TunnelMessage,
} from './tunnel-frame.ts';

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');
const isProtocol = (error: unknown): boolean => error instanceof Fault && error.code === 'protocol';

test('writes the bytes of the guide', () => {
  assert.deepEqual(encodeFrame({ type: messageTypes.serviceIds }), hex('0002 0805'));
  assert.deepEqual(
    encodeFrame({ type: messageTypes.serviceIds, availableServiceIds: ['SSH', 'WEB'] }),
    hex('000c 0805 3203535348 3203574542'),
  );
  assert.deepEqual(
    encodeFrame({ type: messageTypes.streamStart, streamId: 1, serviceId: 'SSH', connectionId: 300 }),
    hex('000c 0802 1001 2a03535348 38ac02'),
  );
});

test('reads fields in any order, the last of a kind, and what is absent as nothing', () => {
  // As aws-c-iot writes: 7 before 4.
  const message = decodeMessage(hex('0801 1007 3802 2a03535348 2202 6869 1009'));
  assert.deepEqual(
    { ...message, payload: Buffer.from(message.payload).toString() },
    {
      ...{
        type: 1,
        streamId: 9,
        ignorable: false,
        payload: 'hi',
        serviceId: 'SSH',
        availableServiceIds: [],
        connectionId: 2,
      },
    },
  );
  assert.equal(decodeMessage(hex('')).type, 0);
  assert.equal(decodeMessage(hex('1801')).ignorable, true);
});

test('the payload is a view of what was received', () => {
  const bytes = hex('0801 1001 2203 616263');
  const { payload } = decodeMessage(bytes);
  assert.equal(payload.buffer, bytes.buffer);
  assert.equal(payload.byteOffset, bytes.byteOffset + 6);
});

for (const [what, bytes] of [
  ['a field that no version has', '4001'],
  ['a field of another wire type', '0d00000000'],
  ['a number that ends too soon', '08ff'],
  ['a number of more than ten bytes', '08ffffffffffffffffffff01'],
  ['a negative stream id', '10ffffffffffffffffff01'],
  ['a stream id beyond 31 bits', '108080808008'],
  ['a connection id beyond 32 bits', '388080808010'],
  ['a payload longer than the message', '2205 6162'],
  ['a service with a space in its name', '2a03 612062'],
] as const) {
  test(`refuses ${what}`, () => {
    assert.throws(() => decodeMessage(hex(bytes)), isProtocol);
  });
}

test('refuses a payload of more than 64,512 bytes, and takes one of as many', () => {
  const body = (length: number): Buffer =>
    Buffer.concat([hex('0801 1001 22'), hex(varint(length)), Buffer.alloc(length)]);
  assert.equal(decodeMessage(body(longestPayload)).payload.length, longestPayload);
  assert.throws(() => decodeMessage(body(longestPayload + 1)), isProtocol);
  assert.throws(() => encodeFrame({ type: 1, payload: new Uint8Array(longestPayload + 1) }), { code: 'bug' });
});
const varint = (value: number): string =>
  Buffer.from([(value & 127) | 128, ((value >> 7) & 127) | 128, value >> 14]).toString('hex');

const anyMessage: fc.Arbitrary<TunnelMessage> = fc.record({
  type: fc.integer({ min: 0, max: 70 }),
  streamId: fc.integer({ min: 0, max: 0x7fffffff }),
  ignorable: fc.boolean(),
  payload: fc.uint8Array({ maxLength: 300 }),
  serviceId: fc.stringMatching(/^[a-zA-Z0-9:_-]{0,128}$/),
  availableServiceIds: fc.array(fc.stringMatching(/^[a-zA-Z0-9:_-]{1,20}$/), { maxLength: 5 }),
  connectionId: fc.integer({ min: 0, max: 0xffffffff }),
});

test('what is written is read again, however it is cut', () => {
  fc.assert(
    fc.property(
      fc.array(anyMessage, { maxLength: 8 }),
      fc.infiniteStream(fc.integer({ min: 1, max: 200 })),
      (messages, cuts) => {
        const bytes = Buffer.concat(messages.map(message => encodeFrame(message)));
        const reader = new FrameReader();
        const read: TunnelMessage[] = [];
        for (let at = 0; at < bytes.length; ) {
          const length = cuts.next().value as number;
          reader.read(bytes.subarray(at, at + length), message => read.push(message));
          at += length;
        }
        assert.equal(reader.waiting, 0);
        assert.deepEqual(
          read.map(one => ({ ...one, payload: [...one.payload] })),
          messages.map(one => ({ ...one, payload: [...one.payload] })),
        );
      },
    ),
  );
});

test('skips a message of no bytes, and keeps no more than one frame that is not whole', () => {
  const reader = new FrameReader();
  const read: TunnelMessage[] = [];
  reader.read(hex('0000 0002 0805 00ff 08'), message => read.push(message));
  assert.deepEqual(
    read.map(({ type }) => type),
    [5],
  );
  assert.equal(reader.waiting, 3);
});
