import assert from 'node:assert/strict';
import { test } from 'node:test';
import { here, segment, stream, there } from '../../../test/fixtures/tcp-segments.ts';
import { addSum, foldSum, pseudoSum4 } from '../../wire/checksum.ts';
import { encodeForKernel } from './to-kernel.ts';

/** What is written to the device, one by one. */
function* written(batch: Buffer): Generator<{ header: Buffer; frame: Buffer }> {
  for (let at = 0; at < batch.length; ) {
    const length = batch.readUInt32BE(at);
    yield { header: batch.subarray(at + 4, at + 14), frame: batch.subarray(at + 14, at + 14 + length) };
    at += 14 + length;
  }
}
/** As the kernel does it (GSO). */
function cut({ header, frame }: { header: Buffer; frame: Buffer }): Buffer[] {
  if (header.every(byte => byte === 0)) return [frame];
  assert.deepEqual([...header.subarray(0, 2)], [1, 1]);
  const [head, size] = [header.readUInt16LE(2), header.readUInt16LE(4)];
  assert.deepEqual([header.readUInt16LE(6), header.readUInt16LE(8)], [34, 16]);
  assert.equal(frame.readUInt16BE(16), frame.length - 14, 'its length');
  assert.equal(foldSum(addSum(frame, 14, 34, 0)), 0, 'its sum');
  const pseudo = pseudoSum4(here, there, 6, frame.length - 34);
  assert.equal(frame.readUInt16BE(50), ~foldSum(pseudo) & 0xffff, 'the sum to go on from');
  const parts: Buffer[] = [];
  for (let at = head; at < frame.length; at += size) {
    const part = Buffer.concat([frame.subarray(0, head), frame.subarray(at, at + size)]);
    part.writeUInt16BE(part.length - 14, 16);
    part.writeUInt16BE(frame.readUInt16BE(18) + parts.length, 18);
    part.writeUInt32BE((frame.readUInt32BE(38) + at - head) >>> 0, 38);
    if (at + size < frame.length) part[47]! &= ~8;
    for (const [sumAt, from, to, seed] of [
      [24, 14, 34, 0],
      [50, 34, part.length, pseudoSum4(here, there, 6, part.length - 34)],
    ] as const) {
      part.writeUInt16BE(0, sumAt);
      part.writeUInt16BE(foldSum(addSum(part, from, to, seed)), sumAt);
    }
    parts.push(part);
  }
  return parts;
}
const encode = (frames: readonly Buffer[]) => [
  ...written(encodeForKernel(frames, length => Buffer.alloc(length, 0xee))),
];

test('segments that follow each other become one, and cut again they are what they were', () => {
  const wraps = 0xffffffff - 250;
  for (const frames of [
    stream(2),
    stream(40),
    stream(5, wraps),
    [...stream(3), segment({ sequence: 301, payload: 40, flags: 24, id: 3 })],
    [...stream(3), ...stream(3, 7, { port: 81 })],
  ]) {
    const items = encode(frames);
    assert.ok(items.length < frames.length);
    assert.deepEqual(items.flatMap(cut), frames);
  }
  assert.equal(encode(stream(40)).length, 1);
  assert.ok(encode(stream(700)).length > 1, 'an IPv4 packet has an end');
  assert.deepEqual(encode(stream(700)).flatMap(cut), stream(700));
});

test('what differs in anything stays as it is', () => {
  const [first] = stream(1) as [Buffer];
  const spoilt = (at: number): Buffer => {
    const next = segment({ sequence: 101 });
    next[at]! ^= 1;
    return next;
  };
  const alone: Readonly<Record<string, readonly Buffer[]>> = {
    'a hole': [first, segment({ sequence: 102 })],
    'the same again': [first, segment({})],
    'another port': [first, segment({ sequence: 101, port: 81 })],
    'another window': [first, segment({ sequence: 101, window: 501 })],
    'another time to live': [first, segment({ sequence: 101, ttl: 63 })],
    'longer than the first': [first, segment({ sequence: 101, payload: 101 })],
    'behind a push': [segment({ flags: 24 }), segment({ sequence: 101 })],
    'the end of a stream': [first, segment({ sequence: 101, flags: 17 })],
    'a reset': [first, segment({ sequence: 101, flags: 20 })],
    'no payload': [first, segment({ sequence: 101, payload: 0 })],
    'may be cut': stream(2, 1, { dontFragment: false }),
    'a wrong sum of the second': [first, spoilt(80)],
    'a wrong sum of the first': [spoilt(80), segment({ sequence: 201 })],
    'a wrong sum of IP': [first, spoilt(25)],
    'another sender': [first, spoilt(6)],
    'trailing bytes': [first, Buffer.concat([segment({ sequence: 101, payload: 90 }), Buffer.alloc(10)])],
    'too short': [first, Buffer.alloc(14)],
  };
  for (const [what, frames] of Object.entries(alone)) {
    const items = encode(frames);
    assert.deepEqual(
      items.map(({ frame }) => frame),
      frames,
      what,
    );
    assert.ok(
      items.every(({ header }) => header.every(byte => byte === 0)),
      what,
    );
  }
});

test('frames of any bytes come out as they went in', () => {
  const base = stream(6);
  for (let round = 0; round < 3000; round++) {
    const frames = base.map(frame => Buffer.from(frame));
    const victim = frames[round % frames.length]!;
    victim[(round * 31) % victim.length] = (round * 17) & 255;
    if (round % 5 === 0) frames[round % 6] = victim.subarray(0, 14 + ((round * 13) % (victim.length - 13)));
    // A sum that is right either way (0 and 0xffff) and an id are the kernel's own matter.
    const plain = (all: readonly Buffer[]): string[] => all.map(frame => frame.toString('hex'));
    assert.deepEqual(plain(encode(frames).flatMap(cut)), plain(frames), String(round));
  }
});
