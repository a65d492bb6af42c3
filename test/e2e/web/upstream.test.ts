// Sites that answer as they should not: nobody gets what was meant for somebody else, and no half passes for a whole.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { Agent, type IncomingMessage, request } from 'node:http';
import { createServer, type Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { test } from 'node:test';
import { openOrigin, openRig, type Rig, staff } from './rig.ts';

interface Site extends AsyncDisposable {
  readonly port: number;
  /** Connections so far. */
  readonly sockets: Socket[];
}

/** Answers each request head (no bodies here) with what `script` makes of it. */
async function openSite(script: (path: string, socket: Socket) => void): Promise<Site> {
  const sockets: Socket[] = [];
  const server = createServer(socket => {
    sockets.push(socket);
    let text = '';
    socket.on('error', () => {});
    socket.on('data', chunk => {
      text += chunk.toString('latin1');
      for (let end = text.indexOf('\r\n\r\n'); end >= 0; end = text.indexOf('\r\n\r\n')) {
        const path = / (\S+) /.exec(text)?.[1] ?? '';
        text = text.slice(end + 4);
        script(path, socket);
      }
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as { port: number }).port,
    sockets,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

const rigFor = ({ port }: Site): Promise<Rig> =>
  openRig({ forward: { hosts: { server1: `tcp://127.0.0.1:${port}` } } });
const ask = (path: string, close = true): string =>
  `GET http://server1${path} HTTP/1.1\r\nHost: server1\r\n${close ? 'Connection: close\r\n' : ''}\r\n`;
const ok = (body: string): string => `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`;

test('bytes behind an answer end the connection, and nobody reads them', async () => {
  await using site = await openSite((path, socket) => {
    socket.write(path === '/evil' ? ok('first') + ok('for the next one') : ok(`good ${path}`));
  });
  await using rig = await rigFor(site);
  const got = await rig.raw(ask('/evil', false) + ask('/next'), { until: /good \/next/ });
  assert.match(got, /good \/next/);
  assert.doesNotMatch(got, /for the next one/);
  assert.equal(site.sockets.length, 2);
});

test('an answer that comes later, to a question nobody asked, is nobody’s', async () => {
  await using site = await openSite((path, socket) => {
    socket.write(ok(`good ${path}`));
    if (path === '/evil') setImmediate(() => setImmediate(() => socket.write(ok('unasked'))));
  });
  await using rig = await rigFor(site);
  const socket = await rig.tls({ identity: (await import('./rig.ts')).staff });
  socket.write(ask('/evil', false));
  await once(socket, 'data');
  await once(site.sockets[0] as Socket, 'close');
  socket.write(ask('/next'));
  let got = '';
  for await (const chunk of socket) got += chunk;
  assert.match(got, /good \/next/);
  assert.doesNotMatch(got, /unasked/);
});

const broken: Readonly<Record<string, string>> = {
  'two different lengths': 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\nhello',
  'a length and a transfer coding':
    'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  'a length that is none': 'HTTP/1.1 200 OK\r\nContent-Length: 5x\r\n\r\nhello',
  'a line that is none': 'HELLO\r\n\r\n',
  'a coding that is not chunked': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n',
  'a coding in HTTP/1.0': 'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n',
  'another version': 'HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok',
  'a NUL in a field': 'HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nok',
  'another protocol': 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nboo',
  'a head without end': `HTTP/1.1 200 OK\r\n${'X-Long: 0123456789abcdef\r\n'.repeat(6000)}`,
  'a code that is none': 'HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok',
};
for (const [what, bytes] of Object.entries(broken)) {
  test(`an answer with ${what} is a 502, and its connection is not used again`, async () => {
    await using site = await openSite((path, socket) => {
      socket.write(path === '/evil' ? bytes : ok('good'));
    });
    await using rig = await rigFor(site);
    const got = await rig.raw(ask('/evil', false) + ask('/next'));
    assert.match(got, /^HTTP\/1\.1 502 [\s\S]*HTTP\/1\.1 200 OK[\s\S]*good$/);
    assert.equal(site.sockets.length, 2);
  });
}

const long = 'x'.repeat(40_000);
const halves: Readonly<Record<string, string>> = {
  'a short body with a length': 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf',
  'a long body with a length': `HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n${long}`,
  'a chunked body': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n',
};
for (const [what, bytes] of Object.entries(halves)) {
  test(`${what} that breaks off does not look whole`, async () => {
    await using site = await openSite((_, socket) => void socket.end(bytes));
    await using rig = await rigFor(site);
    const socket = await rig.tls({ identity: (await import('./rig.ts')).staff });
    socket.write(ask('/'));
    let got = '';
    let failed = false;
    try {
      for await (const chunk of socket) got += chunk;
    } catch {
      failed = true;
    }
    const [head = '', body = ''] = got.split('\r\n\r\n', 2);
    const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? Number.NaN);
    assert.ok(failed || (Number.isNaN(length) ? !body.endsWith('0') : body.length < length), head);
    assert.equal((await rig.line()).cause, 'far-reset');
  });
}

test('bodies of every framing come through whole, one after the other on one connection', async () => {
  const chunks = `5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n`;
  const answers: Record<string, string> = {
    '/length': ok('hello world'),
    '/long': ok(long),
    '/chunked': `HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}`,
    '/hints': `HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n${ok('after hints')}`,
    '/empty': 'HTTP/1.1 204 No Content\r\n\r\n',
    '/same': 'HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n',
  };
  await using site = await openSite((path, socket) => {
    // In small pieces, so that nothing is found whole.
    const bytes = Buffer.from(answers[path] ?? 'HTTP/1.0 200 OK\r\n\r\nuntil the end', 'latin1');
    const step = bytes.length > 1000 ? 7001 : 3;
    let at = 0;
    const next = (): void => {
      socket.write(bytes.subarray(at, at + step));
      at += step;
      if (at < bytes.length) setImmediate(next);
      else if (path === '/old') socket.end();
    };
    next();
  });
  await using rig = await rigFor(site);
  for (let round = 0; round < 3; round++) {
    const paths = [...Object.keys(answers), '/long', '/length'];
    const got = await rig.raw(paths.map(path => ask(path, false)).join('') + ask('/old'));
    const bodies = got
      .split(/HTTP\/1\.1 (?:200|204|304) [^\r]*\r\n/)
      .slice(1)
      .map(one => one.slice(one.indexOf('\r\n\r\n') + 4));
    assert.equal(bodies[0], 'hello world');
    assert.equal(bodies[1], long);
    const chunked = (bodies[2] ?? '').replace(/HTTP\/1\.1 103[\s\S]*/, '');
    assert.equal(chunked.replaceAll(/[0-9a-f]+\r\n(.*?)\r\n/gs, '$1').replace(/X-Sum[\s\S]*/, ''), 'hello world');
    assert.match(chunked, /X-Sum: 1\r\n\r\n$/);
    assert.deepEqual(
      bodies.slice(3, 8).map(body => body.replace(/HTTP\/1\.1 103[\s\S]*/, '')),
      ['after hints', '', '', long, 'hello world'],
    );
    assert.equal((bodies[8] ?? '').replaceAll(/[0-9a-f]+\r\n(.*?)\r\n/gs, '$1'), 'until the end');
  }
});

for (const way of ['HTTP/1.0', 'HTTP/1.1', 'HTTP/2'] as const) {
  test(`big answers to readers of every speed stay their own, byte for byte (${way})`, async () => {
    // All connections to sites are read into one memory: nothing of one may ever show in another.
    const size = 6 << 20;
    const pattern = (seed: number): Buffer => {
      const bytes = Buffer.allocUnsafe(size);
      for (let at = 0; at < size; at += 4) bytes.writeUInt32LE((at * 2_654_435_761 + seed * 97_531) >>> 0, at);
      return bytes;
    };
    const sha = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
    const bodies = Array.from({ length: 8 }, (_, seed) => pattern(seed + 1));
    await using origin = await openOrigin((request, response) => {
      const body = bodies[Number(request.url?.slice(1))] ?? Buffer.alloc(0);
      const isChunked = Number(request.url?.slice(1)) % 2 === 1;
      response.writeHead(200, isChunked ? {} : { 'content-length': size });
      response.end(body);
    });
    await using rig = await openRig({ forward: { hosts: { server1: `tcp://127.0.0.1:${origin.port}` } } });
    /** Reads a little, waits a turn or many, reads on. */
    const slowly = async (stream: Readable, at: number): Promise<Buffer> => {
      const chunks: Buffer[] = [];
      for await (const chunk of stream) {
        chunks.push(chunk as Buffer);
        for (let turn = 0; turn < at * 3; turn++) await new Promise(resolve => setImmediate(resolve));
      }
      return Buffer.concat(chunks);
    };
    const session = way === 'HTTP/2' ? await rig.http2(staff) : undefined;
    const answers = await Promise.all(
      bodies.map(async (_, at) => {
        if (session) {
          const stream = session.request({ ':scheme': 'http', ':authority': 'server1', ':path': `/${at}` });
          return slowly(stream, at);
        }
        const socket = await rig.tls({ identity: staff });
        if (way === 'HTTP/1.1') {
          // The short way, and the same connection for a second time.
          const agent = Object.assign(new Agent({ keepAlive: true, maxSockets: 1 }), {
            createConnection: () => socket,
          });
          const ask = async (): Promise<Buffer> => {
            const asked = request({ agent, host: 'server1', path: `http://server1/${at}` }).end();
            const [answer] = (await once(asked, 'response')) as [IncomingMessage];
            return slowly(answer, at);
          };
          const first = await ask();
          assert.equal(sha(first), sha(bodies[at]!));
          return ask();
        }
        socket.write(`GET http://server1/${at} HTTP/1.0\r\nHost: server1\r\n\r\n`);
        const all = await slowly(socket, at);
        return all.subarray(all.indexOf('\r\n\r\n') + 4);
      }),
    );
    session?.close();
    assert.deepEqual(
      answers.map(answer => [answer.length, sha(answer)]),
      bodies.map(body => [size, sha(body)]),
    );
  });
}
