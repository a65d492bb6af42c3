// WebSockets through the proxy in each way that there is: CONNECT, absolute form, and CONNECT with :protocol on HTTP/2.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { test } from 'node:test';
import { WebSocketServer } from 'ws';
import { type Origin, openOrigin, openRig, staff } from './rig.ts';

/** An echo, by another implementation than ours; refuses whoever asks for /no. */
async function openEcho(): Promise<Origin> {
  const origin = await openOrigin();
  const server = new WebSocketServer({ noServer: true, perMessageDeflate: false, handleProtocols: () => 'chat' });
  server.on('connection', socket => socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary })));
  origin.server.on('upgrade', (request, socket, head) => {
    (origin.seen as unknown[]).push({ method: 'UPGRADE', url: request.url, headers: request.rawHeaders });
    socket.on('error', () => {});
    if (!request.url?.startsWith('/chat')) socket.resume().once('end', () => socket.destroy());
    if (request.url === '/no') socket.end('HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n');
    else if (request.url === '/lies') {
      socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n');
      socket.write('Sec-WebSocket-Accept: AAAA\r\n\r\n');
    } else server.handleUpgrade(request, socket, head, one => server.emit('connection', one));
  });
  return origin;
}

const opening = (url: string): string =>
  `GET ${url} HTTP/1.1\r\nHost: server1\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: chat\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n`;

/** A masked text frame (RFC 6455 §5.2), and what an echo of it looks like. */
const frame = (text: string): Buffer => {
  const mask = Buffer.from([1, 2, 3, 4]);
  const body = Buffer.from(text).map((byte, at) => byte ^ (mask[at % 4] ?? 0));
  return Buffer.concat([Buffer.from([0x81, 0x80 | body.length]), mask, body]);
};
const echoed = (text: string): Buffer => Buffer.concat([Buffer.from([0x81, text.length]), Buffer.from(text)]);

async function read(stream: Duplex, until: (got: Buffer) => boolean): Promise<Buffer> {
  let got = Buffer.alloc(0);
  while (!until(got)) {
    const [chunk] = (await once(stream, 'data')) as [Buffer];
    got = Buffer.concat([got, chunk]);
  }
  return got;
}

for (const url of ['http://server1/chat', 'ws://server1/chat?secret=1']) {
  test(`a WebSocket is opened in absolute form: ${url}`, async () => {
    await using origin = await openEcho();
    await using rig = await openRig({
      forward: { hosts: { server1: `tcp://127.0.0.1:${origin.port}` }, identity: true },
    });
    const socket = await rig.tls({ identity: staff });
    socket.write(Buffer.concat([Buffer.from(opening(url)), frame('early')]));
    const head = (await read(socket, got => got.includes(echoed('early')))).toString('latin1');
    assert.match(head, /^HTTP\/1\.1 101 Switching Protocols\r\n/);
    assert.match(head, /\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=\r\n/i);
    assert.match(head, /\r\nSec-WebSocket-Protocol: chat\r\n/i);
    socket.write(frame('through the gate'));
    await read(socket, got => got.includes(echoed('through the gate')));
    const fields = origin.seen[0]?.headers ?? [];
    assert.equal(fields[fields.indexOf('Host') + 1], 'server1');
    assert.ok(!fields.includes('X-Forwarded-For'));
    assert.equal(fields[fields.indexOf('X-Sekisho-User') + 1], 'staff01');
    const cut = new Promise(resolve => socket.once('close', resolve));
    rig.gate.open()[0]?.end('revoked');
    await cut;
    const line = await rig.line();
    assert.deepEqual([line.method, line.url, line.status, line.cause], ['GET', url.split('?')[0], 200, 'revoked']);
    assert.ok(line.up > 0 && line.down > 0);
  });
}

test('a WebSocket is opened on a stream of HTTP/2, and beside it requests go on', async () => {
  await using origin = await openEcho();
  await using rig = await openRig({ forward: { hosts: { server1: `tcp://127.0.0.1:${origin.port}` } } });
  const session = await rig.http2(staff);
  if (!session.remoteSettings?.enableConnectProtocol) await once(session, 'remoteSettings');
  assert.equal(session.remoteSettings.enableConnectProtocol, true);
  const stream = session.request({
    ...{ ':method': 'CONNECT', ':protocol': 'websocket', ':scheme': 'http', ':authority': 'server1', ':path': '/chat' },
    ...{ 'sec-websocket-version': '13', 'sec-websocket-protocol': 'chat' },
  });
  const [fields] = await once(stream, 'response');
  assert.equal(fields[':status'], 200);
  assert.equal(fields['sec-websocket-protocol'], 'chat');
  assert.equal(fields['sec-websocket-accept'], undefined);
  stream.write(frame('over h2'));
  await read(stream, got => got.includes(echoed('over h2')));
  const other = session.request({ ':method': 'GET', ':scheme': 'http', ':authority': 'server1', ':path': '/x' });
  assert.equal((await once(other, 'response'))[0][':status'], 200);
  session.destroy();
});

test('no WebSocket is opened where the site says no, lies, or may not be reached', async () => {
  await using origin = await openEcho();
  await using rig = await openRig({
    forward: { hosts: { server1: `tcp://127.0.0.1:${origin.port}`, server2: `tcp://127.0.0.1:${origin.port}` } },
    decide: ({ resource }) => (resource === 'web/server1:80' ? undefined : 'not this one'),
  });
  const cases = [
    ['http://server1/no', 401],
    ['http://server1/lies', 502],
    ['http://server2/chat', 403],
    ['http://unmapped/chat', 403],
    ['/chat', 404],
    ['http://gate.check/', 404],
    ['https://server1/chat', 400],
  ] as const;
  for (const [url, status] of cases) {
    assert.match(await rig.raw(opening(url)), new RegExp(`^HTTP/1\\.1 ${status} `), url);
  }
  const session = await rig.http2(staff);
  if (!session.remoteSettings?.enableConnectProtocol) await once(session, 'remoteSettings');
  for (const [protocol, scheme, status] of [
    ['tcp', 'http', 400],
    ['websocket', 'https', 400],
  ] as const) {
    const stream = session.request({
      ...{ ':method': 'CONNECT', ':protocol': protocol, ':scheme': scheme },
      ...{ ':authority': 'server1', ':path': '/chat' },
    });
    assert.equal((await once(stream, 'response'))[0][':status'], status, `${protocol} ${scheme}`);
  }
  session.destroy();
  assert.deepEqual(
    origin.seen.map(({ url }) => url),
    ['/no', '/lies'],
  );
});
