// A member comes by SSTP: every step of the dialogue, every way in which it is refused, and every end.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type SstpClient, type SstpLogin, shownAddress } from '../../../../test/fixtures/sstp-client.ts';
import { openVpnHouse, type VpnHouse } from '../../../../test/fixtures/vpn-house.ts';
import { u16, u32 } from '../../../wire/bytes.ts';
import { decodeDhcp, decodeRoutes, dhcpOptions, encodeDhcp } from '../../../wire/dhcp.ts';
import { encodeIcmp, icmpTypes } from '../../../wire/icmp.ts';
import { decodeIpv4, encodeIpv4, formatIpv4, parseIpv4, protocols } from '../../../wire/ipv4.ts';
import { pppCodes, pppProtocols } from '../../../wire/ppp.ts';
import { encodeSstpControl, sstpAttributes, sstpStatus, sstpTypes, statusOf } from '../../../wire/sstp.ts';
import { decodeUdp, encodeUdp } from '../../../wire/udp.ts';
import type { HubSettings, MemberChange, NewProof } from '../index.ts';

const alice = { name: 'lab\\alice', password: 'correct horse' } as const;
const nat = {
  address: '192.168.30.1/24',
  dhcp: {
    range: ['192.168.30.10', '192.168.30.20'] as const,
    routes: [{ network: '10.0.1.0/24' }],
    dns: ['10.0.1.53'],
    domain: 'corp.example',
  },
};

async function house(
  t: { after(call: () => unknown): void },
  { proof = { kind: 'password', password: alice.password } as NewProof, ...about }: MemberChange = {},
  settings: Partial<HubSettings> = {},
): Promise<VpnHouse> {
  const made = await openVpnHouse(t);
  await made.vpn.hubs.create('lab', { sstp: true, secureNat: { enabled: true, options: nat }, ...settings });
  await made.vpn.members.add('lab', 'alice', { proof, ...about });
  return made;
}
const settle = async (): Promise<void> => {
  for (let turns = 0; turns < 30; turns++) await new Promise(setImmediate);
};
async function waitFor(isSo: () => boolean): Promise<void> {
  for (let turns = 0; turns < 2000 && !isSo(); turns++) await new Promise(setImmediate);
  assert.ok(isSo(), isSo.toString());
}
async function joined(at: VpnHouse, login: Partial<SstpLogin> = {}): Promise<SstpClient & { address: string }> {
  const client = at.sstpClient();
  const leased = await client.join({ ...alice, ...login });
  return Object.assign(client, { address: shownAddress(leased), dns: leased.dns });
}
const echo = (from: string, to: string, size = 5, dontFragment = false): Uint8Array =>
  encodeIpv4({
    ...{ source: parseIpv4(from), target: parseIpv4(to), protocol: protocols.icmp!, ttl: 64, id: 7 },
    ...{ dontFragment, moreFragments: false, fragmentOffset: 0 },
    payload: encodeIcmp({ type: icmpTypes.echo!, code: 0, id: 1, sequence: 1, data: Buffer.alloc(size) }),
  });
const warned = ({ log }: VpnHouse): string[] =>
  log.lines.filter(({ level }) => level === 'warn').map(({ text }) => text);

// --- Getting in -----------------------------------------------------------------------------------------------------

test('a member joins by MS-CHAPv2, leases an address with name servers, and reaches the hub’s router', async t => {
  const at = await house(t);
  const client = await joined(at, { ipcp: [3, 129, 130, 131, 132].map(type => ({ type, value: Buffer.alloc(4) })) });
  assert.equal(client.address, '192.168.30.10');
  client.send(echo(client.address, '192.168.30.1'));
  const answer = decodeIpv4(await client.until(() => client.packets[0]));
  assert.deepEqual([formatIpv4(answer.source), answer.payload[0]], ['192.168.30.1', icmpTypes.echoReply]);
  const [session] = at.vpn.sessions.list('lab');
  assert.deepEqual(
    [session?.name, session?.protocol, session?.options.client.product, session?.attached?.ips()],
    ['SID-ALICE-1', 'sstp', 'SSTP (MS-CHAPv2)', ['192.168.30.10']],
  );
  const [admission] = at.gate.open();
  assert.deepEqual(
    [admission?.request.action, admission?.request.resource, admission?.request.opened, admission?.request.who.id],
    ['vpn.join', 'hub/lab', 'hub/lab', 'alice'],
  );
  await waitFor(() => at.vpn.members.get('lab', 'alice').logins === 1);
  assert.equal(at.failed.length, 0, 'what succeeded is no failed guess');
});

test('the name servers of the hub are told to who asks; a hub without any rejects the question', async t => {
  const dns = [129, 131].map(type => ({ type, value: Buffer.alloc(4) }));
  const one = await openLease(await house(t), dns);
  assert.deepEqual(one.dns.map(formatIpv4), ['10.0.1.53']);
  const without = { ...nat, dhcp: { ...nat.dhcp, dns: [] } };
  const none = await openLease(await house(t, {}, { secureNat: { enabled: true, options: without } }), dns);
  assert.deepEqual(none.dns, []);
});
const openLease = (at: VpnHouse, more: { type: number; value: Buffer }[]) =>
  at.sstpClient().join({ ...alice, ipcp: [{ type: 3, value: Buffer.alloc(4) }, ...more] });

test('LCP rejects what is not spoken here, IPv6 and compression too, and answers echoes', async t => {
  const client = await joined(await house(t), {
    lcp: [
      { type: 1, value: Buffer.of(0x0f, 0xfb) }, // Windows: 4091
      { type: 2, value: Buffer.alloc(4) },
      { type: 7, value: Buffer.alloc(0) },
      { type: 8, value: Buffer.alloc(0) },
      { type: 13, value: Buffer.of(6) },
      { type: 17, value: Buffer.of(6, 78) },
    ],
  });
  for (const protocol of [pppProtocols.ipv6cp, pppProtocols.ccp]) {
    client.say(protocol, { code: 1, id: 9, data: Buffer.of(1, 10, 1, 2, 3, 4, 5, 6, 7, 8) });
    const { data } = await client.told(pppProtocols.lcp, pppCodes.protocolReject);
    assert.equal(u16(data, 0), protocol);
    assert.equal(data.length, 16, 'with what was sent');
  }
  client.say(pppProtocols.lcp, { code: pppCodes.echoRequest, id: 3, data: Buffer.from('\0\0\0\0hello') });
  const reply = await client.told(pppProtocols.lcp, pppCodes.echoReply);
  assert.deepEqual([reply.id, Buffer.from(reply.data).toString('latin1', 4)], [3, 'hello']);
  client.say(pppProtocols.lcp, { code: 42, id: 4, data: Buffer.alloc(2) });
  await client.told(pppProtocols.lcp, pppCodes.codeReject);
});

test('PAP inside TLS is checked against the modern hash, the gate’s own password, or SoftEther’s form', async t => {
  for (const proof of [
    { kind: 'plain', password: alice.password },
    { kind: 'password', password: alice.password },
    { kind: 'gate' },
  ] as const) {
    const at = await house(t, { proof });
    const password = proof.kind === 'gate' ? "gate's alice" : alice.password;
    const client = await joined(at, { method: 'pap', password });
    assert.equal(client.address, '192.168.30.10');
    client.send(echo(client.address, '192.168.30.1'));
    await client.until(() => client.packets[0]);
    assert.equal(at.vpn.sessions.list('lab')[0]?.options.client.product, 'SSTP (PAP)');
  }
});

test('the hub may be named before or behind the user; with one hub by SSTP it need not be', async t => {
  const at = await house(t);
  for (const name of ['lab\\alice', 'LAB\\Alice', 'alice@lab', 'alice']) assert.ok(await joined(at, { name }), name);
  await at.vpn.hubs.create('other', { sstp: true });
  const client = at.sstpClient();
  await client.connect();
  await client.lcp();
  const { ok, text } = await client.authenticate({ ...alice, name: 'alice' });
  assert.deepEqual([ok, /^E=691 R=0/.test(text)], [false, true], 'two hubs: which one?');
  assert.ok(await joined(at, { name: 'alice@lab' }));
});

// --- Staying out ----------------------------------------------------------------------------------------------------

async function refused(at: VpnHouse, login: Partial<SstpLogin>): Promise<string> {
  const client = at.sstpClient();
  await client.connect();
  await client.lcp(login);
  const { ok, text } = await client.authenticate({ ...alice, ...login });
  assert.equal(ok, false);
  await client.told(pppProtocols.lcp, pppCodes.terminateRequest);
  await client.heard(sstpTypes.disconnect);
  await client.ended();
  return text;
}

test('a wrong password, an unknown user and an unknown hub are told the same, and written down', async t => {
  const at = await house(t);
  for (const login of [
    { password: 'Correct horse' },
    { name: 'lab\\nobody' },
    { name: 'nolab\\alice' },
    { password: 'Correct horse', method: 'pap' as const },
    { password: '', method: 'pap' as const },
  ]) {
    const text = await refused(at, login);
    assert.match(text, login.method === 'pap' ? /wrong$/ : /^E=691 R=0 C=[0-9A-F]{32} V=3 M=/);
  }
  assert.equal(at.gate.refusals.length, 5);
  assert.equal(at.vpn.sessions.size, 0);
});

test('guessing is limited with the rest of the gate', async t => {
  const at = await house(t);
  for (let tries = 0; tries < 5; tries++) await refused(at, { password: 'wrong' });
  assert.match(await refused(at, {}), /^E=649/, 'even the right password has to wait');
});

test('who has no NT hash hears what to do in the log; a new password brings one', async t => {
  const at = await openVpnHouse(t);
  await at.vpn.hubs.create('lab', { secureNat: { enabled: true, options: nat } });
  await at.vpn.members.add('lab', 'alice', { proof: { kind: 'password', password: alice.password } });
  await at.vpn.members.add('lab', 'plain', { proof: { kind: 'plain', password: alice.password } });
  assert.equal(at.vpn.members.countNtForms(), 0, 'nothing is kept for a protocol that is off');
  await at.vpn.hubs.change('lab', { sstp: true });
  await refused(at, {});
  assert.match(warned(at)[0] ?? '', /alice cannot prove .*sekisho vpn user set lab\/alice --password-stdin/);
  await at.vpn.members.change('lab', 'alice', { proof: { kind: 'password', password: alice.password } });
  await joined(at);
  assert.equal(at.vpn.members.countNtForms(), 1);
  assert.ok(at.vpn.warnings().some(text => /NT hash/.test(text)));
  assert.ok(at.vpn.members.softEtherHash(at.vpn.members.get('lab', 'alice')), 'SoftEther’s form is there still');
});

test('a hub that does not speak SSTP is not there for it, and without any the protocol is not', async t => {
  const at = await house(t);
  await at.vpn.hubs.create('quiet', {});
  await at.vpn.members.add('quiet', 'alice', { proof: { kind: 'password', password: alice.password } });
  await refused(at, { name: 'quiet\\alice' });
  assert.equal(at.vpn.claims(Buffer.from('SSTP_DUPLEX_POST /')), true);
  assert.equal(at.vpn.claims(Buffer.from('SSTP_DUP')), 'more');
  assert.equal(at.vpn.claims(Buffer.from('SSTP_DUPLEX_GET /')), false);
  await at.vpn.hubs.change('lab', { sstp: false });
  assert.equal(at.vpn.claims(Buffer.from('SSTP_DUPLEX_POST /')), false);
});

test('a disabled user, an ended membership and a policy that lets nobody in are "no permission"', async t => {
  const at = await house(t, { policy: { access: false } });
  assert.match(await refused(at, {}), /^E=649/);
  await at.vpn.members.change('lab', 'alice', { policy: null, expires: new Date('2026-11-21T00:00:00Z') });
  assert.match(await refused(at, {}), /^E=649/);
  await at.vpn.members.change('lab', 'alice', { expires: null });
  at.users.set('alice', 'disabled');
  assert.match(await refused(at, {}), /^E=649/);
});

test('as many sessions as the policy allows, whatever protocol the others came by', async t => {
  const at = await house(t, { policy: { multiLogins: 2 } });
  await joined(at);
  await at.client().login({ hub: 'lab', user: 'alice', password: alice.password });
  assert.match(await refused(at, {}), /^E=649/);
});

test('who takes neither way to prove himself, or none, stays out', async t => {
  const at = await house(t);
  const eap = at.sstpClient();
  await eap.connect();
  for (const method of [0xc223, 0xc023]) {
    const asked = await eap.told(pppProtocols.lcp, pppCodes.configureRequest);
    assert.equal(u16(asked.data, 2), method, 'the next one is tried');
    eap.say(pppProtocols.lcp, { ...asked, code: pppCodes.configureNak, data: Buffer.of(3, 4, 0xc2, 0x27) });
  }
  await eap.heard(sstpTypes.disconnect);
  const none = at.sstpClient();
  await none.connect();
  const asked = await none.told(pppProtocols.lcp, pppCodes.configureRequest);
  const data = Buffer.from(asked.data).subarray(0, asked.data[1]);
  none.say(pppProtocols.lcp, { ...asked, code: pppCodes.configureReject, data });
  await none.heard(sstpTypes.disconnect);
});

// --- The binding ----------------------------------------------------------------------------------------------------

test('both hashes bind', async t => {
  const at = await house(t);
  for (const hash of ['sha1', 'sha256'] as const) {
    const client = at.sstpClient();
    await client.connect();
    await client.lcp();
    await client.authenticate(alice);
    client.bind({ hash });
    const leased = await client.ipcp();
    client.send(echo(shownAddress(leased), '192.168.30.1'));
    await client.until(() => client.packets[0]);
  }
});

test('a wrong binding ends the call before a packet has passed, and the log says what it means', async t => {
  const at = await house(t);
  const cases: Record<string, Parameters<SstpClient['bind']>[0]> = {
    'another certificate': { certificate: Buffer.from('of a man in the middle') },
    'a MAC by another key': { key: Buffer.alloc(32) },
    'a nonce of another call': { nonce: Buffer.alloc(32, 1) },
  };
  for (const [name, wrong] of Object.entries(cases)) {
    const client = at.sstpClient();
    const leased = await client.join({ ...alice, binds: false });
    client.send(echo(shownAddress(leased), '192.168.30.1'));
    await settle();
    assert.equal(client.packets.length, 0, `${name}: nothing flows before it is bound`);
    client.bind(wrong);
    const { attributes } = await client.heard(sstpTypes.abort);
    assert.equal(statusOf(attributes), sstpStatus.notSupported, name);
    await client.ended();
    await waitFor(() => at.vpn.sessions.size === 0);
    assert.match(warned(at).at(-1) ?? '', /crypto binding does not hold/);
  }
});

test('a recorded Call Connected is worth nothing in another call, and none counts before the proof', async t => {
  const at = await house(t);
  const early = at.sstpClient();
  await early.connect();
  early.bind();
  assert.equal(statusOf((await early.heard(sstpTypes.abort)).attributes), sstpStatus.unexpected);
  const short = at.sstpClient();
  await short.join({ ...alice, binds: false });
  short.control(sstpTypes.connected, [{ id: sstpAttributes.binding, value: Buffer.alloc(20) }]);
  assert.equal(statusOf((await short.heard(sstpTypes.abort)).attributes), sstpStatus.notSupported);
});

test('who never binds is put out after a minute', async t => {
  const at = await house(t);
  const client = at.sstpClient();
  await client.join({ ...alice, binds: false });
  at.clock.move(60_000);
  assert.equal(statusOf((await client.heard(sstpTypes.abort)).attributes), sstpStatus.timeout);
  await waitFor(() => at.vpn.sessions.size === 0);
});

// --- Wrong and hostile ----------------------------------------------------------------------------------------------

test('requests that are none are answered as HTTP would, and nothing follows', async t => {
  const at = await house(t);
  const head = 'Host: x\r\nContent-Length: 18446744073709551615\r\n\r\n';
  const path = '/sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/';
  for (const [text, status] of [
    [`SSTP_DUPLEX_POST /else HTTP/1.1\r\n${head}`, '404'],
    [`SSTP_DUPLEX_POST ${path} HTTP/1.0\r\n${head}`, '400'],
    [`SSTP_DUPLEX_POST ${path} HTTP/1.1\r\nContent-Length: 12\r\n\r\n`, '400'],
    [`SSTP_DUPLEX_POST ${path} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n${head}`, '400'],
    [`SSTP_DUPLEX_POST ${path.toLowerCase()} HTTP/1.1\r\n${head}`, '200'],
  ] as const)
    assert.match(await at.sstpClient().http(text), new RegExp(`^HTTP/1.1 ${status} `), text);
});

test('a request for another protocol inside is refused with its reason; three of them are enough', async t => {
  const at = await house(t);
  const client = at.sstpClient();
  await client.http();
  const wrong = [
    [{ id: sstpAttributes.protocol, value: Uint8Array.of(0, 2) }],
    [{ id: sstpAttributes.protocol, value: Uint8Array.of(0, 1, 0) }],
    [],
  ];
  const seen: (number | undefined)[] = [];
  for (const attributes of wrong.slice(0, 2)) {
    client.control(sstpTypes.connectRequest, attributes);
    seen.push(statusOf((await client.heard(sstpTypes.connectNak)).attributes));
  }
  client.control(sstpTypes.connectRequest, wrong[2]);
  seen.push(statusOf((await client.heard(sstpTypes.abort)).attributes));
  assert.deepEqual(seen, [sstpStatus.notSupported, sstpStatus.wrongLength, sstpStatus.tooManyRetries]);
});

test('what is broken, out of place or too much is broken off', async t => {
  const at = await house(t);
  const unconnected: Record<string, Buffer> = {
    'another version': Buffer.of(0x20, 1, 0, 8, 0, 1, 0, 0),
    'a length of three': Buffer.of(0x10, 0, 0, 3, 0),
    'attributes that are not there': Buffer.of(0x10, 1, 0, 8, 0, 1, 0, 9),
    'data before the call': Buffer.of(0x10, 0, 0, 8, 0xff, 3, 0xc0, 0x21),
    'an echo before the call': encodeSstpControl(sstpTypes.echoRequest),
    'a message that does not exist': encodeSstpControl(77),
  };
  for (const [name, bytes] of Object.entries(unconnected)) {
    const client = at.sstpClient();
    await client.http();
    client.stream.write(bytes);
    assert.ok(await client.heard(sstpTypes.abort), name);
    await client.ended();
  }
  const twice = await joined(at);
  twice.control(sstpTypes.connectRequest, [{ id: sstpAttributes.protocol, value: Uint8Array.of(0, 1) }]);
  await twice.heard(sstpTypes.abort);
  const flood = await joined(at);
  for (let count = 0; count < 200; count++)
    flood.say(pppProtocols.lcp, { code: pppCodes.echoRequest, id: count & 255, data: Buffer.alloc(8) });
  assert.equal(statusOf((await flood.heard(sstpTypes.abort)).attributes), sstpStatus.unexpected);
  const broken = await joined(at);
  broken.stream.write(Buffer.of(0x10, 0, 0, 10, 0xff, 3, 0xc0, 0x21, 1, 1));
  assert.equal(statusOf((await broken.heard(sstpTypes.abort)).attributes), sstpStatus.invalidFrame);
});

test('IPCP that comes before the address, and is broken, ends this call alone', async t => {
  const at = await house(t, {}, { secureNat: { enabled: false, options: nat } });
  const client = at.sstpClient();
  await client.connect();
  await client.lcp();
  assert.ok((await client.authenticate(alice)).ok);
  client.say(pppProtocols.ipcp, { code: pppCodes.configureRequest, id: 1, data: Buffer.of(3, 9) });
  await settle();
  await at.vpn.hubs.change('lab', { secureNat: { enabled: true, options: nat } });
  at.clock.move(2000); // DHCP asks once more
  assert.equal(statusOf((await client.heard(sstpTypes.abort)).attributes), sstpStatus.invalidFrame);
  const other = await joined(at);
  other.send(echo(other.address, '192.168.30.1'));
  await other.until(() => other.packets[0]);
});

test('a member speaks for his own address only', async t => {
  const at = await house(t);
  const client = await joined(at);
  client.send(echo('192.168.30.77', '192.168.30.1'));
  client.send(echo(client.address, '192.168.30.1', 3000));
  client.send(Buffer.of(0x45));
  client.send(Buffer.alloc(0));
  await settle();
  assert.equal(client.packets.length, 0);
  assert.equal(client.isEnded, false, 'noise is no reason to hang up');
});

// --- What flows -----------------------------------------------------------------------------------------------------

test('DHCP Inform is answered with the hub’s routes, as Windows asks for them', async t => {
  const at = await house(t);
  const client = await joined(at);
  const [source, target] = [parseIpv4(client.address), 0xffffffff];
  const inform = (clientIp: number, type = 8): Uint8Array => {
    const payload = encodeDhcp({
      ...{ op: 'request', xid: 77, secs: 0, broadcast: true, clientIp, yourIp: 0, serverIp: 0, relayIp: 0 },
      mac: Buffer.from('005345000000', 'hex'),
      options: new Map([
        [dhcpOptions.messageType, Uint8Array.of(type)],
        [dhcpOptions.parameters, Uint8Array.of(6, 44, 43, 1, 249, 15)],
      ]),
    });
    return encodeIpv4({
      ...{ source, target, protocol: protocols.udp!, ttl: 64, id: 1 },
      ...{ dontFragment: false, moreFragments: false, fragmentOffset: 0 },
      payload: encodeUdp({ sourcePort: 68, targetPort: 67, payload }, source, target),
    });
  };
  client.send(inform(parseIpv4('192.168.30.99')));
  client.send(inform(source, 1));
  client.send(inform(source));
  const answer = decodeIpv4(await client.until(() => client.packets[0]));
  await settle();
  assert.equal(client.packets.length, 1, 'nothing for another address, and no lease of its own');
  assert.equal(formatIpv4(answer.target), client.address);
  const { options, xid, mac } = decodeDhcp(decodeUdp(answer.payload, answer.source, answer.target).payload);
  assert.deepEqual([xid, Buffer.from(mac).toString('hex')], [77, '005345000000']);
  assert.deepEqual(
    decodeRoutes(options.get(249) ?? Buffer.alloc(0)).map(({ network, router }) => [
      `${formatIpv4(network.address)}/${network.bits}`,
      formatIpv4(router),
    ]),
    [['10.0.1.0/24', '192.168.30.1']],
  );
  assert.equal(options.has(121), false, 'not asked for');
  assert.equal(formatIpv4(u32(options.get(6)!, 0)), '10.0.1.53');
  assert.equal(Buffer.from(options.get(15)!).toString(), 'corp.example');
});

test('a link that takes less gets fragments, and who forbids them is told the size that fits', async t => {
  const at = await house(t);
  await at.vpn.members.add('lab', 'bob', { proof: { kind: 'password', password: alice.password } });
  const small = await joined(at, { lcp: [{ type: 1, value: Buffer.of(0x02, 0x58) }] }); // 600
  const bob = await joined(at, { name: 'lab\\bob' });
  bob.send(echo(bob.address, small.address, 1200));
  const parts = await small.until(() => (small.packets.length >= 3 ? small.packets : undefined));
  assert.deepEqual(
    parts.map(part => [part.length, u16(part, 6) & 0x1fff, (u16(part, 6) & 0x2000) !== 0]),
    [
      [596, 0, true],
      [596, 72, true],
      [76, 144, false],
    ],
  );
  bob.send(echo(bob.address, small.address, 1200, true));
  const told = decodeIpv4(await bob.until(() => bob.packets[0]));
  assert.deepEqual([told.payload[0], told.payload[1], u16(told.payload, 6)], [3, 4, 600]);
  assert.equal(small.packets.length, 3);
});

test('who does not read loses packets, and nobody waits for him', async t => {
  const at = await house(t);
  await at.vpn.members.add('lab', 'bob', { proof: { kind: 'password', password: alice.password } });
  const deaf = await joined(at);
  const bob = await joined(at, { name: 'lab\\bob' });
  bob.send(echo(bob.address, deaf.address));
  await deaf.until(() => deaf.packets[0]);
  deaf.stream.pause();
  for (let count = 0; count < 1500; count++) {
    bob.send(echo(bob.address, deaf.address, 1400));
    if (count % 50 === 0) await settle();
  }
  await settle();
  const session = at.vpn.sessions.list('lab').find(({ policy }) => policy.user === 'alice');
  assert.ok((session?.bytes.dropped ?? 0) > 300, `${session?.bytes.dropped} dropped`);
  bob.send(echo(bob.address, '192.168.30.1'));
  await bob.until(() => bob.packets[0]);
  deaf.stream.resume();
});

// --- Ends -----------------------------------------------------------------------------------------------------------

test('a quiet call is asked whether it is there, and ends when nobody answers', async t => {
  const at = await house(t);
  const client = await joined(at);
  at.clock.move(75_000);
  await client.heard(sstpTypes.echoRequest);
  client.control(sstpTypes.echoResponse);
  await settle();
  client.control(sstpTypes.echoRequest);
  await client.heard(sstpTypes.echoResponse);
  at.clock.move(75_000);
  await client.heard(sstpTypes.echoRequest);
  at.clock.move(60_000);
  await client.heard(sstpTypes.disconnect);
  await waitFor(() => at.vpn.sessions.size === 0);
});

const ends: Record<string, (at: VpnHouse, client: SstpClient) => unknown> = {
  'is cut by name': at => at.vpn.disconnect('lab', 'SID-ALICE-1'),
  'has another password': at =>
    at.vpn.members.change('lab', 'alice', { proof: { kind: 'password', password: 'another horse' } }),
  'is removed': at => at.vpn.members.remove('lab', 'alice'),
  'is shut out by policy': at => at.vpn.members.change('lab', 'alice', { policy: { access: false } }),
  'loses the hub': at => at.vpn.hubs.change('lab', { online: false }),
  'is revoked by the gate': at => at.gate.open()[0]?.end('revoked'),
  'is drained': at => void at.vpn.drain(),
};
for (const [name, end] of Object.entries(ends))
  test(`a member who ${name} hears goodbye at once, and his address is free`, async t => {
    const at = await house(t);
    const client = await joined(at);
    void end(at, client);
    await client.told(pppProtocols.lcp, pppCodes.terminateRequest);
    await client.heard(sstpTypes.disconnect);
    await client.ended();
    await waitFor(() => at.vpn.sessions.size === 0 && at.gate.open().length === 0);
    const { hub } = at.vpn.hubs.get('lab');
    assert.deepEqual(hub?.leases() ?? [], []);
    assert.deepEqual(at.faults, []);
  });

const leaves: Record<string, (client: SstpClient) => void> = {
  'says Call Disconnect': client => client.control(sstpTypes.disconnect),
  'says Call Abort': client => client.control(sstpTypes.abort),
  'ends PPP': client => client.say(pppProtocols.lcp, { code: pppCodes.terminateRequest, id: 1, data: Buffer.alloc(0) }),
  'hangs up': client => void client.stream.end(),
  'is torn away': client => void client.stream.destroy(),
};
for (const [name, leave] of Object.entries(leaves))
  test(`a client that ${name} is gone from the hub at once, and the record is closed`, async t => {
    const at = await house(t);
    const client = await joined(at);
    leave(client);
    await waitFor(() => at.vpn.sessions.size === 0);
    await waitFor(() => at.gate.open().length === 0);
    assert.deepEqual(at.vpn.hubs.get('lab').hub?.leases(), []);
  });

test('a policy that changes counts for the live session, and the end of a membership ends it', async t => {
  const at = await house(t, { expires: new Date('2026-11-22T01:00:00Z') });
  const client = await joined(at);
  await at.vpn.members.change('lab', 'alice', { policy: { filterIpv4: true } });
  client.send(echo(client.address, '192.168.30.1'));
  await settle();
  assert.equal(client.packets.length, 0);
  at.clock.move(3_600_000);
  await waitFor(() => at.vpn.sessions.size === 0);
});

test('a hub without DHCP cannot take a member by SSTP, and the log says why', async t => {
  const at = await house(t, {}, { secureNat: { enabled: false, options: nat } });
  const client = at.sstpClient();
  await client.connect();
  await client.lcp();
  assert.ok((await client.authenticate(alice)).ok);
  await settle();
  at.clock.move(15_000);
  await client.told(pppProtocols.lcp, pppCodes.terminateRequest);
  await client.heard(sstpTypes.disconnect);
  assert.match(warned(at)[0] ?? '', /no DHCP server on the hub lab/);
});

test('who comes back has the same address, and two at a time have two', async t => {
  const at = await house(t);
  const [first, second] = [await joined(at), await joined(at)];
  assert.notEqual(first.address, second.address);
  first.control(sstpTypes.disconnect);
  await waitFor(() => at.vpn.sessions.size === 1);
  assert.equal((await joined(at)).address, first.address);
});
