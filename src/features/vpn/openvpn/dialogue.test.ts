// Whole dialogues over datagrams in this process: handshake, data, loss, lies, new keys, other addresses, the end.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { makeCa } from '../../../../test/fixtures/certificates.ts';
import { OpenVpnPeer, type OpenVpnPeerOptions } from '../../../../test/fixtures/openvpn-peer.ts';
import { openVpnHouse } from '../../../../test/fixtures/vpn-house.ts';
import type { DatagramPeer } from '../../../net/datagrams.ts';
import { upgradeTls } from '../../../net/tls.ts';
import { arpFrame } from '../../../wire/arp.ts';
import { broadcastMac } from '../../../wire/ethernet.ts';
import { encodeIcmp, icmpTypes } from '../../../wire/icmp.ts';
import { decodeIpv4, encodeIpv4, parseIpv4 } from '../../../wire/ipv4.ts';
import { encodeControl, opcodes } from '../../../wire/openvpn.ts';
import { defaultSettings } from '../settings.ts';

const issued = makeCa('OpenVPN').issue({ san: ['gate.test'] });
const hub = {
  ...defaultSettings,
  secureNat: {
    enabled: true,
    options: {
      address: '192.168.30.1/24',
      dhcp: { range: ['192.168.30.10', '192.168.30.20'] as const, routes: [{ network: '10.0.1.0/24' }], dns: [] },
    },
  },
};

async function openDoor(t: { after(call: () => unknown): void }, { plain = true } = {}) {
  const house = await openVpnHouse(t, { hubs: { lab: hub }, openvpn: { plain } });
  await house.vpn.members.add('lab', 'alice', { proof: { kind: 'plain', password: 'correct horse' } });
  const tls = upgradeTls({
    ...{ identities: [issued], session: { tickets: false, cache: 0, timeout: 1000 }, context: 'test', handshake: 0 },
  });
  let give: (packet: Buffer, from: DatagramPeer) => void = () => {};
  const peers = new Map<string, (packet: Buffer) => void>();
  const sent: { readonly to: string; readonly length: number }[] = [];
  house.vpn.openvpn?.serveUdp(
    {
      address: { host: '127.0.0.1', port: 1194 },
      receive(take) {
        give = take;
      },
      send(packet, to) {
        const key = `${to.host} ${to.port}`;
        sent.push({ to: key, length: packet.length });
        const copy = Buffer.from(packet);
        setImmediate(() => peers.get(key)?.(copy));
        return true;
      },
      [Symbol.asyncDispose]: async () => {},
    },
    () => tls,
  );
  let ports = 40_000;
  const client = (options: Partial<OpenVpnPeerOptions> & { readonly spoil?: (packet: Buffer) => boolean } = {}) => {
    const at = { host: '203.0.113.9', port: ports++ };
    const to = (packet: Buffer, from = at): void => {
      if (!options.spoil?.(packet)) setImmediate(() => give(Buffer.from(packet), from));
    };
    const peer = new OpenVpnPeer({ user: 'alice', password: 'correct horse', ...options, send: packet => to(packet) });
    peers.set(`${at.host} ${at.port}`, packet => {
      if (!options.spoil?.(packet)) peer.take(packet);
    });
    t.after(() => peer.close());
    return {
      peer,
      to,
      at,
      hears: (other: DatagramPeer) => peers.set(`${other.host} ${other.port}`, one => peer.take(one)),
    };
  };
  return { ...house, client, give: (packet: Buffer, from: DatagramPeer) => give(packet, from), sent };
}

/** Until it is so; a handshake of real TLS has no other event that a test could wait for. */
async function until(what: string, isSo: () => boolean, each: () => void = () => {}): Promise<void> {
  for (let turns = 0; turns < 6000; turns++) {
    if (isSo()) return;
    each();
    await new Promise(resolve => setTimeout(resolve, 5));
  }
  throw new Error(`never: ${what}`);
}

const address = parseIpv4('192.168.30.10');
const echo = (sequence: number, from = address): Uint8Array =>
  encodeIpv4({
    ...{ source: from, target: parseIpv4('192.168.30.1'), protocol: 1, ttl: 64, id: 1 },
    ...{ dontFragment: false, moreFragments: false, fragmentOffset: 0 },
    payload: encodeIcmp({ type: icmpTypes.echo, code: 0, id: 1, sequence, data: Buffer.from('hello') }),
  });
const answers = ({ payloads }: OpenVpnPeer): number =>
  payloads.filter(payload => payload.length > 20 && decodeIpv4(payload).protocol === 1).length; // pings of OpenVPN are shorter

test('a member joins, is given the hub’s address and routes, and is answered; a replay and a lie are not', async t => {
  const { client, vpn, gate } = await openDoor(t);
  const { peer, to } = client();
  await peer.negotiate();
  await until('it is up', () => peer.isUp);
  assert.match(
    peer.lines[0] ?? '',
    /^PUSH_REPLY,topology subnet,ifconfig 192\.168\.30\.10 255\.255\.255\.0,.*route 10\.0\.1\.0 255\.255\.255\.0,.*peer-id \d+,cipher AES-256-GCM/,
  );
  const packet = peer.seal(echo(1));
  const wrong = Buffer.from(packet);
  wrong[wrong.length - 1]! ^= 1;
  to(wrong);
  to(packet);
  to(packet);
  to(peer.seal(echo(2, parseIpv4('192.168.30.77'))));
  to(peer.seal(Buffer.alloc(1700)));
  const late = peer.seal(echo(3));
  to(peer.seal(echo(4)));
  to(late);
  await until('it was answered', () => answers(peer) >= 3);
  assert.equal(answers(peer), 3, 'once each, and nothing for another address');
  const [session] = vpn.sessions.list('lab');
  assert.equal(session?.protocol, 'openvpn');
  assert.equal(gate.open()[0]?.notes.get('protocol'), 'openvpn');
  peer.say('EXIT');
  await until('it has left', () => vpn.sessions.size === 0);
  assert.equal(gate.open().length, 0);
});

test('the handshake stands loss, and the control channel under tls-crypt', async t => {
  const { client, vpn, clock } = await openDoor(t, { plain: false });
  const { tlsCrypt } = await import('./tls-crypt.ts');
  const text = vpn.openvpn?.profile({ hub: 'lab', dev: 'tun' }) ?? '';
  const key = Buffer.from(/Static key V1-----\n([0-9a-f\n]+)-----END/.exec(text)?.[1]?.replace(/\n/g, '') ?? '', 'hex');
  let count = 0;
  const { peer } = client({ clock, protection: tlsCrypt(key, clock, 'client'), spoil: () => ++count % 5 === 0 });
  const negotiated = peer.negotiate();
  await until(
    'it is up',
    () => peer.isUp,
    () => clock.move(20),
  );
  await negotiated;
  const stranger = client();
  void stranger.peer.negotiate().catch(() => {});
  await new Promise(resolve => setImmediate(resolve));
  assert.equal(stranger.peer.lines.length, 0);
  assert.equal(vpn.sessions.size, 1);
});

test('nothing is kept of strangers, and they get less than twice what they sent', async t => {
  const { give, sent, vpn, gate } = await openDoor(t);
  const reset = (session: Buffer): Buffer =>
    encodeControl({ opcode: opcodes.hardResetClient, keyId: 0, session, acks: [], id: 0, payload: Buffer.alloc(0) });
  for (let count = 0; count < 2000; count++) give(reset(randomBytes(8)), { host: '198.51.100.1', port: 1 + count });
  assert.ok(sent.length <= 64, 'a flood is not answered with one');
  assert.ok(sent.every(({ length }) => length === 26));
  // An acknowledgement of a session that we never named.
  const far = randomBytes(8);
  give(encodeControl({ opcode: opcodes.ack, keyId: 0, session: far, acks: [0], far: randomBytes(8), payload: far }), {
    host: '198.51.100.1',
    port: 1,
  });
  assert.equal(vpn.sessions.size + gate.admissions.length, 0);
});

test('new keys: the old ones count until the new are there; another person’s are refused', async t => {
  const { client, vpn, users, clock } = await openDoor(t);
  await vpn.members.add('lab', 'mallory', { proof: { kind: 'plain', password: 'battery staple' } });
  assert.ok(users.has('mallory'));
  const { peer, to } = client();
  await peer.negotiate();
  await until('it is up', () => peer.isUp);
  clock.move(2000);
  await peer.negotiate(1);
  await until('it has new keys', () => peer.isUp);
  to(peer.seal(echo(1), 0));
  to(peer.seal(echo(2), 1));
  await until('both are answered', () => answers(peer) === 2);
  clock.move(2000);
  await peer.negotiate(2, { user: 'mallory', password: 'battery staple' });
  await until('it is refused', () => peer.lines.some(line => line.startsWith('AUTH_FAILED')));
  await until('the session is over', () => vpn.sessions.size === 0);
});

test('after an hour the gate begins new keys by itself, and packets go on under them', async t => {
  const { client, vpn, clock } = await openDoor(t);
  const { peer, to } = client();
  await peer.negotiate();
  await until('it is up', () => peer.isUp);
  let heard = 0;
  for (let seconds = 0; seconds < 3600 && peer.newest === 0; seconds += 10) {
    to(peer.seal(echo(++heard))); // whoever is silent is taken for gone
    await new Promise(setImmediate);
    await new Promise(setImmediate);
    clock.move(10_000);
  }
  assert.equal(peer.newest, 1, 'within the hour');
  assert.ok(heard > 300, `not before nine tenths of it: ${heard * 10} s`);
  await until(
    'the new keys are there',
    () => peer.isUp,
    () => clock.move(20),
  );
  const before = answers(peer);
  to(peer.seal(echo(1)));
  await until('it is answered under them', () => answers(peer) > before);
  assert.equal(vpn.sessions.list('lab').length, 1);
});

test('who has the keys goes on from another address, if he may join from there', async t => {
  const { client, give, vpn, gate, sent, clock } = await openDoor(t);
  const { peer, hears } = client();
  await peer.negotiate();
  await until('it is up', () => peer.isUp);
  const elsewhere = { host: '198.51.100.7', port: 5555 };
  hears(elsewhere);
  give(randomBytes(60), elsewhere);
  const packet = peer.seal(echo(1));
  give(packet, elsewhere);
  await until(
    'he was admitted there',
    () => gate.admissions.filter(({ request }) => request.action === 'vpn.join').length === 2,
  );
  await until(
    'answers follow',
    () => sent.some(({ to }) => to === '198.51.100.7 5555'),
    () => give(peer.seal(echo(2)), elsewhere),
  );
  await until('they are his', () => answers(peer) >= 1);
  assert.equal(vpn.sessions.size, 1);
  // The peer's acknowledgements still come from where it was: the goodbye is given up after a while.
  void vpn.disconnect('lab', vpn.sessions.list('lab')[0]!.name);
  await until(
    'it is over',
    () => vpn.sessions.size === 0 && gate.open().length === 0,
    () => clock.move(100),
  );
});

test('a wrong password, compression and a cipher of old are refused in words', async t => {
  const { client, gate } = await openDoor(t);
  for (const [options, words] of [
    [{ password: 'incorrect' }, /AUTH_FAILED,the user name; password or certificate is wrong/],
    [{ options: 'V4,dev-type tun,comp-lzo,tls-client' }, /take comp-lzo and compress out/],
    [{ options: 'V4,dev-type tun,mtu-dynamic,tls-client' }, /take fragment out/],
    [{ peer: {}, options: 'V4,dev-type tun,cipher BF-CBC,tls-client' }, /no cipher in common/],
  ] as const) {
    const { peer } = client(options);
    await peer.negotiate();
    await until('it is told', () => peer.lines.length > 0);
    assert.match(peer.lines[0] ?? '', words);
  }
  assert.equal(gate.refusals.length, 4);
  assert.equal(gate.admissions.length, 0);
});

test('tap: frames go both ways as they are', async t => {
  const { client } = await openDoor(t);
  const { peer, to } = client({ dev: 'tap' });
  await peer.negotiate();
  await until('it is up', () => peer.isUp);
  assert.doesNotMatch(peer.lines[0] ?? '', /ifconfig/);
  const mac = Uint8Array.of(2, 0, 0, 0, 0, 9);
  const ask = {
    senderMac: mac,
    senderIp: parseIpv4('192.168.30.150'),
    targetMac: new Uint8Array(6),
    targetIp: parseIpv4('192.168.30.1'),
  };
  to(peer.seal(arpFrame({ operation: 'request', ...ask }, broadcastMac)));
  await until('the router answered', () =>
    peer.payloads.some(frame => frame.length >= 42 && frame.readUInt16BE(12) === 0x0806 && frame[21] === 2),
  );
});

test('a cut session is told to come back, one whose member is gone to stay away', async t => {
  const { client, vpn } = await openDoor(t);
  const first = client();
  await first.peer.negotiate();
  await until('it is up', () => first.peer.isUp);
  await vpn.disconnect('lab', vpn.sessions.list('lab')[0]!.name);
  await until('it is told', () => first.peer.lines.includes('RESTART'));
  const second = client();
  await second.peer.negotiate();
  await until('it is up', () => second.peer.isUp);
  await vpn.members.remove('lab', 'alice');
  await until('it is told', () => second.peer.lines.some(line => line.startsWith('AUTH_FAILED')));
  assert.equal(vpn.sessions.size, 0);
});
