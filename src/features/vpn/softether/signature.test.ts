// Telling SoftEther's clients from everybody else on the gate's port.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseRequest } from './http.ts';
import { claimsSoftEther, isProbe, isSignature, probePage } from './signature.ts';

const bytes = (text: string): Buffer => Buffer.from(text, 'latin1');

test('the real client’s probe and its two paths are claimed', () => {
  assert.equal(claimsSoftEther(bytes('GET / HTTP/1.1\r\nX-VPN: 1\r\nHost: 10.99.1.1\r\n')), true);
  assert.equal(claimsSoftEther(bytes('POST /vpnsvc/connect.cgi HTTP/1.1\r\n')), true);
  assert.equal(claimsSoftEther(bytes('POST /vpnsvc/vpn.cgi HTTP/1.1\r\n')), true);
});

test('everybody else goes on to the API, at the first byte that differs', () => {
  for (const text of [
    'GET /v1/status HTTP/1.1\r\n',
    'POST / HTTP/1.1\r\n',
    'CONNECT a:1 HTTP/1.1\r\n',
    'PRI * HTTP/2.0',
    '\x10\x00',
  ])
    assert.equal(claimsSoftEther(bytes(text)), false, text);
  assert.equal(claimsSoftEther(bytes('GET / HTTP/1.1\r\nHost: gate\r\n\r\n')), false);
  assert.equal(claimsSoftEther(bytes(`GET / HTTP/1.1\r\nHost: gate\r\nX-Long: ${'a'.repeat(3000)}`)), false);
});

test('while it could be either, more is asked for', () => {
  for (const text of ['G', 'GET / HTTP/1.1', 'GET / HTTP/1.1\r\nHost: gate\r\n', 'POST /vpnsvc/c'])
    assert.equal(claimsSoftEther(bytes(text)), 'more', text);
});

test('a header in the body does not make a probe of a request', () => {
  assert.equal(claimsSoftEther(bytes('GET / HTTP/1.1\r\nHost: gate\r\n\r\n\r\nX-VPN: 1\r\n')), false);
});

test('the plain signature counts, and a picture of other bytes does not', () => {
  assert.equal(isSignature(bytes('VPNCONNECT')), true);
  assert.equal(isSignature(bytes('VPNCONNECU')), false);
  assert.equal(isSignature(Buffer.concat([bytes('GIF89a'), Buffer.alloc(2000)])), false);
});

test('the page for the probe has its tag where the client looks', () => {
  assert.ok(probePage.subarray(0, 1023).includes('9C37197CA7C2428388C2E6E59B829B30'));
});

test('requests are read strictly', () => {
  const read = (text: string) => parseRequest(bytes(text));
  const whole = read('POST /vpnsvc/vpn.cgi HTTP/1.1\r\nContent-Length: 3\r\nHost: a\r\n\r\nabcrest');
  assert.ok(whole !== 'more');
  assert.deepEqual([whole.used, whole.request.body.toString()], [64, 'abc']);
  assert.equal(read('POST /vpnsvc/vpn.cgi HTTP/1.1\r\nContent-Length: 3\r\n\r\nab'), 'more');
  const probe = read('GET / HTTP/1.1\r\nX-VPN: 1\r\n\r\n');
  assert.ok(probe !== 'more' && isProbe(probe.request));
  for (const text of [
    'POST /vpnsvc/vpn.cgi HTTP/1.0\r\n\r\n',
    'POST  /vpnsvc/vpn.cgi HTTP/1.1\r\n\r\n',
    'POST /a HTTP/1.1\r\nContent-Length: 65537\r\n\r\n',
    'POST /a HTTP/1.1\r\nContent-Length: -1\r\n\r\n',
    'POST /a HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n',
    'POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n',
    'POST /a HTTP/1.1\r\n folded: 1\r\n\r\n',
    `POST /a HTTP/1.1\r\nA: ${'a'.repeat(5000)}\r\n\r\n`,
    `POST /a HTTP/1.1\r\n${'A: 1\r\n'.repeat(129)}\r\n`,
    'x'.repeat(16 * 1024),
  ])
    assert.throws(() => read(text), { code: 'protocol' }, text.slice(0, 60));
});
