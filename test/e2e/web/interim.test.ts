// Interim answers (1xx) of services, however many and however written: none of them is the answer, and none ends the gate.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { test } from 'node:test';
import { openRig, staff } from './rig.ts';
import { openSitesRig } from './sites-rig.ts';

interface Ways extends AsyncDisposable {
  /** The whole of what a client gets, by the way and the HTTP of the name. */
  readonly ask: Readonly<Record<string, (how: 'GET' | 'chunked' | '1.0') => Promise<string>>>;
}

/** A service that answers everything with these bytes, over and over where there is no end. */
async function service(answer: (write: (text: string) => boolean, isOpen: () => boolean) => void): Promise<Server> {
  const server = createServer(socket => {
    socket.on('error', () => {});
    let isAsked = false;
    socket.on('data', () => {
      if (isAsked) return;
      isAsked = true;
      answer(
        text => socket.write(text, 'latin1'),
        () => !socket.destroyed,
      );
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

async function openWays(server: Server): Promise<Ways> {
  const { port } = server.address() as AddressInfo;
  const rig = await openRig({ forward: { hosts: { server1: `tcp://127.0.0.1:${port}` } } });
  const sites = await openSitesRig({ sites: { server1: { to: `http://127.0.0.1:${port}/` } } });
  const text = (prefix: string, host: string, how: string): string =>
    how === 'chunked'
      ? `POST ${prefix}/ HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n`
      : `GET ${prefix}/ HTTP/${how === '1.0' ? '1.0' : '1.1'}\r\nHost: ${host}\r\nConnection: close\r\n\r\n`;
  const http2 = async (session: Awaited<ReturnType<typeof rig.http2>>, scheme: string, host: string) => {
    const stream = session.request({ ':path': '/', ':scheme': scheme, ':authority': host });
    let status = 'reset';
    let got = '';
    stream.on('error', () => {});
    stream.on('response', headers => {
      status = `HTTP/1.1 ${headers[':status']} `;
    });
    stream.on('data', chunk => {
      got += String(chunk);
    });
    await once(stream, 'close');
    session.destroy();
    return status + got;
  };
  const name = 'server1.example.com';
  return {
    ask: {
      'the proxy': how => rig.raw(text('http://server1', 'server1', how)),
      'a renamed site': how => sites.raw(name, text('', name, how)),
      'the proxy, HTTP/2': async () => http2(await rig.http2(staff), 'http', 'server1'),
      'a renamed site, HTTP/2': async () => http2(await sites.http2(name), 'https', name),
    },
    async [Symbol.asyncDispose]() {
      for (const one of [rig, sites]) await one[Symbol.asyncDispose]();
      server.close();
    },
  };
}

const end = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

for (const [what, interim] of [
  ['early hints that are none', 'HTTP/1.1 103 Early Hints\r\nLink: nonsense\r\nLink: <a>; rel=\r\n\r\n'],
  ['early hints with bytes of their own', 'HTTP/1.1 103 Early Hints\r\nLink: </\xff\xfe>; rel=preload\r\n\r\n'],
  [
    'early hints with two links and fields that HTTP/2 has not',
    'HTTP/1.1 103 E\r\nLink: </a>; rel=preload, </b>; rel=preload\r\nKeep-Alive: x\r\nTE: x\r\nSet-Cookie: a=1\r\n\r\n',
  ],
  ['100 that nobody asked for', 'HTTP/1.1 100 Continue\r\n\r\n'],
  ['102 and 199', 'HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 199 X\r\nA: b\r\n\r\n'],
] as const) {
  test(`before an answer: ${what}`, async () => {
    await using ways = await openWays(await service(write => void write(interim + end)));
    for (const [way, ask] of Object.entries(ways.ask)) {
      for (const how of ['GET', 'chunked', '1.0'] as const) {
        const got = await ask(how);
        assert.match(got, /HTTP\/1\.1 200 [\s\S]*ok$/, `${way}, ${how}: ${got}`);
        // RFC 9110 §15.2: HTTP/1.0 knows no interim answers.
        if (how === '1.0') assert.match(got, /^HTTP\/1\.1 200 /, `${way}: ${got}`);
      }
    }
  });
}

test('interim answers without end are given up', async () => {
  for (const one of ['HTTP/1.1 103 X\r\nLink: </a>; rel=preload\r\n\r\n', 'HTTP/1.1 100 Continue\r\n\r\n']) {
    const server = await service((write, isOpen) => {
      const more = (): void => {
        if (!isOpen()) return;
        write(one.repeat(100));
        setImmediate(more);
      };
      more();
    });
    await using ways = await openWays(server);
    for (const [way, ask] of Object.entries(ways.ask)) {
      for (const how of ['GET', 'chunked'] as const) assert.match(await ask(how), /HTTP\/1\.1 502 /, `${way}, ${how}`);
    }
  }
});
