// Mutated SSTP streams, PPP frames and requests: they are read, or refused with a `protocol` Fault; a link that hears noise
// neither opens nor throws anything else.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { TestClock } from '../../src/core/clock.ts';
import { Fault } from '../../src/core/fault.ts';
import { fragments, tooBig } from '../../src/features/vpn/sstp/fit.ts';
import { answerInform, isDhcp } from '../../src/features/vpn/sstp/inform.ts';
import { PppLink } from '../../src/features/vpn/sstp/link.ts';
import { claimsSstp, parseSstpRequest } from '../../src/features/vpn/sstp/request.ts';
import { memberOf } from '../../src/features/vpn/sstp/user-name.ts';
import { encodeDhcp } from '../../src/wire/dhcp.ts';
import { decodeIpv4, encodeIpv4 } from '../../src/wire/ipv4.ts';
import { encodeOptions, encodePppPacket, pppHead, pppProtocols } from '../../src/wire/ppp.ts';
import { encodeSstpControl, encodeSstpData, judgeBinding, SstpDecoder, statusOf } from '../../src/wire/sstp.ts';
import { encodeUdp } from '../../src/wire/udp.ts';

const numRuns = Number(process.env['FUZZ_RUNS'] ?? 3000);
/** Milliseconds; a million runs take some minutes. */
const timeout = Math.max(120_000, numRuns * 2);

function holds<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    assert.ok(error instanceof Fault && error.code === 'protocol', String(error));
    return undefined;
  }
}

const mutation = fc.record({
  kind: fc.constantFrom('byte', 'u16', 'cut', 'repeat'),
  at: fc.nat(1 << 12),
  value: fc.oneof(fc.constantFrom(0, 1, 2, 3, 4, 0xff, 0xfff, 0xffff), fc.nat(0xffff)),
});
type Mutation = typeof mutation extends fc.Arbitrary<infer T> ? T : never;
function mutate(bytes: Buffer, { kind, at, value }: Mutation): Buffer {
  const place = bytes.length === 0 ? 0 : at % bytes.length;
  const copy = Buffer.from(bytes);
  if (kind === 'byte' && copy.length > 0) copy[place] = value & 255;
  else if (kind === 'u16' && place + 2 <= copy.length) copy.writeUInt16BE(value, place);
  else if (kind === 'cut') return copy.subarray(0, place);
  else if (kind === 'repeat') return Buffer.concat([copy.subarray(0, place), copy]);
  return copy;
}
const mutated = (...of: readonly Buffer[]): fc.Arbitrary<Buffer> =>
  fc
    .tuple(fc.constantFrom(...of), fc.array(mutation, { maxLength: 4 }))
    .map(([bytes, list]) => list.reduce(mutate, bytes));

const lcp = (code: number, id: number, ...options: readonly [number, string][]): Buffer =>
  frame(
    pppProtocols.lcp,
    code,
    id,
    encodeOptions(options.map(([type, value]) => ({ type, value: Buffer.from(value, 'hex') }))),
  );
const frame = (protocol: number, code: number, id: number, data: Uint8Array): Buffer =>
  Buffer.concat([pppHead(protocol), encodePppPacket({ code, id, data })]);
const frames = [
  lcp(1, 1, [1, '0578'], [2, '00000000'], [5, '01020304']),
  lcp(1, 2, [7, ''], [8, ''], [13, '06'], [5, '01020304']),
  lcp(2, 1, [3, 'c22381'], [5, '01020304']),
  lcp(3, 1, [3, 'c023']),
  lcp(4, 1, [5, '01020304']),
  frame(pppProtocols.lcp, 9, 1, Buffer.alloc(12)),
  frame(pppProtocols.chap, 2, 1, Buffer.concat([Uint8Array.of(49), randomBytes(49), Buffer.from('lab\\alice')])),
  frame(pppProtocols.pap, 1, 1, Buffer.from('\x05alice\x06secret', 'latin1')),
  frame(pppProtocols.ipcp, 1, 1, Buffer.from('030600000000810600000000', 'hex')),
  frame(pppProtocols.ipv6cp, 1, 1, Buffer.from('010a0102030405060708', 'hex')),
];

test('streams', { timeout }, () => {
  const stream = Buffer.concat([
    encodeSstpControl(1, [{ id: 1, value: Uint8Array.of(0, 1) }]),
    encodeSstpData(frames, new Uint8Array(0)),
    encodeSstpControl(4, [{ id: 3, value: randomBytes(100) }]),
  ]);
  const facts = { nonce: randomBytes(32), certificate: randomBytes(64), key: randomBytes(32) };
  fc.assert(
    fc.property(mutated(stream), fc.array(fc.integer({ min: 1, max: 90 }), { maxLength: 12 }), (bytes, cuts) => {
      const decoder = new SstpDecoder();
      let at = 0;
      for (const cut of [...cuts, bytes.length]) {
        const packets = holds(() => decoder.push(bytes.subarray(at, at + cut)));
        if (!packets) return;
        for (const packet of packets)
          if (packet.kind === 'control') {
            statusOf(packet.attributes);
            assert.notEqual(judgeBinding(packet.raw, facts), undefined, 'noise binds nothing');
          } else assert.ok(packet.frame.length <= 4091);
        at = Math.min(bytes.length, at + cut);
      }
    }),
    { numRuns },
  );
});

test('a link hears noise', { timeout }, () => {
  fc.assert(
    fc.property(fc.array(mutated(...frames), { maxLength: 12 }), heard => {
      const clock = new TestClock();
      let sent = 0;
      const link = new PppLink({
        clock,
        send: (_, payload) => {
          sent++;
          assert.ok(payload.length <= 1500);
        },
        prove: async () => ({ ok: false, code: 691 }),
        authenticated: verdict => assert.equal(verdict.ok, false),
        opened: () => assert.fail('nobody has proven anything'),
        ended: () => {},
      });
      link.start();
      for (const one of heard) {
        const packet = holds(() => link.input(one));
        assert.equal(packet, undefined, 'no packet passes before it is open');
        link.assign({ member: 1, own: 2, dns: [] });
      }
      clock.move(100_000);
      assert.ok(sent <= 60, `${sent} answers to ${heard.length} frames`);
      link.stop();
    }),
    { numRuns },
  );
});

test('requests, and names', { timeout }, () => {
  const head =
    'SSTP_DUPLEX_POST /sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/ HTTP/1.1\r\nContent-Length: 18446744073709551615\r\n\r\n';
  fc.assert(
    fc.property(mutated(Buffer.from(head)), fc.string(), (bytes, name) => {
      const read = holds(() => parseSstpRequest(bytes));
      if (read && read !== 'more') assert.ok(read.used <= bytes.length);
      claimsSstp(bytes);
      const found = memberOf(name, ['lab']);
      assert.equal(typeof found?.user, 'string');
      memberOf(name, ['lab', 'other']);
    }),
    { numRuns },
  );
});

test('packets that are questions to a DHCP server, or too large', { timeout }, () => {
  const lease = { address: 0xc0a81e0a, bits: 24, routes: [], dns: [1], domain: 'x', mtu: 1500, server: 0xc0a81e01 };
  const payload = encodeDhcp({
    ...{
      op: 'request',
      xid: 1,
      secs: 0,
      broadcast: false,
      clientIp: lease.address,
      yourIp: 0,
      serverIp: 0,
      relayIp: 0,
    },
    mac: new Uint8Array(6),
    options: new Map([[53, Uint8Array.of(8)]]),
  });
  const target = 0xffffffff;
  const packet = encodeIpv4({
    ...{ source: lease.address, target, protocol: 17, ttl: 64, id: 1 },
    ...{ dontFragment: false, moreFragments: false, fragmentOffset: 0 },
    payload: encodeUdp({ sourcePort: 68, targetPort: 67, payload }, lease.address, target),
  });
  fc.assert(
    fc.property(mutated(Buffer.from(packet)), fc.integer({ min: 576, max: 1500 }), (bytes, mtu) => {
      if (bytes.length < 20) return;
      if (isDhcp(bytes)) {
        const answer = answerInform(bytes, lease, lease.server);
        if (answer) assert.equal(decodeIpv4(answer).target, lease.address);
      }
      for (const part of fragments(bytes, mtu)) assert.ok(part.length <= mtu);
      tooBig(bytes, mtu);
    }),
    { numRuns },
  );
});
