// What fails is tried again with growing waits; what ends stops.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TestClock } from '../core/clock.ts';
import type { Log } from '../core/parts.ts';
import { type Renewal, startRenewal } from './renewal.ts';

const quiet: Log = { child: () => quiet, debug() {}, info() {}, warn() {}, error() {} };
const minute = 60_000;

test('failures wait longer and longer, up to a limit, and a success starts over', async () => {
  const clock = new TestClock();
  const waits: number[] = [];
  const log: Log = { ...quiet, warn: facts => waits.push((facts as { retryInSeconds: number }).retryInSeconds) };
  let works = false;
  let due = clock.now();
  let runs = 0;
  await using renewal: Renewal = startRenewal({
    ...{ clock, log, what: 'x', due: () => due },
    async renew() {
      runs += 1;
      if (!works) throw new Error('no');
      due = new Date(clock.now().getTime() + 1000 * minute);
    },
  });
  for (let i = 0; i < 12; i += 1) await renewal.now();
  assert.equal(waits.length, 12);
  for (const [i, wait] of waits.entries()) {
    const middle = Math.min(60 * 2 ** i, 6 * 3600);
    assert.ok(wait >= middle * 0.79 && wait <= middle * 1.21, `${i}: ${wait}`);
  }
  works = true;
  await renewal.now();
  const before = runs;
  clock.move(999 * minute);
  assert.equal(runs, before);
  clock.move(minute);
  assert.equal(runs, before + 1);
});

test('several who want it now get one run, and the end aborts it', async () => {
  const clock = new TestClock();
  let runs = 0;
  const renewal = startRenewal({
    ...{ clock, log: quiet, what: 'x', due: () => new Date('2030-01-01') },
    renew: signal =>
      new Promise((_, reject) => {
        runs += 1;
        signal.addEventListener('abort', () => reject(signal.reason as Error));
      }),
  });
  const both = [renewal.now(), renewal.now()];
  await renewal[Symbol.asyncDispose]();
  await Promise.all(both);
  assert.equal(runs, 1);
  clock.move(10_000_000 * minute);
  assert.equal(runs, 1);
});
