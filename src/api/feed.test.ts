// Promises of the bounded feed.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Feed } from './feed.ts';

const all = async <T>(feed: Feed<T>): Promise<T[]> => Array.fromAsync(feed);

test('what was told is read in order, also after the end', async () => {
  const feed = new Feed<number>(3);
  for (const item of [1, 2, 3]) feed.push(item);
  feed.close();
  assert.deepEqual(await all(feed), [1, 2, 3]);
  assert.equal(feed.end, 'closed');
});

test('a reader that is a whole queue behind loses the feed, and what waited is dropped', async () => {
  const feed = new Feed<number>(2);
  for (const item of [1, 2, 3]) feed.push(item);
  assert.equal(feed.end, 'slow');
  assert.deepEqual(await all(feed), []);
});

test('the past waits for room instead of ending the feed', async () => {
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
  feed.push(1);
  const waiting = feed.put(2);
  feed.close();
  await waiting;
});

test('a reader that waits is woken by the next item', async () => {
  const feed = new Feed<string>(1);
  const first = feed[Symbol.asyncIterator]().next();
  feed.push('late');
  assert.deepEqual(await first, { value: 'late', done: false });
});
