// What HTTP promises, through a renamed site: bodies both ways, interim answers, trailers, upgrades, by both HTTPs.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Server, ServerResponse } from 'node:http';
import { type ClientHttp2Session, createServer as createHttp2, type ServerHttp2Stream } from 'node:http2';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import { brotliCompressSync, gunzipSync, gzipSync } from 'node:zlib';
import { WebSocketServer } from 'ws';
import { header, openOrigin, openSitesRig } from './sites-rig.ts';

const to = (port: number, more: object = {}) => ({ to: `http://127.0.0.1:${port}/`, ...more });
const name = 'server1.example.com';
const ask = (line: string, more = '') => `${line} HTTP/1.1\r\nHost: ${name}\r\n${more}Connection: close\r\n\r\n`;

/** A service that answers with these very bytes, whatever it is asked. */
async function rawOrigin(answer: string | ((socket: Socket, text: string) => void)) {
  const sockets = new Set<Socket>();
  let connections = 0;
  const server = createServer(socket => {
    connections++;
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('data', chunk =>
      typeof answer === 'string' ? socket.write(answer, 'latin1') : answer(socket, String(chunk)),
    );
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    connections: () => connections,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

async function ask2(session: ClientHttp2Session, headers: object, body?: string) {
  const stream = session.request({ ':authority': name, ...headers } as never, { endStream: body === undefined });
  if (body !== undefined) stream.end(body);
  let trailers: object = {};
  stream.on('trailers', fields => (trailers = fields));
  const [fields] = (await once(stream, 'response')) as [Record<string, string>];
  let text = '';
  for await (const chunk of stream) text += chunk;
  return { fields, text, trailers: { ...trailers } as Record<string, string> };
}

/** Echoes what comes. */
function echoWebSockets(server: Server, seen: string[][] = []): void {
  const sockets = new WebSocketServer({ server, handleProtocols: () => 'chat' });
  sockets.on('connection', (socket, request) => {
    seen.push(request.rawHeaders);
    socket.on('error', () => {});
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
  });
}

test('HEAD, 204 and 304 have no body and keep their fields', async () => {
  await using origin = await openOrigin((request, response) => {
    if (request.url === '/304') response.writeHead(304, { etag: '"x"', 'content-length': '5' }).end();
    else if (request.url === '/204') response.writeHead(204).end();
    else response.writeHead(200, { 'content-length': '5' }).end(request.method === 'HEAD' ? undefined : 'hello');
  });
  await using rig = await openSitesRig({ sites: { server1: to(origin.port) } });
  assert.match(
    await rig.raw(name, ask('HEAD /')),
    /^HTTP\/1\.1 200 OK\r\n[\s\S]*content-length: 5\r\n[\s\S]*\r\n\r\n$/i,
  );
  assert.match(await rig.raw(name, ask('GET /304')), /^HTTP\/1\.1 304 [\s\S]*etag: "x"\r\n[\s\S]*\r\n\r\n$/);
  assert.match(await rig.raw(name, ask('GET /204')), /^HTTP\/1\.1 204 [\s\S]*\r\n\r\n$/);
});

test('early hints, 100 Continue and trailers pass', async () => {
  await using origin = await openOrigin((request, response) => {
    response.writeEarlyHints({ link: '</a.css>; rel=preload' });
    let got = '';
    request.on('data', chunk => (got += chunk));
    request.on('end', () => {
      response.writeHead(200, { trailer: 'X-Sum' });
      response.write(got);
      response.addTrailers({ 'X-Sum': '42' });
      response.end();
    });
  });
  await using rig = await openSitesRig({ sites: { server1: to(origin.port) } });
  const socket = await rig.tls(name);
  socket.write(ask('POST /', 'Expect: 100-continue\r\nContent-Length: 4\r\nTE: trailers\r\n'));
  let got = '';
  socket.on('data', chunk => (got += chunk));
  while (!got.includes('100 Continue')) await once(socket, 'data');
  socket.write('body');
  await once(socket, 'close');
  assert.match(got, /HTTP\/1\.1 103 [\s\S]*HTTP\/1\.1 200 OK[\s\S]*\r\nbody\r\n0\r\nX-Sum: 42\r\n\r\n$/);
  const session = await rig.http2(name);
  const answer = await ask2(session, { ':method': 'POST' }, 'body');
  assert.deepEqual([answer.text, answer.trailers['x-sum']], ['body', '42']);
  session.destroy();
});

test('events arrive one by one, while the answer goes on', async () => {
  let send: ServerResponse | undefined;
  await using origin = await openOrigin((_, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: 1\n\n');
    send = response;
  });
  await using rig = await openSitesRig({
    sites: { server1: to(origin.port), linked: to(origin.port, { rewrite: 'links' }) },
  });
  for (const site of ['server1', 'linked']) {
    const session = await rig.http2(`${site}.example.com`);
    const stream = session.request({ ':authority': `${site}.example.com`, ':path': '/' });
    const [first] = await once(stream, 'data');
    assert.equal(String(first), 'data: 1\n\n');
    send?.write('data: 2\n\n');
    const [second] = await once(stream, 'data');
    assert.equal(String(second), 'data: 2\n\n');
    session.destroy();
  }
});

test('a WebSocket opens by HTTP/1.1 and by HTTP/2, and only where sites have them', async () => {
  const seen: string[][] = [];
  await using origin = await openOrigin();
  echoWebSockets(origin.server, seen);
  await using rig = await openSitesRig({
    sites: { server1: to(origin.port, { host: 'server1' }), mute: to(origin.port, { websocket: false }) },
  });
  const frame = Buffer.from([0x81, 0x82, 0, 0, 0, 0, 0x68, 0x69]); // "hi", masked with zeroes
  const echo = Buffer.from([0x81, 0x02, 0x68, 0x69]);
  const handshake = (host: string) =>
    `GET /ws HTTP/1.1\r\nHost: ${host}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nOrigin: https://${host}\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat\r\n\r\n`;
  const socket = await rig.tls(name);
  socket.write(handshake(name));
  const [answer] = await once(socket, 'data');
  assert.match(String(answer), /^HTTP\/1\.1 101 [\s\S]*Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=\r\n/);
  socket.write(frame);
  assert.deepEqual((await once(socket, 'data'))[0], echo);
  socket.destroy();
  assert.equal(header(seen[0] ?? [], 'origin'), 'http://server1');
  assert.equal(header(seen[0] ?? [], 'host'), 'server1');

  const session = await rig.http2(name);
  if (!session.remoteSettings.enableConnectProtocol) await once(session, 'remoteSettings');
  assert.equal(session.remoteSettings.enableConnectProtocol, true);
  const stream = session.request({
    ...{ ':method': 'CONNECT', ':protocol': 'websocket', ':scheme': 'https', ':authority': name, ':path': '/ws' },
    ...{ 'sec-websocket-version': '13', 'sec-websocket-protocol': 'chat' },
  });
  const [fields] = (await once(stream, 'response')) as [Record<string, string>];
  assert.deepEqual(
    [fields[':status'], fields['sec-websocket-accept'], fields['sec-websocket-protocol']],
    [200, undefined, 'chat'],
  );
  stream.write(frame);
  assert.deepEqual((await once(stream, 'data'))[0], echo);
  session.destroy();

  assert.match(await rig.raw('mute.example.com', handshake('mute.example.com')), /^HTTP\/1\.1 501 /);
  const muted = await rig.http2('mute.example.com');
  assert.ok(!muted.remoteSettings.enableConnectProtocol);
  muted.destroy();
  const refused = await rig.raw(name, handshake('gate.example.com'));
  assert.match(refused, /^HTTP\/1\.1 421 /);
  const stranger = await rig.raw(name, handshake(name), { identity: undefined });
  assert.match(stranger, /^HTTP\/1\.1 403 /);
});

test('a service that refuses a WebSocket is heard', async () => {
  await using origin = await rawOrigin(
    'HTTP/1.1 401 Unauthorized\r\nContent-Length: 4\r\nWWW-Authenticate: Basic\r\n\r\nwho?',
  );
  await using rig = await openSitesRig({ sites: { server1: to(origin.port) } });
  const answer = await rig.raw(
    name,
    `GET /ws HTTP/1.1\r\nHost: ${name}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n`,
  );
  assert.match(answer, /^HTTP\/1\.1 401 [\s\S]*WWW-Authenticate: Basic\r\n[\s\S]*who\?$/);
});

test('gRPC passes: HTTP/2 on both sides, status in the trailers, both directions at once', async () => {
  const origin = createHttp2();
  origin.on('stream', (stream: ServerHttp2Stream, headers) => {
    stream.on('error', () => {});
    if (headers[':path'] === '/fails') {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc', 'grpc-status': '5' }, { endStream: true });
      return;
    }
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0', 'x-te': String(headers['te']) }));
    stream.pipe(stream);
  });
  origin.listen(0, '127.0.0.1');
  await once(origin, 'listening');
  const { port } = origin.address() as AddressInfo;
  await using rig = await openSitesRig({ sites: { server1: to(port, { protocol: 'h2' }) } });
  const session = await rig.http2(name);
  const stream = session.request({
    ...{ ':method': 'POST', ':path': '/echo', ':authority': name },
    ...{ te: 'trailers', 'content-type': 'application/grpc' },
  });
  stream.write('one');
  assert.equal(String((await once(stream, 'data'))[0]), 'one');
  stream.write('two');
  assert.equal(String((await once(stream, 'data'))[0]), 'two');
  const trailers = once(stream, 'trailers');
  stream.end();
  stream.resume();
  const [fields] = (await trailers) as [Record<string, string>];
  assert.deepEqual([fields['grpc-status'], fields['x-te']], ['0', 'trailers']);
  const failed = await ask2(session, { ':method': 'POST', ':path': '/fails' }, '');
  assert.equal(failed.fields['grpc-status'], '5');
  session.destroy();
  assert.match(
    await rig.raw(name, ask('POST /echo', 'Content-Length: 3\r\n').concat('abc')),
    /^HTTP\/1\.1 200 [\s\S]*abc/,
  );
  origin.close();
});

test('a service by HTTP/2 that is slow, and a body that is too long for it, end in a page that arrives whole', async () => {
  const origin = createHttp2();
  origin.on('stream', (stream: ServerHttp2Stream) => void stream.on('error', () => {}).resume());
  origin.listen(0, '127.0.0.1');
  await once(origin, 'listening');
  const { port } = origin.address() as AddressInfo;
  const h2 = { protocol: 'h2', limits: { body: '1k' } };
  await using rig = await openSitesRig({
    sites: { server1: to(port, h2), slow: to(port, { ...h2, timeouts: { read: '200ms' } }) },
  });
  const slow = 'slow.example.com';
  const whole = (status: number) =>
    new RegExp(`^HTTP/1\\.1 ${status} [\\s\\S]*\\r\\n\\r\\n[\\s\\S]*\\nrequest \\S+\\n$`);
  assert.match(await rig.raw(slow, ask('GET /').replace(name, slow)), whole(504));
  const bigger = `${(0x400).toString(16)}\r\n${'x'.repeat(0x400)}\r\n`.repeat(64);
  assert.match(await rig.raw(name, `${ask('POST /', 'Transfer-Encoding: chunked\r\n')}${bigger}`), whole(413));
  for (const [site, status] of [
    [slow, '504'],
    [name, '413'],
  ] as const) {
    const session = await rig.http2(site);
    const answer = await ask2(
      session,
      { ':authority': site, ':method': 'POST' },
      'x'.repeat(status === '413' ? 65_536 : 1),
    );
    assert.equal(String(answer.fields[':status']), status);
    assert.match(answer.text, /\nrequest \S+\n$/);
    session.destroy();
  }
  origin.close();
});

test('a connection is kept, and a dead one is not taken for a broken service', async () => {
  let answered = 0;
  await using origin = await rawOrigin(socket => {
    // Says that it keeps the connection, and then does not.
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    if (++answered === 1) setImmediate(() => socket.resetAndDestroy());
  });
  await using rig = await openSitesRig({ sites: { server1: to(origin.port) } });
  const socket = await rig.tls(name);
  for (let count = 0; count < 3; count++) {
    socket.write(`GET / HTTP/1.1\r\nHost: ${name}\r\n\r\n`);
    assert.match(String((await once(socket, 'data'))[0]), /^HTTP\/1\.1 200 OK[\s\S]*ok$/);
  }
  socket.destroy();
  assert.equal(origin.connections(), 2);
});

const broken: Readonly<Record<string, string>> = {
  'a length and a transfer coding':
    'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  'two lengths': 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok',
  'a length that is none': 'HTTP/1.1 200 OK\r\nContent-Length: 2x\r\n\r\nok',
  'a folded field': 'HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n',
  'a space before a colon': 'HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n',
  'a NUL': 'HTTP/1.1 200 OK\r\nA: b\0c\r\nContent-Length: 0\r\n\r\n',
  'an unknown coding': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n',
  'another protocol': 'SSH-2.0-OpenSSH_9.2\r\n\r\n',
  'a switch that nobody asked for': 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n',
};
for (const [what, bytes] of Object.entries(broken)) {
  test(`an answer with ${what} is a 502, and its connection is not used again`, async () => {
    await using origin = await rawOrigin(bytes);
    await using rig = await openSitesRig({ sites: { server1: to(origin.port) } });
    for (let count = 1; count <= 2; count++) {
      assert.match(await rig.raw(name, ask('GET /')), /^HTTP\/1\.1 502 /);
      assert.equal(origin.connections(), count);
    }
  });
}

test('what comes after an answer is not the next answer', async () => {
  await using origin = await rawOrigin(
    'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil',
  );
  await using rig = await openSitesRig({ sites: { server1: to(origin.port) } });
  const socket = await rig.tls(name);
  for (let count = 1; count <= 3; count++) {
    socket.write(`GET / HTTP/1.1\r\nHost: ${name}\r\n\r\n`);
    assert.match(String((await once(socket, 'data'))[0]), /^HTTP\/1\.1 200 OK[\s\S]*ok$/);
    assert.equal(origin.connections(), count);
  }
  socket.destroy();
});

test('a broken-off answer is broken off here too, never ended', async () => {
  await using origin = await rawOrigin(socket => {
    socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n', () => socket.resetAndDestroy());
  });
  await using rig = await openSitesRig({ sites: { server1: to(origin.port) } });
  const answer = await rig.raw(name, ask('GET /')).catch(() => 'reset');
  assert.doesNotMatch(answer, /0\r\n\r\n$/);
  const session = await rig.http2(name);
  const stream = session.request({ ':authority': name, ':path': '/' });
  stream.resume();
  await assert.rejects(once(stream, 'end'));
  session.destroy();
});

test('an old service without lengths, with bare line feeds or with HTTP/1.0 is understood', async () => {
  for (const bytes of [
    'HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nold',
    'HTTP/1.1 200 OK\nContent-Type: text/plain\nConnection: close\n\nold',
    'HTTP/1.1 200 \r\n\r\nold',
  ]) {
    await using origin = await rawOrigin(socket => socket.end(bytes));
    await using rig = await openSitesRig({ sites: { server1: to(origin.port) } });
    assert.match(await rig.raw(name, ask('GET /')), /^HTTP\/1\.1 200 [\s\S]*old/, bytes);
  }
});

test('a service that does not answer in time is a 504, one that is not there a 502', async () => {
  await using origin = await rawOrigin(() => {});
  await using rig = await openSitesRig({
    sites: {
      slow: to(origin.port, { timeouts: { read: '200ms' } }),
      gone: { to: 'http://127.0.0.1:1/' },
    },
  });
  assert.match(await rig.raw('slow.example.com', ask('GET /').replace(name, 'slow.example.com')), /^HTTP\/1\.1 504 /);
  assert.match(await rig.raw('gone.example.com', ask('GET /').replace(name, 'gone.example.com')), /^HTTP\/1\.1 502 /);
});

test('a body that is too long is a 413, however it comes', async () => {
  await using origin = await openOrigin();
  await using rig = await openSitesRig({ sites: { server1: to(origin.port, { limits: { body: '1k' } }) } });
  assert.match(await rig.raw(name, ask('POST /', 'Content-Length: 1025\r\n')), /^HTTP\/1\.1 413 /);
  const chunked = `${ask('POST /', 'Transfer-Encoding: chunked\r\n')}401\r\n${'x'.repeat(0x401)}\r\n`;
  assert.match(await rig.raw(name, chunked), /^HTTP\/1\.1 413 /);
  assert.match(
    await rig.raw(name, `${ask('POST /', 'Content-Length: 1024\r\n')}${'x'.repeat(1024)}`),
    /^HTTP\/1\.1 200 /,
  );
});

test('links are rewritten in bodies of every coding, and the length follows', async () => {
  const page = '<a href="http://server1/a">http://server1/a</a>';
  const wanted = /^<a href="https:\/\/server1\.example\.com:\d+\/a">http:\/\/server1\/a<\/a>$/;
  await using origin = await openOrigin((request, response) => {
    const [, coding = ''] = request.url?.split('/') ?? [];
    const body = coding === 'gzip' ? gzipSync(page) : coding === 'br' ? brotliCompressSync(page) : Buffer.from(page);
    response.writeHead(200, {
      ...{
        'content-type': coding === 'text' ? 'text/plain' : 'text/html; charset=utf-8',
        'content-length': body.length,
      },
      ...(coding === 'gzip' || coding === 'br' ? { 'content-encoding': coding } : {}),
    });
    response.end(body);
  });
  await using rig = await openSitesRig({ sites: { server1: to(origin.port, { host: 'server1', rewrite: 'links' }) } });
  const plain = await rig.get(name, '/plain', { 'Accept-Encoding': 'gzip, zstd;q=1, br' });
  assert.match(plain.text, wanted);
  assert.equal(header(origin.seen[0]?.headers ?? [], 'accept-encoding'), 'gzip, br');
  const zipped = await rig.get(name, '/gzip');
  assert.match(gunzipSync(Buffer.from(zipped.text, 'latin1')).toString(), wanted);
  assert.equal((await rig.get(name, '/br')).fields['content-encoding']?.[0], 'br');
  const text = await rig.get(name, '/text');
  assert.deepEqual([text.text, text.fields['content-length']], [page, [String(page.length)]]);
});
