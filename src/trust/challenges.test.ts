// Promises of challenges that nobody remembers.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TestClock } from '../core/clock.ts';
import { createChallenges } from './challenges.ts';

test('a challenge is good for what it was made for, in time, once, in one spelling', () => {
  const clock = new TestClock();
  const challenges = createChallenges(clock, 1000);
  const one = challenges.issue('sign-in');
  assert.ok(challenges.isGood(one, 'sign-in'));
  assert.ok(!challenges.isGood(one, 'web cert:1'));
  assert.ok(!challenges.isGood(`${one}=`, 'sign-in'));
  assert.ok(!challenges.isGood(`${one.slice(0, -1)}${one.endsWith('A') ? 'B' : 'A'}`, 'sign-in'));
  assert.ok(!createChallenges(clock, 1000).isGood(one, 'sign-in'), 'of another start');
  assert.deepEqual(
    [challenges.spend(one), challenges.spend(one), challenges.isGood(one, 'sign-in')],
    [true, false, false],
  );
  const late = challenges.issue('sign-in');
  clock.move(1000);
  assert.ok(!challenges.isGood(late, 'sign-in'));
  assert.ok(!challenges.isGood(one, 'sign-in'), 'what was spent is forgotten only when its time is over');
});
