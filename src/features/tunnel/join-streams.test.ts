import assert from 'node:assert/strict';
import { Duplex } from 'node:stream';
import { test } from 'node:test';
import { joinStreams } from './join-streams.ts';

const piece = Buffer.alloc(16 * 1024);
const next = (): Promise<void> => new Promise(setImmediate);

/** A side that says what it has, and then that it is over both ways, as AWS's protocol does. */
function saying(pieces: number): Duplex & { farEnd?: 'reset' } {
  let left = pieces;
  const stream: Duplex & { farEnd?: 'reset' } = new Duplex({
    read() {
      this.push(left-- > 0 ? piece : null);
    },
    write(_chunk, _encoding, done) {
      done();
    },
  });
  stream.once('end', () => {
    stream.farEnd = 'reset';
    stream.emit('far-reset');
  });
  return stream;
}

test('who sends in bulk to a side that is over is ended, without waiting for the grace', async () => {
  let [sent, isDestroyed] = [0, false];
  const far = new Duplex({
    read() {
      sent += piece.length;
      void next().then(() => !isDestroyed && this.push(piece));
    },
    write(_chunk, _encoding, done) {
      done();
    },
    destroy(error, done) {
      isDestroyed = true;
      done(error);
    },
  });
  assert.equal(await joinStreams(saying(1), far, { grace: 100_000 }), 'ended');
  assert.ok(sent < 1024 * 1024, `${sent} bytes were read for nobody`);
});

test('an echo is taken in until all that the side had sent is delivered', async () => {
  let got = 0;
  const waiting: (() => void)[] = [];
  // One that takes nothing more as long as its answers are not taken.
  const far = new Duplex({
    readableHighWaterMark: 1,
    read() {
      waiting.shift()?.();
    },
    write(chunk, _encoding, done) {
      got += chunk.length;
      if (this.push(chunk)) done();
      else waiting.push(done);
    },
    final(done) {
      this.push(null);
      done();
    },
  });
  assert.equal(await joinStreams(saying(64), far, { grace: 100_000 }), 'ended');
  assert.equal(got, 64 * piece.length);
});

test('a side that neither takes what it was sent nor ends is given up', async () => {
  const near = saying(64);
  const far = new Duplex({
    read() {},
    write() {}, // never done
  });
  const joined = joinStreams(near, far, { grace: 20 });
  near.emit('far-reset');
  assert.equal(await joined, 'ended');
  assert.ok(far.destroyed);
});

test('a slow reader gets all of it, however long it takes', async t => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const near = saying(40);
  let got = 0;
  let release: (() => void) | undefined;
  const far = new Duplex({
    read() {},
    write(chunk, _encoding, done) {
      got += chunk.length;
      release = done;
    },
    final(done) {
      this.push(null);
      done();
    },
  });
  const joined = joinStreams(near, far, { grace: 1000 });
  near.emit('far-reset');
  while (!far.writableFinished) {
    await next();
    t.mock.timers.tick(999);
    release?.();
  }
  assert.equal(got, 40 * piece.length);
  assert.equal(await joined, 'ended');
});
