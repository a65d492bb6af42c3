// Malformed requests at a live proxy: never a 500, never a request at a site that the gate did not admit.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Fault } from '../../src/core/fault.ts';
import { isProxyRequest } from '../../src/features/web/index.ts';
import { Pool } from '../../src/features/web/upstream.ts';
import { memoryPair } from '../../src/net/memory.ts';
import { exchange, openDoors } from './web-doors.ts';

const runs = Number(process.env['FUZZ_RUNS'] ?? 150);

const piece = fc.oneof(
  fc.constantFrom(
    'GET',
    'POST',
    'CONNECT',
    'OPTIONS',
    'PRI',
    ' ',
    '\t',
    '\r\n',
    '\n',
    '\r',
    '\0',
    ':',
    ', ',
    ';',
    '0',
    '4',
    'chunked',
    'close',
    'a',
    '%',
    '[',
    ']',
    '@',
    '#',
    '?',
    '*',
  ),
  fc.constantFrom(
    'http://server1/',
    'http://server2/',
    'http://SERVER1:80/',
    'server1:80',
    'http://',
    '//server1/',
    '/check',
    'HTTP/1.1',
    'HTTP/1.0',
    'HTTP/2.0',
  ),
  fc.constantFrom(
    'Host: server1',
    'Host:',
    'Content-Length: 4',
    'Content-Length: 0',
    'Transfer-Encoding: chunked',
    'Connection: close, host',
    'Expect: 100-continue',
    'TE: trailers',
    'Upgrade: h2c',
    'Max-Forwards: 0',
    'Transfer-Encoding: xchunked',
    'Content-Length: 4, 4',
    'Content-Length: +4',
    'X_Forwarded_For: 127.0.0.1',
    'Connection: Upgrade, HTTP2-Settings',
    'Upgrade: websocket',
    'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
    'Cookie: __Host-sekisho=1',
    'Trailer: Host',
    '4;a="\r\n',
  ),
  fc.string({ unit: 'binary', maxLength: 6 }),
);
const request = fc
  .tuple(
    fc.oneof(
      {
        weight: 3,
        arbitrary: fc.constantFrom(
          'GET http://server1/ HTTP/1.1\r\nHost: server1\r\n',
          'POST http://server2/x HTTP/1.1\r\nHost: server2\r\n',
          'CONNECT server1:80 HTTP/1.1\r\n',
        ),
      },
      { weight: 1, arbitrary: fc.constant('') },
    ),
    fc.array(piece, { maxLength: 14 }),
    fc.constantFrom('\r\n\r\n', '\n\n', ''),
  )
  .map(([head, pieces, end]) => `${head}${pieces.join('')}${end}`);

const isNoError = (text: string): void => assert.doesNotMatch(text, /HTTP\/1\.1 500|at .*\.ts:\d+/);

test('no malformed request makes an error of ours or passes the gate by', async () => {
  await using doors = await openDoors();
  await fc.assert(
    fc.asyncProperty(request, async text => {
      isNoError(await exchange(doors.connect('http/1.1'), Buffer.from(text, 'latin1')));
    }),
    { numRuns: runs },
  );
  doors.check();
});

test('no malformed request to a renamed site makes an error of ours or passes the gate by', async () => {
  await using doors = await openDoors();
  const ours = request.map(text =>
    text.replaceAll('http://server', '/').replace(/(?<=Host: server[12])/g, '.example.com'),
  );
  await fc.assert(
    fc.asyncProperty(ours, fc.constantFrom('server1.example.com', 'server2.example.com'), async (bytes, name) => {
      const text = await exchange(doors.connect('http/1.1', name), Buffer.from(bytes, 'latin1'));
      isNoError(text);
      if (name.startsWith('server2')) assert.doesNotMatch(text, /HTTP\/1\.1 2/);
    }),
    { numRuns: runs },
  );
  doors.check();
});

test('answers of services, however broken and however cut, end or fail, and never as another one', async () => {
  const part = fc.oneof(
    fc.constantFrom(
      'HTTP/1.1 200 OK',
      '\r\n',
      '\n',
      'Content-Length: 3',
      'Transfer-Encoding: chunked',
      ': ',
      '3\r\nabc\r\n',
      '0\r\n\r\n',
      'abc',
    ),
    fc.string({ unit: 'binary', maxLength: 8 }),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.array(part, { maxLength: 20 }),
      fc.array(fc.nat(200), { maxLength: 4 }),
      async (parts, cuts) => {
        const bytes = Buffer.from(parts.join(''), 'latin1');
        const whole = await readAnswer(bytes, []);
        assert.deepEqual(await readAnswer(bytes, cuts), whole);
      },
    ),
    { numRuns: runs * 5 },
  );
});

/** What whoever asked is told of these bytes, cut into pieces. */
async function readAnswer(bytes: Buffer, cuts: readonly number[]): Promise<unknown> {
  const [near, far] = memoryPair();
  const pool = new Pool({ most: 1, patience: { send: 0, read: 0 }, dial: async () => near });
  const told: unknown[] = [];
  let body = '';
  await new Promise<void>(resolve => {
    pool.ask({
      ...{ method: 'GET', head: 'GET / HTTP/1.1\r\n\r\n', hasBody: false, drained() {} },
      async ready() {
        far.stream.on('error', () => {}).resume();
        let at = 0;
        for (const end of [...cuts.map(cut => Math.min(cut, bytes.length)).sort((a, b) => a - b), bytes.length]) {
          if (end > at) await new Promise(written => far.stream.write(bytes.subarray(at, end), written));
          at = end;
        }
        far.stream.end();
      },
      inform: status => told.push(status),
      answer: ({ status, fields }) => told.push(status, fields),
      data(chunk) {
        body += chunk.toString('latin1');
        return true;
      },
      end(trailers) {
        told.push('end', trailers);
        resolve();
      },
      failed(error) {
        assert.ok(!(error instanceof Fault) || error.code === 'unreachable', String(error));
        told.push('broken');
        resolve();
      },
    });
  });
  pool.destroy();
  far.stream.destroy();
  await new Promise(setImmediate); // what is put off to the end of a turn must find one
  return [told, body];
}

test('the first bytes of a connection are told apart in any cut', () => {
  fc.assert(
    fc.property(fc.oneof(request, fc.string({ unit: 'binary' })), text => {
      const bytes = Buffer.from(text, 'latin1');
      const whole = isProxyRequest(bytes);
      for (let end = 0; end < bytes.length; end++) {
        const part = isProxyRequest(bytes.subarray(0, end));
        if (part !== 'more') assert.equal(part, whole, `after ${end} bytes`);
      }
    }),
    { numRuns: runs },
  );
});
