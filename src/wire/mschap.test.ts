// MS-CHAPv2 by the RFCs' own examples (RFC 1320 A.5, RFC 2759 §9.2, RFC 3079 §3.5.3).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { authenticatorResponse, decodeChapResponse, md4, ntHash, ntResponse, sessionKeys } from './mschap.ts';

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');
const exchange = {
  name: Buffer.from('User'),
  challenge: hex('5B 5D 7C 7D 7B 3F 2F 3E 3C 2C 60 21 32 26 26 28'),
  peerChallenge: hex('21 40 23 24 25 5E 26 2A 28 29 5F 2B 3A 33 7C 7E'),
};
const response = hex('82309ECD8D708B5EA08FAA3981CD83544233114A3D85D6DF');

test('MD4', () => {
  const digests = {
    '': '31d6cfe0d16ae931b73c59d7e0c089c0',
    a: 'bde52cb31de33e46245e05fbdbd6fb24',
    abc: 'a448017aaf21d8525fc10ae87aa6729d',
    'message digest': 'd9130a8164549fe818874806e1c7014b',
    abcdefghijklmnopqrstuvwxyz: 'd79e1c308aa5bbcdeea8ed63df412da9',
    '12345678901234567890123456789012345678901234567890123456789012345678901234567890':
      'e33b4ddc9c38f2199c3e7b164fcc0536',
  };
  for (const [text, digest] of Object.entries(digests)) assert.equal(md4(Buffer.from(text)).toString('hex'), digest);
});

test('a password’s hash, and the response made of it', () => {
  const hash = ntHash('clientPass');
  assert.equal(hash.toString('hex'), '44ebba8d5312b8d611474411f56989ae');
  assert.deepEqual(ntResponse(hash, exchange), response);
});

test('what the server shows in return', () => {
  const shown = authenticatorResponse(ntHash('clientPass'), response, exchange);
  assert.equal(shown, '407A5589115FD0D6209F510FE9C04566932CDA56');
});

test('the keys of both directions', () => {
  const { send, receive } = sessionKeys(ntHash('clientPass'), response);
  assert.equal(receive.toString('hex').toUpperCase(), '8B7CDC149B993A1BA118CB153F56DCCB', 'the server sends with it');
  assert.equal(send.length, 16);
  assert.notDeepEqual(send, receive);
});

test('a response of another size is refused', () => {
  const data = Buffer.concat([
    Uint8Array.of(49),
    exchange.peerChallenge,
    Buffer.alloc(8),
    response,
    Buffer.from('\0x'),
  ]);
  assert.equal(Buffer.from(decodeChapResponse(data).name).toString(), 'x');
  assert.throws(() => decodeChapResponse(data.subarray(0, 49)), { code: 'protocol' });
  data[0] = 24;
  assert.throws(() => decodeChapResponse(data), { code: 'protocol' });
});
