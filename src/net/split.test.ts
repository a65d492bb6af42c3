// One listener told apart by first bytes, and the PROXY header before them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { text } from '../../test/conformance/streams.ts';
import { makeCa } from '../../test/fixtures/certificates.ts';
import { memoryLog, memoryMetrics } from '../../test/fixtures/quiet.ts';
import type { Conn } from '../core/parts.ts';
import { parseCidr } from '../wire/cidr.ts';
import { writeProxyHeader } from '../wire/proxy-protocol.ts';
import { memoryListener, memoryPair } from './memory.ts';
import { peek } from './peek.ts';
import { expectProxyHeader } from './proxy-header.ts';
import { type Branch, choose, split } from './split.ts';
import { dialTcp, listenTcp } from './tcp.ts';
import { dialTls, upgradeTls } from './tls.ts';

const never = new AbortController().signal;
const quiet = { log: memoryLog(), metrics: memoryMetrics() };
const ca = makeCa('Split CA');
const tls = (name: string): ReturnType<typeof upgradeTls> =>
  upgradeTls({
    identities: [ca.issue({ cn: name, san: [name] })],
    session: { tickets: true, cache: 0, timeout: 300_000 },
    context: name,
    handshake: 5000,
  });
const hello = (sni?: string, alpn: string[] = []): { sni?: string; alpn: string[]; versions: number[] } => ({
  ...(sni === undefined ? {} : { sni }),
  alpn,
  versions: [0x0304],
});

test('names choose before protocols, exact before wildcard, long wildcard before short', () => {
  const branches = [
    { name: 'short', names: ['*.example.com'] },
    { name: 'long', names: ['*.eu.example.com'] },
    { name: 'exact', names: ['a.eu.example.com', 'B.example.com'] },
    { name: 'mqtt', alpn: ['mqtt'] },
    { name: 'exact-h2', names: ['a.eu.example.com'], alpn: ['h2'] },
    { name: 'other', default: true },
  ] satisfies Branch[];
  const chosen = (sni?: string, alpn?: string[]): string | number => {
    const branch = choose<Branch>(branches, hello(sni, alpn));
    return typeof branch === 'number' ? branch : branch.name;
  };
  assert.equal(chosen('a.eu.example.com'), 'exact');
  assert.equal(chosen('a.eu.example.com', ['h2', 'http/1.1']), 'exact-h2');
  assert.equal(chosen('b.example.com'), 'exact');
  assert.equal(chosen('x.y.eu.example.com'), 'long', 'a wildcard covers several labels');
  assert.equal(chosen('x.example.com'), 'short');
  assert.equal(chosen('example.com'), 'other', 'and never the name itself');
  assert.equal(chosen('notexample.com'), 'other');
  assert.equal(chosen(undefined, ['mqtt']), 'mqtt');
  assert.equal(chosen('unknown.test'), 'other');
  assert.equal(chosen(), 'other');
});

test('without a default the alert says what does not fit', () => {
  const branches = [
    { name: 'a', names: ['a.test'], alpn: ['h2'] },
    { name: 'plain', plain: true },
  ] satisfies Branch[];
  assert.equal(choose<Branch>(branches, hello('b.test')), 112);
  assert.equal(choose<Branch>(branches, hello()), 112);
  assert.equal(choose<Branch>(branches, hello('a.test', ['mqtt'])), 120);
  assert.equal(typeof choose<Branch>(branches, hello('a.test')), 'object', 'whoever offers none comes by the name');
});

test('TLS by name, and plain text beside it, on one port; peeked bytes are not lost', async () => {
  await using listener = await listenTcp({ host: '127.0.0.1', port: 0, ...quiet });
  const port = 'port' in listener.address ? listener.address.port : 0;
  const branches = split(
    listener,
    [
      { name: 'a', names: ['a.test'] },
      { name: 'b', names: ['*.b.test'] },
      { name: 'plain', plain: true },
    ],
    { patience: 5000, ...quiet },
  );
  for (const [branch, name] of [
    ['a', 'a.test'],
    ['b', 'x.b.test'],
  ] as const) {
    const dialling = dialTls(
      { host: '127.0.0.1', port, connect: 0, handshake: 5000, verify: { ca: [ca.cert], name }, servername: name },
      never,
    );
    const { value: raw } = await branches[branch][Symbol.asyncIterator]().next();
    assert.ok(raw);
    assert.equal(raw.tls?.sni, name);
    const [client, server] = await Promise.all([dialling, tls(name)(raw, never)]);
    client.stream.end('through');
    assert.equal(await text(server), 'through');
    server.stream.destroy();
    client.stream.destroy();
  }
  const client = await dialTcp({ host: '127.0.0.1', port, timeout: 0 }, never);
  client.stream.end('SSH-2.0-plain');
  const { value: plain } = await branches.plain[Symbol.asyncIterator]().next();
  assert.ok(plain);
  assert.equal(await text(plain), 'SSH-2.0-plain');
  plain.stream.destroy();
  client.stream.destroy();
  const stranger = dialTls(
    { host: '127.0.0.1', port, connect: 0, handshake: 5000, verify: false, servername: 'nobody.test' },
    never,
  );
  await assert.rejects(stranger, { code: 'unreachable', message: /does not know the server name/ });
  for (const branch of Object.values(branches)) await branch[Symbol.asyncDispose]();
  await assert.rejects(dialTcp({ host: '127.0.0.1', port, timeout: 0 }, never), { code: 'unreachable' });
});

test('who says nothing, too much, or nonsense holds no place', async () => {
  const log = memoryLog();
  const metrics = memoryMetrics();
  await using listener = memoryListener();
  split(listener, [{ name: 'a', names: ['a.test'] }], { patience: 30, peeking: 2, log, metrics });
  const gone = (conn: Conn): Promise<unknown> => new Promise(resolve => conn.stream.resume().once('close', resolve));
  const long = listener.connect();
  const left = gone(long);
  long.stream.write(Buffer.concat([Buffer.from('16030140000100401000', 'hex'), Buffer.alloc(20_000)]));
  await left;
  const [silent, second, third] = [listener.connect(), listener.connect(), listener.connect()];
  await Promise.all([gone(silent), gone(second), gone(third)]);
  assert.equal(metrics.values.get('accepts_refused_total{reason=peeking}'), 1);
  const plain = listener.connect();
  plain.stream.end('GET / HTTP/1.1');
  await gone(plain);
  assert.deepEqual(
    log.lines.map(line => line.text),
    [
      'the TLS ClientHello is longer than 16 KiB',
      'the first bytes did not come in time',
      'the first bytes did not come in time',
      'only TLS is spoken here',
    ],
  );
});

test('a peek waits byte by byte, puts back what it did not use, and ends with its signal', async () => {
  const [client, server] = memoryPair();
  const seen = peek(server.stream, bytes => (bytes.length < 4 ? 'more' : bytes.toString()), {
    limit: 100,
    signal: never,
    used: () => 2,
  });
  for (const letter of 'abcd') {
    client.stream.write(letter);
    await new Promise(setImmediate);
  }
  assert.equal(await seen, 'abcd');
  client.stream.end('efg');
  assert.equal(await text(server), 'cdefg');
  const [, waiting] = memoryPair();
  const stop = new AbortController();
  const peeking = peek(waiting.stream, () => 'more', { limit: 10, signal: stop.signal });
  stop.abort(new Error('enough'));
  await assert.rejects(peeking, /enough/);
  const [early, ended] = memoryPair();
  early.stream.end('x');
  await assert.rejects(
    peek(ended.stream, () => 'more', { limit: 10, signal: never }),
    { code: 'protocol', message: /left before/ },
  );
});

const balancer = { host: '10.0.0.1', port: 1 };
const announced = { source: { host: '203.0.113.7', port: 40000 }, destination: { host: '198.51.100.1', port: 443 } };
const upgrade = expectProxyHeader({ from: [parseCidr('10.0.0.0/8')] });

for (const version of ['v1', 'v2'] as const) {
  test(`PROXY ${version}: a listed balancer speaks for its client, and the bytes after it are the client's`, async () => {
    const [client, server] = memoryPair({ near: balancer });
    client.stream.end(Buffer.concat([writeProxyHeader(version, announced), Buffer.from('payload')]));
    const conn = await upgrade(server, never);
    assert.deepEqual([conn.peer, conn.local], [announced.source, announced.destination]);
    assert.equal(await text(conn), 'payload');
  });
}

test('a listed balancer that sends no header is refused; its own health check stands for itself', async () => {
  const [client, server] = memoryPair({ near: balancer });
  client.stream.write('GET / HTTP/1.1');
  await assert.rejects(upgrade(server, never), { name: 'Fault', code: 'protocol', message: /PROXY header is missing/ });
  const [check, checked] = memoryPair({ near: balancer });
  check.stream.end(Buffer.from('0d0a0d0a000d0a515549540a20000000', 'hex'));
  assert.deepEqual((await upgrade(checked, never)).peer, balancer);
});

test('a header from anybody else changes nothing and is not taken away', async () => {
  const stranger = { host: '192.0.2.66', port: 1 };
  const [client, server] = memoryPair({ near: stranger });
  const header = writeProxyHeader('v1', announced);
  client.stream.end(header);
  const conn = await upgrade(server, never);
  assert.deepEqual(conn.peer, stranger);
  assert.equal(await text(conn), header.toString());
});
