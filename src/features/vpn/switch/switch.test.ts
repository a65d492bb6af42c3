// The switch with ports inside the test: learning, limits, policies, the access list, storms, who may not hurt whom.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type MemoryPort, memoryPort } from '../../../../test/fixtures/memory-port.ts';
import { memoryLog, memoryMetrics } from '../../../../test/fixtures/quiet.ts';
import { TestClock } from '../../../core/clock.ts';
import { arpFrame } from '../../../wire/arp.ts';
import { decodeDhcp, encodeDhcp } from '../../../wire/dhcp.ts';
import { broadcastMac, encodeEthernet, formatMac } from '../../../wire/ethernet.ts';
import { decodeIcmp, encodeIcmp } from '../../../wire/icmp.ts';
import { encodeIpv4, parseIpv4 } from '../../../wire/ipv4.ts';
import { encodeIpv6 } from '../../../wire/ipv6.ts';
import { encodeTcp } from '../../../wire/tcp.ts';
import { encodeUdp } from '../../../wire/udp.ts';
import type { FilterRule, PortPolicy, SecurityPolicy } from '../hub.ts';
import { defaultSecurity } from '../softether/policy.ts';
import { AddressTable } from './address-table.ts';
import type { Plug } from './plug.ts';
import { Switch } from './switch.ts';

const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve));
const macOf = (index: number): Uint8Array => Uint8Array.of(2, 0, 0, 0, index >> 8, index & 255);

interface Member {
  readonly port: MemoryPort;
  readonly plug: Plug;
  readonly got: Uint8Array[];
}
function hub(filter: readonly FilterRule[] = []) {
  const clock = new TestClock();
  const net = new Switch('test', { clock, log: memoryLog(), metrics: memoryMetrics() });
  net.setFilter(filter);
  let count = 0;
  const join = (security: Partial<SecurityPolicy> = {}, more: Partial<PortPolicy> = {}): Member => {
    const got: Uint8Array[] = [];
    const port = memoryPort(`p${++count}`, frame => got.push(frame));
    const policy = { kind: 'member', session: `SID-${count}`, user: `u${count}`, groups: [] } as const;
    return { port, got, plug: net.plug(port, { ...policy, ...more, security: { ...defaultSecurity, ...security } }) };
  };
  return { clock, net, join };
}
const plain = (from: number, to: number | 'all', type = 0x88b5, size = 46): Uint8Array =>
  encodeEthernet({
    target: to === 'all' ? broadcastMac : macOf(to),
    source: macOf(from),
    type,
    payload: new Uint8Array(size),
  });
const packet = (
  from: number,
  to: number | 'all',
  protocol: number,
  payload: Uint8Array,
  source = '10.0.0.1',
  target = '10.0.0.2',
): Uint8Array =>
  encodeEthernet({
    target: to === 'all' ? broadcastMac : macOf(to),
    source: macOf(from),
    type: 0x0800,
    payload: encodeIpv4({
      ...{ source: parseIpv4(source), target: parseIpv4(target), protocol, ttl: 64, id: 1 },
      ...{ dontFragment: true, moreFragments: false, fragmentOffset: 0, payload },
    }),
  });
const tcp = (flags: number, toPort = 80): Uint8Array =>
  encodeTcp(
    {
      sourcePort: 1234,
      targetPort: toPort,
      sequence: 1,
      acknowledgement: 1,
      flags,
      window: 1,
      options: {},
      payload: new Uint8Array(4),
    },
    parseIpv4('10.0.0.1'),
    parseIpv4('10.0.0.2'),
  );
const udp = (sourcePort: number, targetPort: number, payload: Uint8Array = new Uint8Array(4)): Uint8Array =>
  encodeUdp({ sourcePort, targetPort, payload }, parseIpv4('10.0.0.1'), parseIpv4('10.0.0.2'));
const arp = (from: number, ip: string, target = '10.0.0.99'): Uint8Array =>
  arpFrame(
    {
      operation: 'request',
      senderMac: macOf(from),
      senderIp: parseIpv4(ip),
      targetMac: new Uint8Array(6),
      targetIp: parseIpv4(target),
    },
    broadcastMac,
  );

test('unknown targets reach all, known ones only their port, and after ten minutes of silence all again', async () => {
  const { net, join, clock } = hub();
  const [a, b, c] = [join(), join(), join()];
  a.port.put(plain(1, 2));
  await turn();
  assert.deepEqual([a.got.length, b.got.length, c.got.length], [0, 1, 1]);
  b.port.put(plain(2, 1));
  await turn();
  assert.deepEqual([a.got.length, c.got.length], [1, 1]);
  clock.move(601_000);
  net.sweep();
  a.port.put(plain(1, 2));
  await turn();
  assert.equal(c.got.length, 2);
});

test('a port that leaves takes its addresses with it', async () => {
  const { net, join } = hub();
  const [a, b, c] = [join(), join(), join()];
  b.port.put(plain(2, 1));
  net.unplug(b.plug);
  b.port.put(plain(2, 1));
  a.port.put(plain(1, 2));
  await turn();
  assert.equal(net.tables.macs.count, 1);
  assert.equal(c.got.length, 2);
  assert.equal(b.got.length, 0);
});

test('frames are the same objects, in one batch, in their order', async () => {
  const { net } = hub();
  const batches: (readonly Uint8Array[])[] = [];
  const a = memoryPort('a');
  const b = { ...memoryPort('b'), sendBatch: (frames: readonly Uint8Array[]) => batches.push([...frames]) };
  const policy = { kind: 'member', session: 's', user: '', groups: [], security: defaultSecurity } as const;
  net.plug(a, policy);
  net.plug(b, policy);
  const frames = Array.from({ length: 100 }, (_, index) => plain(1, 2, 0x88b5, 46 + index));
  a.put(...frames);
  await turn();
  assert.equal(batches.length, 1);
  assert.ok(batches[0]?.every((frame, index) => frame === frames[index]));
});

test('a port that takes nothing, or too slowly, costs the others nothing', async () => {
  const { net, join } = hub();
  const policy = { kind: 'member', session: 's', user: '', groups: [], security: defaultSecurity } as const;
  const stuck = net.plug(
    memoryPort('stuck', () => false),
    policy,
  );
  const [a, b] = [join(), join()];
  b.port.put(plain(2, 1));
  for (let count = 0; count < 50; count++) {
    a.port.put(...Array.from({ length: 100 }, () => plain(1, 9)), plain(1, 2));
    await turn();
  }
  assert.equal(b.got.filter(frame => frame[5] === 2).length, 50);
  assert.ok(stuck.queue.length === 0 && stuck.dropped >= 500);
});

test('a port that fails does not stop the others', async () => {
  const { net, join } = hub();
  const policy = { kind: 'member', session: 's', user: '', groups: [], security: defaultSecurity } as const;
  const broken = memoryPort('broken', () => {
    throw new Error('broken');
  });
  net.plug(broken, policy);
  const [a, b] = [join(), join()];
  for (let times = 0; times < 3; times++) {
    a.port.put(plain(1, 'all'));
    await turn();
  }
  assert.equal(b.got.length, 3);
});

test('what one turn brings for a port is bounded', async () => {
  const { join } = hub();
  const [a, b] = [join({ noBroadcastLimiter: true }), join()];
  b.port.put(plain(2, 1));
  a.port.put(...Array.from({ length: 10_000 }, () => plain(1, 2)));
  await turn();
  assert.ok(b.got.length <= 2048);
  assert.ok(b.plug.dropped >= 7000);
});

for (const [name, security, stopped, passed] of [
  ['dhcpFilter', { dhcpFilter: true }, packet(1, 2, 17, udp(68, 67)), packet(1, 2, 17, udp(69, 66))],
  ['dhcpNoServer', { dhcpNoServer: true }, packet(1, 2, 17, udp(67, 68)), packet(1, 2, 17, udp(68, 67))],
  ['arpDhcpOnly', { arpDhcpOnly: true }, packet(1, 'all', 17, udp(137, 137)), packet(1, 'all', 17, udp(68, 67))],
  ['noServer', { noServer: true }, packet(1, 2, 6, tcp(18)), packet(1, 2, 6, tcp(2))],
  ['filterIpv4', { filterIpv4: true }, packet(1, 2, 6, tcp(2)), plain(1, 2)],
  ['filterIpv4 (ARP)', { filterIpv4: true }, arp(1, '10.0.0.1'), plain(1, 2)],
  ['filterNonIp', { filterNonIp: true }, plain(1, 2), packet(1, 2, 6, tcp(2))],
  ['filterIpv6', { filterIpv6: true }, v6(58, 134), packet(1, 2, 6, tcp(2))],
  ['raFilter', { raFilter: true }, v6(58, 134), v6(58, 133)],
  ['rsAndRaFilter', { rsAndRaFilter: true }, v6(58, 133), v6(58, 135)],
  ['raFilter behind a hop-by-hop header', { raFilter: true }, v6(58, 134, true), v6(58, 135, true)],
  ['noServerV6', { noServerV6: true }, v6(6, 0, false, tcp(18)), v6(6, 0, false, tcp(2))],
  ['dhcpv6Filter', { dhcpv6Filter: true }, v6(17, 0, false, udp(546, 547)), v6(17, 0, false, udp(1, 2))],
  ['dhcpv6NoServer', { dhcpv6NoServer: true }, v6(17, 0, false, udp(547, 546)), v6(17, 0, false, udp(546, 547))],
] as const) {
  test(`policy ${name}`, async () => {
    const { join } = hub();
    const [a, b] = [join(security), join()];
    a.port.put(stopped);
    await turn();
    assert.equal(b.got.length, 0);
    assert.equal(a.plug.dropped, 1);
    a.port.put(passed);
    await turn();
    assert.equal(b.got.length, 1);
  });
}
function v6(
  next: number,
  type: number,
  isExtended = false,
  upper: Uint8Array = Uint8Array.of(type, ...new Uint8Array(23)),
): Uint8Array {
  const payload = isExtended ? Uint8Array.of(next, 0, 0, 0, 0, 0, 0, 0, ...upper) : upper;
  const source = Uint8Array.of(0xfe, 0x80, ...new Uint8Array(13), 1);
  return encodeEthernet({
    target: macOf(2),
    source: macOf(1),
    type: 0x86dd,
    payload: encodeIpv6({ source, target: source, next: isExtended ? 0 : next, hopLimit: 255, payload }),
  });
}

test('a first fragment too short to show its ports does not slip past a policy that asks for them', async () => {
  const { join } = hub();
  const [a, b] = [join({ noServer: true }), join()];
  a.port.put(packet(1, 2, 6, tcp(18).subarray(0, 8)));
  await turn();
  assert.equal(b.got.length, 0);
});

test('a router advertisement arrives without a default router where the policy says so, its checksum right', async () => {
  const { join } = hub();
  const [a, b] = [join(), join({ noIpv6DefaultRouterInRa: true })];
  const source = Uint8Array.of(0xfe, 0x80, ...new Uint8Array(13), 1);
  const body = Uint8Array.of(134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0);
  const sum = encodeIcmp({
    ...decodeIcmp(encodeIcmp({ type: 134, code: 0, id: 0x4000, sequence: 0x0708, data: body.subarray(8) })),
  });
  body.set(sum.subarray(2, 4), 2); // without the pseudo header, which stays the same
  a.port.put(
    encodeEthernet({
      target: macOf(2),
      source: macOf(1),
      type: 0x86dd,
      payload: encodeIpv6({ source, target: source, next: 58, hopLimit: 255, payload: body }),
    }),
  );
  await turn();
  const changed = b.got[0]!.subarray(54);
  assert.deepEqual([...changed.subarray(6, 8)], [0, 0]);
  decodeIcmp(changed); // throws when the checksum is wrong
});

test('private members do not see each other, but see the others', async () => {
  const { join } = hub();
  const [a, b, c] = [join({ privacyFilter: true }), join({ privacyFilter: true }), join()];
  a.port.put(plain(1, 'all'));
  await turn();
  assert.deepEqual([b.got.length, c.got.length], [0, 1]);
});

test('a monitor hears everything and says nothing', async () => {
  const { join } = hub();
  const [a, b, m] = [join(), join(), join({ monitorPort: true }, { monitor: true })];
  b.port.put(plain(2, 1));
  a.port.put(plain(1, 2));
  m.port.put(plain(3, 2));
  await turn();
  assert.equal(m.got.length, 2);
  assert.equal(b.got.length, 1);
});

test('a port without the right to bridge has three MACs, and one without routing four addresses', async () => {
  const { net, join } = hub();
  const [a, b] = [join({ noBridge: true, noRouting: true }), join()];
  for (let index = 1; index <= 10; index++) a.port.put(plain(index, 99));
  await turn();
  assert.equal(b.got.length, 3);
  for (let index = 1; index <= 10; index++) a.port.put(arp(1, `10.0.0.${index}`));
  await turn();
  assert.equal(b.got.length, 7);
  assert.equal(net.tables.macs.count, 3);
});

test('an address that is in use stays with its port when the policy checks, and moves when it does not', async () => {
  const { join, clock } = hub();
  const [a, checked, free] = [join(), join({ checkMac: true, checkIp: true }), join()];
  a.port.put(arp(1, '10.0.0.1'));
  await turn();
  checked.port.put(plain(1, 'all')); // its MAC
  checked.port.put(arp(2, '10.0.0.1')); // its IP
  await turn();
  assert.equal(checked.plug.dropped, 2);
  clock.move(14_000);
  await turn();
  checked.port.put(arp(2, '10.0.0.1'));
  await turn();
  assert.equal(checked.plug.dropped, 2);
  free.port.put(plain(2, 'all'));
  await turn();
  assert.equal(free.plug.dropped, 0);
});

test("nobody takes the hub's own addresses, and a MAC in a loop stays where it is", async () => {
  const { net, join, clock } = hub();
  const [a, b, own] = [join(), join(), join({}, { kind: 'nat' })];
  net.tables.pin(own.plug, macOf(9), parseIpv4('10.0.0.254'), clock.now().getTime());
  a.port.put(plain(9, 'all'));
  a.port.put(arp(1, '10.0.0.254'));
  await turn();
  assert.equal(a.plug.dropped, 2);
  for (let round = 0; round < 50; round++) {
    a.port.put(plain(5, 99));
    b.port.put(plain(5, 99));
  }
  await turn();
  assert.ok(a.plug.dropped + b.plug.dropped - 2 >= 35, 'the flapping is stopped');
});

test('only leased addresses where DHCP is forced, and the lease is heard as it passes', async () => {
  const { net, join } = hub();
  const [a, server] = [join({ dhcpForce: true }), join()];
  a.port.put(arp(1, '10.0.0.1'));
  await turn();
  assert.equal(a.plug.dropped, 1);
  a.port.put(packet(1, 'all', 17, udp(68, 67), '0.0.0.0', '255.255.255.255'));
  const offer = encodeDhcp({
    ...{ op: 'reply', xid: 1, secs: 0, broadcast: false, clientIp: 0, yourIp: parseIpv4('10.0.0.1'), serverIp: 0 },
    ...{ relayIp: 0, mac: macOf(1) },
    options: new Map([
      [53, Uint8Array.of(5)],
      [51, Uint8Array.of(0, 0, 14, 16)],
    ]),
  });
  decodeDhcp(offer);
  server.port.put(packet(2, 1, 17, udp(67, 68, offer), '10.0.0.2', '10.0.0.1'));
  await turn();
  a.port.put(arp(1, '10.0.0.1'));
  a.port.put(arp(1, '10.0.0.7'));
  await turn();
  assert.equal(a.plug.dropped, 2);
  assert.ok([...net.tables.ips.entries()].some(({ flags }) => flags === 2));
});

test('rates hold what may wait, and let through what keeps a line alive', async () => {
  const { join, clock } = hub();
  const [a, b] = [join({ maxUpload: 8_000_000 }), join()];
  b.port.put(plain(2, 1));
  for (let ms = 0; ms < 1000; ms += 10) {
    clock.move(10);
    a.port.put(...Array.from({ length: 20 }, () => packet(1, 2, 17, udp(1, 2, new Uint8Array(1400)))));
    await turn();
  }
  const bytes = b.got.reduce((sum, frame) => sum + frame.length, 0);
  assert.ok(bytes > 900_000 && bytes < 1_300_000, `${bytes}`);
  a.port.put(arp(1, '10.0.0.1'));
  await turn();
  assert.equal(b.got.at(-1)?.[13], 6);
});

test('a storm is thinned to nothing, does not hurt others, and is forgiven', async () => {
  const { join, clock } = hub();
  const [a, b, c] = [join(), join(), join()];
  const storm = (): void => a.port.put(...Array.from({ length: 500 }, () => arp(1, '10.0.0.1')));
  for (let ms = 0; ms < 5000; ms += 50) {
    clock.move(50);
    storm();
    await turn();
  }
  const before = b.got.length;
  assert.ok(before < 600, `${before} of 50,000`);
  for (let ms = 0; ms < 1000; ms += 50) {
    clock.move(50);
    storm();
    c.port.put(arp(3, '10.0.0.3'));
    await turn();
  }
  const [fromA, fromC] = [1, 3].map(index => b.got.slice(before).filter(frame => frame[11] === index).length);
  assert.equal(fromC, 20);
  assert.ok((fromA ?? 0) <= 40, `${fromA}`);
  clock.move(20_000);
  b.got.length = 0;
  for (let count = 0; count < 5; count++) {
    clock.move(200);
    a.port.put(arp(1, '10.0.0.1'));
    await turn();
  }
  assert.equal(b.got.length, 5);
});

test('the access list: by priority, addresses, ports, users, groups, MACs, and what opens a connection', async () => {
  const rules: FilterRule[] = [
    { priority: 30, action: 'discard', protocol: 'tcp', toPort: [80, 90] },
    { priority: 10, action: 'pass', fromUser: 'boss' },
    { priority: 20, action: 'discard', to: '10.0.0.0/24', protocol: 17 },
    { priority: 25, action: 'discard', fromUser: 'guests', protocol: 'icmp' },
    { priority: 26, action: 'discard', active: false },
    { priority: 27, action: 'discard', fromMac: { mac: '02:00:00:00:00:05', mask: 'ff:ff:ff:ff:ff:ff' } },
    { priority: 28, action: 'discard', protocol: 'tcp', toPort: [22, 22], established: false },
  ];
  const icmp = encodeIcmp({ type: 8, code: 0, id: 0, sequence: 0, data: new Uint8Array(0) });
  const sent = async (frame: Uint8Array, more: Partial<PortPolicy> = {}): Promise<number> => {
    const { join } = hub(rules);
    const [a, b] = [join({}, more), join()];
    a.port.put(frame);
    await turn();
    return b.got.length;
  };
  assert.equal(await sent(packet(1, 2, 6, tcp(2, 85))), 0);
  assert.equal(await sent(packet(1, 2, 6, tcp(2, 91))), 1);
  assert.equal(await sent(packet(1, 2, 6, tcp(2, 85)), { user: 'Boss' }), 1);
  assert.equal(await sent(packet(1, 2, 17, udp(1, 2))), 0);
  assert.equal(await sent(packet(1, 2, 17, udp(1, 2), '10.0.0.1', '10.0.1.2')), 1);
  assert.equal(await sent(packet(1, 2, 1, icmp)), 1);
  assert.equal(await sent(packet(1, 2, 1, icmp), { groups: ['guests'] }), 0);
  assert.equal(await sent(plain(5, 2)), 0);
  assert.equal(await sent(packet(1, 2, 6, tcp(2, 22))), 0);
  assert.equal(await sent(packet(1, 2, 6, tcp(16, 22))), 1);
  assert.equal(await sent(packet(1, 2, 6, tcp(2, 85).subarray(0, 2))), 0, 'a sliver that hides its port');
});

test('lines about receivers are asked for each receiver, also in IPv6', async () => {
  const { join } = hub([
    { priority: 1, action: 'discard', from: 'fe80::/10', toUser: 'u2' },
    { priority: 2, action: 'discard', toUser: 'staff', protocol: 'udp' },
  ]);
  const [a, b, c] = [join(), join(), join({}, { groups: ['staff'] })];
  a.port.put(v6(58, 135));
  a.port.put(packet(1, 'all', 17, udp(1, 2)));
  await turn();
  assert.deepEqual([b.got.length, c.got.length], [1, 1]);
  assert.equal(b.got[0]?.[13], 0);
  assert.equal(c.got[0]?.[13], 0xdd);
});

test('a bad line delays and loses', async () => {
  const { join, clock } = hub([{ priority: 1, action: 'pass', delay: 100, loss: 50 }]);
  const [a, b] = [join({ noBroadcastLimiter: true }), join()];
  for (let count = 0; count < 400; count++) a.port.put(plain(1, 2));
  await turn();
  assert.equal(b.got.length, 0);
  clock.move(100);
  await turn();
  assert.ok(b.got.length > 100 && b.got.length < 300, `${b.got.length}`);
});

test('a VLAN of the policy is a hub within the hub', async () => {
  const { join } = hub();
  const [a, b, c] = [join({ vlanId: 7 }), join({ vlanId: 7 }), join({ vlanId: 8 })];
  const frame = plain(1, 'all');
  a.port.put(frame);
  a.port.put(encodeEthernet({ target: broadcastMac, source: macOf(1), vlan: 8, type: 1, payload: new Uint8Array(46) }));
  await turn();
  assert.equal(b.got.length, 1);
  assert.deepEqual(Buffer.from(b.got[0]!), Buffer.from(frame));
  assert.equal(c.got.length, 0);
  assert.equal(a.plug.dropped, 1);
});

/** One step, on the table and on a Map. */
const steps: Record<string, (table: AddressTable, model: Map<number, number>, key: number, owner: number) => void> = {
  add(table, model, key, owner) {
    if (!model.has(key) && table.add(0, key, 0, 0, owner, 0) >= 0) model.set(key, owner);
  },
  remove(table, model, key) {
    if (model.delete(key)) table.remove(table.find(0, key, 0, 0));
  },
  move(table, model, key, owner) {
    if (!model.has(key)) return;
    table.move(table.find(0, key, 0, 0), owner, 0, 0);
    model.set(key, owner);
  },
  sweep(table, model, _key, owner) {
    table.sweep(
      at => table.owner(at) === owner,
      () => {},
    );
    for (const [one, whose] of model) if (whose === owner) model.delete(one);
  },
};

test('the address table keeps what a Map keeps', () => {
  const step = fc.tuple(fc.constantFrom(...Object.keys(steps)), fc.nat(60), fc.integer({ min: 1, max: 5 }));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 400 }), list => {
      const table = new AddressTable(40);
      const model = new Map<number, number>();
      for (const [what, key, owner] of list) {
        steps[what]?.(table, model, key, owner);
        const slot = table.find(0, key, 0, 0);
        assert.equal(slot < 0 ? undefined : table.owner(slot), model.get(key));
        assert.equal(table.count, model.size);
      }
      assert.deepEqual([...table.entries()].map(({ words, owner }) => [words[1], owner]).sort(), [...model].sort());
    }),
  );
  const large = new AddressTable(65_536);
  for (let key = 0; key < 70_000; key++) large.add(1, key, 2, 3, 1 + (key % 100), 0);
  assert.equal(large.count, 65_536);
  for (let key = 0; key < 65_536; key++) assert.ok(large.find(1, key, 2, 3) >= 0);
});

test('MACs are written as people write them', () => assert.equal(formatMac(macOf(258)), '02:00:00:00:01:02'));

/** The same frame with these bytes between the addresses and what it carries. */
const wrapped = (frame: Uint8Array, ...between: readonly number[]): Uint8Array =>
  Uint8Array.of(...frame.subarray(0, 12), ...between, ...frame.subarray(12));
const snap = (frame: Uint8Array): Uint8Array =>
  wrapped(frame, (frame.length - 6) >> 8, (frame.length - 6) & 255, 0xaa, 0xaa, 3, 0, 0, 0);

test('what some stacks unwrap does not slip past a policy or a filter: tags within tags, provider tags, LLC with SNAP', async () => {
  const ways = {
    tags: (frame: Uint8Array) => wrapped(frame, 0x81, 0, 0, 0, 0x81, 0, 0, 0),
    provider: (frame: Uint8Array) => wrapped(frame, 0x88, 0xa8, 0, 0),
    snap,
  };
  const offer = packet(1, 'all', 17, udp(67, 68));
  const guards: readonly (readonly [Partial<SecurityPolicy>, readonly FilterRule[], Uint8Array])[] = [
    [{ dhcpNoServer: true }, [], offer],
    [{ checkIp: true }, [], arp(1, '10.0.0.7')],
    [{ filterIpv4: true }, [], offer],
    [{ filterIpv6: true }, [], offer],
    [{}, [{ priority: 1, action: 'discard', to: '10.0.0.2/32' }], offer],
    [{}, [{ priority: 1, action: 'discard', protocol: 'udp' }], offer],
    [{}, [{ priority: 1, action: 'discard', toPort: [68, 68] }], offer],
  ];
  for (const [what, wrap] of Object.entries(ways))
    for (const [index, [security, filter, frame]] of guards.entries()) {
      const { join } = hub(filter);
      const [a, b] = [join(security), join()];
      a.port.put(wrap(frame));
      await turn();
      assert.equal(b.got.length, 0, `${what}, guard ${index}`);
    }
  const { join } = hub();
  const [a, b] = [join(), join()];
  for (const wrap of Object.values(ways)) a.port.put(wrap(offer));
  a.port.put(wrapped(plain(1, 2), 0x81, 0, 0, 7));
  await turn();
  assert.equal(b.got.length, 4, 'a hub without such rules carries them, as a trunk does');
});

test('a DHCP server is one by whom it speaks to, whatever port it says it speaks from', async () => {
  const { join } = hub();
  const [a, b] = [join({ dhcpNoServer: true, dhcpv6NoServer: true }), join()];
  a.port.put(packet(1, 'all', 17, udp(67, 68)), packet(1, 'all', 17, udp(1067, 68)));
  a.port.put(packet6(1, 17, udp(1547, 546)));
  await turn();
  assert.equal(b.got.length, 0);
  a.port.put(packet(1, 'all', 17, udp(68, 67)), packet6(1, 17, udp(546, 547)));
  await turn();
  assert.equal(b.got.length, 2, 'clients ask');
});

const ip6 = (last: number): Uint8Array => Uint8Array.of(0xfe, 0x80, ...new Uint8Array(13), last);
const packet6 = (from: number, next: number, payload: Uint8Array, source = ip6(from)): Uint8Array =>
  encodeEthernet({
    target: Uint8Array.of(0x33, 0x33, 0, 0, 0, 1),
    source: macOf(from),
    type: 0x86dd,
    payload: encodeIpv6({ source, target: ip6(99), next, hopLimit: 255, payload }),
  });
const advertisement = (last: number): Uint8Array =>
  Uint8Array.of(136, 0, 0, 0, 0x20, 0, 0, 0, ...ip6(last), 2, 1, ...macOf(9));

test('a neighbour advertisement speaks for its target: nobody advertises what another one has', async () => {
  const { join } = hub();
  const [a, b, checked, free] = [join(), join(), join({ checkIpv6: true }), join()];
  a.port.put(packet6(1, 58, advertisement(1)));
  await turn();
  assert.equal(b.got.length, 1);
  checked.port.put(packet6(2, 58, advertisement(1)), packet6(2, 58, advertisement(1).subarray(0, 20)));
  await turn();
  assert.deepEqual([b.got.length, checked.plug.dropped], [1, 2]);
  checked.port.put(packet6(2, 58, advertisement(2)));
  free.port.put(packet6(3, 58, advertisement(1)));
  await turn();
  assert.equal(b.got.length, 3, 'its own, and where nobody checks');
});

test('a router advertisement that is cut off before its first byte is none that passes', async () => {
  const { join } = hub();
  const [a, b] = [join({ raFilter: true }), join()];
  // A fragment header and destination options, and then the packet ends: the advertisement comes with the next part.
  const cut = Uint8Array.of(60, 0, 0, 1, 0, 0, 0, 7, 58, 0, 1, 4, 0, 0, 0, 0);
  a.port.put(packet6(1, 44, cut));
  await turn();
  assert.equal(b.got.length, 0);
});

test('who floods the table of MACs leaves half of it to those with few', async () => {
  const { net, join } = hub();
  const mac = (index: number): Uint8Array => Uint8Array.of(2, 7, 0, index >> 16, (index >> 8) & 255, index & 255);
  const frame = (index: number): Uint8Array =>
    encodeEthernet({ target: mac(0xffffff), source: mac(index), type: 0x88b5, payload: new Uint8Array(46) });
  for (let flood = 0, index = 0; flood < 5; flood++) {
    const villain = join();
    for (let count = 0; count < 16_384; count++) villain.port.put(frame(index++));
  }
  assert.equal(net.tables.macs.count, 32_768 + 3 * 64);
  const modest = join();
  for (let index = 0; index < 100; index++) modest.port.put(plain(index + 1, 999));
  assert.equal(modest.plug.macs, 64);
});
