// Every kind of route on real sockets: terminate, originate, re-encrypt, plain, pass-through, unix sockets, datagrams.
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { createServer as createTlsServer } from 'node:tls';
import { memoryListener } from '../../../src/net/memory.ts';
import { makeCa, temporaryFolder } from '../../fixtures/certificates.ts';
import { freePort } from '../../fixtures/ports.ts';
import { closed, dialPlain, dialTlsTo, echo, echoes, openRig, plainServer, readAll, readBytes } from './rig.ts';

const ca = makeCa('Routes CA');
const localhost = ca.issue({ cn: 'localhost', san: ['DNS:localhost', 'IP:127.0.0.1'] });
const files = (one: { certFile: string; keyFile: string }): object => ({
  cert: `file:${one.certFile}`,
  key: `file:${one.keyFile}`,
});
const certificate = files(localhost);
const any = ca.issue({ cn: 'any', san: ['DNS:*.hash.test'] });
const verify = { ca: `file:${ca.certFile}`, name: 'localhost' };

/** A TLS echo server that remembers the server names it was asked for. */
async function tlsEcho(options: object = {}) {
  const names: string[] = [];
  const server = createTlsServer(
    { cert: localhost.cert, key: localhost.key, allowHalfOpen: true, ...options },
    socket => {
      names.push(String((socket as { servername?: string }).servername));
      socket.on('error', () => {});
      socket.pipe(socket);
    },
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' && address ? address.port : 0;
  return { server, names, port, [Symbol.dispose]: () => void server.close() };
}

test('terminates: TLS outside, plain inside, with the name and cipher in the audit', async () => {
  await using backend = await plainServer(echo);
  await using rig = await openRig({
    db: { listen: 'tls://127.0.0.1:0', certificate, to: `tcp://127.0.0.1:${backend.port}` },
  });
  const client = await dialTlsTo(rig.port('db'), { ca: ca.cert });
  assert.equal(await echoes(client, 'hello'), 'hello');
  client.end();
  await readAll(client);
  const admission = await rig.gate.admission();
  await admission.ended;
  assert.equal(admission.request.opened, 'proxy/db');
  assert.equal(admission.request.action, 'proxy.connect');
  assert.equal(admission.request.resource, 'proxy/db');
  assert.equal(admission.request.who.kind, 'anonymous');
  assert.deepEqual(admission.bytes, { up: 5, down: 5 });
  assert.equal(admission.notes.get('sni'), 'localhost');
  assert.match(String(admission.notes.get('tls')), /^TLSv1\.3 TLS_/);
  assert.equal(admission.notes.get('target'), `127.0.0.1:${backend.port}`);
  assert.equal(admission.notes.get('cause'), 'ended');
  assert.equal(rig.lines[0]?.route, 'db');
  assert.equal(rig.lines[0]?.tls?.sni, 'localhost');
  assert.equal(rig.lines[0]?.up, 5);
});

test('originates: plain outside, verified TLS inside, and the server name is sent', async () => {
  using backend = await tlsEcho();
  await using rig = await openRig({
    out: { listen: 'tcp://127.0.0.1:0', to: `tls://127.0.0.1:${backend.port}`, verify },
  });
  const client = await dialPlain(rig.port('out'));
  assert.equal(await echoes(client, 'hello'), 'hello');
  client.destroy();
  assert.deepEqual(backend.names, ['localhost']);
  assert.match(String((await rig.gate.admission()).notes.get('target-tls')), /^TLSv1\.3/);
});

test('a target that shows another name is not spoken to, and the reason is in the log', async () => {
  using backend = await tlsEcho();
  await using rig = await openRig({
    out: {
      listen: 'tcp://127.0.0.1:0',
      to: `tls://127.0.0.1:${backend.port}`,
      verify: { ca: `file:${ca.certFile}`, name: 'bank.test' },
    },
  });
  const client = await dialPlain(rig.port('out'));
  assert.equal((await readAll(client)).length, 0);
  const admission = await rig.gate.admission();
  await admission.ended;
  assert.equal(admission.notes.get('cause'), 'unreachable');
  assert.ok(rig.log.lines.some(line => line.text.includes('bank.test')));
});

test('re-encrypts: TLS on both legs, each with its own session', async () => {
  using backend = await tlsEcho();
  await using rig = await openRig({
    both: { listen: 'tls://127.0.0.1:0', certificate, to: `tls://127.0.0.1:${backend.port}`, verify },
  });
  const client = await dialTlsTo(rig.port('both'), { ca: ca.cert });
  assert.equal(await echoes(client, 'hello'), 'hello');
  client.destroy();
});

test('forwards plainly where nothing else is asked', async () => {
  await using backend = await plainServer(echo);
  await using rig = await openRig({ plain: { listen: 'tcp://127.0.0.1:0', to: `tcp://127.0.0.1:${backend.port}` } });
  const client = await dialPlain(rig.port('plain'));
  assert.equal(await echoes(client, 'hello'), 'hello');
  client.destroy();
});

test('unix sockets work on either side', async () => {
  const dir = temporaryFolder('unix');
  await using backend = await plainServer(echo);
  await using rig = await openRig({
    inside: { listen: `unix:${join(dir, 'in.sock')}`, to: `tcp://127.0.0.1:${backend.port}` },
    outside: { listen: 'tcp://127.0.0.1:0', to: `unix:${join(dir, 'in.sock')}` },
  });
  const client = await dialPlain(rig.port('outside'));
  assert.equal(await echoes(client, 'through two gates'), 'through two gates');
  client.destroy();
});

test('passes TLS through by server name without holding a certificate', async () => {
  const [one, two] = ['one.test', 'two.test'].map(name => ca.issue({ cn: name, san: [`DNS:${name}`] }));
  assert.ok(one && two);
  using first = await tlsEcho({ cert: one.cert, key: one.key });
  using second = await tlsEcho({ cert: two.cert, key: two.key });
  // Port 0 cannot be shared, so the port is found first.
  const port = await freePort();
  await using rig = await openRig({
    one: { listen: `tcp://127.0.0.1:${port}`, names: ['one.test'], to: `tcp://127.0.0.1:${first.port}` },
    two: { listen: `tcp://127.0.0.1:${port}`, names: ['*.test'], to: `tcp://127.0.0.1:${second.port}` },
  });
  for (const servername of ['one.test', 'two.test']) {
    const client = await dialTlsTo(port, { ca: ca.cert, servername });
    assert.equal(client.getPeerX509Certificate()?.subject, `CN=${servername}`);
    assert.equal(await echoes(client, servername), servername);
    client.destroy();
  }
  assert.deepEqual(first.names, ['one.test']);
  assert.equal((await rig.gate.admission(1)).notes.get('sni'), 'two.test');
  await assert.rejects(dialTlsTo(port, { ca: ca.cert, servername: 'elsewhere.example' }), /unrecognized name/i);
});

test('several names on one port each get their own certificate; an unknown name gets the default', async () => {
  const [a, b] = ['a.test', 'b.test'].map(name => ca.issue({ cn: name, san: [`DNS:${name}`] }));
  assert.ok(a && b);
  await using backend = await plainServer(echo);
  const to = `tcp://127.0.0.1:${backend.port}`;
  const listen = `tls://127.0.0.1:${await freePort()}`;
  await using rig = await openRig({
    a: { listen, names: ['a.test'], certificate: files(a), to },
    b: { listen, names: ['b.test'], certificate: files(b), to, default: true },
  });
  const seen = async (servername: string): Promise<string> => {
    const client = await dialTlsTo(rig.port('a'), { ca: ca.cert, servername, checkServerIdentity: () => undefined });
    const { subject } = client.getPeerX509Certificate() ?? { subject: '' };
    assert.equal(await echoes(client, 'x'), 'x');
    client.destroy();
    return subject;
  };
  assert.equal(await seen('a.test'), 'CN=a.test');
  assert.equal(await seen('b.test'), 'CN=b.test');
  assert.equal(await seen('c.test'), 'CN=b.test');
});

test('ends TLS for one name and passes another through on the same port', async () => {
  const far = ca.issue({ cn: 'far.test', san: ['DNS:far.test'] });
  using backend = await tlsEcho({ cert: far.cert, key: far.key });
  await using plain = await plainServer(echo);
  const port = await freePort();
  await using _rig = await openRig({
    here: { listen: `tls://127.0.0.1:${port}`, names: ['localhost'], certificate, to: `tcp://127.0.0.1:${plain.port}` },
    far: { listen: `tcp://127.0.0.1:${port}`, names: ['far.test'], to: `tcp://127.0.0.1:${backend.port}` },
  });
  for (const servername of ['localhost', 'far.test']) {
    const client = await dialTlsTo(port, { ca: ca.cert, servername });
    assert.equal(client.getPeerX509Certificate()?.subject, `CN=${servername}`);
    assert.equal(await echoes(client, servername), servername);
    client.destroy();
  }
});

test('RSA and ECDSA certificates stand side by side', async () => {
  const rsa = ca.issue({ cn: 'localhost', san: ['DNS:localhost'], key: 'rsa' });
  await using backend = await plainServer(echo);
  await using rig = await openRig({
    db: { listen: 'tls://127.0.0.1:0', certificate: [files(rsa), certificate], to: `tcp://127.0.0.1:${backend.port}` },
  });
  const kind = async (sigalgs: string): Promise<string | undefined> => {
    const client = await dialTlsTo(rig.port('db'), { ca: ca.cert, sigalgs });
    const { asymmetricKeyType } = client.getPeerX509Certificate()?.publicKey ?? {};
    client.destroy();
    return asymmetricKeyType;
  };
  assert.equal(await kind('rsa_pss_rsae_sha256'), 'rsa');
  assert.equal(await kind('ecdsa_secp256r1_sha256'), 'ec');
});

test('address rules turn a client away before the handshake, and the audit says so', async () => {
  await using backend = await plainServer(echo);
  await using rig = await openRig({
    db: {
      listen: 'tls://127.0.0.1:0',
      certificate,
      to: `tcp://127.0.0.1:${backend.port}`,
      rules: [{ deny: '127.0.0.2' }, { allow: '127.0.0.0/8' }],
    },
  });
  const socket = connect({ port: rig.port('db'), host: '127.0.0.1', localAddress: '127.0.0.3' });
  const allowed = await dialTlsTo(rig.port('db'), { ca: ca.cert, socket });
  assert.equal(await echoes(allowed, 'x'), 'x');
  const denied = connect({ port: rig.port('db'), host: '127.0.0.1', localAddress: '127.0.0.2' });
  denied.on('error', () => {});
  await closed(denied);
  const { request, reason } = await rig.gate.refusal();
  assert.match(reason, /rules/);
  assert.deepEqual('host' in request.from && request.from.host, '127.0.0.2');
  assert.equal(rig.lines.at(-1)?.cause, 'denied');
  allowed.destroy();
});

test('the PROXY header goes out, v1 and v2, with the client’s own address', async () => {
  for (const send of ['v1', 'v2'] as const) {
    await using backend = await plainServer(() => {});
    await using rig = await openRig({
      db: { listen: 'tcp://127.0.0.1:0', to: `tcp://127.0.0.1:${backend.port}`, 'proxy-protocol': { send } },
    });
    const taken = once(backend.server, 'connection');
    const client = await dialPlain(rig.port('db'));
    client.write('after');
    const [far] = await taken;
    const { localPort } = client;
    if (send === 'v1') {
      const header = `PROXY TCP4 127.0.0.1 127.0.0.1 ${localPort} ${rig.port('db')}\r\n`;
      assert.equal((await readBytes(far, header.length + 5)).toString(), `${header}after`);
    } else {
      const bytes = await readBytes(far, 28 + 5);
      assert.equal(bytes.subarray(0, 16).toString('hex'), '0d0a0d0a000d0a515549540a2111000c');
      assert.equal(bytes.readUInt16BE(24), localPort);
      assert.equal(bytes.subarray(28).toString(), 'after');
    }
    client.destroy();
  }
});

test('the PROXY header comes in from whom it may, before TLS, and its address is the one that counts', async () => {
  await using backend = await plainServer(echo);
  await using rig = await openRig({
    db: {
      listen: 'tls://127.0.0.1:0',
      certificate,
      to: `tcp://127.0.0.1:${backend.port}`,
      'proxy-protocol': { from: ['127.0.0.0/8'] },
      rules: [{ allow: '203.0.113.0/24' }],
    },
  });
  const raw = await dialPlain(rig.port('db'));
  raw.write('PROXY TCP4 203.0.113.7 198.51.100.1 50000 443\r\n');
  const client = await dialTlsTo(rig.port('db'), { ca: ca.cert, socket: raw });
  assert.equal(await echoes(client, 'x'), 'x');
  client.destroy();
  assert.deepEqual((await rig.gate.admission()).request.from, { host: '203.0.113.7', port: 50000 });
  const bare = await dialPlain(rig.port('db'));
  bare.write('GET / HTTP/1.1\r\n\r\n');
  assert.equal((await readAll(bare)).length, 0, 'whoever must send the header and does not is dropped');
});

test('the PROXY header stands before TLS towards a target that ends TLS', async () => {
  await using backend = await plainServer(echo);
  await using inner = await openRig({
    db: {
      listen: 'tls://127.0.0.1:0',
      certificate,
      to: `tcp://127.0.0.1:${backend.port}`,
      'proxy-protocol': { from: '127.0.0.1' },
    },
  });
  await using outer = await openRig({
    out: {
      listen: 'tcp://127.0.0.1:0',
      to: `tls://127.0.0.1:${inner.port('db')}`,
      verify,
      'proxy-protocol': { send: 'v2' },
    },
  });
  const client = connect({ port: outer.port('out'), host: '127.0.0.1', localAddress: '127.0.0.9' });
  assert.equal(await echoes(client, 'x'), 'x');
  const { from } = (await inner.gate.admission()).request;
  assert.deepEqual(from, { host: '127.0.0.9', port: client.localPort });
  client.destroy();
});

test('a route on the gate’s port takes what the gate hands it, and ends TLS itself', async () => {
  const handed = memoryListener();
  const branches: unknown[] = [];
  await using backend = await plainServer(echo);
  await using rig = await openRig(
    { db: { listen: 'gate', names: ['localhost'], certificate, to: `tcp://127.0.0.1:${backend.port}` } },
    {
      gateListener: branch => {
        branches.push(branch);
        return handed;
      },
    },
  );
  assert.deepEqual(branches, [{ name: 'db', names: ['localhost'], alpn: [] }]);
  const socket = handed.connect({ host: '203.0.113.7', port: 4711 }).stream as Socket;
  const client = await dialTlsTo(0, { ca: ca.cert, socket });
  assert.equal(await echoes(client, 'x'), 'x');
  assert.deepEqual((await rig.gate.admission()).request.from, { host: '203.0.113.7', port: 4711 });
  client.destroy();
});

test('a hash over server names keeps each name at one target', async () => {
  using stack = new DisposableStack();
  const backends = await Promise.all([1, 2, 3].map(() => tlsEcho({ cert: any.cert, key: any.key })));
  for (const one of backends) stack.use(one);
  await using rig = await openRig({
    sites: {
      listen: `tcp://127.0.0.1:${await freePort()}`,
      names: ['*.hash.test'],
      to: backends.map(one => `tcp://127.0.0.1:${one.port}`),
      balance: { hash: 'server-name' },
    },
  });
  const names = Array.from({ length: 12 }, (_, index) => `host${index}.hash.test`);
  for (const servername of [...names, ...names]) {
    const client = await dialTlsTo(rig.port('sites'), { ca: ca.cert, servername });
    assert.equal(await echoes(client, 'x'), 'x');
    client.destroy();
  }
  for (const { names: seen } of backends) {
    for (const name of seen) assert.equal(seen.filter(one => one === name).length, 2, `${name} went to two targets`);
  }
  assert.ok(backends.filter(one => one.names.length > 0).length > 1);
});

test('client certificates: required ones are asked for, named in the request, and decided by policy', async () => {
  const clientCa = makeCa('Client CA');
  const staff = clientCa.issue({ cn: 'staff01', client: true });
  await using backend = await plainServer(echo);
  await using rig = await openRig({
    db: {
      listen: 'tls://127.0.0.1:0',
      certificate,
      clients: { mode: 'required', ca: [`file:${clientCa.certFile}`] },
      to: `tcp://127.0.0.1:${backend.port}`,
    },
  });
  const client = await dialTlsTo(rig.port('db'), { ca: ca.cert, cert: staff.cert, key: staff.key });
  assert.equal(await echoes(client, 'x'), 'x');
  client.destroy();
  const { request } = await rig.gate.admission();
  assert.equal(request.opened, undefined, 'the policy decides, not the route');
  assert.deepEqual(request.who.attributes.get('cn'), ['staff01']);
  const nameless = await dialTlsTo(rig.port('db'), { ca: ca.cert });
  await readAll(nameless).catch(() => {});
  assert.match((await rig.gate.refusal()).reason, /no certificate/);
  assert.equal(rig.gate.admissions.length, 1);
});

test('datagrams are forwarded both ways, a session for each client', async () => {
  const backend = createSocket('udp4', (message, from) => backend.send(message.toString().toUpperCase(), from.port));
  backend.bind(0, '127.0.0.1');
  await once(backend, 'listening');
  await using rig = await openRig({
    dns: { listen: 'udp://127.0.0.1:0', to: `udp://127.0.0.1:${backend.address().port}`, datagrams: { responses: 1 } },
  });
  for (const text of ['one', 'two']) {
    const client = createSocket('udp4');
    const answer = once(client, 'message');
    client.send(text, rig.port('dns'), '127.0.0.1');
    assert.equal(String((await answer)[0]), text.toUpperCase());
    client.close();
  }
  const second = await rig.gate.admission(1);
  await second.ended;
  assert.deepEqual(second.bytes, { up: 3, down: 3 });
  assert.equal(second.notes.get('cause'), 'ended');
  backend.close();
});
