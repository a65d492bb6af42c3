// The same attacks at both ways of the web gate: fields that are to be taken for somebody's else, protocols that are to
// be changed behind its back, names that are to be read in two ways.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { RequestListener } from 'node:http';
import type { ClientHttp2Session } from 'node:http2';
import { test } from 'node:test';
import { type Origin, openOrigin, openRig, staff } from './rig.ts';
import { openSitesRig } from './sites-rig.ts';

interface Way extends AsyncDisposable {
  readonly origin: Origin;
  readonly host: string;
  /** Before a path. */
  readonly prefix: string;
  readonly scheme: 'http' | 'https';
  raw(text: string): Promise<string>;
  http2(): Promise<ClientHttp2Session>;
}

async function original(serve?: RequestListener): Promise<Way> {
  const origin = await openOrigin(serve);
  const rig = await openRig({
    forward: { hosts: { server1: `tcp://127.0.0.1:${origin.port}` }, identity: true },
  });
  return {
    ...{ origin, host: 'server1', prefix: 'http://server1', scheme: 'http' },
    raw: text => rig.raw(text),
    http2: () => rig.http2(staff),
    async [Symbol.asyncDispose]() {
      for (const one of [rig, origin]) await one[Symbol.asyncDispose]();
    },
  };
}
async function renamed(serve?: RequestListener): Promise<Way> {
  const origin = await openOrigin(serve);
  const name = 'server1.example.com';
  const rig = await openSitesRig({
    sites: { server1: { to: `http://127.0.0.1:${origin.port}/`, identity: true } },
  });
  return {
    ...{ origin, host: name, prefix: '', scheme: 'https' },
    raw: text => rig.raw(name, text),
    http2: () => rig.http2(name),
    async [Symbol.asyncDispose]() {
      for (const one of [rig, origin]) await one[Symbol.asyncDispose]();
    },
  };
}

const values = ({ seen }: Origin, wanted: RegExp): string[] => {
  const { headers = [] } = seen.at(-1) ?? {};
  return headers.filter((_, at) => at % 2 === 1 && wanted.test(headers[at - 1]?.toLowerCase() ?? ''));
};

for (const [where, open] of [
  ['the proxy', original],
  ['a renamed site', renamed],
] as const) {
  test(`${where}: identity is told by the gate alone, however a client spells it`, async () => {
    await using way = await open();
    const spellings = ['X-Sekisho-User', 'x_sekisho_user', 'X-Sekisho_User', 'X-SEKISHO-JWT', 'X_Sekisho_Jwt'];
    const others = ['X_Forwarded_For', 'X-Forwarded_User', 'REMOTE_USER', 'X-Auth_Request-Email', 'SSL_CLIENT_S_DN'];
    // lighttpd hands over every sign but letters and digits as `_`; `Proxy` becomes HTTP_PROXY (httpoxy).
    others.push('X.Sekisho.User', 'X!Sekisho~User', 'Proxy', 'X-WEBAUTH-USER', 'True-Client-IP');
    const forged = [...spellings, ...others].map(field => `${field}: root\r\n`).join('');
    await way.raw(
      `GET ${way.prefix}/ HTTP/1.1\r\nHost: ${way.host}\r\nConnection: close, X-Sekisho-User, Host, Via\r\n${forged}\r\n`,
    );
    assert.deepEqual(values(way.origin, /sekisho.user/), ['staff01']);
    assert.ok(!(way.origin.seen[0]?.headers ?? []).includes('root'));
    assert.equal(values(way.origin, /^host$/).length, 1);
    assert.equal(values(way.origin, /^via$/).length, 1);
  });

  test(`${where}: no upgrade but a WebSocket’s is passed on`, async () => {
    await using way = await open();
    for (const upgrade of ['h2c', 'websocket, h2c', 'TLS/1.2', 'h2c\r\nUpgrade: websocket']) {
      const text = await way.raw(
        `GET ${way.prefix}/ HTTP/1.1\r\nHost: ${way.host}\r\nConnection: close, Upgrade, HTTP2-Settings\r\nUpgrade: ${upgrade}\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n`,
      );
      assert.match(text, /^HTTP\/1\.1 (200|400) /, upgrade);
      assert.deepEqual(values(way.origin, /^(upgrade|http2-settings)$/), [], upgrade);
      assert.ok(!values(way.origin, /^connection$/).some(value => /upgrade/i.test(value)));
    }
  });

  test(`${where}: an expectation that is not 100-continue, and trailers that would be fields, go no further`, async () => {
    const trailers: string[] = [];
    await using way = await open((request, response) => {
      request.resume().on('end', () => {
        trailers.push(...request.rawTrailers);
        response.end();
      });
    });
    const start = `POST ${way.prefix}/ HTTP/1.1\r\nHost: ${way.host}\r\n`;
    assert.match(await way.raw(`${start}Expect: 200-ok\r\nContent-Length: 0\r\n\r\n`), /^HTTP\/1\.1 417 /);
    assert.equal(way.origin.seen.length, 0);
    await way.raw(
      `${start}Connection: close\r\nTrailer: Host, X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n4;ext="a"\r\nbody\r\n0\r\nHost: evil\r\nX-Sekisho-User: root\r\nAuthorization: x\r\nX-Sum: 1\r\n\r\n`,
    );
    assert.deepEqual(trailers, ['X-Sum', '1']);
  });

  test(`${where}: fields of HTTP/2 that would be more than one in HTTP/1.1 are refused`, async () => {
    await using way = await open();
    const session = await way.http2();
    const base = { ':method': 'GET', ':path': '/', ':scheme': way.scheme, ':authority': way.host };
    const ask = async (fields: Record<string, string>): Promise<string> => {
      try {
        const stream = session.request({ ...base, ...fields });
        const answer = once(stream, 'response');
        stream.on('error', () => {}).resume();
        const [headers] = await Promise.race([answer, once(stream, 'close').then(() => [{ ':status': 'reset' }])]);
        return String(headers[':status']);
      } catch {
        return 'not sent'; // by the client’s own library; frames of our own are in test/fuzz/web-http2.test.ts
      }
    };
    for (const fields of [
      { ':path': '/a b' },
      { ':path': '/a\r\nX: y' },
      { ':path': 'http://other/' },
      { ':authority': `${way.host}\r\nX: y` },
      { ':authority': `user@${way.host}` },
      { ':method': 'GET / HTTP/1.1\r\nX: y' },
      { 'transfer-encoding': 'chunked' },
      { host: 'other' },
    ]) {
      assert.match(
        await ask(fields as unknown as Record<string, string>),
        /^(4\d\d|reset|not sent)$/,
        JSON.stringify(fields),
      );
    }
    assert.equal(way.origin.seen.length, 0);
    assert.equal(await ask({ cookie: 'a=1', x_sekisho_user: 'root', 'x-field': 'a\r\nHost: other' }), '200');
    assert.deepEqual(values(way.origin, /sekisho.user/), ['staff01']);
    assert.deepEqual(values(way.origin, /^x-field$/), []); // nghttp2 leaves it out
    session.destroy();
  });
}

test('a renamed site takes the gate’s cookies out of every form of the field, and refuses other spellings of its name', async () => {
  await using way = await renamed();
  for (const cookie of [
    'a=1;__Host-sekisho=x',
    '__host-SEKISHO=x; a=1',
    'a=1\r\nCookie: __Secure-sekisho_site=x',
    ' sekisho=x;;a=1',
  ]) {
    await way.raw(`GET / HTTP/1.1\r\nHost: ${way.host}\r\nConnection: close\r\nCookie: ${cookie}\r\n\r\n`);
    const told = values(way.origin, /^cookie$/).join('; ');
    assert.match(told, /a=1/);
    assert.doesNotMatch(told, /sekisho/i);
  }
  const before = way.origin.seen.length;
  for (const host of [
    ...['server2.example.com', 'server1.example.com.evil', 'xn--server1-.example.com', '%73erver1.example.com'],
    ...[
      'server1.example.com:0',
      'server1.example.com:x',
      'a@server1.example.com',
      '127.0.0.1',
      '[::1]',
      'x'.repeat(300),
    ],
  ]) {
    const text = await way.raw(`GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
    assert.match(text, /^HTTP\/1\.1 4(00|21) /, host);
    const absolute = await way.raw(`GET https://${host}/ HTTP/1.1\r\nHost: ${way.host}\r\nConnection: close\r\n\r\n`);
    assert.match(absolute, /^HTTP\/1\.1 4(00|21) /, host);
  }
  assert.equal(way.origin.seen.length, before);
});
