// The forward proxy over HTTP/2: requests, tunnels, limits.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { ClientHttp2Session, ClientHttp2Stream } from 'node:http2';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { header, openOrigin, openRig, staff } from './rig.ts';

const to = (port: number) => `tcp://127.0.0.1:${port}`;

async function ask(session: ClientHttp2Session, headers: object, body?: string) {
  const stream = session.request(headers as never, { endStream: body === undefined });
  if (body !== undefined) stream.end(body);
  const [fields] = (await once(stream, 'response')) as [Record<string, string>];
  return { fields, body: await textOf(stream) };
}
async function textOf(stream: ClientHttp2Stream): Promise<string> {
  let text = '';
  for await (const chunk of stream) text += chunk;
  return text;
}
const http = (authority: string, path = '/') => ({ ':scheme': 'http', ':authority': authority, ':path': path });

test('many sites of one connection, each with one session', async () => {
  await using origin = await openOrigin();
  await using rig = await openRig({
    forward: { hosts: { server1: to(origin.port), 'server1:8081': to(origin.port) } },
  });
  const session = await rig.http2(staff);
  const answers = await Promise.all([
    ask(session, http('server1', '/a')),
    ask(session, http('server1', '/b')),
    ask(session, http('server1:8081', '/c')),
  ]);
  assert.deepEqual(answers.map(({ body }) => body).sort(), [
    'hello from server1/a',
    'hello from server1/b',
    'hello from server1:8081/c',
  ]);
  assert.deepEqual(rig.gate.admissions.map(({ request }) => request.resource).sort(), [
    'web/server1:80',
    'web/server1:8081',
  ]);
  session.close();
});

test('a body goes up, cookie crumbs are joined, and one length stays one', async () => {
  await using origin = await openOrigin((request, response) => {
    let got = '';
    request.on('data', chunk => {
      got += chunk;
    });
    request.on('end', () =>
      response.end(`${request.headers['content-length'] ?? 'chunked'} ${got} ${request.headers.cookie}`),
    );
  });
  await using rig = await openRig({ forward: { hosts: { server1: to(origin.port) } } });
  const session = await rig.http2(staff);
  const sized = await ask(
    session,
    { ...http('server1'), ':method': 'POST', 'content-length': '4', cookie: ['a=1', 'b=2'] },
    'body',
  );
  assert.equal(sized.body, '4 body a=1; b=2');
  const open = await ask(session, { ...http('server1'), ':method': 'PUT' }, 'more');
  assert.equal(open.body, 'chunked more undefined');
  session.close();
});

test('CONNECT makes a stream a tunnel, with half-close', async () => {
  const server = createServer({ allowHalfOpen: true }, socket => {
    let got = '';
    socket.on('data', chunk => {
      got += chunk;
    });
    socket.on('end', () => socket.end(`got ${got}`));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  await using rig = await openRig({
    forward: { hosts: { 'server1:8081': to((server.address() as { port: number }).port) } },
  });
  const session = await rig.http2(staff);
  const stream = session.request({ ':method': 'CONNECT', ':authority': 'server1:8081' }, { endStream: false });
  const [fields] = await once(stream, 'response');
  assert.equal(fields[':status'], 200);
  stream.end('question');
  assert.equal(await textOf(stream), 'got question');
  const line = await rig.line();
  assert.deepEqual([line.method, line.status, line.up, line.down, line.version], ['CONNECT', 200, 8, 12, '2.0']);
  session.close();
  server.close();
});

test('strangers get the page for http and 403 for CONNECT; other sites are refused', async () => {
  await using rig = await openRig({ forward: { hosts: { server1: 'resolve' } } });
  const session = await rig.http2(undefined);
  const page = await ask(session, { ...http('server1'), accept: 'text/html' });
  assert.equal(page.fields[':status'], 403);
  assert.match(page.body, /No client certificate/);
  const refused = await ask(session, { ':method': 'CONNECT', ':authority': 'server1:443' });
  assert.equal(refused.fields[':status'], 403);
  const https = await ask(session, { ':scheme': 'https', ':authority': 'server1', ':path': '/' });
  assert.equal(https.fields[':status'], 421);
  const known = await rig.http2(staff);
  assert.equal((await ask(known, http('server2'))).fields[':status'], 403);
  assert.equal((await ask(known, { ...http('server1'), ':method': 'TRACE' })).fields[':status'], 405);
  session.close();
  known.close();
});

test('what asks for the gate itself is passed to the gate, with who it is', async () => {
  await using rig = await openRig({
    forward: { hosts: { server1: 'resolve' }, pac: { public: true } },
    deps: {
      own: async conn => {
        const [request] = await once(conn.stream, 'data');
        assert.match(String(request), /^GET \/v1\/status HTTP\/1\.1\r\nHost: localhost/);
        conn.stream.end(
          `HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n${conn.tls?.leaf ? 'with a certificate' : 'without'}`,
        );
      },
    },
  });
  const session = await rig.http2(staff);
  const own = { ':scheme': 'https', ':authority': `localhost:${rig.port}` };
  assert.equal((await ask(session, { ...own, ':path': '/v1/status' })).body, 'with a certificate');
  const pac = await ask(session, { ...own, ':path': '/proxy.pac' });
  assert.equal(pac.fields['content-type'], 'application/x-ns-proxy-autoconfig');
  assert.match(pac.body, new RegExp(`"HTTPS localhost:${rig.port}"`));
  session.close();
});

test('a session that ends resets its streams and leaves the others', async () => {
  await using origin = await openOrigin((request, response) => {
    if (request.url === '/quick') response.end('quick');
    else response.writeHead(200).write('x');
  });
  await using rig = await openRig({ forward: { hosts: { server1: to(origin.port), server2: to(origin.port) } } });
  const session = await rig.http2(staff);
  const stream = session.request(http('server1', '/slow'));
  stream.on('error', () => {});
  await once(stream, 'data');
  const closed = new Promise(resolve => stream.once('close', resolve));
  rig.gate.admissions[0]?.end('expired');
  await closed;
  assert.notEqual(stream.rstCode, 0);
  assert.equal((await ask(session, http('server2', '/quick'))).body, 'quick');
  session.close();
});

test('an upload that waits for its site holds the client back', async () => {
  const server = createServer(socket => void socket.pause());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  await using rig = await openRig({ forward: { hosts: { server1: to((server.address() as { port: number }).port) } } });
  const session = await rig.http2(staff);
  const stream = session.request({ ...http('server1'), ':method': 'POST' }, { endStream: false });
  stream.on('error', () => {});
  const chunk = Buffer.alloc(1 << 20);
  let sent = 0;
  // 64 MiB would be read by a proxy that does not wait; what the windows and sockets hold is far less.
  while (sent < 64 && stream.write(chunk)) sent++;
  const waits = await new Promise<boolean>(resolve => {
    const push = (): void => {
      sent++;
      if (sent >= 64) resolve(false);
      else if (stream.write(chunk)) push();
    };
    stream.on('drain', push);
    rig.gate.admission(0, 'web.request').then(() => setTimeout(() => resolve(true), 300));
  });
  assert.ok(waits, 'all 64 MiB went up although nobody reads them');
  session.destroy();
  server.close();
});

test('a flood of resets ends the connection, not the gate', async () => {
  await using origin = await openOrigin(() => {});
  await using rig = await openRig({ forward: { hosts: { server1: to(origin.port) } } });
  const session = await rig.http2(staff);
  const closed = new Promise(resolve => session.once('close', resolve));
  for (let count = 0; count < 5000 && !session.destroyed; count++) {
    const stream = session.request(http('server1'));
    stream.on('error', () => {});
    await new Promise(resolve => setImmediate(resolve));
    stream.close(8);
  }
  await closed;
  const again = await rig.http2(staff);
  assert.equal((await ask(again, http('gate.check'))).fields[':status'], 200);
  again.close();
});

test('the identity headers of HTTP/2 clients are taken away as well', async () => {
  await using origin = await openOrigin();
  await using rig = await openRig({ forward: { hosts: { server1: to(origin.port) } } });
  const session = await rig.http2(staff);
  await ask(session, {
    ...http('server1'),
    'x-sekisho-user': 'root',
    'x-forwarded-for': '10.0.0.1',
    'proxy-authorization': 'x',
  });
  const fields = origin.seen[0]?.headers ?? [];
  for (const name of ['x-sekisho-user', 'x-forwarded-for', 'proxy-authorization'])
    assert.equal(header(fields, name), undefined);
  session.close();
});
