// Renamed sites over HTTP/1.1: what reaches the service, what comes back, what is written down.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { header, openOrigin, openSitesRig } from './sites-rig.ts';

const to = (port: number, more: object = {}) => ({ to: `http://127.0.0.1:${port}/`, ...more });
const ask = (name: string, path = '/', more = '') =>
  `GET ${path} HTTP/1.1\r\nHost: ${name}\r\n${more}Connection: close\r\n\r\n`;

test('a site is reached under its new name and the service hears its old one', async () => {
  await using origin = await openOrigin((_, response) => void response.end('it works'));
  await using rig = await openSitesRig({ sites: { server1: to(origin.port, { host: 'server1' }) } });
  const answer = await rig.raw('server1.example.com', ask('server1.example.com', '/p?q=1'));
  assert.match(answer, /^HTTP\/1\.1 200 OK\r\n[\s\S]*it works/);
  assert.equal(origin.seen[0]?.url, '/p?q=1');
  assert.equal(header(origin.seen[0]?.headers ?? [], 'host'), 'server1');
  const { ended, request, notes } = await rig.gate.admission(0, 'web.request');
  assert.equal(request.resource, 'web/server1');
  await ended;
  assert.equal(notes.get('requests'), 1);
  const line = await rig.line();
  assert.deepEqual([line.status, line.who, line.url], [200, 'staff01', 'https://server1.example.com/p']);
});

test('one connection carries many requests, upstream too', async () => {
  await using origin = await openOrigin();
  await using rig = await openSitesRig({ sites: { server1: to(origin.port) } });
  const one = 'GET /a HTTP/1.1\r\nHost: server1.example.com\r\n\r\n';
  const socket = await rig.tls('server1.example.com');
  for (const text of [one, one, ask('server1.example.com', '/b')]) {
    socket.write(text);
    const [answer] = await once(socket, 'data');
    assert.match(String(answer), /^HTTP\/1\.1 200 OK/);
  }
  socket.destroy();
  assert.equal(new Set(origin.seen.map(({ address }) => (address as { port: number }).port)).size, 1);
  assert.equal(rig.gate.admissions.length, 1);
});

test('without a certificate there is a page that says what is missing, and the service hears nothing', async () => {
  await using origin = await openOrigin();
  await using rig = await openSitesRig({ sites: { server1: to(origin.port) }, more: { help: 'Ask the desk.' } });
  const answer = await rig.raw('server1.example.com', ask('server1.example.com', '/', 'Accept: text/html\r\n'), {
    identity: undefined,
  });
  assert.match(answer, /^HTTP\/1\.1 403 Forbidden\r\n/);
  assert.match(answer, /No client certificate[\s\S]*Staff CA[\s\S]*Ask the desk\./);
  assert.equal(origin.seen.length, 0);
  assert.equal(rig.gate.refusals[0]?.request.resource, 'web/server1');
});

test('a request for another name than the connection was made for is answered 421', async () => {
  await using origin = await openOrigin();
  await using rig = await openSitesRig({ sites: { a: to(origin.port), b: to(origin.port) } });
  for (const host of ['b.example.com', 'gate.example.com', 'else.example.net', '127.0.0.1']) {
    assert.match(await rig.raw('a.example.com', ask(host)), /^HTTP\/1\.1 421 /, host);
  }
  assert.match(await rig.raw('a.example.com', ask('a.example.com', 'http://server2/')), /^HTTP\/1\.1 421 /);
  assert.match(
    await rig.raw('a.example.com', 'CONNECT server2:443 HTTP/1.1\r\nHost: a.example.com\r\n\r\n'),
    /^HTTP\/1\.1 405 /,
  );
  assert.equal(origin.seen.length, 0);
});

test('a big upload waits for a slow service, and a body with trailers arrives whole', async () => {
  let size = 0;
  await using origin = await openOrigin((request, response) => {
    request.on('data', chunk => (size += chunk.length));
    request.on('end', () => response.end(`${size} ${request.trailers['x-sum']}`));
  });
  await using rig = await openSitesRig({ sites: { server1: to(origin.port) } });
  const socket = await rig.tls('server1.example.com');
  socket.write(
    'POST / HTTP/1.1\r\nHost: server1.example.com\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\nConnection: close\r\n\r\n',
  );
  const block = Buffer.alloc(100_000, 'x');
  for (let count = 0; count < 200; count++) {
    socket.write('186a0\r\n');
    socket.write(block);
    if (!socket.write('\r\n')) await once(socket, 'drain');
  }
  socket.write('0\r\nX-Sum: 42\r\n\r\n');
  let got = '';
  for await (const chunk of socket) got += chunk;
  assert.match(got, /20000000 42/);
});
