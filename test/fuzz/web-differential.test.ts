// The same hostile bytes at a renamed site, at nginx and at Node's own server: whatever more than one of them passes on,
// they must have read in the same way. Being stricter is no difference; a second request that others do not see is one.
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import { test } from 'node:test';
import fc from 'fast-check';
import { openOrigin } from '../e2e/web/rig.ts';
import { temporaryFolder } from '../fixtures/certificates.ts';
import { freePorts } from '../fixtures/gate-process.ts';
import { nginxPrologue, startNginx } from '../fixtures/nginx-process.ts';
import { openDoors } from './web-doors.ts';

/** Cases at a time: some wait for more than there is, and are given up. */
const batch = 16;
const runs = Math.ceil(Number(process.env['FUZZ_RUNS'] ?? 100) / batch);

interface Read {
  readonly method: string;
  readonly url: string;
  body: string;
  isWhole: boolean;
}
/** What a server believes to have been asked, in order. */
async function openReader() {
  const read: Read[] = [];
  const origin = await openOrigin((request, response) => {
    const one: Read = { method: request.method ?? '', url: request.url ?? '', body: '', isWhole: false };
    read.push(one);
    request.setEncoding('latin1').on('data', text => {
      one.body += text;
    });
    request.on('end', () => {
      one.isWhole = true;
      response.end('ok');
    });
  });
  return { ...origin, read };
}

const host = 'Host: server1.example.com\r\n';
const body = fc.oneof(
  fc.constantFrom(
    'Content-Length: 4\r\n\r\nbody',
    'Content-Length: 0\r\n\r\n',
    'Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n',
    'Transfer-Encoding: chunked\r\n\r\n4;a=b\r\nbody\r\n0\r\nX: y\r\n\r\n',
    '\r\n',
  ),
  fc
    .array(
      fc.oneof(
        fc.constantFrom(
          ...[
            'Content-Length: ',
            'Transfer-Encoding: ',
            'chunked',
            'Chunked',
            'identity',
            '4',
            '04',
            '+4',
            '0',
            '4, 4',
          ],
          ...['\r\n', '\r\n', '\n', '\r', ' ', '\t', '\x0b', ';', ':', ',', '0\r\n\r\n', '4\r\nbody\r\n', 'body'],
          ...['Connection: close', 'Expect: 100-continue', 'Content_Length: 9', 'X: y', 'Trailer: X', '\r\n\r\n'],
          'GET /hidden HTTP/1.1\r\n',
          host,
        ),
        fc.string({ unit: 'binary', maxLength: 3 }),
      ),
      { maxLength: 10 },
    )
    .map(pieces => pieces.join('')),
);
/** `@` stands for the number of the case: what another case left under way is not taken for this one's. */
const line = fc.constantFrom(
  ...['GET /@ HTTP/1.1', 'POST /@/a HTTP/1.1', 'PUT /@/a?b=//c HTTP/1.1', 'POST /@/%2e HTTP/1.0', 'HEAD /@/h HTTP/1.1'],
  ...['GET  /@ HTTP/1.1', 'GET /@\t HTTP/1.1', 'GET /@/a b HTTP/1.1', 'GET /@ HTTP/1.2', 'get /@ HTTP/1.1'],
);
const requests = fc
  .array(
    fc.tuple(line, body).map(([first, rest]) => `${first}\r\n${host}${rest}`),
    { minLength: 1, maxLength: 3 },
  )
  .map(all => `${all.join('')}GET /@/last HTTP/1.1\r\n${host}Connection: close\r\n\r\n`);

/** Until the other side has ended, or waits for more than there is. */
async function say(stream: Duplex, text: Buffer): Promise<void> {
  const end = setTimeout(() => stream.destroy(), 500);
  stream.on('error', () => {}).on('end', () => stream.end());
  stream.resume().write(text);
  if (!stream.closed) await new Promise(resolve => stream.once('close', resolve));
  clearTimeout(end);
}

test('what nginx, Node and the gate all pass on, they have read in the same way', async () => {
  await using behindGate = await openReader();
  await using behindNginx = await openReader();
  await using direct = await openReader();
  await using doors = await openDoors(behindGate);
  const [port = 0] = await freePorts(1);
  const folder = temporaryFolder('differential');
  await using _ = await startNginx(
    `${nginxPrologue(folder)} events {} http { access_log off; error_log ${folder}/errors crit; server {
      listen 127.0.0.1:${port}; location / { proxy_pass http://127.0.0.1:${behindNginx.port}; proxy_http_version 1.1;
      proxy_request_buffering off; } } }`,
    folder,
  );
  let cases = 0;
  let compared = 0;
  const readers = [behindGate, behindNginx, direct];
  const compare = async (template: string): Promise<void> => {
    const mark = `/case${++cases}`;
    const text = Buffer.from(template.replaceAll('/@', mark), 'latin1');
    await Promise.all([
      say(doors.connect('http/1.1', 'server1.example.com'), text),
      say(connect(port, '127.0.0.1'), text),
      say(connect(direct.port, '127.0.0.1'), text),
    ]);
    const [ours = [], ...others] = readers.map(({ read }) =>
      read.filter(({ url }) => url === mark || url.startsWith(`${mark}/`)),
    );
    for (const theirs of others) {
      for (const [at, mine] of ours.entries()) {
        const other = theirs[at];
        // Without another one they are the stricter ones here.
        if (!other?.isWhole || !mine.isWhole) break;
        assert.deepEqual(mine, other);
        compared++;
      }
    }
  };
  await fc.assert(
    fc.asyncProperty(fc.array(requests, { minLength: batch, maxLength: batch }), async templates => {
      for (const { read } of readers) read.length = 0;
      await Promise.all(templates.map(compare));
    }),
    { numRuns: runs },
  );
  assert.ok(compared > runs, `${compared} requests were passed on by more than one`);
  doors.check();
});
