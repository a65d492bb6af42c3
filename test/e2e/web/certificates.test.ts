// Certificates that do not count: a page that says what is wrong instead of a broken handshake, and nobody's rights.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { type TLSSocket, connect as tlsConnect } from 'node:tls';
import { type Issued, makeCa, makeSelfSigned } from '../../fixtures/certificates.ts';
import { ca, openOrigin, openRig, type Rig, staff } from './rig.ts';

const deep = ca.intermediate('One').intermediate('Two').intermediate('Three').intermediate('Four');
const cases: readonly (readonly [what: string, shown: Issued, why: RegExp])[] = [
  ['expired', ca.issue({ cn: 'staff01', client: true, days: -1 }), /has expired/],
  ['not valid yet', ca.issue({ cn: 'staff01', client: true, startsIn: 5 }), /not valid yet/],
  ['of a foreign CA', makeCa('Staff CA').issue({ cn: 'staff01', client: true }), /not trusted here|cannot be verified/],
  ['self-signed', makeSelfSigned({ cn: 'staff01' }), /self-signed/],
  ['too far from its root', deep.issue({ cn: 'staff01', client: true }), /4 intermediates above it; 3 are allowed/],
];

const browse = 'GET http://server1/ HTTP/1.1\r\nHost: server1\r\nAccept: text/html\r\nConnection: close\r\n\r\n';

for (const [what, shown, why] of cases) {
  test(`a certificate that is ${what} gets a page that says so, a 403 for CONNECT, and no rights`, async () => {
    await using origin = await openOrigin();
    // The gate of this test would let in anybody: whoever does not count must not even be asked about by name.
    await using rig = await openRig({
      forward: { hosts: { server1: `tcp://127.0.0.1:${origin.port}` } },
      decide: ({ who }) => (who.kind === 'anonymous' ? 'nobody' : undefined),
    });
    const page = await rig.raw(browse, { identity: shown });
    assert.match(page, /^HTTP\/1\.1 403 /);
    assert.match(page, why);
    assert.match(page, /does not count[\s\S]*sekisho cert issue/);
    const tunnel = await rig.raw('CONNECT server1:80 HTTP/1.1\r\nHost: server1:80\r\n\r\n', { identity: shown });
    assert.match(tunnel, /^HTTP\/1\.1 403 /);
    const check = await rig.raw('GET http://gate.check/ HTTP/1.1\r\nHost: gate.check\r\nConnection: close\r\n\r\n', {
      identity: shown,
    });
    assert.match(check, why);
    const session = await rig.http2(shown);
    const stream = session.request({ ':method': 'GET', ':scheme': 'http', ':authority': 'server1', ':path': '/' });
    const [fields] = await once(stream, 'response');
    assert.equal(fields[':status'], 403);
    session.destroy();
    assert.equal(origin.seen.length, 0);
    assert.ok(rig.gate.refusals.every(({ request }) => request.who.kind === 'anonymous' && request.who.id === ''));
  });
}

test('a refused certificate is refused on a resumed session as well', async () => {
  await using origin = await openOrigin();
  await using rig = await openRig({ forward: { hosts: { server1: `tcp://127.0.0.1:${origin.port}` } } });
  for (const [what, shown, why] of cases) {
    const ticket = await sessionOf(rig, shown);
    const { text, resumed } = await again(rig, shown, ticket);
    assert.match(text, /^HTTP\/1\.1 403 /, `${what}, ${resumed ? 'resumed' : 'in full'}`);
    assert.match(text, why.source.includes('intermediates') ? /does not count/ : why);
  }
  const good = await again(rig, staff, await sessionOf(rig, staff));
  assert.equal(good.resumed, true);
  assert.match(good.text, /^HTTP\/1\.1 200 /);
  assert.equal(origin.seen.length, 2, 'only staff01 got through, twice');
});

async function sessionOf(rig: Rig, identity: Issued): Promise<Buffer> {
  const socket = await rig.tls({ identity });
  const [session] = (await Promise.all([once(socket, 'session'), ask(socket)]))[0] as [Buffer];
  return session;
}

async function again(rig: Rig, identity: Issued, session: Buffer): Promise<{ text: string; resumed: boolean }> {
  const socket = tlsConnect({
    ...{ host: '127.0.0.1', port: rig.port, servername: 'localhost', ca: [ca.cert], ALPNProtocols: ['http/1.1'] },
    ...{ cert: identity.fullchain, key: identity.key, session },
  });
  await once(socket, 'secureConnect');
  const resumed = socket.isSessionReused();
  return { text: await ask(socket), resumed };
}

async function ask(socket: TLSSocket): Promise<string> {
  socket.write(browse);
  let text = '';
  for await (const chunk of socket) text += chunk;
  return text;
}
