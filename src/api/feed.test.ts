// Promises of the bounded feed.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Feed } from './feed.ts';

const all = async <T>(feed: Feed<T>): Promise<T[]> => Array.fromAsync(feed);

test('what was told is read in order, also after the end', async () => {
  const feed = new Feed<number>(3);
  for (const item of [1, 2, 3]) assert.ok(feed.offer(item));
  feed.close();
  assert.deepEqual(await all(feed), [1, 2, 3]);
  assert.equal(feed.end, 'closed');
});

test('what finds no room is refused, and takes nothing from what waits', async () => {
  const feed = new Feed<number>(2);
  assert.deepEqual(
    [1, 2, 3].map(item => feed.offer(item)),
    [true, true, false],
  );
  feed.close();
  assert.deepEqual(await all(feed), [1, 2]);
});

test('a reader is stuck when something waits and nothing was taken since the last look', async () => {
  const feed = new Feed<number>(2);
  const reading = feed[Symbol.asyncIterator]();
  assert.ok(!feed.isStuck() && !feed.isStuck(), 'where nothing waits, nobody is late');
  feed.offer(1);
  await reading.next();
  feed.offer(2);
  assert.ok(!feed.isStuck(), 'it took the first');
  assert.ok(feed.isStuck());
  feed.close('slow');
  assert.deepEqual(await all(feed), [], 'what waited is dropped');
});

test('what may not be lost waits for room', async () => {
  const feed = new Feed<number>(2);
  const told = (async () => {
    for (let item = 0; item < 50; item++) await feed.put(item);
    feed.close();
  })();
  assert.deepEqual(await all(feed), [...Array(50).keys()]);
  await told;
  assert.equal(feed.end, 'closed');
});

test('ending the feed lets a teller that waits for room go on', async () => {
  const feed = new Feed<number>(1);
  feed.offer(1);
  const waiting = feed.put(2);
  feed.close();
  await waiting;
});

test('a reader that waits is woken by the next item', async () => {
  const feed = new Feed<string>(1);
  const first = feed[Symbol.asyncIterator]().next();
  feed.offer('late');
  assert.deepEqual(await first, { value: 'late', done: false });
});
