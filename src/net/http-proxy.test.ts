// Through a proxy by CONNECT: what it answers, what it is told, and who goes round it.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { type TestContext, test } from 'node:test';
import { dialProxy, parseProxy, proxyOf } from './http-proxy.ts';

async function proxy(t: TestContext, answer: string): Promise<{ url: URL; asked: () => string }> {
  let asked = '';
  const server = createServer(socket => {
    socket.on('error', () => {});
    socket.on('data', chunk => {
      asked += chunk;
      if (asked.endsWith('\r\n\r\n')) socket.write(answer);
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => void server.close());
  return {
    url: new URL(`http://user:p%40ss@127.0.0.1:${(server.address() as { port: number }).port}`),
    asked: () => asked,
  };
}
const to = { host: 'gate.example.com', port: 8443, timeout: 5000 };
const signal = AbortSignal.timeout(10_000);

test('CONNECT carries host, port and credentials; what follows the answer is the far side’s', async t => {
  const { url, asked } = await proxy(t, 'HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\nfirst bytes');
  const conn = await dialProxy({ proxy: url, ...to }, signal);
  assert.equal(String((await once(conn.stream, 'data'))[0]), 'first bytes');
  assert.equal(
    asked(),
    `CONNECT gate.example.com:8443 HTTP/1.1\r\nHost: gate.example.com:8443\r\nProxy-Authorization: Basic ${Buffer.from('user:p@ss').toString('base64')}\r\n\r\n`,
  );
  assert.deepEqual(conn.peer, { host: 'gate.example.com', port: 8443 });
  conn.stream.destroy();
});

for (const [answer, code] of [
  ['HTTP/1.1 407 Proxy Authentication Required\r\n\r\n', 'unknown-caller'],
  ['HTTP/1.1 403 Forbidden\r\n\r\n', 'denied'],
  ['HTTP/1.0 503 Service Unavailable\r\n\r\n', 'unreachable'],
  ['SSH-2.0-OpenSSH\r\n\r\n', 'protocol'],
  [`HTTP/1.1 200 OK\r\nX: ${'x'.repeat(20_000)}`, 'protocol'],
] as const) {
  test(`a proxy that answers ${answer.slice(0, 24).trim()} is ${code}`, async t => {
    const { url } = await proxy(t, answer);
    await assert.rejects(dialProxy({ proxy: url, ...to }, signal), { code });
  });
}

test('the environment says which proxy, and whom it is not for', () => {
  const env = { HTTPS_PROXY: 'proxy:3128', NO_PROXY: 'localhost, .corp.example,10.0.0.1 ,other.example:8443' };
  const by = (host: string, port = 443): string | undefined => proxyOf(env, { host, port })?.host;
  assert.equal(by('gate.example.com'), 'proxy:3128');
  for (const host of ['localhost', 'a.corp.example', 'corp.example', '10.0.0.1'])
    assert.equal(by(host), undefined, host);
  assert.equal(by('other.example', 8443), undefined);
  assert.equal(by('other.example', 443), 'proxy:3128');
  assert.equal(by('xcorp.example'), 'proxy:3128');
  assert.equal(proxyOf({ ...env, NO_PROXY: '*' }, { host: 'a', port: 1 }), undefined);
  assert.equal(
    proxyOf({ https_proxy: 'http://small:1', HTTPS_PROXY: 'http://big:1' }, { host: 'a', port: 1 })?.host,
    'small:1',
  );
  assert.throws(() => parseProxy('socks5://x:1'), { code: 'invalid' });
});
