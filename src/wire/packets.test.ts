// Ethernet, ARP, IPv4, IPv6, UDP, TCP and ICMP: what is written is read again, and what is broken is refused.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Fault } from '../core/fault.ts';
import { arpFrame, decodeArp, encodeArp } from './arp.ts';
import { addSum, checksum, foldSum } from './checksum.ts';
import { decodeEthernet, encodeEthernet, formatMac, parseMac, randomMac } from './ethernet.ts';
import { FrameView } from './frame-view.ts';
import { decodeIcmp, encodeIcmp, encodeUnreachable } from './icmp.ts';
import { bitsOf, decodeIpv4, encodeIpv4, formatIpv4, isInside, maskOf, parseIpv4, parseIpv4Network } from './ipv4.ts';
import { decodeIpv6, encodeIpv6, upperLayer6 } from './ipv6.ts';
import { advance, decodeTcp, distance, encodeTcp, isAtMost, isBefore, readTcpOptions } from './tcp.ts';
import { decodeUdp, encodeUdp, udpFrames } from './udp.ts';

const bytes = (most: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ maxLength: most });
const mac = fc.uint8Array({ minLength: 6, maxLength: 6 });
const u16s = fc.nat(0xffff);
const u32s = fc.nat(0xffffffff);
const refuses = (read: () => unknown): void =>
  assert.throws(read, error => error instanceof Fault && error.code === 'protocol');
const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replace(/\s/g, ''), 'hex'));

test('the checksum of RFC 1071 §3, in any grouping', () => {
  const data = hex('0001 f203 f4f5 f6f7');
  assert.equal(checksum(data, 0, 8), 0x220d);
  fc.assert(
    fc.property(bytes(2000), fc.nat(1000), (all, cut) => {
      const at = Math.min(all.length, cut) & ~1;
      let plain = 0;
      for (let i = 0; i < all.length; i += 2) plain += (all[i]! << 8) | (all[i + 1] ?? 0);
      assert.equal(foldSum(addSum(all, at, all.length, addSum(all, 0, at, 0))), foldSum(plain));
    }),
  );
});

test('Ethernet, tagged and not', () => {
  fc.assert(
    fc.property(
      mac,
      mac,
      u16s.filter(type => type !== 0x8100),
      bytes(1500),
      fc.option(fc.nat(4095), { nil: undefined }),
      (target, source, type, payload, vlan) => {
        const frame = { target, source, type, payload, ...(vlan === undefined ? {} : { vlan }) };
        assert.deepEqual(decodeEthernet(encodeEthernet(frame)), frame);
      },
    ),
  );
  for (const length of [0, 13, 1601]) refuses(() => decodeEthernet(new Uint8Array(length)));
  refuses(() => decodeEthernet(hex('ffffffffffff 020000000001 8100 00')));
  assert.equal(formatMac(parseMac('02-00-5E-10-00-0a')), '02:00:5e:10:00:0a');
  for (const text of ['', '02:00:5e:10:00', '02:00:5e:10:00:0g', '02:00:5e:10:00:00:00'])
    assert.throws(() => parseMac(text), { code: 'invalid' });
  assert.equal(randomMac()[0]! & 3, 2, 'local and not a group');
});

test('ARP', () => {
  fc.assert(
    fc.property(mac, u32s, mac, u32s, fc.constantFrom('request', 'reply'), (a, b, c, d, operation) => {
      const packet = { operation, senderMac: a, senderIp: b, targetMac: c, targetIp: d } as const;
      assert.deepEqual(decodeArp(encodeArp(packet)), packet);
      assert.equal(decodeEthernet(arpFrame(packet, c)).type, 0x0806);
    }),
  );
  refuses(() => decodeArp(hex('0001 0800 0604 0003').subarray(0, 8)));
  refuses(() => decodeArp(new Uint8Array(28)));
});

test('IPv4', () => {
  const packet = fc.record({
    source: u32s,
    target: u32s,
    protocol: fc.nat(255),
    ttl: fc.nat(255),
    id: u16s,
    dontFragment: fc.boolean(),
    moreFragments: fc.boolean(),
    fragmentOffset: fc.nat(8191).map(units => units * 8),
    payload: bytes(1480),
  });
  fc.assert(
    fc.property(packet, bytes(46), (one, padding) => {
      const encoded = encodeIpv4(one);
      assert.deepEqual(decodeIpv4(Buffer.concat([encoded, padding])), { ...one, payload: Buffer.from(one.payload) });
      encoded[8] = encoded[8]! ^ 1;
      refuses(() => decodeIpv4(encoded));
    }),
  );
  refuses(() => decodeIpv4(hex('45')));
  refuses(() => decodeIpv4(hex('44000014 00000000 40060000 0a000001 0a000002')));
  refuses(() => decodeIpv4(hex('45000100 00000000 40060000 0a000001 0a000002')));
  fc.assert(fc.property(u32s, address => assert.equal(parseIpv4(formatIpv4(address)), address)));
  for (let bits = 0; bits <= 32; bits++) assert.equal(bitsOf(maskOf(bits)), bits);
  assert.equal(bitsOf(0xff00ff00), undefined);
  assert.ok(isInside(parseIpv4Network('10.0.1.0/24'), parseIpv4('10.0.1.255')));
  assert.ok(!isInside(parseIpv4Network('10.0.1.0/24'), parseIpv4('10.0.2.0')));
  assert.ok(isInside(parseIpv4Network('0.0.0.0/0'), parseIpv4('255.255.255.255')));
  for (const text of ['10.0.0.0/33', '10.0.0/8', '10.0.0.0/8/8', 'fe80::/10', '10.0.0.0/-1', '10.0.0.0/a'])
    assert.throws(() => parseIpv4Network(text), { code: 'invalid' });
});

test('IPv6, and the way to the upper layer', () => {
  const address = fc.uint8Array({ minLength: 16, maxLength: 16 });
  fc.assert(
    fc.property(address, address, fc.nat(255), fc.nat(255), bytes(1400), (source, target, next, hopLimit, payload) => {
      const packet = { source, target, next, hopLimit, payload };
      assert.deepEqual(decodeIpv6(encodeIpv6(packet)), packet);
    }),
  );
  refuses(() => decodeIpv6(new Uint8Array(40)));
  const zero = new Uint8Array(16);
  const packet = (next: number, payload: Uint8Array): Uint8Array =>
    encodeIpv6({ source: zero, target: zero, next, hopLimit: 1, payload });
  const look = (one: Uint8Array): number => upperLayer6(one, 0, one.length);
  assert.equal(look(packet(6, new Uint8Array(20))), 6 * 65536 + 40);
  // hop-by-hop → destination options (16 bytes) → UDP
  assert.equal(look(packet(0, hex(`3c00 000000000000 1101 ${'00'.repeat(14)} 0000000000000000`))), 17 * 65536 + 64);
  assert.equal(look(packet(44, hex('0600 0001 00000007'))), 6 * 65536 + 48, 'the first fragment');
  assert.equal(look(packet(44, hex('0600 0008 00000007'))), -1, 'a later one');
  assert.equal(look(packet(0, hex('3c05 0000'))), -2, 'cut off');
  assert.equal(look(packet(0, hex('0000000000000000'.repeat(20)))), -2, 'too many');
});

test('UDP, in one frame or in fragments', () => {
  fc.assert(
    fc.property(u32s, u32s, u16s, u16s, bytes(1400), (source, target, sourcePort, targetPort, payload) => {
      const datagram = { sourcePort, targetPort, payload };
      const encoded = encodeUdp(datagram, source, target);
      assert.deepEqual(decodeUdp(encoded, source, target), datagram);
      encoded[0] = encoded[0]! ^ 1;
      refuses(() => decodeUdp(encoded, source, target));
    }),
  );
  refuses(() => decodeUdp(hex('0001000200ff0000'), 1, 2));
  refuses(() => decodeUdp(hex('0001000200070000'), 1, 2));
  const payload = Uint8Array.from({ length: 4000 }, (_, index) => index);
  const frames = udpFrames(
    { toMac: randomMac(), fromMac: randomMac(), source: 1, target: 2, sourcePort: 3, targetPort: 4, payload, id: 9 },
    1500,
  );
  assert.equal(frames.length, 3);
  const parts = frames.map(frame => decodeIpv4(frame.subarray(14)));
  assert.deepEqual(
    parts.map(({ moreFragments, fragmentOffset }) => [moreFragments, fragmentOffset]),
    [
      [true, 0],
      [true, 1480],
      [false, 2960],
    ],
  );
  assert.deepEqual(decodeUdp(Buffer.concat(parts.map(part => part.payload)), 1, 2).payload, Buffer.from(payload));
});

test('TCP, its options, and the ring of sequence numbers', () => {
  const options = fc.record(
    { mss: u16s, windowScale: fc.nat(14), sackPermitted: fc.constant(true as const) },
    { requiredKeys: [], noNullPrototype: true },
  );
  fc.assert(
    fc.property(u32s, u32s, fc.nat(255), u16s, options, bytes(1400), (a, b, flags, window, list, payload) => {
      const segment = {
        ...{ sourcePort: 1, targetPort: 2, sequence: a, acknowledgement: b, flags, window },
        ...{ options: list, payload },
      };
      const encoded = encodeTcp(segment, a, b);
      assert.deepEqual(decodeTcp(encoded, a, b), segment);
      encoded[encoded.length - 1] = encoded[encoded.length - 1]! ^ 0x10;
      refuses(() => decodeTcp(encoded, a, b));
    }),
  );
  assert.deepEqual(readTcpOptions(hex('01 03 03 ff 02'), 0, 5), { windowScale: 14 });
  assert.deepEqual(readTcpOptions(hex('02 00 02 04 05b4'), 0, 6), {}, 'a length of 0 ends it');
  fc.assert(
    fc.property(u32s, fc.integer({ min: 1, max: 2 ** 31 - 1 }), (from, by) => {
      const to = advance(from, by);
      assert.equal(distance(from, to), by);
      assert.ok(isBefore(from, to) && isAtMost(from, to) && !isBefore(to, from) && isAtMost(from, from));
    }),
  );
});

test('ICMP', () => {
  fc.assert(
    fc.property(fc.nat(255), fc.nat(255), u16s, u16s, bytes(1400), (type, code, id, sequence, data) => {
      const message = { type, code, id, sequence, data };
      assert.deepEqual(decodeIcmp(encodeIcmp(message)), message);
    }),
  );
  refuses(() => decodeIcmp(hex('08')));
  refuses(() => decodeIcmp(hex('0800 0000 0001 0001')));
  assert.equal(decodeIcmp(encodeUnreachable(13, new Uint8Array(1400).fill(0x45))).data.length, 28);
});

test('a view sees what the codecs wrote, tagged or not, and calls broken what no stack would take', () => {
  const view = new FrameView();
  const build = (payload: Uint8Array, type: number, vlan?: number): Uint8Array =>
    encodeEthernet({
      target: parseMac('02:00:00:00:00:01'),
      source: parseMac('02:00:00:00:00:02'),
      type,
      payload,
      ...(vlan === undefined ? {} : { vlan }),
    });
  fc.assert(
    fc.property(
      u32s,
      u32s,
      u16s,
      u16s,
      fc.option(fc.integer({ min: 1, max: 4094 }), { nil: undefined }),
      (a, b, p, q, vlan) => {
        const udp = encodeUdp({ sourcePort: p, targetPort: q, payload: new Uint8Array(3) }, a, b);
        const fixed = { ttl: 1, id: 1, dontFragment: false, moreFragments: false, fragmentOffset: 0 };
        const packet = encodeIpv4({ source: a, target: b, protocol: 17, ...fixed, payload: udp });
        assert.ok(view.read(build(Buffer.concat([packet, new Uint8Array(20)]), 0x0800, vlan)));
        const { carried, source4, target4, protocol, sourcePort, targetPort, end, network } = view;
        assert.deepEqual(
          { carried, source4, target4, protocol, sourcePort, targetPort, size: end - network, vlan: view.vlan },
          {
            carried: 'ipv4',
            source4: a,
            target4: b,
            protocol: 17,
            sourcePort: p,
            targetPort: q,
            size: 31,
            vlan: vlan ?? 0,
          },
        );
      },
    ),
  );
  assert.ok(!view.read(build(new Uint8Array(1590), 0x0800)));
  const group = build(new Uint8Array(46), 0x0800);
  group[6] = 1;
  assert.ok(!view.read(group), 'a sender that is a group');
  for (const [type, payload] of [
    [0x0800, '45'],
    [0x0800, '43000014 00000000 40060000 0a000001 0a000002'],
    [0x0800, '450000ff 00000000 40060000 0a000001 0a000002'],
    [0x86dd, '60'],
    [0x0806, '0001'],
  ] as const) {
    assert.ok(view.read(build(hex(payload), type)));
    assert.equal(view.carried, 'broken', payload);
  }
});

test('a sum is the same by words of any width, wherever the bytes lie in their memory', () => {
  const memory = new Uint8Array(70_000);
  for (const fill of [(at: number) => (at * 37 + (at >> 7)) & 255, () => 255, () => 0]) {
    memory.forEach((_, at) => {
      memory[at] = fill(at);
    });
    for (const offset of [0, 1, 3])
      for (const length of [0, 1, 127, 128, 129, 143, 144, 1461, 65_535]) {
        const bytes = memory.subarray(offset, offset + length + 2);
        let plain = 77;
        for (let at = 2; at < bytes.length; at += 2) plain += (bytes[at]! << 8) + (bytes[at + 1] ?? 0);
        assert.equal(foldSum(addSum(bytes, 2, bytes.length, 77)), foldSum(plain), `${offset} ${length}`);
      }
  }
});
