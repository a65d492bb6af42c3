// Durations: exact, with a unit, never a guess.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatDuration, parseDuration } from './duration.ts';
import { Fault } from './fault.ts';

test('every unit is what it says', () => {
  const cases: [string, number][] = [
    ['0s', 0],
    ['500ms', 500],
    ['30s', 30_000],
    ['10m', 600_000],
    ['1h30m', 5_400_000],
    ['8h', 28_800_000],
    ['2d', 172_800_000],
    ['1w', 604_800_000],
    ['1m1ms', 60_001],
  ];
  for (const [text, ms] of cases) assert.equal(parseDuration(text), ms, text);
});

test('a bare number is refused, for its unit would be a guess; so is everything around a duration', () => {
  for (const text of ['', '5', '5 m', '-5m', '1.5h', '5M', '5m ', 'x5m', '5m,3s', 's']) {
    assert.throws(
      () => parseDuration(text),
      (error: unknown) => error instanceof Fault && error.code === 'invalid' && /is not a duration/.test(error.message),
      text,
    );
  }
});

test('a number too large to be exact is refused', () => {
  assert.throws(() => parseDuration('99999999999999999w'), /too long a duration/);
});

test('what is printed is short, and read back as the same time', () => {
  assert.equal(formatDuration(5_400_000), '1h30m');
  assert.equal(formatDuration(0), '0s');
  assert.equal(formatDuration(604_800_000), '7d');
  fc.assert(fc.property(fc.nat(), ms => assert.equal(parseDuration(formatDuration(ms)), ms)));
});
