// The data stream: however TCP cuts it, the same frames come out; what does not fit ends it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { encodeFrames, encodeKeepAlive, FrameDecoder } from './vpn-frame.ts';

const frame = fc.uint8Array({ minLength: 14, maxLength: 1600 }).map(bytes => Buffer.from(bytes));
const part = fc.oneof(
  fc.array(frame, { minLength: 1, maxLength: 5 }).map(frames => ({ frames, bytes: encodeFrames(frames) })),
  fc.uint8Array({ maxLength: 512 }).map(padding => ({ frames: [], bytes: encodeKeepAlive(padding) })),
  fc.constant({ frames: [], bytes: Buffer.alloc(4) }), // a batch of none
);

test('frames come out as they went in, wherever the stream is cut', () => {
  fc.assert(
    fc.property(fc.array(part, { maxLength: 6 }), fc.array(fc.nat(2000), { maxLength: 20 }), (parts, cuts) => {
      const stream = Buffer.concat(parts.map(({ bytes }) => bytes));
      const decoder = new FrameDecoder();
      const got: Buffer[] = [];
      let at = 0;
      for (const cut of [...cuts, stream.length]) {
        got.push(...decoder.push(Buffer.from(stream.subarray(at, at + cut))));
        at = Math.min(stream.length, at + cut);
      }
      got.push(...decoder.push(Buffer.from(stream.subarray(at))));
      assert.deepEqual(
        got,
        parts.flatMap(({ frames }) => frames),
      );
    }),
  );
});

test('frames that are none, too short or too long, are dropped, and the stream goes on', () => {
  const good = Buffer.alloc(60, 7);
  const batch = encodeFrames([Buffer.alloc(0), Buffer.alloc(13), Buffer.alloc(1601), good]);
  assert.deepEqual(new FrameDecoder().push(batch), [good]);
});

test('a size that no frame has ends the connection', () => {
  const batch = encodeFrames([Buffer.alloc(20)]);
  batch.writeUInt32BE(3201, 4);
  assert.throws(() => new FrameDecoder().push(batch), { code: 'protocol' });
});

test('a keep-alive longer than SoftEther sends ends the connection', () => {
  const bytes = Buffer.from('ffffffff00000201', 'hex');
  assert.throws(() => new FrameDecoder().push(bytes), { code: 'protocol' });
});

test('a batch of four billion frames costs nothing until they come', () => {
  const decoder = new FrameDecoder();
  assert.deepEqual(decoder.push(Buffer.from('fffffffe', 'hex')), []);
  assert.deepEqual(decoder.push(encodeFrames([Buffer.alloc(20, 1)]).subarray(4)), [Buffer.alloc(20, 1)]);
});

test('what unpacks to nothing is dropped', () => {
  const decoder = new FrameDecoder(packed => (packed[0] === 1 ? packed : undefined));
  assert.deepEqual(decoder.push(encodeFrames([Buffer.alloc(20, 1), Buffer.alloc(20, 2)])), [Buffer.alloc(20, 1)]);
});
