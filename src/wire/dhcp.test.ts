// DHCP messages, long options, overload and routes; DNS queries as a forwarder sees them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decode, encode } from 'dns-packet';
import fc from 'fast-check';
import { Fault } from '../core/fault.ts';
import { decodeDhcp, decodeRoutes, dhcpOptions, encodeDhcp, encodeRoutes } from './dhcp.ts';
import { answers, dnsFailure, readDnsQuery } from './dns.ts';
import { maskOf } from './ipv4.ts';

const refuses = (read: () => unknown): void =>
  assert.throws(read, error => error instanceof Fault && error.code === 'protocol');
const u32s = fc.nat(0xffffffff);

test('DHCP messages, with options longer than one can be (RFC 3396)', () => {
  const message = fc.record({
    op: fc.constantFrom('request' as const, 'reply' as const),
    xid: u32s,
    secs: fc.nat(0xffff),
    broadcast: fc.boolean(),
    clientIp: u32s,
    yourIp: u32s,
    serverIp: u32s,
    relayIp: u32s,
    mac: fc.uint8Array({ minLength: 6, maxLength: 6 }),
    options: fc
      .array(
        fc.tuple(
          fc.integer({ min: 1, max: 254 }).filter(code => code !== 52),
          fc.uint8Array({ maxLength: 700 }),
        ),
      )
      .map(list => new Map(list)),
  });
  fc.assert(
    fc.property(message, one => {
      const encoded = encodeDhcp(one);
      assert.ok(encoded.length >= 300);
      const read = decodeDhcp(encoded);
      const plain = (map: ReadonlyMap<number, Uint8Array>): [number, string][] =>
        [...map].map(([code, value]) => [code, Buffer.from(value).toString('hex')]);
      assert.deepEqual(plain(read.options), plain(one.options));
      assert.deepEqual({ ...read, options: 0, mac: [...read.mac] }, { ...one, options: 0, mac: [...one.mac] });
    }),
  );
});

test('options go on in the fields for names when the overload says so, and end where they break', () => {
  const fixed = {
    op: 'request',
    xid: 1,
    secs: 0,
    broadcast: false,
    clientIp: 0,
    yourIp: 0,
    serverIp: 0,
    relayIp: 0,
  } as const;
  const bytes = encodeDhcp({
    ...fixed,
    mac: new Uint8Array(6),
    options: new Map([[dhcpOptions.overload, Uint8Array.of(3)]]),
  });
  bytes.set([12, 2, 0x61, 0x62, 255], 108);
  bytes.set([53, 1, 1, 255], 44);
  const { options } = decodeDhcp(bytes);
  assert.deepEqual([...(options.get(12) ?? [])], [0x61, 0x62]);
  assert.deepEqual([...(options.get(53) ?? [])], [1]);
  bytes.set([61, 200], 245); // longer than what is left of the message
  assert.ok(decodeDhcp(bytes.subarray(0, 260)).options.get(61) === undefined);
  refuses(() => decodeDhcp(bytes.subarray(0, 239)));
  bytes[1] = 6;
  refuses(() => decodeDhcp(bytes));
});

test('routes without a default gateway (RFC 3442)', () => {
  const routes = fc.array(
    fc.record({ address: u32s, bits: fc.nat(32), router: u32s }).map(({ address, bits, router }) => ({
      network: { address: (address & maskOf(bits)) >>> 0, mask: maskOf(bits), bits },
      router,
    })),
  );
  fc.assert(fc.property(routes, list => assert.deepEqual(decodeRoutes(encodeRoutes(list)), list)));
  const [one] = [{ network: { address: 0x0a000100, mask: maskOf(24), bits: 24 }, router: 0xc0a81e01 }];
  assert.equal(Buffer.from(encodeRoutes([one])).toString('hex'), '180a0001c0a81e01');
  refuses(() => decodeRoutes(Uint8Array.of(33, 1, 2, 3, 4, 5, 6, 7, 8)));
  refuses(() => decodeRoutes(Uint8Array.of(24, 10, 0)));
});

test('DNS queries are read as dns-packet writes them, and failures are read by it', () => {
  fc.assert(
    fc.property(fc.nat(0xffff), fc.domain(), fc.constantFrom('A', 'AAAA', 'TXT', 'SRV'), (id, name, type) => {
      const query = encode({ type: 'query', id, flags: 0x0100, questions: [{ type: type as 'A', name }] });
      const read = readDnsQuery(query);
      assert.equal(read.name, name.toLowerCase());
      assert.equal(read.id, id);
      const failure = decode(Buffer.from(dnsFailure(query, read.end, 2)));
      assert.equal((failure as { rcode?: string }).rcode, 'SERVFAIL');
      assert.equal(failure.questions?.[0]?.name, name);
      assert.ok(answers(dnsFailure(query, read.end, 2), query, read.end));
      const other = encode({ type: 'response', id, questions: [{ type: type as 'A', name: `x${name}` }] });
      assert.ok(!answers(other, query, read.end));
    }),
  );
  refuses(() => readDnsQuery(new Uint8Array(11)));
  refuses(() => readDnsQuery(encode({ type: 'response', id: 1, questions: [{ type: 'A', name: 'a.example' }] })));
  refuses(() => readDnsQuery(Uint8Array.from([0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 0x0c, 0, 1, 0, 1])));
});
