import assert from 'node:assert/strict';
import { test } from 'node:test';
import { here, segment, stream, there } from '../../../test/fixtures/tcp-segments.ts';
import { putU16 } from '../../wire/bytes.ts';
import { addSum, foldSum, pseudoSum4, pseudoSum6 } from '../../wire/checksum.ts';
import { FromKernel } from './from-kernel.ts';
import { encodeForKernel } from './to-kernel.ts';

/** What comes out, within one turn of the event loop. */
function read(batch: Buffer, cuts: readonly number[] = []): Buffer[] {
  const reader = new FromKernel();
  const got: Uint8Array[] = [];
  let at = 0;
  for (const end of [...cuts, batch.length]) {
    got.push(...reader.read(Buffer.from(batch.subarray(at, end)))); // its own memory, as a read gives it
    at = end;
  }
  return got.map(frame => Buffer.from(frame));
}
const encode = (frames: readonly Uint8Array[]): Buffer => encodeForKernel(frames, length => Buffer.alloc(length, 0xee));

interface Described {
  readonly flags?: number;
  readonly kind?: number;
  readonly size?: number;
  readonly from?: number;
  readonly offset?: number;
}
function item(frame: Buffer, { flags = 1, kind = 0, size = 0, from = 34, offset = 16 }: Described): Buffer {
  const head = Buffer.alloc(14);
  head.writeUInt32BE(frame.length, 0);
  head[4] = flags;
  head[5] = kind;
  head.writeUInt16LE(size, 8);
  head.writeUInt16LE(from, 10);
  head.writeUInt16LE(offset, 12);
  return Buffer.concat([head, frame]);
}

test('large frames are cut into the segments that they were made of, wherever a chunk ends', () => {
  const frames = [
    ...stream(3, 0xffffffff - 150),
    ...stream(1, 7, { port: 99 }),
    ...stream(500, 5000, { port: 81 }),
    segment({ sequence: 55_000, port: 81, payload: 40, flags: 24, id: 500 }),
    Buffer.alloc(60, 7),
    ...stream(4, 9, { port: 82 }),
  ];
  const batch = encode(frames);
  assert.ok(batch.length < frames.reduce((sum, frame) => sum + frame.length, 0), 'it is joined');
  assert.deepEqual(read(batch), frames);
  for (let size = 1; size < 300; size += 7) {
    const cuts = Array.from({ length: Math.floor((batch.length - 1) / size) }, (_, n) => (n + 1) * size);
    assert.deepEqual(read(batch, cuts), frames, `chunks of ${size}`);
  }
  for (let at = 1; at < 400; at++) assert.deepEqual(read(batch, [at]), frames, `cut at ${at}`);
});

test('memory is used again, but not before the next turn is over', async () => {
  const reader = new FromKernel();
  const batch = encode(stream(580));
  const memories = new Set<ArrayBufferLike>();
  const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve));
  let before: { frames: readonly Uint8Array[]; copies: Buffer[] } | undefined;
  for (let round = 0; round < 60; round++) {
    const frames = [1, 2, 3].flatMap(() => reader.read(Buffer.from(batch)));
    assert.equal(frames.length, 3 * 580);
    for (const { buffer } of frames) memories.add(buffer);
    if (before)
      assert.deepEqual(
        before.frames.map(frame => Buffer.from(frame)),
        before.copies,
        'of the turn before',
      );
    before = { frames, copies: frames.map(frame => Buffer.from(frame)) };
    await turn();
  }
  assert.ok(memories.size < 12, `${memories.size} blocks`);
});

test('IPv6, options, and a VLAN tag', () => {
  const [payload, size] = [Buffer.from(Array.from({ length: 2500 }, (_, n) => (n * 7) & 255)), 1000];
  const tcp = Buffer.alloc(32);
  tcp.writeUInt32BE(0xfffffff0, 4); // the sequence wraps
  tcp[12] = 0x80; // 12 bytes of options
  tcp[13] = 0x99; // CWR, ACK, PSH, FIN
  for (let n = 20; n < 32; n++) tcp[n] = n;
  for (const tags of [0, 1, 2]) {
    const ip = Buffer.alloc(40);
    ip[0] = 0x60;
    ip.writeUInt16BE(32 + payload.length, 4);
    ip[6] = 6;
    for (let n = 8; n < 40; n++) ip[n] = n;
    const macs = Buffer.from('020000000002020000000001', 'hex');
    const tag = Buffer.concat(Array.from({ length: tags }, () => Buffer.from('81000064', 'hex')));
    const whole = Buffer.concat([macs, tag, Buffer.from('86dd', 'hex'), ip, tcp, payload]);
    const network = 14 + 4 * tags;
    const parts = read(item(whole, { kind: 4, size, from: network + 40 }));
    assert.deepEqual(
      parts.map(part => part.length - network - 72),
      [1000, 1000, 500],
    );
    assert.deepEqual(Buffer.concat(parts.map(part => part.subarray(network + 72))), payload);
    for (const [index, part] of parts.entries()) {
      const length = part.length - network - 40;
      assert.equal(part.readUInt16BE(network + 4), length, 'its length');
      assert.equal(part.readUInt32BE(network + 44), (0xfffffff0 + index * size) % 2 ** 32);
      assert.equal(part[network + 53], [0x90, 0x10, 0x19][index], 'CWR with the first, PSH and FIN with the last');
      assert.deepEqual(part.subarray(network + 60, network + 72), tcp.subarray(20));
      const pseudo = pseudoSum6(part, network, 6, length);
      assert.equal(foldSum(addSum(part, network + 40, part.length, pseudo)), 0, 'its sum');
    }
  }
});

test('a sum that the kernel left to us', () => {
  const right = segment({ payload: 33 });
  const unfinished = Buffer.from(right);
  putU16(unfinished, 50, ~foldSum(pseudoSum4(here, there, 6, right.length - 34)) & 0xffff);
  assert.deepEqual(read(item(unfinished, {})), [right]);
  assert.deepEqual(read(item(unfinished, {}), [20, 40]), [right]);
  assert.deepEqual(read(item(unfinished, { flags: 0 })), [unfinished], 'unless it did not');

  const udp = Buffer.alloc(44);
  udp.writeUInt16BE(0xffff, 42); // its sum would be 0
  assert.equal(read(item(udp, { offset: 6 }))[0]?.readUInt16BE(40), 0xffff, 'RFC 768: 0 is no sum');
  assert.deepEqual(read(item(udp, { from: 40, offset: 40 })), [udp], 'a field beyond its end is left alone');
});

test('what no kernel says is refused', () => {
  const frame = Buffer.concat([segment({ payload: 500 })]);
  const refused: Readonly<Record<string, Buffer>> = {
    'another kind': item(frame, { kind: 3, size: 100 }),
    'another kind with a mark': item(frame, { kind: 0x81, size: 100 }),
    'no size': item(frame, { kind: 1, size: 0 }),
    'headers beyond its end': item(frame, { kind: 1, size: 100, from: 600 }),
    'TCP within IP': item(frame, { kind: 1, size: 100, from: 20 }),
    'nothing but headers': item(segment({ payload: 0 }), { kind: 1, size: 100 }),
    'a length beyond all bounds': Buffer.from([1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
  };
  for (const [what, bytes] of Object.entries(refused)) {
    assert.throws(() => read(bytes), { code: 'protocol' }, what);
    assert.throws(() => read(bytes, [5]), { code: 'protocol' }, `${what}, in two pieces`);
  }
});
