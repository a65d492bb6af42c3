// TCP in user space against those who mean it harm: floods, forged segments, windows and gaps made to cost.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { tcpHand } from '../../../../test/fixtures/tcp-hand.ts';
import { tcpFlags } from '../../../wire/tcp.ts';

const { syn, rst, psh, ack } = tcpFlags;

test('a flood of SYNs is held at the limit, answers nothing, and leaves a standing connection alone', () => {
  const { connect, give, out, stack } = tcpHand();
  const { conn, theirs } = connect();
  out.length = 0;
  for (let count = 0; count < 60_000; count++)
    give({ flags: syn, sequence: count, sourcePort: 1024 + (count % 60_000) });
  assert.ok(stack.count <= 4096, `${stack.count}`);
  assert.deepEqual(
    out.filter(({ targetPort }) => targetPort >= 6000),
    [],
  );
  give({ sequence: 1000, acknowledgement: theirs, flags: ack | psh, payload: Buffer.from('still here') });
  assert.equal(conn.stream.read()?.toString(), 'still here');
  conn.stream.destroy();
});

test('who never ends the handshake is forgotten, and so is what it asked for', async () => {
  const { give, requests, stack, clock } = tcpHand();
  give({ flags: syn, sequence: 999 });
  const { stream } = requests.shift()!.accept();
  const failed = once(stream, 'error');
  assert.equal(stack.count, 1);
  for (let ms = 0; ms < 180_000; ms += 50) clock.move(50);
  assert.equal((await failed)[0].code, 'ETIMEDOUT');
  assert.equal(stack.count, 0);
});

test('a reset or data outside of the window changes nothing, wherever it is aimed', () => {
  const { connect, give, out, stack } = tcpHand();
  const { conn, theirs } = connect();
  for (let guess = 0; guess < 4096; guess++) {
    const sequence = (guess * 2 ** 20 + 3_000_000) >>> 0;
    give({ flags: rst, sequence });
    give({ sequence, acknowledgement: theirs, flags: ack | psh, payload: Buffer.from('forged') });
  }
  assert.equal(conn.stream.destroyed, false);
  assert.equal(conn.stream.readableLength, 0);
  assert.equal(stack.held, 0);
  out.length = 0;
  give({ sequence: 1000, acknowledgement: theirs, flags: ack | psh, payload: Buffer.from('mine') });
  assert.equal(conn.stream.read()?.toString(), 'mine');
  conn.stream.destroy();
});

test('single bytes with gaps between them are kept in a bounded number, and nothing is lost that was acknowledged', () => {
  const { connect, give, out, stack } = tcpHand();
  const { conn, theirs } = connect({ mss: 1000, windowScale: 7, sackPermitted: true });
  const data = Buffer.from(Array.from({ length: 10_000 }, (_, index) => index & 255));
  const part = (from: number, to: number): void =>
    give({ sequence: 1000 + from, acknowledgement: theirs, flags: ack | psh, payload: data.subarray(from, to) });
  for (let at = 1; at < data.length; at += 2) part(at, at + 1);
  assert.ok(stack.held <= 1024, `${stack.held} bytes are held`);
  let told = 0;
  for (let at = 0; at < data.length; at = told) {
    out.length = 0;
    part(at, Math.min(data.length, at + 1000));
    told = (out.at(-1)?.acknowledgement ?? 0) - 1000;
    assert.ok(told > at, 'it goes on');
  }
  assert.deepEqual(conn.stream.read(), data);
  conn.stream.destroy();
});

test('segments that overlap with other bytes: what was delivered never changes, what is kept is replaced as Linux does', () => {
  const { connect, give } = tcpHand();
  const { conn, theirs } = connect();
  const part = (from: number, text: string): void =>
    give({ sequence: 1000 + from, acknowledgement: theirs, flags: ack | psh, payload: Buffer.from(text) });
  part(4, 'efgh');
  part(2, 'CDEFGHIJ'); // all around what is kept: it goes
  part(5, 'XYZ');
  part(0, 'abcd');
  part(0, 'WXYZWXYZ'); // delivered already
  assert.equal(conn.stream.read()?.toString(), 'abcdEFGHIJ');
  conn.stream.destroy();
});

test('a window of one byte and an MSS of one are served, in few and not tiny frames', () => {
  const { connect, give, out, clock, turn } = tcpHand();
  const { conn, theirs } = connect({ mss: 1 });
  conn.stream.write(Buffer.alloc(6400, 7));
  turn();
  assert.ok(
    out.every(({ payload }) => payload.length >= 64),
    'no header for every byte',
  );
  out.length = 0;
  const tiny = tcpHand();
  const other = tiny.connect({ mss: 1460 });
  tiny.give({ sequence: 1000, acknowledgement: other.theirs, window: 1 });
  other.conn.stream.write(Buffer.alloc(100_000, 7));
  tiny.turn();
  for (let ms = 0; ms < 60_000; ms += 50) {
    tiny.clock.move(50);
    const last = tiny.out.at(-1);
    if (last) tiny.give({ sequence: 1000, acknowledgement: last.sequence + last.payload.length, window: 1 });
  }
  assert.ok(tiny.out.length < 600, `${tiny.out.length} frames in a minute`);
  clock.move(1);
  give({ sequence: 1000, acknowledgement: theirs });
  conn.stream.destroy();
  other.conn.stream.destroy();
});
