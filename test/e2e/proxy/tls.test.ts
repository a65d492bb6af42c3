// What TLS must never let through: a session under another name's trust, a wrong protocol, a stranger's certificate.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { type ConnectionOptions, connect, createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { TestClock } from '../../../src/core/clock.ts';
import { type Ca, type Issued, makeCa } from '../../fixtures/certificates.ts';
import { testGate } from '../../fixtures/gate.ts';
import { freePort } from '../../fixtures/ports.ts';
import { closed, dialPlain, dialTlsTo, echo, echoes, openRig, plainServer, readAll } from './rig.ts';

const ca = makeCa('TLS CA');
const leaf = (...names: string[]): Issued => ca.issue({ cn: names[0] ?? '', san: names.map(name => `DNS:${name}`) });
const files = (one: Issued): object => ({ cert: `file:${one.certFile}`, key: `file:${one.keyFile}` });
const both = leaf('a.test', 'b.test', 'localhost');

/** One visit: the session that was given, and whether an offered one was taken. */
async function visit(port: number, options: ConnectionOptions): Promise<{ session: Buffer; resumed: boolean }> {
  const socket = connect({ port, host: '127.0.0.1', ca: ca.cert, ...options });
  const session = once(socket, 'session');
  await once(socket, 'secureConnect');
  assert.equal(await echoes(socket, 'x'), 'x');
  const resumed = socket.isSessionReused();
  const [ticket] = options.session && resumed ? [socket.getSession() ?? Buffer.alloc(0)] : await session;
  socket.end();
  await readAll(socket).catch(() => {});
  return { session: ticket as Buffer, resumed };
}

for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
  test(`resumption across names (${version}): a session of one route is worth nothing at another`, async () => {
    const clientCa = makeCa('Members CA');
    const member = clientCa.issue({ cn: 'member', client: true });
    await using server = await plainServer(echo);
    const to = `tcp://127.0.0.1:${server.port}`;
    const listen = `tls://127.0.0.1:${await freePort()}`;
    const clients = { mode: 'required', ca: [`file:${clientCa.certFile}`] };
    await using rig = await openRig({
      open: { listen, names: ['a.test'], certificate: files(both), to },
      closed: { listen, names: ['b.test'], certificate: files(both), to, clients },
    });
    const port = rig.port('open');
    const options = { minVersion: version, maxVersion: version } as const;
    const { session } = await visit(port, { ...options, servername: 'a.test' });
    const again = await visit(port, { ...options, servername: 'a.test', session });
    assert.equal(again.resumed, true, 'where it was made, the session is worth something');
    const identity = { cert: member.cert, key: member.key };
    const elsewhere = await visit(port, { ...options, servername: 'b.test', session, ...identity });
    assert.equal(elsewhere.resumed, false);
    // Without a certificate the stolen session opens nothing either.
    const socket = connect({ port, host: '127.0.0.1', ca: ca.cert, ...options, servername: 'b.test', session });
    socket.on('error', () => {});
    socket.write('x');
    await closed(socket);
    assert.match((await rig.gate.refusal()).reason, /certificate/);
    // And a resumed session still names its holder.
    const mine = await visit(port, { ...options, servername: 'b.test', ...identity });
    const back = await visit(port, { ...options, servername: 'b.test', ...identity, session: mine.session });
    assert.equal(back.resumed, true);
    const last = rig.gate.admissions.at(-1);
    assert.deepEqual(last?.request.who.attributes.get('cn'), ['member']);
  });
}

test('ticket keys rotate: an old ticket costs a full handshake and nothing else', async () => {
  const clock = new TestClock();
  await using server = await plainServer(echo);
  await using rig = await openRig(
    {
      db: {
        listen: 'tls://127.0.0.1:0',
        certificate: files(both),
        to: `tcp://127.0.0.1:${server.port}`,
        session: { rotate: '1h' },
      },
    },
    { clock },
  );
  const port = rig.port('db');
  const first = await visit(port, { servername: 'localhost' });
  clock.move(3_600_000);
  assert.equal((await visit(port, { servername: 'localhost', session: first.session })).resumed, false);
});

test('workers with the same master key resume each other’s sessions; strangers do not', async () => {
  await using server = await plainServer(echo);
  const config = {
    db: { listen: 'tls://127.0.0.1:0', certificate: files(both), to: `tcp://127.0.0.1:${server.port}` },
  };
  const masterKey = Buffer.alloc(32, 1);
  await using one = await openRig(config, { masterKey });
  await using two = await openRig(config, { masterKey });
  await using other = await openRig(config);
  const { session } = await visit(one.port('db'), { servername: 'localhost' });
  assert.equal((await visit(two.port('db'), { servername: 'localhost', session })).resumed, true);
  assert.equal((await visit(other.port('db'), { servername: 'localhost', session })).resumed, false);
});

test('session reuse towards a target: the second connection resumes', async () => {
  const resumed: boolean[] = [];
  const server = createTlsServer({ cert: both.cert, key: both.key }, socket => {
    resumed.push(socket.isSessionReused());
    socket.on('error', () => {});
    socket.pipe(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const route = {
    listen: 'tcp://127.0.0.1:0',
    to: `tls://127.0.0.1:${port}`,
    verify: { ca: `file:${ca.certFile}`, name: 'localhost' },
  };
  await using rig = await openRig({ reuse: route, fresh: { ...route, upstream: { 'session-reuse': false } } });
  for (const name of ['reuse', 'reuse', 'fresh', 'fresh']) {
    const client = await dialPlain(rig.port(name));
    assert.equal(await echoes(client, 'x'), 'x');
    client.end();
    await readAll(client);
  }
  assert.deepEqual(resumed, [false, true, false, false]);
  server.close();
});

test('ALPN mismatch: the client is told no_application_protocol, and nothing is opened', async () => {
  await using server = await plainServer(echo);
  await using rig = await openRig({
    db: {
      listen: 'tls://127.0.0.1:0',
      certificate: files(both),
      alpn: ['postgresql'],
      to: `tcp://127.0.0.1:${server.port}`,
    },
  });
  const port = rig.port('db');
  await assert.rejects(dialTlsTo(port, { ca: ca.cert, ALPNProtocols: ['h2'] }), /no application protocol/i);
  assert.match((await rig.gate.refusal()).reason, /ALPN/);
  assert.equal(rig.gate.admissions.length, 0);
  const fits = await dialTlsTo(port, { ca: ca.cert, ALPNProtocols: ['h2', 'postgresql'] });
  assert.equal(fits.alpnProtocol, 'postgresql');
  assert.equal(await echoes(fits, 'x'), 'x');
  fits.destroy();
});

test('a certificate of a foreign CA with one of our users’ names does not get in', async () => {
  const ours = makeCa('Our CA');
  const foreign = makeCa('Our CA'); // the same name, another key
  const subject = { cn: 'staff01', ou: '医療事業部', client: true };
  await using server = await plainServer(echo);
  const gate = testGate();
  await using rig = await openRig(
    {
      db: {
        listen: 'tls://127.0.0.1:0',
        certificate: files(both),
        clients: { mode: 'required', ca: [`file:${ours.certFile}`] },
        to: `tcp://127.0.0.1:${server.port}`,
      },
    },
    { gate },
  );
  assert.equal(await tries(rig.port('db'), ours, subject), 'in');
  assert.equal(await tries(rig.port('db'), foreign, subject), 'out');
  assert.equal(gate.admissions.length, 1);
  assert.match((await gate.refusal()).reason, /certificate/);
});

test('optional certificates: none is let in as nobody, a bad one is not let in at all', async () => {
  const ours = makeCa('Optional CA');
  await using server = await plainServer(echo);
  await using rig = await openRig({
    db: {
      listen: 'tls://127.0.0.1:0',
      certificate: files(both),
      clients: { mode: 'optional', ca: [`file:${ours.certFile}`] },
      to: `tcp://127.0.0.1:${server.port}`,
    },
  });
  const nobody = await dialTlsTo(rig.port('db'), { ca: ca.cert });
  assert.equal(await echoes(nobody, 'x'), 'x');
  nobody.destroy();
  assert.equal((await rig.gate.admission()).request.who.kind, 'anonymous');
  assert.equal(await tries(rig.port('db'), ours, { cn: 'staff01', client: true }), 'in');
  assert.equal(await tries(rig.port('db'), makeCa('Strangers'), { cn: 'staff01', client: true }), 'out');
});

test('a certificate that may sit too deep below its CA is refused', async () => {
  const root = makeCa('Deep CA');
  const low = root.intermediate('One').intermediate('Two');
  const deep = low.issue({ cn: 'deep', client: true });
  await using server = await plainServer(echo);
  const route = (depth: number): object => ({
    listen: 'tls://127.0.0.1:0',
    certificate: files(both),
    clients: { mode: 'required', ca: [`file:${root.certFile}`], depth },
    to: `tcp://127.0.0.1:${server.port}`,
  });
  await using rig = await openRig({ two: route(2), one: route(1) });
  const identity = { cert: deep.fullchain, key: deep.key };
  assert.equal(await echoed(rig.port('two'), identity), 'in');
  assert.equal(await echoed(rig.port('one'), identity), 'out');
});

test('a challenge certificate is shown to who asks by acme-tls/1, and to nobody else', async () => {
  await using server = await plainServer(echo);
  await using rig = await openRig({
    db: { listen: 'tls://127.0.0.1:0', certificate: files(both), to: `tcp://127.0.0.1:${server.port}` },
  });
  const challenge = leaf('a.test');
  const shown = async (options: ConnectionOptions): Promise<string | undefined> => {
    const socket = await dialTlsTo(rig.port('db'), { ca: ca.cert, servername: 'a.test', ...options });
    const { fingerprint256 } = socket.getPeerX509Certificate() ?? {};
    socket.destroy();
    return fingerprint256;
  };
  const usual = await shown({});
  rig.service.challenge('a.test', { cert: challenge.cert, key: challenge.key });
  const asked = await shown({ ALPNProtocols: ['acme-tls/1'] });
  assert.notEqual(asked, usual);
  assert.equal(await shown({}), usual);
  rig.service.challenge('a.test', undefined);
  assert.equal(await shown({}), usual);
});

async function tries(port: number, by: Ca, subject: object): Promise<'in' | 'out'> {
  const issued = by.issue(subject);
  return echoed(port, { cert: issued.cert, key: issued.key });
}

async function echoed(port: number, options: ConnectionOptions): Promise<'in' | 'out'> {
  let socket: TLSSocket | undefined;
  try {
    socket = await dialTlsTo(port, { ca: ca.cert, ...options });
    return (await echoes(socket, 'x')) === 'x' ? 'in' : 'out';
  } catch {
    return 'out'; // TLS 1.3: the refusal comes after the client's own handshake is done
  } finally {
    socket?.destroy();
  }
}
