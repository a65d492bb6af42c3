// Bytes for people.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hexLines, looksEncrypted } from './hex.ts';

test('sixteen bytes a line, with their characters where there are any', () => {
  assert.deepEqual(hexLines(Buffer.from('GET /\r\n')), [
    '0000  47 45 54 20 2f 0d 0a                             GET /··',
  ]);
  assert.equal(hexLines(Buffer.alloc(17)).length, 2);
  assert.deepEqual(hexLines(Buffer.alloc(0)), []);
});

test('a TLS handshake record is told from text', () => {
  assert.equal(looksEncrypted(Buffer.from([22, 3, 1, 0, 5])), true);
  assert.equal(looksEncrypted(Buffer.from('GET')), false);
  assert.equal(looksEncrypted(Buffer.alloc(0)), false);
});
