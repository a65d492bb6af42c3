// Ordinary requests go the short way (lane.ts), everything else with its connection to Node's server: nobody may be able
// to tell which it was.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { openOrigin, openRig, staff } from './rig.ts';

const tells = async (serve?: Parameters<typeof openOrigin>[0], more: object = {}) => {
  const origin = await openOrigin(serve);
  const rig = await openRig({ forward: { hosts: { server1: `tcp://127.0.0.1:${origin.port}` }, ...more } });
  return {
    origin,
    rig,
    async [Symbol.asyncDispose]() {
      await rig[Symbol.asyncDispose]();
      await origin[Symbol.asyncDispose]();
    },
  };
};
const get = (path: string, more = ''): string => `GET http://server1${path} HTTP/1.1\r\nHost: server1\r\n${more}\r\n`;
const post = (path: string, body: string, more = ''): string =>
  `POST http://server1${path} HTTP/1.1\r\nHost: server1\r\nContent-Length: ${body.length}\r\n${more}\r\n${body}`;
const chunked = (path: string, body: string): string =>
  `POST http://server1${path} HTTP/1.1\r\nHost: server1\r\nTransfer-Encoding: chunked\r\n\r\n${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;
const echo: Parameters<typeof openOrigin>[0] = (request, response) => {
  let body = '';
  request.setEncoding('latin1').on('data', text => {
    body += text;
  });
  request.on('end', () => response.end(`[${request.method} ${request.url} ${body}]`));
};
const told = (text: string): string[] => [...text.matchAll(/\[[^\]]*\]/g)].map(([one]) => one);

test('requests with and without bodies, ordinary and not, in one packet are answered in order', async () => {
  await using world = await tells(echo);
  const text = await world.rig.raw(
    [
      get('/1'),
      post('/2', 'two'),
      get('/3'),
      chunked('/4', 'four'),
      get('/5'),
      post('/6', 'six', 'Connection: close\r\n'),
    ].join(''),
  );
  assert.deepEqual(told(text), [
    '[GET /1 ]',
    '[POST /2 two]',
    '[GET /3 ]',
    '[POST /4 four]',
    '[GET /5 ]',
    '[POST /6 six]',
  ]);
});

test('whatever the cuts, a body belongs to its request and what is behind it to the next', async () => {
  await using world = await tells(echo);
  const all = post('/1', 'GET /hidden HTTP/1.1\r\n\r\n') + get('/2', 'Connection: close\r\n');
  for (const cut of [1, 20, 60, 95, 100, all.length - 30, all.length - 1]) {
    const socket = await world.rig.tls({ identity: staff });
    let text = '';
    socket.setEncoding('latin1').on('data', (more: string) => {
      text += more;
    });
    socket.write(all.slice(0, cut));
    await new Promise(setImmediate);
    socket.write(all.slice(cut));
    await once(socket, 'close');
    assert.deepEqual(told(text), ['[POST /1 GET /hidden HTTP/1.1\r\n\r\n]', '[GET /2 ]'], `cut at ${cut}`);
  }
});

test('a body as long as memory is not, up and down, arrives as it was', async () => {
  await using world = await tells((request, response) => {
    request.pipe(response);
  });
  const piece = Buffer.alloc(65_536, 'abcdefghijklmnop');
  const count = 400;
  const socket = await world.rig.tls({ identity: staff });
  let got = 0;
  let head = -1;
  socket.on('data', (chunk: Buffer) => {
    if (head < 0) head = chunk.indexOf('\r\n\r\n') + 4;
    got += chunk.length;
  });
  socket.write(
    `PUT http://server1/ HTTP/1.1\r\nHost: server1\r\nContent-Length: ${piece.length * count}\r\nConnection: close\r\n\r\n`,
  );
  for (let at = 0; at < count; at++) if (!socket.write(piece)) await once(socket, 'drain');
  await once(socket, 'close');
  assert.ok(got > piece.length * count, `${got} bytes came back`);
});

test('the head of an answer does not wait for its body', async () => {
  const begun = Promise.withResolvers<() => void>();
  await using world = await tells((_, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
    begun.resolve(() => response.end('data: 1\n\n'));
  });
  for (const method of ['GET', 'POST']) {
    const socket = await world.rig.tls({ identity: staff });
    socket.write(
      `${method} http://server1/ HTTP/1.1\r\nHost: server1\r\n${method === 'POST' ? 'Transfer-Encoding: chunked\r\n\r\n0\r\n' : ''}\r\n`,
    );
    const [first] = (await once(socket, 'data')) as [Buffer];
    assert.match(first.toString(), /^HTTP\/1\.1 200 /);
    socket.destroy();
  }
  (await begun.promise)();
});

test('an answer before the end of a body ends the connection, unless the rest comes at once', async () => {
  await using world = await tells((_, response) => response.end('[enough]'));
  const text = await world.rig.raw(
    `POST http://server1/ HTTP/1.1\r\nHost: server1\r\nContent-Length: 1000\r\n\r\nhalf`,
  );
  assert.deepEqual(told(text), ['[enough]']);
  const whole = await world.rig.raw(post('/', 'x'.repeat(1000)) + get('/', 'Connection: close\r\n'));
  assert.deepEqual(told(whole), ['[enough]', '[enough]']);
});

test('a client that leaves in the middle leaves nothing behind at the site', async () => {
  const asked = Promise.withResolvers<void>();
  const gone = Promise.withResolvers<void>();
  await using world = await tells(request => {
    request.socket.once('close', () => gone.resolve());
    asked.resolve();
  });
  const socket = await world.rig.tls({ identity: staff });
  socket.write(get('/'));
  await asked.promise;
  socket.end();
  await gone.promise;
  await once(socket, 'close');
});

/** Answers each request when it is let. */
const held = () => {
  const asked = Promise.withResolvers<void>();
  const answers = Promise.withResolvers<void>();
  const serve: Parameters<typeof openOrigin>[0] = (request, response) => {
    asked.resolve();
    void answers.promise.then(() => response.end(`[${request.url}]`));
  };
  return { asked: asked.promise, letGo: answers.resolve, serve };
};

test('a connection that rests for too long is closed; one that owes an answer is not', async () => {
  const site = held();
  await using world = await tells(site.serve, { timeouts: { idle: '200ms', read: '1m' } });
  const busy = world.rig.raw(get('/1'));
  await site.asked;
  const resting = await world.rig.tls({ identity: staff });
  await once(resting, 'close'); // by then the busy one has rested as long
  site.letGo();
  assert.deepEqual(told(await busy), ['[/1]'], 'answered, and closed after it');
});

test('a request in which nothing moves is given up', async () => {
  const site = held();
  await using world = await tells(site.serve, { timeouts: { idle: '100ms', read: '300ms' } });
  const socket = await world.rig.tls({ identity: staff });
  socket.resume().write(get('/1'));
  await once(socket, 'close');
  site.letGo();
});

test('at a drain what is under way is answered, and nothing behind it', async () => {
  const site = held();
  await using world = await tells(site.serve);
  const answer = world.rig.raw(get('/1') + get('/2'));
  const resting = await world.rig.tls({ identity: staff });
  await site.asked;
  const drained = world.rig.web.drain(AbortSignal.timeout(20_000));
  await once(resting.resume(), 'close');
  site.letGo();
  const text = await answer;
  assert.deepEqual(told(text), ['[/1]']);
  assert.match(text, /\r\nConnection: close\r\n/);
  await drained;
});

test('a request under way is followed by thousands of tiny pieces, which wait unread and in order', async () => {
  const site = held();
  await using world = await tells(site.serve);
  const paths = Array.from({ length: 60 }, (_, at) => `/${at}`);
  const socket = await world.rig.tls({ identity: staff });
  socket.setNoDelay(true);
  let text = '';
  socket.setEncoding('latin1').on('data', (more: string) => {
    text += more;
  });
  socket.write(get(paths[0] ?? ''));
  await site.asked;
  const rest = paths.slice(1).map(path => get(path, path === '/59' ? 'Connection: close\r\n' : ''));
  for (const [at, byte] of [...rest.join('')].entries()) {
    socket.write(byte);
    if (at % 100 === 0) await new Promise(setImmediate);
  }
  site.letGo();
  await once(socket, 'close');
  assert.deepEqual(
    told(text),
    paths.map(path => `[${path}]`),
  );
});
