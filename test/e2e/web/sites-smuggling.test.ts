// Requests that two readers could read in two ways, at a renamed site: each is refused, no service sees a second one in it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openOrigin, openSitesRig } from './sites-rig.ts';

const name = 'server1.example.com';
const head = `POST / HTTP/1.1\r\nHost: ${name}\r\n`;
const hidden = `GET /hidden HTTP/1.1\r\nHost: ${name}\r\n\r\n`;

/** Each must be answered by 4xx or 5xx, or by nothing, and must reach no service. */
const corpus: Readonly<Record<string, string>> = {
  'a length and a transfer coding': `${head}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${hidden}`,
  'a transfer coding and a length': `${head}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n${hidden}`,
  'two lengths': `${head}Content-Length: 0\r\nContent-Length: 44\r\n\r\n${hidden}`,
  'two equal lengths': `${head}Content-Length: 4\r\nContent-Length: 4\r\n\r\nbody`,
  'a list of lengths': `${head}Content-Length: 4, 4\r\n\r\nbody`,
  'a length with a sign': `${head}Content-Length: +4\r\n\r\nbody`,
  'a length that overflows': `${head}Content-Length: 18446744073709551617\r\n\r\n${hidden}`,
  'two transfer codings': `${head}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n`,
  'an unknown transfer coding': `${head}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`,
  'chunked before identity': `${head}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n${hidden}`,
  'a transfer coding after a vertical tab': `${head}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n${hidden}`,
  'a space before the colon': `${head}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n${hidden}`,
  'a folded line': `${head}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n${hidden}`,
  'a bare LF between fields': `POST / HTTP/1.1\nHost: ${name}\n\n`,
  'a bare LF inside a field': `${head}X: a\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  'a bare CR inside a field': `${head}X: a\rTransfer-Encoding: chunked\r\n\r\n`,
  'a NUL in a field': `${head}X: a\x00b\r\n\r\n`,
  'a transfer coding in HTTP/1.0': `POST / HTTP/1.0\r\nHost: ${name}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  'no Host': 'GET / HTTP/1.1\r\n\r\n',
  'two Hosts': `GET / HTTP/1.1\r\nHost: ${name}\r\nHost: other\r\n\r\n`,
  'two equal Hosts': `GET / HTTP/1.1\r\nHost: ${name}\r\nHost: ${name}\r\n\r\n`,
  'a Host with a space': `GET / HTTP/1.1\r\nHost: ${name} other\r\n\r\n`,
  'a Host with a user': `GET / HTTP/1.1\r\nHost: x@${name}\r\n\r\n`,
  'a Host with a path': `GET / HTTP/1.1\r\nHost: ${name}/x\r\n\r\n`,
  'another Host': 'GET / HTTP/1.1\r\nHost: gate.example.com\r\n\r\n',
  'an address of another site': `GET https://other.example.com/ HTTP/1.1\r\nHost: ${name}\r\n\r\n`,
  'a proxy’s request': `GET http://${name}/ HTTP/1.1\r\nHost: ${name}\r\n\r\n`,
  'a space in the path': `GET /a b HTTP/1.1\r\nHost: ${name}\r\n\r\n`,
  'a fragment in the path': `GET /#/../x HTTP/1.1\r\nHost: ${name}\r\n\r\n`,
  'a byte above ASCII in the path': `GET /\xe9 HTTP/1.1\r\nHost: ${name}\r\n\r\n`,
  'a path that is none': `GET x HTTP/1.1\r\nHost: ${name}\r\n\r\n`,
  TRACE: `TRACE / HTTP/1.1\r\nHost: ${name}\r\n\r\n`,
  CONNECT: `CONNECT ${name}:443 HTTP/1.1\r\nHost: ${name}\r\n\r\n`,
  'HTTP/0.9': 'GET /\r\n\r\n',
  'HTTP/3.0 in text': `GET / HTTP/3.0\r\nHost: ${name}\r\n\r\n`,
  'an unknown method': `SMUGGLE / HTTP/1.1\r\nHost: ${name}\r\n\r\n`,
  'an unknown expectation': `${head}Expect: 200-ok\r\nContent-Length: 0\r\n\r\n`,
  'a header block without end': `GET / HTTP/1.1\r\nHost: ${name}\r\n${'X-Long: 0123456789abcdef\r\n'.repeat(4000)}\r\n`,
  'a WebSocket with a body': `GET / HTTP/1.1\r\nHost: ${name}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: ${hidden.length}\r\n\r\n${hidden}`,
  'a WebSocket of HTTP/1.0': `GET / HTTP/1.0\r\nHost: ${name}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`,
  garbage: '\x16\x03\x01\x00\x05hello\r\n\r\n',
};
/** The head may pass before the body goes wrong; then the request is cut, and nothing in it is another one. */
const bodies: Readonly<Record<string, string>> = {
  'a chunk size that is none': `${head}Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n`,
  'a chunk size with 0x': `${head}Transfer-Encoding: chunked\r\n\r\n0x4\r\nbody\r\n0\r\n\r\n${hidden}`,
  'a chunk size that overflows': `${head}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nbody\r\n0\r\n\r\n`,
  'a chunk that ends in LF': `${head}Transfer-Encoding: chunked\r\n\r\n4\nbody\n0\n\n${hidden}`,
};

test('behind a request with two readings nothing is served, though it came in the same packet', async () => {
  await using origin = await openOrigin();
  await using rig = await openSitesRig({ sites: { server1: { to: `http://127.0.0.1:${origin.port}/` } } });
  const text = await rig.raw(name, `POST / HTTP/1.1\r\nHost: ${name}\r\nHost: ${name}\r\n\r\n${hidden}`);
  assert.match(text, /^HTTP\/1\.1 400 (?![\s\S]*HTTP\/1)/);
  assert.deepEqual(origin.seen, []);
});

test('the corpus of ambiguous requests reaches no service', async t => {
  await using origin = await openOrigin();
  await using rig = await openSitesRig({ sites: { server1: { to: `http://127.0.0.1:${origin.port}/` } } });
  for (const [what, bytes] of Object.entries({ ...corpus, ...bodies })) {
    await t.test(what, async () => {
      const before = origin.seen.length;
      const text = await rig.raw(name, Buffer.from(bytes, 'latin1'), { until: /^HTTP\/1\.1 \d{3}[\s\S]*\r\n\r\n/ });
      assert.doesNotMatch(text, /^HTTP\/1\.1 (1|2|3|500)/, text);
      const seen = origin.seen.slice(before);
      if (what in corpus) assert.deepEqual(seen, [], what);
      assert.ok(!seen.some(({ url }) => url.includes('hidden')));
    });
  }
});
