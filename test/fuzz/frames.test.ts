// Mutated frames into a hub with its router: nothing throws, nothing grows, and the codecs refuse only with a `protocol`
// Fault. FUZZ_RUNS sets how many (default 20,000).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TestClock } from '../../src/core/clock.ts';
import { Fault } from '../../src/core/fault.ts';
import { createHub } from '../../src/features/vpn/create-hub.ts';
import { defaultSecurity } from '../../src/features/vpn/softether/policy.ts';
import { decodeArp, encodeArp } from '../../src/wire/arp.ts';
import { decodeDhcp, encodeDhcp } from '../../src/wire/dhcp.ts';
import { readDnsQuery } from '../../src/wire/dns.ts';
import { broadcastMac, decodeEthernet, encodeEthernet, parseMac } from '../../src/wire/ethernet.ts';
import { decodeIcmp, encodeIcmp } from '../../src/wire/icmp.ts';
import { decodeIpv4, encodeIpv4, parseIpv4 } from '../../src/wire/ipv4.ts';
import { decodeIpv6, encodeIpv6 } from '../../src/wire/ipv6.ts';
import { decodeTcp, encodeTcp } from '../../src/wire/tcp.ts';
import { decodeUdp, encodeUdp } from '../../src/wire/udp.ts';
import { testGate } from '../fixtures/gate.ts';
import { memoryPort } from '../fixtures/memory-port.ts';
import { memoryLog, memoryMetrics } from '../fixtures/quiet.ts';

const runs = Number(process.env['FUZZ_RUNS'] ?? 20_000);

let seed = Number(process.env['FUZZ_SEED'] ?? 1);
const random = (below: number): number => {
  seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
  return Math.floor((seed / 2 ** 32) * below);
};

const own = parseMac('02:00:00:00:00:07');
const router = parseMac('5e:00:00:00:00:01');
const [me, gateway, far] = [parseIpv4('192.168.30.10'), parseIpv4('192.168.30.1'), parseIpv4('10.0.0.1')];
const ip = (protocol: number, target: number, payload: Uint8Array, more = false, offset = 0): Uint8Array =>
  encodeIpv4({
    ...{ source: me, target, protocol, ttl: 64, id: random(8) },
    ...{ dontFragment: false, moreFragments: more, fragmentOffset: offset, payload },
  });
const tcp = (target: number): Uint8Array =>
  encodeTcp(
    {
      sourcePort: 1000 + random(4),
      targetPort: 80,
      sequence: random(2000),
      acknowledgement: random(2 ** 32),
      flags: random(64),
      window: random(65_536),
      options: { mss: random(65_536), windowScale: random(15), sackPermitted: true },
      payload: new Uint8Array(random(64)),
    },
    me,
    target,
  );
const dhcp = (): Uint8Array =>
  encodeDhcp({
    ...{ op: 'request', xid: random(2 ** 32), secs: 0, broadcast: random(2) === 0, clientIp: 0, yourIp: 0 },
    ...{ serverIp: 0, relayIp: 0, mac: own },
    options: new Map([
      [53, Uint8Array.of(random(9))],
      [50, Uint8Array.of(192, 168, 30, random(256))],
      [55, Uint8Array.of(1, 3, 6, 121, 249)],
    ]),
  });
const query = Buffer.from('abcd01000001000000000000076578616d706c6503636f6d0000010001', 'hex');

/** Frames that are right, of every kind that a hub looks into. */
const seeds: readonly (() => Uint8Array)[] = [
  () =>
    frame(
      0x0806,
      encodeArp({ operation: 'request', senderMac: own, senderIp: me, targetMac: router, targetIp: gateway }),
      broadcastMac,
    ),
  () => frame(0x0800, ip(6, far, tcp(far))),
  () => frame(0x0800, ip(6, gateway, tcp(gateway))),
  () =>
    frame(
      0x0800,
      ip(17, 0xffffffff, encodeUdp({ sourcePort: 68, targetPort: 67, payload: dhcp() }, me, 0xffffffff)),
      broadcastMac,
    ),
  () => frame(0x0800, ip(17, gateway, encodeUdp({ sourcePort: 5353, targetPort: 53, payload: query }, me, gateway))),
  () => frame(0x0800, ip(17, gateway, new Uint8Array(8 * (1 + random(20))), random(2) === 0, 8 * random(40))),
  () => frame(0x0800, ip(1, gateway, encodeIcmp({ type: 8, code: 0, id: 1, sequence: 1, data: new Uint8Array(32) }))),
  () =>
    frame(
      0x86dd,
      encodeIpv6({
        source: new Uint8Array(16).fill(0xfe),
        target: new Uint8Array(16).fill(0xff),
        next: [0, 6, 17, 44, 58][random(5)] ?? 0,
        hopLimit: 255,
        payload: new Uint8Array(80),
      }),
    ),
];
const frame = (type: number, payload: Uint8Array, target = router): Uint8Array =>
  encodeEthernet({ target, source: own, type, payload, ...(random(8) === 0 ? { vlan: random(4096) } : {}) });

function mutate(bytes: Uint8Array): Uint8Array {
  let changed = Uint8Array.from(bytes);
  for (let times = random(6); times > 0; times--) {
    const at = random(changed.length || 1);
    switch (random(4)) {
      case 0:
        changed[at] = random(256);
        break;
      case 1:
        changed[at] = changed[at]! ^ (1 << random(8));
        break;
      case 2:
        changed = changed.slice(0, at);
        break;
      default:
        changed = Uint8Array.from([...changed, ...new Uint8Array(random(200))]);
    }
  }
  return changed;
}

test('frames that were tampered with do no harm to a hub', { timeout: 7_200_000 }, async () => {
  const clock = new TestClock();
  const gate = testGate({ decide: () => 'nobody leaves here' });
  const log = memoryLog();
  const hub = await createHub(
    'fuzz',
    {
      nat: {
        address: '192.168.30.1/24',
        mac: '5e:00:00:00:00:01',
        dhcp: { range: ['192.168.30.10', '192.168.30.200'], dns: [], routes: [{ network: '10.0.0.0/8' }] },
      },
      filter: [
        { priority: 10, action: 'discard', protocol: 'tcp', toPort: [25, 25] },
        { priority: 20, action: 'discard', to: 'fe80::/10', protocol: 'icmpv6', established: true },
      ],
      forward: [{ listen: '192.168.30.1:80', to: 'tcp://192.0.2.1:80' }],
    },
    { gate, clock, log, metrics: memoryMetrics(), isOwn: () => false },
  );
  let heard = 0;
  const member = memoryPort('member', bytes => {
    heard++;
    decodeEthernet(bytes); // what the hub makes is right
  });
  const policy = { kind: 'member', session: 'SID-M-1', user: 'm', groups: [] } as const;
  const security = {
    ...defaultSecurity,
    noBroadcastLimiter: true,
    raFilter: true,
    checkIp: true,
    maxIp: 100,
    maxIpv6: 50,
  };
  hub.attach(member, { ...policy, security });
  hub.attach(memoryPort('other'), { ...policy, session: 'SID-O-2', security: defaultSecurity });
  for (let count = 0; count < runs; count++) {
    const bytes = mutate(seeds[random(seeds.length)]!());
    member.put(bytes);
    if (count % 64 === 0) {
      await new Promise(setImmediate);
      clock.move(20);
    }
  }
  assert.ok(heard > runs / 100, `${heard} answers`);
  assert.ok(hub.leases().length <= 191);
  assert.ok(hub.ipTable().length <= 152 && hub.macTable().length < 70_000);
  assert.deepEqual(hub.natTable(), []);
  assert.deepEqual(
    log.lines.filter(({ level }) => level === 'error'),
    [],
  );
  gate.admissions.length = gate.refusals.length = 0;
  await hub[Symbol.asyncDispose]();
});

test('codecs refuse with a protocol Fault and nothing else', { timeout: 7_200_000 }, () => {
  const codecs: readonly ((bytes: Uint8Array) => unknown)[] = [
    decodeEthernet,
    decodeArp,
    decodeIpv4,
    decodeIpv6,
    bytes => decodeTcp(bytes, me, far),
    bytes => decodeUdp(bytes, me, gateway),
    decodeIcmp,
    decodeDhcp,
    readDnsQuery,
  ];
  for (let count = 0; count < runs; count++) {
    const whole = mutate(random(3) === 0 ? dhcp() : random(3) === 0 ? query : seeds[random(seeds.length)]!());
    const bytes = whole.subarray([0, 14, 18, 34][random(4)]);
    try {
      codecs[random(codecs.length)]!(bytes);
    } catch (error) {
      assert.ok(error instanceof Fault && error.code === 'protocol', String(error));
    }
  }
});
