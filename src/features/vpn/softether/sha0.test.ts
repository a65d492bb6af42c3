// SHA-0 and the two password forms, with vectors that were taken from SoftEther's own programs.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { answerChallenge, hashPassword, sha0 } from './sha0.ts';

test('the published vector of SHA-0 holds, over one block and more', () => {
  assert.equal(sha0(Buffer.from('abc')).toString('hex'), '0164b8a914cd2a5e74c4f7ff082c4d97f1edf880');
  assert.equal(
    sha0(Buffer.from('abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq')).toString('hex'),
    'd2516ee1acfa5baf33dfc1c471e438449ef134c8',
  );
});

test('a kept password and its answer to a challenge are those of the real client', () => {
  const kept = hashPassword('alice', 'secret1');
  assert.equal(kept.toString('hex'), '5bba7929d51548b6c45e234a3656a74259e05a30');
  assert.deepEqual(hashPassword('ALICE', 'secret1'), kept);
  const random = Buffer.from('a55cf6f8d02ca3a314542af90fbcbfb660da2916', 'hex');
  assert.equal(answerChallenge(kept, random).toString('hex'), 'ac8662ac838c990988b5d0da0d4aedda2a057b93');
  assert.equal(sha0(Buffer.from('adminpw')).toString('hex'), 'dba2834c7db0a04a93060a0d51f16fe8976dc711');
});
