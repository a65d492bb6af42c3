import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { answerFields, encodeValue, requestBody, requestFields, trailerFields, valuesOf } from './headers.ts';

const onward = { host: 'server1', body: { kind: 'none' }, method: 'GET', version: '1.1', extra: [] } as const;
const names = (fields: readonly string[]) => fields.filter((_, at) => at % 2 === 0).map(name => name.toLowerCase());

test('whatever Connection names goes no further, but framing is not named away', () => {
  const fields = [
    'Connection',
    'X-A, close',
    'X-A',
    '1',
    'X-B',
    '2',
    'Connection',
    'content-length, host',
    'Content-Length',
    '4',
  ];
  assert.deepEqual(names(requestFields(fields, { ...onward, method: 'POST', body: { kind: 'length', length: '4' } })), [
    'host',
    'x-b',
    'content-length',
    'via',
  ]);
  assert.deepEqual(names(answerFields(fields, '1.1', false)), ['x-b', 'content-length', 'via']);
});

test('Via is joined, and the gate’s own fields come last', () => {
  const out = requestFields(['Via', '1.0 a', 'via', '1.1 b'], { ...onward, extra: ['X-Sekisho-User', 'x'] });
  assert.deepEqual(valuesOf(out, 'via'), ['1.0 a, 1.1 b, 1.1 sekisho']);
  assert.equal(out.at(-1), 'x');
});

test('no spelling of a field that says who is there comes through', () => {
  const forged = [
    'X-Sekisho-User',
    'x-sekisho_user',
    'X_Forwarded_For',
    'X-Forwarded-Client-Cert',
    'Forwarded',
    'X-Real-IP',
    'Remote-User',
    'X-SSL-Client-DN',
    'Client-Cert',
    'X-Remote-Groups',
    'X-Auth-Request-User',
  ];
  assert.deepEqual(
    names(
      requestFields(
        forged.flatMap(name => [name, 'root']),
        onward,
      ),
    ),
    ['host', 'via'],
  );
  assert.deepEqual(trailerFields(forged.flatMap(name => [name, 'root'])), []);
});

test('framing is read in one way or not at all', () => {
  assert.deepEqual(requestBody(['Transfer-Encoding', 'Chunked'], '1.1'), { kind: 'chunked' });
  assert.deepEqual(requestBody(['Content-Length', '12'], '1.1'), { kind: 'length', length: '12' });
  assert.deepEqual(requestBody(['Content-Length', '0'], '1.1'), { kind: 'none' });
  for (const fields of [
    ['Content-Length', '1', 'content-length', '1'],
    ['Content-Length', '1, 1'],
    ['Content-Length', '-1'],
    ['Content-Length', '1', 'Transfer-Encoding', 'chunked'],
  ]) {
    assert.throws(() => requestBody(fields, '1.1'), { code: 'protocol' });
  }
  assert.throws(() => requestBody(['Transfer-Encoding', 'chunked'], '1.0'), { code: 'protocol' });
  assert.throws(() => requestBody(['Transfer-Encoding', 'gzip, chunked'], '1.1'), { code: 'invalid' });
});

test('a name of any script stands in a field as visible ASCII and comes back whole', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), text => {
      fc.pre(text.isWellFormed());
      const value = encodeValue(text);
      assert.match(value, /^[\x21-\x7e]*$/);
      assert.equal(decodeURIComponent(value), text);
    }),
  );
});

test('cookies of the gate go to nobody but the gate', () => {
  const fields = ['Cookie', 'a=1; __Host-sekisho=x; b=2', 'cookie', 'sekisho-site=y'];
  const cookies = (more: object): string[] => valuesOf(requestFields(fields, { ...onward, ...more }), 'cookie');
  assert.deepEqual(cookies({}), ['a=1; b=2']);
  assert.deepEqual(cookies({ version: '2.0' }), ['a=1; b=2']);
  assert.deepEqual(cookies({ isOwn: true }), ['a=1; __Host-sekisho=x; b=2', 'sekisho-site=y']);
});
