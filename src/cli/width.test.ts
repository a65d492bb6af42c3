// Promises of widths: columns line up in any script, and strangers' text cannot touch the terminal.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { cut, displayWidth, harmless, pad } from './width.ts';

test('East Asian letters take two columns, combining marks none', () => {
  const widths: [string, number][] = [
    ['abc', 3],
    ['医療事業部', 10],
    ['ｶﾅ', 2],
    ['한글', 4],
    ['é', 1],
    ['e\u0301', 1],
    ['が', 2],
    ['か\u3099', 2],
    ['👍🏽', 2],
    ['👨‍👩‍👧', 2],
    ['a\u200bb', 2],
    ['', 0],
  ];
  for (const [text, width] of widths) assert.equal(displayWidth(text), width, JSON.stringify(text));
});

test('padded and cut text is as wide as asked for, never wider', () => {
  assert.equal(pad('部', 4), '部  ');
  assert.equal(pad('7', 3, true), '  7');
  assert.equal(cut('医療事業部', 6), '医療…');
  assert.equal(cut('short', 5), 'short');
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), fc.integer({ min: 1, max: 20 }), (text, width) => {
      const clean = harmless(text);
      assert.ok(displayWidth(cut(clean, width)) <= width);
      assert.ok(displayWidth(pad(clean, width)) >= width);
    }),
  );
});

test('nothing that moves the cursor or turns the writing round is left in harmless text', () => {
  assert.equal(harmless('a\x1b]0;owned\x07b\r\n\u202efdp'), 'a\\x1b]0;owned\\x07b\\x0d\\x0a\\u202efdp');
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), text => {
      assert.doesNotMatch(harmless(text), /[\p{Cc}\u202a-\u202e\u2066-\u2069]/u);
    }),
  );
});
