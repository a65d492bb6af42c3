// TLS both ways, with our own ends; openssl and curl are in test/interop/net.test.ts.
import assert from 'node:assert/strict';
import { createPrivateKey, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { test } from 'node:test';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import { text } from '../../test/conformance/streams.ts';
import { makeCa, makeSelfSigned } from '../../test/fixtures/certificates.ts';
import { memoryLog, memoryMetrics } from '../../test/fixtures/quiet.ts';
import type { Conn } from '../core/parts.ts';
import { memoryPair } from './memory.ts';
import { dialTcp, listenTcp } from './tcp.ts';
import { type ClientTlsOptions, dialTls, originateTls, type ServerTlsOptions, upgradeTls } from './tls.ts';

const never = new AbortController().signal;
const ca = makeCa('Test CA');
const foreign = makeCa('Foreign CA');
const identity = ca.issue({ cn: 'localhost', san: ['localhost', '127.0.0.1'] });
const staff = ca.issue({ cn: 'staff01', ou: '医療事業部', client: true });
const session = { tickets: true, cache: 0, timeout: 300_000 };
const base: ServerTlsOptions = { identities: [identity], session, context: 'test', handshake: 10_000 };
const mutual: ServerTlsOptions = { ...base, clients: { mode: 'required', ca: [ca.cert], depth: 1 } };

/** A server that upgrades each conn and hands it (or the error) over in order. */
async function serving(options: ServerTlsOptions): Promise<
  AsyncDisposable & {
    readonly port: number;
    readonly upgrade: ReturnType<typeof upgradeTls>;
    next(): Promise<Conn>;
  }
> {
  const listener = await listenTcp({ host: '127.0.0.1', port: 0, log: memoryLog(), metrics: memoryMetrics() });
  const upgrade = upgradeTls(options);
  const conns = listener[Symbol.asyncIterator]();
  const seen: Conn[] = [];
  return {
    port: 'port' in listener.address ? listener.address.port : 0,
    upgrade,
    async next() {
      const { value } = await conns.next();
      assert.ok(value);
      seen.push(value);
      const conn = await upgrade(value, never);
      seen.push(conn);
      return conn;
    },
    async [Symbol.asyncDispose]() {
      for (const conn of seen) conn.stream.destroy();
      await listener[Symbol.asyncDispose]();
    },
  };
}
/** Node's own client, which tells more than ours; resolves with the socket, or rejects with its alert. */
function plainClient(port: number, options: ConnectionOptions = {}): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port, ca: ca.cert, servername: 'localhost', ...options });
    socket.once('error', reject);
    // In TLS 1.3 a refusal comes after the client's own handshake is done.
    socket.once('secureConnect', () => socket.write('hello', () => socket.once('data', () => resolve(socket))));
  });
}
/** Answers one conn so that `plainClient` resolves. */
async function greet(server: { next(): Promise<Conn> }): Promise<Conn> {
  const conn = await server.next();
  conn.stream.write('hi');
  return conn;
}
const clientOptions = (port: number, more: Partial<ClientTlsOptions> = {}): ClientTlsOptions => ({
  host: '127.0.0.1',
  port,
  connect: 10_000,
  handshake: 10_000,
  verify: { ca: [ca.cert], name: 'localhost' },
  servername: 'localhost',
  ...more,
});

test('both sides know what was agreed', async () => {
  await using server = await serving({ ...base, alpn: ['one', 'two'] });
  const [client, conn] = await Promise.all([
    dialTls(clientOptions(server.port, { alpn: ['two'] }), never),
    server.next(),
  ]);
  assert.deepEqual(
    { sni: conn.tls?.sni, alpn: conn.tls?.alpn, protocol: conn.tls?.protocol, resumed: conn.tls?.resumed },
    { sni: 'localhost', alpn: 'two', protocol: 'TLSv1.3', resumed: false },
  );
  assert.equal(conn.tls?.leaf, undefined);
  assert.equal(client.tls?.alpn, 'two');
  assert.equal(client.tls?.cipher, conn.tls?.cipher);
  assert.deepEqual(client.tls?.leaf, identity.der);
  assert.deepEqual(client.tls?.chain, [ca.der]);
  client.stream.destroy();
});

test('no server name is sent where none is asked for, or where it is an address', async () => {
  await using server = await serving(base);
  for (const servername of [undefined, '127.0.0.1']) {
    const { servername: _, ...rest } = clientOptions(server.port);
    const [client, conn] = await Promise.all([
      dialTls(servername === undefined ? rest : { ...rest, servername }, never),
      server.next(),
    ]);
    assert.equal(conn.tls?.sni, undefined);
    client.stream.destroy();
  }
});

test('ALPN is strict: offered without overlap ends the handshake with no_application_protocol', async () => {
  await using server = await serving({ ...base, alpn: ['one'] });
  const refused = assert.rejects(server.next(), { code: 'protocol', message: /ALPN/ });
  await assert.rejects(dialTls(clientOptions(server.port, { alpn: ['two'] }), never), {
    code: 'unreachable',
    message: /ALPN/,
  });
  await refused;
  const [client, conn] = await Promise.all([dialTls(clientOptions(server.port), never), server.next()]);
  assert.equal(conn.tls?.alpn, undefined, 'a client that offers none is let in');
  client.stream.destroy();
});

test('RSA and ECDSA stand side by side, each for the clients that can use it', async () => {
  const rsa = ca.issue({ cn: 'localhost', san: ['localhost'], key: 'rsa' });
  await using server = await serving({ ...base, identities: [identity, rsa], protocols: ['TLSv1.2'] });
  for (const [ciphers, leaf] of [
    ['ECDHE-RSA-AES128-GCM-SHA256', rsa.der],
    ['ECDHE-ECDSA-AES128-GCM-SHA256', identity.der],
  ] as const) {
    const [client] = await Promise.all([dialTls(clientOptions(server.port, { ciphers }), never), server.next()]);
    assert.deepEqual(client.tls?.leaf, leaf);
    assert.equal(client.tls?.cipher, ciphers);
    client.stream.destroy();
  }
});

test('without forward secrecy and AEAD nobody gets in, unless the list says so', async () => {
  const old: ConnectionOptions = { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES256-SHA384:ECDHE-ECDSA-AES128-SHA' };
  await using usual = await serving(base);
  const [refused] = await Promise.allSettled([plainClient(usual.port, old), usual.next()]);
  assert.match(String(refused.status === 'rejected' && refused.reason), /handshake failure/);
  await using wide = await serving({ ...base, ciphers: 'ECDHE-ECDSA-AES128-SHA' });
  const [client, conn] = await Promise.all([
    dialTls(clientOptions(wide.port, { protocols: ['TLSv1.2'], ciphers: 'ECDHE-ECDSA-AES128-SHA' }), never),
    wide.next(),
  ]);
  assert.equal(client.tls?.cipher, 'ECDHE-ECDSA-AES128-SHA');
  conn.stream.destroy();
  client.stream.destroy();
});

test('versions and ciphers are kept to; a list that names only one version leaves the other its own', async () => {
  await using only12 = await serving({ ...base, protocols: ['TLSv1.2'] });
  const refused = assert.rejects(only12.next(), { code: 'protocol' });
  await assert.rejects(dialTls(clientOptions(only12.port, { protocols: ['TLSv1.3'] }), never), {
    code: 'unreachable',
    message: /TLS version/,
  });
  await refused;
  await using modern = await serving({ ...base, ciphers: 'ECDHE-ECDSA-AES256-GCM-SHA384' });
  const [client, conn] = await Promise.all([dialTls(clientOptions(modern.port), never), modern.next()]);
  assert.equal(conn.tls?.protocol, 'TLSv1.3');
  client.stream.destroy();
});

test('a client certificate is asked for, and its facts are there', async () => {
  await using server = await serving(mutual);
  const [client, conn] = await Promise.all([
    dialTls(clientOptions(server.port, { identity: staff }), never),
    server.next(),
  ]);
  assert.deepEqual(conn.tls?.leaf, staff.der);
  assert.deepEqual(conn.tls?.chain, [ca.der]);
  client.stream.destroy();
});

test('optional means: none is fine, a wrong one is not', async () => {
  await using server = await serving({ ...mutual, clients: { mode: 'optional', ca: [ca.cert], depth: 1 } });
  const [client, conn] = await Promise.all([dialTls(clientOptions(server.port), never), server.next()]);
  assert.equal(conn.tls?.leaf, undefined);
  client.stream.destroy();
  const refused = assert.rejects(server.next(), { code: 'unknown-caller', message: /not trusted here/ });
  const stranger = foreign.issue({ cn: 'staff01', client: true });
  await assert.rejects(plainClient(server.port, { cert: stranger.cert, key: stranger.key }), { code: /UNKNOWN_CA/ });
  await refused;
});

for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
  test(`${version}: a client without a certificate, or with one that fails, gets an alert that says so`, async () => {
    const below = ca.intermediate('Below');
    const further = below.intermediate('Further below');
    const cases = [
      [
        'nothing',
        undefined,
        /no certificate|handshake/,
        version === 'TLSv1.3' ? /CERTIFICATE_REQUIRED/ : /HANDSHAKE_FAILURE/,
      ],
      ['of a foreign CA', foreign.issue({ cn: 'staff01', client: true }), /not trusted here/, /UNKNOWN_CA/],
      ['self-signed', makeSelfSigned({ cn: 'Nobody' }), /self-signed/, /UNKNOWN_CA/],
      ['expired', ca.issue({ cn: 'staff01', client: true, days: -1 }), /has expired/, /CERTIFICATE_EXPIRED/],
      ['not yet valid', ca.issue({ cn: 'x', client: true, startsIn: 5 }), /not valid yet/, /BAD_CERTIFICATE/],
      [
        'too deep',
        further.issue({ cn: 'staff01', client: true }),
        /2 intermediates above it; 1 are allowed/,
        /UNKNOWN_CA/,
      ],
    ] as const;
    await using server = await serving(mutual);
    for (const [what, shown, told, alert] of cases) {
      const refused = assert.rejects(server.next(), { code: 'unknown-caller', message: told }, what);
      const options = {
        maxVersion: version,
        minVersion: version,
        ...(shown ? { cert: shown.fullchain, key: shown.key } : {}),
      };
      await assert.rejects(plainClient(server.port, options), { code: alert }, what);
      await refused;
    }
    const deep = below.issue({ cn: 'staff01', client: true });
    const [client, conn] = await Promise.all([
      plainClient(server.port, { maxVersion: version, cert: deep.fullchain, key: deep.key }),
      greet(server),
    ]);
    assert.deepEqual(conn.tls?.chain, [below.der, ca.der], 'one intermediate is allowed');
    client.destroy();
  });
}

test('a CA that is listed is trusted although the root above it is not', async () => {
  const below = ca.intermediate('Department');
  await using server = await serving({ ...mutual, clients: { mode: 'required', ca: [below.cert], depth: 0 } });
  const member = below.issue({ cn: 'staff02', client: true });
  const [client, conn] = await Promise.all([
    dialTls(clientOptions(server.port, { identity: member }), never),
    server.next(),
  ]);
  assert.deepEqual(conn.tls?.chain, [below.der]);
  client.stream.destroy();
  const refused = assert.rejects(server.next(), { code: 'unknown-caller' });
  await plainClient(server.port, { cert: staff.cert, key: staff.key }).catch(() => {});
  await refused;
});

/** Two connections with one session store; whether the second one was resumed. */
async function resumes(
  first: { port: number; next(): Promise<Conn> },
  second: { port: number; next(): Promise<Conn> },
  options: ConnectionOptions,
): Promise<{ resumed: boolean; conn: Conn }> {
  let kept: Buffer | undefined;
  const [before] = await Promise.all([
    (async () => {
      const socket = connect({ host: '127.0.0.1', port: first.port, ca: ca.cert, servername: 'localhost', ...options });
      socket.on('session', ticket => {
        kept = ticket;
      });
      await once(socket, 'data');
      return socket;
    })(),
    greet(first),
  ]);
  before.destroy();
  assert.ok(kept);
  const [again, conn] = await Promise.all([plainClient(second.port, { ...options, session: kept }), greet(second)]);
  const resumed = again.isSessionReused();
  assert.equal(conn.tls?.resumed, resumed);
  again.destroy();
  return { resumed, conn };
}

for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
  const only = { maxVersion: version, minVersion: version } as const;

  test(`${version}: a session is resumed with the same keys, and the certificate is still known`, async () => {
    const keys = randomBytes(48);
    const options = { ...mutual, session: { ...session, keys } };
    await using one = await serving(options);
    await using other = await serving(options); // another worker
    const { resumed, conn } = await resumes(one, other, { ...only, cert: staff.cert, key: staff.key });
    assert.equal(resumed, true);
    assert.deepEqual(conn.tls?.leaf, staff.der);
    // A trusted CA issued it directly; where intermediates stand between, the other worker has seen none of them.
  });

  test(`${version}: whoever was refused for the length of a chain is refused with the ticket as well`, async () => {
    const further = ca.intermediate('Middle').intermediate('Further');
    const shown = further.issue({ cn: 'staff01', client: true });
    // A mode in which the connection goes on, so that the ticket arrives; and keys that another process has as well.
    const clients = { mode: 'requested', ca: [ca.cert], depth: 1 } as const;
    const options = { ...base, clients, session: { ...session, keys: randomBytes(48) } };
    await using one = await serving(options);
    await using other = await serving(options);
    const identity = { ...only, cert: shown.fullchain, key: shown.key };
    for (const second of [one, other]) {
      const { resumed, conn } = await resumes(one, second, identity);
      assert.equal(resumed, true);
      assert.equal(conn.tls?.leaf, undefined);
      assert.match(conn.tls?.refused ?? '', /intermediates above it|not trusted|issuer/);
    }
  });

  test(`${version}: a session of another context, or of another trust, is a full handshake`, async () => {
    const keys = randomBytes(48);
    const options = { ...mutual, session: { ...session, keys } };
    await using one = await serving(options);
    await using renamed = await serving({ ...options, context: 'another' });
    assert.equal((await resumes(one, renamed, { ...only, cert: staff.cert, key: staff.key })).resumed, false);
    await using widened = await serving({ ...options, clients: { ...mutual.clients!, ca: [ca.cert, foreign.cert] } });
    assert.equal((await resumes(one, widened, { ...only, cert: staff.cert, key: staff.key })).resumed, false);
    // Without a certificate nobody gets into a route that requires one, by whatever session.
    await using open = await serving({ ...base, session: { ...session, keys } });
    const refused = assert.rejects(resumes(open, one, only));
    await refused;
  });

  test(`${version}: other ticket keys are a full handshake`, async () => {
    await using one = await serving({ ...base, session: { ...session, keys: randomBytes(48) } });
    await using other = await serving({ ...base, session: { ...session, keys: randomBytes(48) } });
    assert.equal((await resumes(one, other, only)).resumed, false);
  });
}

test('without tickets a TLS 1.2 session lives in the cache, which is bounded', async () => {
  const only = { maxVersion: 'TLSv1.2' } as const;
  await using none = await serving({ ...base, session: { ...session, tickets: false } });
  assert.equal((await resumes(none, none, only)).resumed, false);
  await using cached = await serving({ ...base, session: { ...session, tickets: false, cache: 1 } });
  assert.equal((await resumes(cached, cached, only)).resumed, true);
  let kept: Buffer | undefined;
  for (let count = 0; count < 2; count++) {
    const [client] = await Promise.all([plainClient(cached.port, only), greet(cached)]);
    kept ??= client.getSession();
    client.destroy();
  }
  assert.ok(kept);
  const [again] = await Promise.all([plainClient(cached.port, { ...only, session: kept }), greet(cached)]);
  assert.equal(again.isSessionReused(), false, 'the first session had to make room for the second');
  again.destroy();
});

test('our own client resumes by its store, and keeps no session that was not verified', async () => {
  for (const protocols of [['TLSv1.2'], ['TLSv1.3']]) {
    await using server = await serving({ ...base, protocols });
    const kept: Buffer[] = [];
    const store = { get: () => kept.at(-1), set: (ticket: Buffer) => void kept.push(ticket) };
    const options = clientOptions(server.port, { session: store });
    const [first] = await Promise.all([dialTls(options, never), greet(server)]);
    await once(first.stream, 'data');
    assert.ok(kept.length > 0);
    const [second, conn] = await Promise.all([dialTls(options, never), server.next()]);
    assert.equal(second.tls?.resumed, true);
    assert.equal(conn.tls?.resumed, true);
    first.stream.destroy();
    second.stream.destroy();
    kept.length = 0;
    await Promise.all([
      assert.rejects(dialTls({ ...options, verify: { ca: [foreign.cert], name: 'localhost' } }, never)),
      server.next().catch(() => {}),
    ]);
    assert.equal(kept.length, 0);
  }
});

test('certificates are replaced without touching live conns; what cannot be used changes nothing', async () => {
  await using server = await serving(base);
  const [old, oldServer] = await Promise.all([dialTls(clientOptions(server.port), never), server.next()]);
  const renewed = ca.issue({ cn: 'localhost', san: ['localhost'] });
  assert.throws(() => server.upgrade.replace({ ...base, identities: [{ cert: renewed.cert, key: identity.key }] }), {
    code: 'invalid',
    message: /key does not belong/,
  });
  server.upgrade.replace({ ...base, identities: [renewed] });
  const [fresh] = await Promise.all([dialTls(clientOptions(server.port), never), server.next()]);
  assert.deepEqual(fresh.tls?.leaf, renewed.der);
  old.stream.end('still here');
  assert.equal(await text(oldServer), 'still here');
  fresh.stream.destroy();
});

test('what cannot be used is said before anything listens', () => {
  const locked = ca.issue({ cn: 'x', passphrase: 'secret' });
  const cases: readonly (readonly [Partial<ServerTlsOptions>, RegExp])[] = [
    [{ identities: [{ cert: 'rubbish', key: identity.key }] }, /not PEM/],
    [{ identities: [{ cert: identity.cert, key: staff.key }] }, /key does not belong/],
    [{ identities: [locked] }, /passphrase/],
    [{ ciphers: 'NO-SUCH-CIPHER' }, /cipher/],
    [{ curves: 'no-such-curve' }, /curve/],
    [{ protocols: ['TLSv1'] }, /only TLSv1.2 and TLSv1.3/],
    [{ protocols: [] }, /only TLSv1.2 and TLSv1.3/],
    [{ clients: { mode: 'required', ca: ['rubbish'], depth: 1 } }, /CAs of clients/],
    [{ session: { ...session, keys: randomBytes(16) } }, /48 bytes/],
  ];
  for (const [change, told] of cases) {
    assert.throws(() => upgradeTls({ ...base, ...change }), { name: 'Fault', code: 'invalid', message: told });
  }
  createPrivateKey({ key: locked.key, passphrase: 'secret' }); // the fixture is as promised
});

test('a server is verified, and each way to fail has its own sentence', async () => {
  const failing = [
    [
      'unknown CA',
      foreign.issue({ cn: 'localhost', san: ['localhost'] }),
      {},
      /comes from a CA that is not trusted here/,
    ],
    ['self-signed', makeSelfSigned({ cn: 'localhost', san: ['localhost'] }), {}, /self-signed/],
    ['expired', ca.issue({ cn: 'localhost', san: ['localhost'], days: -1 }), {}, /has expired; renew it/],
    ['not yet valid', ca.issue({ cn: 'localhost', san: ['localhost'], startsIn: 5 }), {}, /not valid yet/],
    ['another name', ca.issue({ cn: 'x', san: ['other.example'] }), {}, /not for localhost: it carries other\.example/],
    ['CN beside names', ca.issue({ cn: 'localhost', san: ['other.example'] }), {}, /not for localhost/],
    [
      'meant for clients',
      ca.issue({ cn: 'localhost', san: ['localhost'], client: true }),
      {},
      /not meant for this use/,
    ],
    ['another key', identity, { pins: [foreign.pin] }, /does not have a pinned key; its own is sha256\//],
    [
      'too deep',
      ca.intermediate('Mid').issue({ cn: 'localhost', san: ['localhost'] }),
      { depth: 0 },
      /1 intermediates above it; 0 are allowed/,
    ],
  ] as const;
  for (const [what, shown, more, told] of failing) {
    await using server = await serving({ ...base, identities: [{ cert: shown.fullchain, key: shown.key }] });
    const accepted = server.next().catch(() => {});
    const options = clientOptions(server.port, { verify: { ca: [ca.cert], name: 'localhost', ...more } });
    await assert.rejects(dialTls(options, never), { name: 'Fault', code: 'unreachable', message: told }, what);
    await accepted;
  }
});

test('a server passes by wildcard, by address, by pin, by a pinned CA, and by itself as the CA', async () => {
  const wild = ca.issue({ cn: 'x', san: ['*.example.com', '127.0.0.1'] });
  const lone = makeSelfSigned({ cn: 'lone.example', san: ['lone.example'] });
  const passing = [
    [wild, { ca: [ca.cert], name: 'a.example.com' }],
    [wild, { ca: [ca.cert], name: '127.0.0.1' }],
    [wild, { ca: [ca.cert], name: 'a.example.com', pins: [foreign.pin, `sha256/${wild.pin}`] }],
    [wild, { ca: [ca.cert], name: 'a.example.com', pins: [ca.pin], depth: 0 }],
    [lone, { ca: [lone.cert], name: 'lone.example' }],
    [foreign.issue({ cn: 'anything' }), false],
  ] as const;
  for (const [shown, verify] of passing) {
    await using server = await serving({ ...base, identities: [{ cert: shown.cert, key: shown.key }] });
    const [client] = await Promise.all([dialTls(clientOptions(server.port, { verify }), never), server.next()]);
    client.stream.destroy();
  }
  await using server = await serving({ ...base, identities: [wild] });
  const accepted = server.next().catch(() => {});
  await assert.rejects(
    dialTls(clientOptions(server.port, { verify: { ca: [ca.cert], name: 'a.b.example.com' } }), never),
    /not for a\.b\.example\.com/,
  );
  await accepted;
});

test('a revoked server certificate is refused, and a CRL that cannot be used says so', async () => {
  const issuer = makeCa('Revoking CA');
  const good = issuer.issue({ cn: 'localhost', san: ['localhost'] });
  const bad = issuer.issue({ cn: 'localhost', san: ['localhost'] });
  const crl = issuer.crl({ revoked: [bad] }).pem;
  const under = issuer.intermediate('Mid').issue({ cn: 'localhost', san: ['localhost'] });
  for (const [shown, crls, told] of [
    [good, [crl], undefined],
    [bad, [crl], /has been revoked/],
    [good, [issuer.crl({ days: -1 }).pem], /past its next update/],
    [under, [crl], /without a CRL here; give a CRL for every CA/],
    [good, [foreign.crl().pem], /without a CRL here/],
  ] as const) {
    await using server = await serving({ ...base, identities: [{ cert: shown.fullchain, key: shown.key }] });
    const accepted = server.next().catch(() => {});
    const options = clientOptions(server.port, { verify: { ca: [issuer.cert], name: 'localhost', crls } });
    if (told) await assert.rejects(dialTls(options, never), { code: 'unreachable', message: told });
    else (await dialTls(options, never)).stream.destroy();
    await accepted;
  }
});

test('a handshake that does not come is given up, by its own limit and by the signal', async () => {
  const [silent, server] = memoryPair();
  await assert.rejects(upgradeTls({ ...base, handshake: 20 })(server, never), {
    code: 'timeout',
    message: /within 20 ms/,
  });
  assert.ok(server.stream.destroyed);
  silent.stream.destroy();
  const stop = new AbortController();
  const [, second] = memoryPair();
  const waiting = upgradeTls(base)(second, stop.signal);
  stop.abort(new Error('enough'));
  await assert.rejects(waiting, /enough/);
  assert.ok(second.stream.destroyed);
  const [third] = memoryPair();
  await assert.rejects(originateTls(third, { handshake: 20, verify: false }, never), { code: 'timeout' });
  assert.ok(third.stream.destroyed);
});

test('what is not TLS, and who leaves early, is told apart', async () => {
  await using server = await serving(base);
  for (const [send, fault] of [
    ['GET / HTTP/1.1\r\n\r\n', { code: 'protocol', message: /plain HTTP/ }],
    ['hello, hello, hello, hello', { code: 'protocol', message: /does not speak TLS|failed/ }],
    ['', { code: 'ECONNRESET' }],
  ] as const) {
    const refused = assert.rejects(server.next(), fault);
    const client = await dialTcp({ host: '127.0.0.1', port: server.port, timeout: 0 }, never);
    client.stream.end(send);
    await refused;
    client.stream.destroy();
  }
});

test('rubbish after the handshake breaks the stream instead of hanging it', async () => {
  await using server = await serving(base);
  const raw = await dialTcp({ host: '127.0.0.1', port: server.port, timeout: 0 }, never);
  const [client, conn] = await Promise.all([
    originateTls(raw, { handshake: 0, verify: { ca: [ca.cert], name: 'localhost' } }, never),
    server.next(),
  ]);
  const failed = once(conn.stream, 'error');
  raw.stream.write(Buffer.from('1703030020'.padEnd(74, '0'), 'hex'));
  assert.match(String((await failed)[0].code), /ERR_SSL/);
  client.stream.destroy();
});

test('TLS stands on bytes that were looked at before', async () => {
  await using listener = await listenTcp({ host: '127.0.0.1', port: 0, log: memoryLog(), metrics: memoryMetrics() });
  const port = 'port' in listener.address ? listener.address.port : 0;
  const conns = listener[Symbol.asyncIterator]();
  const dialling = dialTls(clientOptions(port), never);
  const { value: conn } = await conns.next();
  assert.ok(conn);
  await once(conn.stream, 'readable');
  conn.stream.unshift(conn.stream.read());
  const [client, server] = await Promise.all([dialling, upgradeTls(base)(conn, never)]);
  client.stream.end('through');
  assert.equal(await text(server), 'through');
  server.stream.destroy();
  client.stream.destroy();
});

test('where no CA is named the system’s count: a certificate of ours is not among them', async () => {
  await using server = await serving(base);
  for (const more of [{}, { depth: 3 }, { pins: [identity.pin] }]) {
    const accepted = server.next().catch(() => {});
    await assert.rejects(dialTls(clientOptions(server.port, { verify: { name: 'localhost', ...more } }), never), {
      code: 'unreachable',
      message: /not trusted here/,
    });
    await accepted;
  }
});
