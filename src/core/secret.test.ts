// Secrets: whichever way they are printed by accident, they do not show.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { format, inspect } from 'node:util';
import { Secret, sameSecret } from './secret.ts';

test('only reveal gives a secret back', () => {
  const secret = new Secret('open sesame');
  assert.equal(secret.reveal(), 'open sesame');
  const printed = [
    `${secret}`,
    String(secret),
    JSON.stringify({ secret }),
    inspect({ secret }, { showHidden: true, depth: 9 }),
    format('%s %o %j', secret, secret, secret),
    Object.values(secret).join(),
    JSON.stringify(Object.getOwnPropertyDescriptors(secret)),
  ];
  for (const text of printed) assert.doesNotMatch(text, /sesame/);
  assert.equal(`${secret}`, '«hidden»');
  assert.equal(JSON.stringify({ secret }), '{"secret":"«hidden»"}');
});

test('secret bytes do not show either', () => {
  const secret = new Secret(Buffer.from('sesame'));
  assert.equal(inspect(secret), '«hidden»');
  assert.deepEqual(secret.reveal(), Buffer.from('sesame'));
});

test('secrets are the same when their bytes are, whatever the lengths', () => {
  assert.equal(sameSecret('abc', 'abc'), true);
  assert.equal(sameSecret('abc', Buffer.from('abc')), true);
  assert.equal(sameSecret('', ''), true);
  assert.equal(sameSecret('abc', 'abd'), false);
  assert.equal(sameSecret('abc', 'abcd'), false);
  assert.equal(sameSecret('', 'a'), false);
});
