// Requests that two readers could read in two ways: each is refused, and no site ever sees a second one in it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openOrigin, openRig } from './rig.ts';

const head = 'POST http://server1/ HTTP/1.1\r\nHost: server1\r\n';
const hidden = 'GET http://server1/hidden HTTP/1.1\r\nHost: server1\r\n\r\n';

/** Each must be answered by 4xx or 5xx, or by nothing, and must reach no site. */
const corpus: Readonly<Record<string, string>> = {
  'a length and a transfer coding': `${head}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${hidden}`,
  'a transfer coding and a length': `${head}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n${hidden}`,
  'two lengths': `${head}Content-Length: 0\r\nContent-Length: 44\r\n\r\n${hidden}`,
  'two equal lengths': `${head}Content-Length: 4\r\nContent-Length: 4\r\n\r\nbody`,
  'a list of lengths': `${head}Content-Length: 4, 4\r\n\r\nbody`,
  'a length with a sign': `${head}Content-Length: +4\r\n\r\nbody`,
  'a length in hexadecimal': `${head}Content-Length: 0x4\r\n\r\nbody`,
  'a length that overflows': `${head}Content-Length: 18446744073709551617\r\n\r\n${hidden}`,
  'two transfer codings': `${head}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n`,
  'an unknown transfer coding': `${head}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`,
  'gzip before chunked': `${head}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`,
  'chunked twice': `${head}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n`,
  'chunked before identity': `${head}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n${hidden}`,
  'a transfer coding after a vertical tab': `${head}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n${hidden}`,
  'a space before the colon': `${head}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n${hidden}`,
  'a folded line': `${head}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n${hidden}`,
  'a line that begins with a space': `POST http://server1/ HTTP/1.1\r\n Host: server1\r\n\r\n`,
  'a bare LF between fields': `POST http://server1/ HTTP/1.1\nHost: server1\n\n`,
  'a bare LF inside a field': `${head}X: a\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  'a bare CR inside a field': `${head}X: a\rTransfer-Encoding: chunked\r\n\r\n`,
  'a NUL in a field': `${head}X: a\x00b\r\n\r\n`,
  'a NUL in a name': `${head}X\x00: b\r\n\r\n`,
  'a transfer coding in HTTP/1.0':
    'POST http://server1/ HTTP/1.0\r\nHost: server1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  'a chunk size that is none': `${head}Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n`,
  'a chunk size with 0x': `${head}Transfer-Encoding: chunked\r\n\r\n0x4\r\nbody\r\n0\r\n\r\n`,
  'a chunk size that overflows': `${head}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nbody\r\n0\r\n\r\n`,
  'a chunk that ends in LF': `${head}Transfer-Encoding: chunked\r\n\r\n4\nbody\n0\n\n`,
  'no Host': 'GET http://server1/ HTTP/1.1\r\n\r\n',
  'two Hosts': 'GET http://server1/ HTTP/1.1\r\nHost: server1\r\nHost: server2\r\n\r\n',
  'a Host with a space': 'GET http://server1/ HTTP/1.1\r\nHost: server1 server2\r\n\r\n',
  'a space in the address': 'GET http://server1/a b HTTP/1.1\r\nHost: server1\r\n\r\n',
  'a tab after the method': 'GET\thttp://server1/ HTTP/1.1\r\nHost: server1\r\n\r\n',
  'a user name in the address': 'GET http://server1@server2/ HTTP/1.1\r\nHost: server1\r\n\r\n',
  'a fragment in the address': 'GET http://server1/#/../x HTTP/1.1\r\nHost: server1\r\n\r\n',
  'a backslash in the host': 'GET http://server1\\@server2/ HTTP/1.1\r\nHost: server1\r\n\r\n',
  'an encoded host': 'GET http://%73erver1/ HTTP/1.1\r\nHost: server1\r\n\r\n',
  'a byte above ASCII in the address': 'GET http://server1/\xe9 HTTP/1.1\r\nHost: server1\r\n\r\n',
  'https in absolute form': 'GET https://server1/ HTTP/1.1\r\nHost: server1\r\n\r\n',
  'ftp in absolute form': 'GET ftp://server1/ HTTP/1.1\r\nHost: server1\r\n\r\n',
  TRACE: 'TRACE http://server1/ HTTP/1.1\r\nHost: server1\r\n\r\n',
  'HTTP/0.9': 'GET http://server1/\r\n\r\n',
  'HTTP/3.0 in text': 'GET http://server1/ HTTP/3.0\r\nHost: server1\r\n\r\n',
  'an unknown method': 'SMUGGLE http://server1/ HTTP/1.1\r\nHost: server1\r\n\r\n',
  'a header block without end': `GET http://server1/ HTTP/1.1\r\nHost: server1\r\n${'X-Long: 0123456789abcdef\r\n'.repeat(4000)}\r\n`,
  'a WebSocket with a body':
    'GET http://server1/ HTTP/1.1\r\nHost: server1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 4\r\n\r\nbody',
  'a WebSocket with two Hosts':
    'GET http://server1/ HTTP/1.1\r\nHost: server1\r\nHost: server2\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
  'a WebSocket in HTTP/1.0':
    'GET http://server1/ HTTP/1.0\r\nHost: server1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
  'CONNECT with a body': 'CONNECT server1:80 HTTP/1.1\r\nHost: server1\r\nContent-Length: 4\r\n\r\nbody',
  'CONNECT with a transfer coding':
    'CONNECT server1:80 HTTP/1.1\r\nHost: server1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  'CONNECT without a port': 'CONNECT server1 HTTP/1.1\r\nHost: server1\r\n\r\n',
  'CONNECT without Host': 'CONNECT server1:80 HTTP/1.1\r\n\r\n',
  'CONNECT with a path': 'CONNECT server1:80/x HTTP/1.1\r\nHost: server1\r\n\r\n',
  'CONNECT to a URL': 'CONNECT http://server1:80 HTTP/1.1\r\nHost: server1\r\n\r\n',
  'a decimal address': 'GET http://2130706433/ HTTP/1.1\r\nHost: x\r\n\r\n',
  'a short address': 'GET http://127.1/ HTTP/1.1\r\nHost: x\r\n\r\n',
  garbage: '\x16\x03\x01\x00\x05hello\r\n\r\n',
};

test('the corpus of ambiguous requests reaches no site', async t => {
  await using origin = await openOrigin();
  await using rig = await openRig({
    forward: { hosts: { server1: `tcp://127.0.0.1:${origin.port}`, server2: `tcp://127.0.0.1:${origin.port}` } },
  });
  for (const [name, bytes] of Object.entries(corpus)) {
    await t.test(name, async () => {
      const before = origin.seen.length;
      const text = await rig.raw(Buffer.from(bytes, 'latin1'), { until: /^HTTP\/1\.1 \d{3}[\s\S]*\r\n\r\n/ });
      assert.doesNotMatch(text, /^HTTP\/1\.1 (2|3|500)/, text);
      // A chunked body goes wrong only after its head has been passed on; the request is then cut, never completed.
      const seen = origin.seen.slice(before);
      if (!/chunk (size|that)|a chunk/.test(name)) assert.deepEqual(seen, [], name);
      assert.ok(!seen.some(({ url }) => url.includes('hidden')));
    });
  }
});

test('behind a request with two readings nothing is served, though it came in the same packet', async () => {
  await using origin = await openOrigin();
  await using rig = await openRig({ forward: { hosts: { server1: `tcp://127.0.0.1:${origin.port}` } } });
  for (const odd of [
    'Host: server1\r\nHost: server2\r\n\r\n',
    'Host: server1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n',
  ]) {
    const text = await rig.raw(`POST http://server1/ HTTP/1.1\r\n${odd}${hidden}`);
    assert.match(text, /^HTTP\/1\.1 (400|501) (?![\s\S]*HTTP\/1)/);
  }
  assert.deepEqual(origin.seen, []);
});

test('a connection that still owes an answer becomes no tunnel', async () => {
  await using origin = await openOrigin(() => {});
  await using rig = await openRig({ forward: { hosts: { server1: `tcp://127.0.0.1:${origin.port}` } } });
  const text = await rig.raw(
    'GET http://server1/ HTTP/1.1\r\nHost: server1\r\n\r\nCONNECT server1:80 HTTP/1.1\r\nHost: server1:80\r\n\r\n',
  );
  assert.equal(text, '');
});

test('requests one after the other in one packet are as many requests, each judged', async () => {
  let open = 0;
  await using origin = await openOrigin((_, response) => {
    assert.equal(++open, 1, 'one at a time');
    setImmediate(() => response.end('ok', () => open--));
  });
  await using rig = await openRig({ forward: { hosts: { server1: `tcp://127.0.0.1:${origin.port}` } } });
  const text = await rig.raw(
    'GET http://server1/a HTTP/1.1\r\nHost: server1\r\n\r\nGET http://server2/b HTTP/1.1\r\nHost: server2\r\n\r\nGET http://server1/c HTTP/1.1\r\nHost: server1\r\nConnection: close\r\n\r\n',
  );
  assert.deepEqual(
    [...text.matchAll(/HTTP\/1\.1 (\d{3})/g)].map(([, status]) => status),
    ['200', '403', '200'],
  );
  assert.deepEqual(
    origin.seen.map(({ url }) => url),
    ['/a', '/c'],
  );
});
