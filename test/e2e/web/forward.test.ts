// The forward proxy over HTTP/1.1: what reaches the site, what comes back, what is written down.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request as httpRequest, type RequestListener } from 'node:http';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { header, openOrigin, openRig, staff } from './rig.ts';

const to = (port: number) => `tcp://127.0.0.1:${port}`;

test('a site is reached under its own name, with nothing renamed', async () => {
  await using origin = await openOrigin((_, response) => {
    response.writeHead(302, ['Location', 'http://server1:8081/next', 'Set-Cookie', 'a=1; Path=/', 'Set-Cookie', 'b=2']);
    response.end('moved');
  });
  await using rig = await openRig({ forward: { hosts: { 'server1:8081': to(origin.port) } } });
  const answer = await rig.raw('GET http://server1:8081/p?q=1 HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n');
  assert.match(answer, /^HTTP\/1\.1 302 Found\r\n/);
  assert.match(answer, /Location: http:\/\/server1:8081\/next\r\n/);
  assert.match(answer, /Set-Cookie: a=1; Path=\/\r\nSet-Cookie: b=2\r\n/);
  assert.match(answer, /\r\nmoved\r\n0\r\n\r\n$/);
  assert.equal(origin.seen[0]?.url, '/p?q=1');
  assert.equal(
    header(origin.seen[0]?.headers ?? [], 'host'),
    'server1:8081',
    'the address counts, not the Host that came',
  );
  const { ended, request, notes } = await rig.gate.admission(0, 'web.request');
  assert.equal(request.resource, 'web/server1:8081');
  await ended;
  assert.equal(notes.get('requests'), 1);
  const line = await rig.line();
  assert.deepEqual([line.status, line.who, line.url], [302, 'staff01', 'http://server1:8081/p']);
});

test('one session stands for all requests of a connection to a site', async () => {
  await using origin = await openOrigin();
  await using rig = await openRig({ forward: { hosts: { server1: to(origin.port), server2: to(origin.port) } } });
  const ask = (host: string, more = '') => `GET http://${host}/ HTTP/1.1\r\nHost: ${host}\r\n${more}\r\n`;
  const answer = await rig.raw(ask('server1') + ask('server1') + ask('server2', 'Connection: close\r\n'));
  assert.equal(answer.match(/HTTP\/1\.1 200 OK/g)?.length, 3);
  assert.deepEqual(
    rig.gate.admissions.map(({ request }) => request.resource),
    ['web/server1:80', 'web/server2:80'],
  );
  await Promise.all(rig.gate.admissions.map(({ ended }) => ended));
  const [first] = rig.gate.admissions;
  assert.equal(first?.notes.get('requests'), 2);
  assert.ok((first?.bytes.up ?? 0) > 0 && (first?.bytes.down ?? 0) > 0);
});

test('without a certificate a request gets a page that says what is missing; the denial is written down', async () => {
  await using origin = await openOrigin();
  await using rig = await openRig({ forward: { hosts: { server1: to(origin.port) }, help: 'Ask the desk.' } });
  const answer = await rig.raw(
    'GET http://server1/ HTTP/1.1\r\nHost: server1\r\nAccept: text/html\r\nConnection: close\r\n\r\n',
    { identity: undefined },
  );
  assert.match(answer, /^HTTP\/1\.1 403 Forbidden\r\n/);
  assert.match(answer, /No client certificate/);
  assert.match(answer, /Staff CA/);
  assert.match(answer, /Ask the desk\./);
  assert.equal(origin.seen.length, 0);
  assert.equal(rig.gate.refusals[0]?.request.resource, 'web/server1:80');
});

test('without a certificate CONNECT gets 403 and a pointer to the check page', async () => {
  await using rig = await openRig({ forward: { hosts: { server1: 'resolve' } } });
  const answer = await rig.raw('CONNECT server1:443 HTTP/1.1\r\nHost: server1:443\r\n\r\n', { identity: undefined });
  assert.match(answer, /^HTTP\/1\.1 403 Forbidden\r\n/);
  assert.match(answer, /http:\/\/gate\.check\//);
});

test('what the map does not name is refused, whoever asks', async () => {
  await using rig = await openRig({ forward: { hosts: { server1: 'resolve' } } });
  for (const line of ['GET http://server2/', 'GET http://server1:22/', 'CONNECT server1:25', 'CONNECT server2:443']) {
    const answer = await rig.raw(`${line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
    assert.match(answer, /^HTTP\/1\.1 403 /, line);
  }
  assert.equal(rig.gate.admissions.length, 0);
  assert.equal(rig.gate.refusals.length, 4);
});

test('a name that leads to this machine, to link-local or to a metadata service is refused after resolving', async () => {
  const names = {
    a: ['127.0.0.1'],
    b: ['169.254.169.254'],
    c: ['::ffff:127.0.0.1'],
    d: ['fe80::1'],
    e: ['64:ff9b::7f00:1'],
    f: ['0.0.0.0'],
  };
  await using rig = await openRig({
    forward: { hosts: Object.fromEntries(Object.keys(names).map(name => [name, 'resolve'])) },
    names,
  });
  for (const name of Object.keys(names)) {
    assert.match(
      await rig.raw(`GET http://${name}:8080/ HTTP/1.1\r\nHost: ${name}\r\nConnection: close\r\n\r\n`),
      /^HTTP\/1\.1 403 /,
      name,
    );
    assert.match(await rig.raw(`CONNECT ${name}:8080 HTTP/1.1\r\nHost: ${name}\r\n\r\n`), /^HTTP\/1\.1 403 /, name);
  }
  assert.ok(rig.gate.refusals.some(({ reason }) => reason.includes('metadata')));
});

test('a target that is a listener of the gate is refused, even written', async () => {
  await using rig = await openRig({ forward: { hosts: { loop: 'tcp://127.0.0.1:1' } } });
  rig.replace({ hosts: { loop: to(rig.port) } });
  assert.match(
    await rig.raw('GET http://loop/ HTTP/1.1\r\nHost: loop\r\nConnection: close\r\n\r\n'),
    /^HTTP\/1\.1 403 /,
  );
});

test('hop-by-hop fields stay here, and fields that say who is there cannot be forged', async () => {
  await using origin = await openOrigin();
  await using rig = await openRig({ forward: { hosts: { server1: to(origin.port) }, identity: true } });
  await rig.raw(
    [
      'GET http://server1/ HTTP/1.1',
      'Host: server1',
      'Proxy-Authorization: Basic c2VjcmV0',
      'Proxy-Connection: keep-alive',
      'Connection: close, X-Hop',
      'X-Hop: 1',
      'Keep-Alive: timeout=5',
      'TE: trailers, deflate',
      'X-Sekisho-User: root',
      'x_sekisho_user: root',
      'X-Forwarded-For: 10.0.0.1',
      'Forwarded: for=10.0.0.1',
      'X-Remote-User: root',
      'Cookie: a=1',
      'X-Own: kept',
      '',
      '',
    ].join('\r\n'),
  );
  const fields = origin.seen[0]?.headers ?? [];
  const names = fields.filter((_, at) => at % 2 === 0).map(name => name.toLowerCase());
  for (const gone of [
    'proxy-authorization',
    'proxy-connection',
    'x-hop',
    'keep-alive',
    'x_sekisho_user',
    'x-forwarded-for',
    'forwarded',
    'x-remote-user',
  ]) {
    assert.ok(!names.includes(gone), gone);
  }
  assert.equal(names.filter(name => name === 'x-sekisho-user').length, 1);
  assert.equal(header(fields, 'x-sekisho-user'), 'staff01');
  assert.equal(header(fields, 'x-own'), 'kept');
  assert.equal(header(fields, 'cookie'), 'a=1');
  assert.equal(header(fields, 'te'), 'trailers');
  assert.equal(header(fields, 'via'), '1.1 sekisho');
});

test('a body streams up while the answer streams down, trailers and all', async () => {
  const serve: RequestListener = (request, response) => {
    response.writeHead(200, { Trailer: 'X-Sum' });
    let sum = 0;
    request.on('data', chunk => {
      sum += chunk.length;
      response.write(chunk);
    });
    request.on('end', () => {
      response.addTrailers({ 'X-Sum': `${sum} ${request.trailers['x-note']}` });
      response.end();
    });
  };
  await using origin = await openOrigin(serve);
  await using rig = await openRig({ forward: { hosts: { server1: to(origin.port) } } });
  const socket = await rig.tls({ identity: staff });
  const asked = httpRequest({
    createConnection: () => socket,
    method: 'POST',
    path: 'http://server1/echo',
    headers: { Host: 'server1', Trailer: 'X-Note' },
  });
  asked.write('one');
  const [answer] = await once(asked, 'response');
  const [first] = await once(answer, 'data');
  assert.equal(String(first), 'one', 'the first part is back before the last is sent');
  asked.addTrailers({ 'X-Note': 'n' });
  asked.end('two');
  let rest = '';
  for await (const chunk of answer) rest += chunk;
  assert.equal(rest, 'two');
  assert.equal(answer.trailers['x-sum'], '6 n');
  socket.destroy();
});

test('Expect: 100-continue is the site’s to answer', async () => {
  await using origin = await openOrigin((request, response) => {
    request.resume().on('end', () => response.end('got it'));
  });
  await using rig = await openRig({ forward: { hosts: { server1: to(origin.port) } } });
  const socket = await rig.tls({ identity: staff });
  socket.write(
    'POST http://server1/ HTTP/1.1\r\nHost: server1\r\nContent-Length: 4\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n',
  );
  const [first] = await once(socket, 'data');
  assert.match(String(first), /^HTTP\/1\.1 100 Continue\r\n\r\n$/);
  socket.write('body');
  let rest = '';
  for await (const chunk of socket) rest += chunk;
  assert.match(rest, /^HTTP\/1\.1 200 OK[\s\S]*got it/);
});

test('an answer that breaks off is not taken for a whole one', async () => {
  await using origin = await openOrigin((_, response) => {
    response.writeHead(200);
    response.write('half of it');
    setImmediate(() => setImmediate(() => response.destroy()));
  });
  await using rig = await openRig({ forward: { hosts: { server1: to(origin.port) } } });
  const answer = await rig.raw('GET http://server1/ HTTP/1.1\r\nHost: server1\r\n\r\n').catch(() => 'reset');
  assert.doesNotMatch(answer, /\r\n0\r\n\r\n$/);
  assert.equal((await rig.line()).cause, 'far-reset');
});

test('a client that goes away takes its request with it', async () => {
  const gone = Promise.withResolvers<void>();
  await using origin = await openOrigin((request, response) => {
    response.writeHead(200).write('x');
    request.socket.once('close', () => gone.resolve());
  });
  await using rig = await openRig({ forward: { hosts: { server1: to(origin.port) } } });
  await rig.raw('GET http://server1/ HTTP/1.1\r\nHost: server1\r\n\r\n', { until: /x/ });
  await gone.promise;
  await rig.gate.admissions[0]?.ended;
});

test('a dead kept connection is noticed, and a request that may be repeated is', async () => {
  let count = 0;
  const server = createServer(socket => {
    socket.on('error', () => {});
    socket.on('data', () => {
      // Each connection answers once, promises to stay, and breaks off at the second request.
      if (count++ % 2 === 0) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
      else socket.resetAndDestroy();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  await using rig = await openRig({ forward: { hosts: { server1: to((server.address() as { port: number }).port) } } });
  const socket = await rig.tls({ identity: staff });
  const ask = async () => {
    socket.write('GET http://server1/ HTTP/1.1\r\nHost: server1\r\n\r\n');
    const [answer] = await once(socket, 'data');
    return String(answer).split('\r\n')[0];
  };
  assert.equal(await ask(), 'HTTP/1.1 200 OK');
  assert.equal(await ask(), 'HTTP/1.1 200 OK');
  socket.destroy();
  server.close();
});

test('a tunnel keeps half-close, counts its bytes, and ends with its session', async () => {
  const server = createServer({ allowHalfOpen: true }, socket => {
    let got = '';
    socket.on('data', chunk => {
      got += chunk;
      if (got === 'stay') socket.write('staying');
    });
    socket.on('end', () => socket.end(`got ${got}`));
    socket.on('error', () => {});
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const port = (server.address() as { port: number }).port;
  await using rig = await openRig({ forward: { hosts: { 'server1:8081': to(port) } } });
  const socket = await rig.tls({ identity: staff });
  socket.write('CONNECT server1:8081 HTTP/1.1\r\nHost: server1:8081\r\n\r\n');
  const [head] = await once(socket, 'data');
  assert.equal(String(head), 'HTTP/1.1 200 Connection established\r\n\r\n');
  socket.end('question');
  let answer = '';
  for await (const chunk of socket) answer += chunk;
  assert.equal(answer, 'got question');
  const first = rig.gate.admissions[0];
  await first?.ended;
  assert.deepEqual(first?.bytes, { up: 8, down: 12 });

  const other = await rig.tls({ identity: staff });
  other.write('CONNECT server1:8081 HTTP/1.1\r\nHost: server1:8081\r\n\r\nstay');
  await once(other, 'data');
  const admission = await rig.gate.admission(1, 'web.request');
  const closed = new Promise(resolve => other.once('close', resolve));
  admission.end('revoked');
  await closed;
  await admission.ended;
  server.close();
});

test('a revoked certificate ends what is under way, and the next request gets the page', async () => {
  await using origin = await openOrigin((_, response) => {
    response.writeHead(200).write('for ever');
  });
  await using rig = await openRig({ forward: { hosts: { server1: to(origin.port) } } });
  const socket = await rig.tls({ identity: staff });
  socket.write('GET http://server1/ HTTP/1.1\r\nHost: server1\r\n\r\n');
  await once(socket, 'data');
  const closed = new Promise(resolve => socket.once('close', resolve));
  rig.revoked.add('staff01');
  rig.gate.admissions[0]?.end('revoked');
  await closed;
  const page = await rig.raw(
    'GET http://server1/ HTTP/1.1\r\nHost: server1\r\nAccept: text/html\r\nConnection: close\r\n\r\n',
  );
  assert.match(page, /^HTTP\/1\.1 403 [\s\S]*does not count[\s\S]*has been revoked/);
});

test('a new map ends visits to what it no longer names', async () => {
  await using origin = await openOrigin((_, response) => {
    response.writeHead(200).write('for ever');
  });
  await using rig = await openRig({ forward: { hosts: { server1: to(origin.port), server2: to(origin.port) } } });
  const first = rig.raw('GET http://server1/ HTTP/1.1\r\nHost: server1\r\n\r\n').catch(() => '');
  const socket = await rig.tls({ identity: staff });
  socket.write('GET http://server2/ HTTP/1.1\r\nHost: server2\r\n\r\n');
  await once(socket, 'data');
  rig.replace({ hosts: { server2: to(origin.port) } });
  await first;
  assert.equal(socket.destroyed, false);
  socket.destroy();
});

test('gate.check says how somebody arrived, through the proxy only and without a rule', async () => {
  await using rig = await openRig({ forward: { hosts: { server1: 'resolve', '*.corp.example': 'resolve' } } });
  const ask =
    'GET http://gate.check/ HTTP/1.1\r\nHost: gate.check\r\nAccept: application/json\r\nConnection: close\r\n\r\n';
  const body = (answer: string) => JSON.parse(answer.slice(answer.indexOf('\r\n\r\n')));
  const known = body(await rig.raw(ask));
  assert.equal(known.proxy, 'on');
  assert.equal(known.who, 'staff01');
  assert.deepEqual(known.sites, [{ site: 'server1', url: 'http://server1/' }, { site: '*.corp.example' }]);
  assert.match(known.until, /^\d{4}-/);
  const stranger = body(await rig.raw(ask, { identity: undefined }));
  assert.deepEqual([stranger.proxy, stranger.who, stranger.sites], ['on', null, []]);
  assert.match(await rig.raw(ask.replace('application/json', 'text/html')), /Your proxy is on, and you are known\./);
});
