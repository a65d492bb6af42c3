// Clocks: the test clock stands still and keeps order; the system's waits longer than a timer can.
import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { systemClock, TestClock } from './clock.ts';

test('a test clock stands still until it is moved', () => {
  const clock = new TestClock('2026-01-01T00:00:00Z');
  assert.equal(clock.now().toISOString(), '2026-01-01T00:00:00.000Z');
  clock.move(1500);
  assert.equal(clock.now().toISOString(), '2026-01-01T00:00:01.500Z');
});

test('what falls due is called in order, each at its own time, once', () => {
  const clock = new TestClock(new Date(0));
  const calls: [string, number][] = [];
  const call = (name: string) => () => calls.push([name, clock.now().getTime()]);
  clock.after(200, call('late'));
  clock.after(100, call('first'));
  clock.after(100, call('second'));
  clock.after(1001, call('not yet'));
  clock.move(1000);
  const due = [
    ['first', 100],
    ['second', 100],
    ['late', 200],
  ];
  assert.deepEqual(calls, due);
  clock.move(0);
  assert.deepEqual(calls, due);
  clock.move(1);
  assert.deepEqual(calls, [...due, ['not yet', 1001]]);
});

test('a wait that is armed by another is part of the same move', () => {
  const clock = new TestClock(new Date(0));
  const ticks: number[] = [];
  const tick = (): void => {
    ticks.push(clock.now().getTime());
    clock.after(10, tick);
  };
  clock.after(10, tick);
  clock.move(35);
  assert.deepEqual(ticks, [10, 20, 30]);
  assert.equal(clock.now().getTime(), 35);
});

test('a cancelled wait is never called, not even by one that is due at the same time', () => {
  const clock = new TestClock();
  let called = 0;
  const cancel = clock.after(10, () => called++);
  cancel();
  let other = (): void => {};
  clock.after(10, () => other());
  other = clock.after(10, () => called++);
  clock.move(100);
  assert.equal(called, 0);
});

test('a wait in the past is due now', () => {
  const clock = new TestClock();
  let called = 0;
  clock.after(-5, () => called++);
  clock.move(0);
  assert.equal(called, 1);
});

test('the system clock waits forty days, though a timer holds 24.8', () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  try {
    const forty = 40 * 86_400_000;
    let called = 0;
    systemClock.after(forty, () => called++);
    mock.timers.tick(2 ** 31 - 1);
    assert.equal(called, 0);
    mock.timers.tick(forty - (2 ** 31 - 1) - 1);
    assert.equal(called, 0);
    mock.timers.tick(1);
    assert.equal(called, 1);
  } finally {
    mock.timers.reset();
  }
});

test('a long wait can be cancelled in its second step', () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  try {
    let called = 0;
    const cancel = systemClock.after(40 * 86_400_000, () => called++);
    mock.timers.tick(2 ** 31 - 1);
    cancel();
    mock.timers.tick(2 ** 31 - 1);
    assert.equal(called, 0);
  } finally {
    mock.timers.reset();
  }
});
